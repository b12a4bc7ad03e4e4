//! `depsync doctor` on nodes: each planted fault is named, a healthy cluster is not, and nothing is changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use depsync::model::plan::CommitStyle;
use depsync::os::clock;
use depsync::wire::message::{Examine, ToAgent, ToHub, Txid};

use crate::cluster::{Cluster, Mount, Outcome, chmod, run, stamps};
use crate::decoders::small_manifest;
use crate::prerequisite::{require, skip};
use crate::spoken::Spoken;

/// A cluster of `count` nodes with something in its source, pushed if `is_pushed`.
pub(crate) fn cluster(count: usize, is_pushed: bool) -> Cluster {
    let cluster = Cluster::new(count);
    for name in ["a", "d/e"] {
        cluster.write(name, format!("content of {name}"));
    }
    if is_pushed {
        cluster.push_ok(&cluster.source(), &[]);
    }
    cluster
}

pub(crate) fn doctor(cluster: &Cluster, more: &[&str]) -> Outcome {
    cluster.run("doctor", &cluster.source(), more)
}

/// Of each finding its place (the end of its target, or `hub`), its check and its level.
pub(crate) fn findings(outcome: &Outcome) -> Vec<(String, String, String)> {
    let lines = outcome.lines.iter().filter(|line| line["type"] == "finding");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    lines
        .map(|line| {
            for key in ["message", "hint"] {
                let told = text(&line[key]);
                assert!(!told.is_empty() && !told.contains('\n'), "{line}");
            }
            let target = line["target"].as_str().unwrap_or("hub");
            let node = target.trim_end_matches("/tree").rsplit('/').next().expect("a name");
            (node.to_owned(), text(&line["check"]), text(&line["level"]))
        })
        .collect()
}

/// Fails unless exactly these are found, each as `place check level`.
#[track_caller]
pub(crate) fn assert_found(outcome: &Outcome, expected: &[&str]) {
    let found: Vec<String> = findings(outcome)
        .into_iter()
        .map(|(at, check, level)| format!("{at} {check} {level}"))
        .collect();
    assert_eq!(found, expected, "{outcome:#?}");
    outcome.expect(if expected.is_empty() { 0 } else { 2 });
    assert_eq!(outcome.summary()["exit"], if expected.is_empty() { 0 } else { 2 });
}

/// Looks at a cluster, in which nothing may change by that, and fails unless exactly these are found.
#[track_caller]
fn check(cluster: &Cluster, more: &[&str], expected: &[&str]) -> Outcome {
    let before = stamps(cluster.path());
    let outcome = doctor(cluster, more);
    assert_found(&outcome, expected);
    assert_eq!(stamps(cluster.path()), before, "something was changed");
    outcome
}

#[test]
fn a_healthy_cluster_has_no_findings_and_nothing_is_made_anywhere() {
    let cluster = cluster(2, false);
    check(&cluster, &[], &[]);
    assert!(!cluster.state(0).exists() && !cluster.path().join("state").exists());
    cluster.push_ok(&cluster.source(), &[]);
    check(&cluster, &[], &[]);
    check(&cluster, &["--commit", "swap"], &[]);
    let mut command = cluster.command("doctor");
    command.args(["--source", "source", "--node", "./n0/new"]);
    assert_found(&Outcome::of(&mut command), &[]);
    assert!(!cluster.path().join("n0/new").exists());
}

#[test]
fn no_call_of_a_look_makes_or_changes_a_file() {
    if !require("no_call_of_a_look_makes_or_changes_a_file", &["strace"]) {
        return;
    }
    let mut cluster = cluster(2, true);
    fs::remove_dir_all(cluster.path().join("n1/.depsync")).expect("removed");
    let outside = tempfile::tempdir().expect("a directory");
    let trace = outside.path().join("trace").display().to_string();
    let calls = "trace=%file,ftruncate,fchmod,fchown,fsetxattr,fremovexattr,pwrite64,fallocate";
    cluster.wrapper = ["strace", "-f", "-qq", "-o", &trace, "-e", calls].map(String::from).to_vec();
    check(&cluster, &[], &[]);
    let text = fs::read_to_string(&trace).expect("a trace");
    let reads = ["access", "execve", "statx", "newfstatat", "stat", "lstat", "statfs", "getcwd"];
    let reads = [&reads[..], &["readlink", "readlinkat", "faccessat", "faccessat2"]].concat();
    // `???` is a call that never began: the end of its process caught the thread on the way into it.
    let no_calls = ["+++", "--- ", "resumed>", " ???("];
    for line in text.lines().filter(|line| !no_calls.iter().any(|mark| line.contains(mark))) {
        let call = line.split_whitespace().nth(1).and_then(|rest| rest.split('(').next());
        let call = call.expect("a call");
        let opens = ["open", "openat", "openat2"].contains(&call);
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| line.contains(flag));
        assert!(reads.contains(&call) || (opens && !writes), "{line}");
    }
    assert!(text.contains(".depsync") && text.contains("journal"), "the state was looked at");
}

#[test]
fn what_was_found_is_told_to_people_with_one_action_each() {
    let cluster = cluster(1, false);
    fs::remove_dir(&cluster.nodes[0]).expect("removed");
    fs::write(&cluster.nodes[0], "a file").expect("written");
    let node = cluster.nodes[0].display().to_string();
    let text = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_depsync"));
        command.args(["doctor", "source", "--node", "./n0/tree"]).args(options);
        command.env("XDG_STATE_HOME", cluster.path().join("state")).current_dir(cluster.path());
        let output = command.output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2));
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (text(output.stdout), text(output.stderr))
    };
    let lines = format!(
        "{node}\n  error    not-a-directory  open the target: {node} is not a directory\n    -> move away what is there, or name another directory\n"
    );
    let (stdout, stderr) = text(&["--log-file", "log"]);
    assert!(stdout.starts_with(&format!("{lines}1 finding: 1 error in ")), "{stdout}");
    assert_eq!(stderr, "");
    assert_eq!(text(&["-q"]), (String::new(), lines));
    let log = fs::read_to_string(cluster.path().join("log")).expect("a log");
    assert!(log.contains(&format!("finding {node} error not-a-directory: ")), "{log}");
    assert!(log.trim_end().contains("end exit=2 outcome=diff"), "{log}");
}

#[test]
fn what_is_wrong_with_the_way_to_the_root_is_named() {
    let cluster = cluster(4, false);
    fs::remove_dir_all(cluster.path().join("n0")).expect("removed");
    fs::remove_dir(&cluster.nodes[1]).expect("removed");
    fs::write(&cluster.nodes[1], "a file").expect("written");
    chmod(&cluster.path().join("n2"), 0o777);
    chmod(&cluster.nodes[3], 0o777);
    let rest = ["n1 not-a-directory error", "n2 open-parent error", "n3 open-target warning"];
    let expected = [&["n0 parent-missing error"], &rest[..]].concat();
    check(&cluster, &[], &expected);
    check(&cluster, &["--mkpath"], &rest);
}

#[test]
fn a_target_that_is_the_source_or_a_strangers_link_is_named() {
    if !require("a_target_that_is_the_source", &["root"]) {
        return;
    }
    let cluster = cluster(2, false);
    for (node, leads_to) in [(0, cluster.source()), (1, cluster.path().join("elsewhere"))] {
        fs::remove_dir(&cluster.nodes[node]).expect("removed");
        symlink(leads_to, &cluster.nodes[node]).expect("a link");
    }
    std::os::unix::fs::lchown(&cluster.nodes[1], Some(12_345), None).expect("lchown");
    check(&cluster, &[], &["n0 source-in-target error", "n1 foreign-link error"]);
}

#[test]
fn what_belongs_to_others_than_the_agents_user_is_named() {
    if !require("what_belongs_to_others_than_the_agents_user_is_named", &["root", "setpriv"]) {
        return;
    }
    let mut cluster = cluster(5, false);
    for name in ["file", "dir/file"] {
        for node in [1, 2] {
            cluster.write_on(node, name, "x");
        }
    }
    cluster.run_as(12_345);
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(0), Some(0)).expect("chown");
    own(&cluster.nodes[0]);
    own(&cluster.on(1, "file"));
    own(&cluster.on(2, "dir"));
    chmod(&cluster.on(2, "dir"), 0o700);
    own(&cluster.path().join("n3"));
    fs::remove_dir(&cluster.nodes[4]).expect("removed");
    own(&cluster.path().join("n4"));
    let expected = [
        "n0 owner error",
        "n0 permission error",
        "n1 owner warning",
        "n2 unreadable error",
        "n2 owner error",
        "n3 permission error",
        "n4 permission error",
    ];
    check(&cluster, &[], &expected);
}

#[test]
fn what_no_commit_could_replace_is_named() {
    if !require("what_no_commit_could_replace", &["root", "chattr", "mount"]) {
        return;
    }
    let cluster = cluster(2, true);
    for name in ["a", "d"] {
        run(Command::new("chattr").arg("+i").arg(cluster.on(0, name)));
    }
    let mounted = Mount::new(&["-t", "tmpfs", "tmpfs"], &cluster.on(1, "d/mounted"));
    let outcome = check(&cluster, &[], &["n0 immutable error", "n1 mount-point warning"]);
    for name in ["a", "d"] {
        run(Command::new("chattr").arg("-i").arg(cluster.on(0, name)));
    }
    assert!(mounted.is_some());
    assert!(outcome.lines[0]["message"].as_str().expect("a text").contains("and 1 more"));
}

#[test]
fn what_a_file_system_cannot_do_or_hold_is_named() {
    let test = "what_a_file_system_cannot_do_or_hold_is_named";
    if !require(test, &["root", "mount"]) {
        return;
    }
    let cluster = cluster(4, false);
    let at = |node: usize| cluster.path().join(format!("n{node}"));
    let tmpfs = |node, options: &str| {
        let mount = Mount::new(&["-t", "tmpfs", "-o", options, "tmpfs"], &at(node)).expect("tmpfs");
        fs::create_dir(&cluster.nodes[node]).expect("a directory");
        mount
    };
    let full = tmpfs(0, "size=1M");
    fs::write(at(0).join("big"), vec![1; 1000 * 1024]).expect("written");
    let many = tmpfs(1, "nr_inodes=40");
    for name in 0..20 {
        fs::write(at(1).join(format!("f{name}")), "").expect("written");
    }
    let fixed = tmpfs(2, "size=1M");
    run(Command::new("mount").args(["-o", "remount,ro"]).arg(at(2)));
    let inside = Mount::new(&["-t", "tmpfs", "tmpfs"], &cluster.nodes[3]).expect("tmpfs");
    chmod(&cluster.nodes[3], 0o755);
    let expected = ["n0 no-space error", "n1 no-inodes error", "n2 read-only error"];
    check(&cluster, &[], &expected);
    let swap = [&expected[..], &["n3 swap-mount-point error"]].concat();
    check(&cluster, &["--commit", "swap"], &swap);
    drop((full, many, fixed, inside));
}

#[test]
fn what_is_excluded_or_beside_the_trees_is_nobodys_fault() {
    let test = "what_is_excluded_or_beside_the_trees_is_nobodys_fault";
    if !require(test, &["root", "setpriv", "mount"]) {
        return;
    }
    let mut cluster = cluster(1, false);
    cluster.write("d/.depsyncignore", "logs/\n");
    for name in ["new/x", "not/there/x"] {
        cluster.write(name, "x");
    }
    for name in ["d/logs/x", "tmp/x", "kept/x", "e/x", "far/x"] {
        cluster.write_on(0, name, "x");
    }
    cluster.write_on(0, "d/.depsyncignore", "logs/\n");
    let mounted =
        Mount::new(&["-t", "tmpfs", "tmpfs"], &cluster.on(0, "e/mounted")).expect("tmpfs");
    cluster.run_as(12_345);
    for name in ["d/logs", "tmp", "kept", "far"] {
        let at = cluster.on(0, name);
        std::os::unix::fs::chown(&at, Some(0), Some(0)).expect("chown");
    }
    let all = ["n0 owner error", "n0 mount-point warning"];
    assert_found(&doctor(&cluster, &["--exclude", "/tmp"]), &all);
    let config = cluster.path().join("depsync.toml");
    let set = |text: &str| {
        fs::write(&config, text).expect("written");
        chmod(&config, 0o600);
        std::os::unix::fs::chown(&config, Some(12_345), None).expect("chown");
    };
    set("[guard]\nprotect = [\"kept\"]\n");
    check(&cluster, &["--exclude", "/tmp", "--exclude", "mounted", "--exclude", "/far"], &[]);
    set("[cluster]\ntrees = [\"d\", \"new\"]\n");
    check(&cluster, &[], &[]);
    set("[cluster]\ntrees = [\"d\", \"not/there\"]\n");
    std::os::unix::fs::chown(cluster.on(0, "d"), Some(0), Some(0)).expect("chown");
    let expected = ["n0 permission error", "n0 parent-missing error", "n0 owner error"];
    check(&cluster, &[], &expected);
    drop(mounted);
}

#[test]
fn a_file_system_that_is_made_for_others_is_named() {
    let test = "a_file_system_that_is_made_for_others_is_named";
    if !require(test, &["root", "mount", "mkfs.vfat"]) {
        return;
    }
    let cluster = cluster(1, false);
    let Some(_mount) = Mount::image("vfat", 32, &[], &cluster.path().join("n0")) else {
        return skip(test, "the kernel does not mount it");
    };
    fs::create_dir(&cluster.nodes[0]).expect("a directory");
    check(&cluster, &[], &["n0 case-folding warning", "n0 file-system error"]);
}

#[test]
fn a_directory_that_folds_names_is_told() {
    let test = "a_directory_that_folds_names_is_told";
    if !require(test, &["root", "mkfs.ext4", "chattr"]) {
        return;
    }
    let cluster = cluster(1, false);
    let options = ["-q", "-O", "casefold"];
    let Some(_mount) = Mount::image("ext4", 32, &options, &cluster.path().join("n0")) else {
        return skip(test, "the kernel has no Unicode tables to fold names with");
    };
    fs::create_dir(&cluster.nodes[0]).expect("a directory");
    run(Command::new("chattr").arg("+F").arg(&cluster.nodes[0]));
    check(&cluster, &[], &["n0 case-folding warning"]);
}

#[test]
fn fault_085_a_journal_that_is_damaged_or_of_another_version_is_explained() {
    let cluster = cluster(4, true);
    let journal = |node| cluster.state(node).join("journal");
    let mut bytes = fs::read(journal(0)).expect("a journal");
    bytes[20] ^= 1;
    fs::write(journal(0), &bytes).expect("written");
    let newer = depsync::node::journal::frame(1, &[0, 99]);
    fs::write(journal(1), newer).expect("written");
    chmod(&cluster.state(2), 0o755);
    fs::remove_dir_all(cluster.path().join("n3/.depsync")).expect("removed");
    fs::write(cluster.path().join("n3/.depsync"), "a file").expect("written");
    let expected = [
        "n0 state-damaged error",
        "n1 state-damaged error",
        "n2 state-directory error",
        "n3 state-directory error",
    ];
    let outcome = check(&cluster, &[], &expected);
    let told = |line: usize| outcome.lines[line]["message"].as_str().expect("a text").to_owned();
    assert!(told(0).contains("damaged"), "{}", told(0));
    assert!(told(1).contains("version 99"), "{}", told(1));
}

#[test]
fn a_state_directory_on_another_file_system_is_named() {
    if !require("a_state_directory_on_another_file_system_is_named", &["root", "mount"]) {
        return;
    }
    let cluster = cluster(1, false);
    let elsewhere = cluster.path().join("elsewhere");
    let _mount = Mount::new(&["-t", "tmpfs", "tmpfs"], &elsewhere).expect("tmpfs");
    chmod(&elsewhere, 0o700);
    let config = cluster.path().join("depsync.toml");
    let set = |path: &Path| {
        fs::write(&config, format!("[storage]\nstate_dir = \"{}\"\n", path.display()))
            .expect("written");
        chmod(&config, 0o600);
    };
    set(&elsewhere);
    check(&cluster, &[], &["n0 state-elsewhere error"]);
    set(&cluster.path().join("beside"));
    check(&cluster, &[], &[]);
    cluster.push_ok(&cluster.source(), &[]);
    check(&cluster, &[], &[]);
}

#[test]
fn a_lease_that_is_held_and_a_commit_that_waits_are_told() {
    let cluster = cluster(2, true);
    let manifest = small_manifest();
    let (held, _) = Spoken::open(&cluster.nodes[0]);
    let (mut prepared, _) = Spoken::open(&cluster.nodes[1]);
    prepared.plan(&manifest);
    prepared.end();
    check(&cluster, &[], &["n0 busy warning"]);
    held.end();
    plant_prepared(&cluster.state(1));
    check(&cluster, &[], &["n1 pending warning"]);
}

/// Has the journal of a node say that a transaction is prepared, as an agent leaves it that was cut off then.
fn plant_prepared(state: &Path) {
    use depsync::model::digest::Digest;
    use depsync::node::journal::{Journal, Record};
    use depsync::os::root::{self, Missing};
    let dir = root::open(state, Missing::Refuse).expect("opened").dir.expect("it is there");
    let mut journal = Journal::open(&dir).expect("a journal");
    let (txid, digest) = (Txid([5; 16]), Digest([6; 32]));
    for record in [
        Record::Begin { txid, fence: 9, release: digest },
        Record::Prepared { txid, steps: digest },
    ] {
        journal.append(&record).expect("written");
    }
}

#[test]
fn a_clock_that_is_off_is_told() {
    let cluster = cluster(1, false);
    for (seconds, level) in [(0, None), (60, Some("warning")), (-100_000, Some("warning"))] {
        let mut open = Spoken::naming(&cluster.nodes[0]);
        open.clock.seconds = clock::wall().seconds + seconds;
        let (commit, min_free_percent) = (CommitStyle::InPlace, 0);
        let mut spoken = Spoken::greet();
        let header = Spoken::offer_of(&small_manifest()).header;
        let logins = None;
        let examine = Examine { open, header, commit, min_free_percent, logins };
        spoken.say(&ToAgent::Examine(examine));
        let ToHub::Examined(examined) = spoken.hear() else { panic!("no findings") };
        let found: Vec<_> =
            examined.findings.iter().map(|one| (&*one.check, one.level.word())).collect();
        assert_eq!(found, level.map(|level| ("clock", level)).into_iter().collect::<Vec<_>>());
        spoken.end();
        assert!(!cluster.state(0).exists());
    }
}

#[test]
fn another_synchroniser_that_runs_on_the_directory_is_told() {
    let cluster = cluster(2, false);
    let program = cluster.path().join("rsync");
    crate::ssh_server::script(&program, "#!/bin/sh\nread word\n");
    let mut child = Command::new(&program)
        .args(["--server", "-logDtpre.iLsfxC", "--delete", "."])
        .arg(format!("{}/d/", cluster.nodes[1].display()))
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    let outcome = doctor(&cluster, &[]);
    drop(child.stdin.take());
    child.wait().expect("it ends");
    assert_found(&outcome, &["n1 synchroniser warning"]);
    assert_found(&doctor(&cluster, &[]), &[]);
}

#[test]
fn crontabs_that_write_the_target_or_ship_the_source_are_told() {
    let test = "crontabs_that_write_the_target_or_ship_the_source_are_told";
    if !require(test, &["root", "unshare", "mount"]) {
        return;
    }
    let mut cluster = cluster(2, false);
    let tables = cluster.path().join("spool/cron/crontabs");
    fs::create_dir_all(&tables).expect("made");
    let script = cluster.path().join("rsync-for-depsync.sh");
    let source = cluster.source().display().to_string();
    let text = format!(
        "#!/bin/sh\nei_server_dir={source}\nfor x in `cat nodes-list.txt`\ndo\n\
         rsync --delete -arve \"ssh -i  $pem_file -o StrictHostKeyChecking=no\" $ei_server_dir $x\ndone\n"
    );
    crate::ssh_server::script(&script, &text);
    let (to, from) = (cluster.nodes[0].display(), cluster.nodes[1].display());
    let lines = format!(
        "# rsync {from}\n* * * * * {} >> /var/log/x\n5 * * * * rsync -a --delete hub:/src/ {to}/\n7 3 * * * rsync -a {from}/ backup:/b/\n",
        script.display()
    );
    fs::write(tables.join("root"), lines).expect("written");
    let bind =
        format!("mount --bind {}/spool /var/spool && exec \"$0\" \"$@\"", cluster.path().display());
    cluster.wrapper = ["unshare", "--mount", "sh", "-c", &bind].map(String::from).to_vec();
    check(&cluster, &[], &["hub synchroniser warning", "n0 synchroniser warning"]);
}
