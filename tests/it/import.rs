//! `depsync import`: what is written of scripts as people have them, and what is said of them.

use std::path::Path;
use std::process::{Command, Stdio};

use depsync::config::{Nodes, Settings, import, read_file};

use crate::cli_bench::{Bench, Ran, USAGE, repository_file};
use crate::prerequisite::require;

/// A directory with one of the scripts, and the nodes file beside it.
fn bench(name: &str) -> Bench {
    let bench = Bench::new();
    for file in [name, "nodes-list.txt"] {
        bench.write(file, repository_file(&format!("tests/it/import/{file}")).as_bytes());
    }
    bench
}

fn settings(bench: &Bench) -> Settings {
    read_file(&bench.at("depsync.toml")).unwrap_or_else(|error| panic!("{:?}", error.failure()))
}

fn imported(bench: &Bench, name: &str) -> (Settings, Vec<serde_json::Value>) {
    let ran = bench.run(&["import", name, "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().all(|line| line["format_version"] == 1), "{}", ran.stdout);
    let last = lines.last().expect("a line");
    assert_eq!((&last["type"], &last["exit"]), (&"import".into(), &0.into()));
    (settings(bench), lines)
}

fn checks(lines: &[serde_json::Value], level: &str) -> Vec<String> {
    let of_level = lines.iter().filter(|line| line["level"] == level);
    let mut checks: Vec<String> =
        of_level.map(|line| line["check"].as_str().expect("a check").to_owned()).collect();
    checks.sort();
    checks
}

const PAGE: [&str; 11] = [
    "burst",
    "delete",
    "drift",
    "host-keys",
    "lock",
    "log",
    "pushd",
    "serial",
    "status",
    "timeout",
    "trap",
];

#[test]
fn the_pages_script_becomes_a_configuration() {
    let bench = bench("page.sh");
    let (settings, lines) = imported(&bench, "page.sh");
    assert_eq!(settings.source, Some(bench.at("wso2ei-6.4.0/repository/deployment/server")));
    assert_eq!(settings.nodes, Some(Nodes::File(bench.at("nodes-list.txt"))));
    assert_eq!(settings.identities, [bench.at(".ssh/carbon-440-test.pem")]);
    assert!(settings.trees.is_none() && settings.ssh_options.is_empty());
    assert_eq!(checks(&lines, "fault"), PAGE);
    assert_eq!((checks(&lines, "lost"), checks(&lines, "note")), (vec![], vec!["home".to_owned()]));
    let trap = lines.iter().find(|line| line["check"] == "trap").expect("the trap");
    assert_eq!(
        (&trap["line"], &trap["text"]),
        (&6.into(), &"trap 'rm -rf /var/lock/depsync-lock' EXIT".into())
    );
    let written = std::fs::read_to_string(bench.at("depsync.toml")).expect("a file");
    assert!(written.contains("\n#max_delete = \"50%\"\n"), "every key is explained: {written}");
}

#[test]
fn variants_of_the_script_become_configurations() {
    let server = "repository/deployment/server";
    let check = |name: &str, source: &str, trees: &[&str], extra: &[&str]| {
        let bench = bench(name);
        let (settings, lines) = imported(&bench, name);
        let source = if source.starts_with('/') { source.into() } else { bench.at(source) };
        assert_eq!(settings.source, Some(source), "{name}");
        let shown = settings.trees.clone().unwrap_or_default();
        assert_eq!(shown.iter().map(ToString::to_string).collect::<Vec<_>>(), trees, "{name}");
        assert!(settings.identities.len() == 1, "{name}");
        let mut expected: Vec<String> = PAGE.iter().chain(extra).map(|&it| it.to_owned()).collect();
        expected.retain(|check| name != "while.sh" || check != "pushd");
        expected.sort();
        assert_eq!(checks(&lines, "fault"), expected, "{name}");
        (bench, settings, lines)
    };
    let (bench, settings, lines) = check("manager.sh", &format!("wso2as-5.2.1/{server}"), &[], &[]);
    assert_eq!(settings.nodes, Some(Nodes::File(bench.at("workers-list.txt"))));
    assert_eq!(checks(&lines, "lost"), ["nodes-file"], "it is not there");
    let (bench, settings, _) =
        check("no-slash.sh", "/opt/wso2mi/repository/deployment", &["server"], &["slash"]);
    assert_eq!(settings.nodes, Some(Nodes::File(bench.at("nodes-list.txt"))));
    let ei = "wso2ei-6.4.0";
    let (_, settings, lines) = check("tenants.sh", ei, &[server, "repository/tenants"], &["slash"]);
    let Some(Nodes::Configured(nodes)) = settings.nodes else { panic!("no targets") };
    let targets: Vec<String> = nodes.iter().map(|node| node.target.to_string()).collect();
    assert_eq!(targets, ["wso2@mi-1:/opt/ei", "wso2@mi-2:/opt/ei"]);
    assert_eq!(checks(&lines, "lost"), [""; 0]);
    let (_, settings, _) = check("while.sh", &format!("{ei}/{server}"), &[], &["known-hosts"]);
    assert_eq!(settings.nodes, Some(Nodes::File("/etc/wso2/nodes-list.txt".into())));
    assert_eq!(
        (settings.ssh_options, settings.exclude),
        (vec!["Port=2222".into()], vec!["*.tmp".into(), "/data/".into()])
    );
    let typos = ["blank", "blank", "dash", "interpreter", "quote"];
    let (bench, _, lines) = check("typos.sh", &format!("{ei}/{server}"), &[], &typos);
    let line = format!("* * * * * depsync push -q -c {}", bench.at("depsync.toml").display());
    assert_eq!(lines.last().expect("a line")["crontab"], serde_json::json!([line]));
}

#[test]
fn windows_line_ends_are_read_and_named() {
    let bench = Bench::new();
    let text = repository_file("tests/it/import/page.sh").replace('\n', "\r\n");
    bench.write("windows.sh", text.as_bytes());
    let (settings, lines) = imported(&bench, "windows.sh");
    assert_eq!(settings.nodes, Some(Nodes::File(bench.at("nodes-list.txt"))));
    assert!(checks(&lines, "fault").contains(&"crlf".to_owned()));
}

#[test]
fn commands_and_crontabs_become_configurations() {
    let bench = bench("commands.sh");
    let (settings, lines) = imported(&bench, "commands.sh");
    assert_eq!(
        settings.source.as_deref(),
        Some(Path::new("/opt/wso2mi/repository/deployment/server"))
    );
    let Some(Nodes::Configured(nodes)) = settings.nodes else { panic!("no targets") };
    assert_eq!(nodes.len(), 2);
    assert_eq!(settings.bytes_per_second_max, Some(2000 * 1024));
    assert_eq!(settings.exclude_from, [Path::new("/etc/mi/exclude")]);
    assert_eq!(checks(&lines, "lost"), [""; 0]);

    let bench = self::bench("crontab");
    let ran = bench.run(&["import", "crontab"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let line = format!("  */5 * * * * depsync push -q -c {}\n", bench.at("depsync.toml").display());
    assert!(ran.stdout.contains(&line) && !ran.stdout.contains("  0 3 "), "{}", ran.stdout);
    let settings = self::settings(&bench);
    assert_eq!(settings.source.as_deref(), Some(Path::new("/srv/site")));
    assert_eq!(settings.identities, [Path::new("/etc/keys/site")]);
}

#[test]
fn what_is_written_is_what_plan_takes() {
    let bench = Bench::with_source();
    let source = bench.at("source");
    bench.write(
        "sync.sh",
        format!(
            "rsync -a --delete --exclude=skip {}/ {}\n",
            source.display(),
            bench.at("node").display()
        )
        .as_bytes(),
    );
    bench.write("source/skip", b"no");
    assert_eq!(bench.run(&["import", "sync.sh"]).code, 0);
    let ran = bench.run(&["push"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(bench.at("node/file").exists() && !bench.at("node/skip").exists());
}

#[test]
fn a_command_after_two_hyphens_is_imported() {
    let bench = Bench::new();
    let ran = bench.run(&["import", "--", "rsync", "-avz", "--delete", "-L", "src/", "host:dst"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("rsync's --copy-links has no equal"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\nwrote depsync.toml: 1 thing to decide, "), "{}", ran.stdout);
    assert_eq!(settings(&bench).source, Some(bench.at("src")));
}

#[test]
fn print_writes_no_file_and_splits_the_streams() {
    let bench = bench("page.sh");
    let ran = bench.run(&["import", "--print", "page.sh"]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout.starts_with("# depsync: ") && ran.stderr.contains("faults that end with it")
    );
    assert!(
        !ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'),
        "no terminal, no colours"
    );
    assert!(!bench.at("depsync.toml").exists());
    let mut command = bench.command(&["import", "--print", "-"]);
    let script = std::fs::File::open(bench.at("page.sh")).expect("the script");
    let from_pipe = Ran::of(command.stdin(Stdio::from(script)).output().expect("starts"));
    assert_eq!(from_pipe.code, 0);
    assert!(
        from_pipe
            .stderr
            .contains("where it goes, $(cat ${SCRIPTPATH}/nodes-list.txt), is not certain")
    );
    assert!(from_pipe.stdout.contains("\nsource = ") && from_pipe.stdout.contains("\n#nodes = "));
    let ran = bench.run(&["import", "--print", "--json", "page.sh"]);
    let last: serde_json::Value =
        serde_json::from_str(ran.stdout.lines().last().expect("a line")).expect("JSON");
    assert!(
        last["toml"].as_str().expect("the text").contains("[cluster]") && last["config"].is_null()
    );
}

#[test]
fn what_cannot_be_imported_is_refused_and_nothing_is_written() {
    let bench = Bench::new();
    bench.write("other.sh", b"#!/bin/sh\necho hello\n");
    bench.write("binary", b"\x7fELF\0\0\0");
    bench.write("open.sh", b"echo\necho 'a\nrsync -a s/ h:/t\n");
    bench.write("fetch.sh", b"rsync -a h:/s/ /t\n");
    bench.write("unclear.sh", b"rsync -a $1 \"$2\"\n");
    bench.write("calls", b"* * * * * /opt/sync.sh\n");
    bench.write("long", &vec![b'#'; (1 << 20) + 1]);
    bench.write("evil.sh", b"rsync -a $(\x1b[31m) h:/t\n");
    for (name, words) in [
        (
            "other.sh",
            &[
                "other.sh: this is not a script that syncs with rsync",
                "hint: depsync init writes a configuration",
            ][..],
        ),
        ("binary", &["binary: it is not a text"]),
        ("open.sh", &["line 2: the quote that opens here is not closed"]),
        ("fetch.sh", &["it fetches from another host"]),
        (
            "unclear.sh",
            &[
                "line 1: what is copied, ${1}, is not certain",
                "line 1: where it goes, ${2}, is not certain",
            ],
        ),
        ("calls", &["hint: it starts /opt/sync.sh: import that"]),
        ("long", &["it is over 1048576 bytes long"]),
        (".", &["read .", "not a regular file"]),
        ("missing.sh", &["read missing.sh", "there is no such file"]),
    ] {
        bench.run(&["import", name]).assert_usage(words);
    }
    let ran = bench.run(&["import", "evil.sh"]);
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stdout.contains('\u{1b}'));
    std::fs::remove_file(bench.at("depsync.toml")).expect("the target alone was certain");
    bench.run(&["import"]).assert_usage(&[]);
    bench.run(&["import", "other.sh", "--", "rsync"]).assert_usage(&[]);
    let ran = bench.run(&["import", "other.sh", "--json"]);
    let line: serde_json::Value = serde_json::from_str(ran.stdout.trim()).expect("JSON");
    assert_eq!((&line["exit"], &line["error"]["kind"]), (&USAGE.into(), &"import".into()));
    assert!(!bench.at("depsync.toml").exists());
}

#[test]
fn an_existing_configuration_stays_unless_forced() {
    let bench = bench("page.sh");
    bench.write("depsync.toml", b"mine");
    bench.run(&["import", "page.sh"]).assert_usage(&["depsync.toml exists already", "--force"]);
    assert_eq!(std::fs::read(bench.at("depsync.toml")).expect("a file"), b"mine");
    assert_eq!(bench.run(&["import", "page.sh", "--force"]).code, 0);
    assert!(settings(&bench).source.is_some());
    let ran = bench.run(&["import", "page.sh", "-c", "other.toml"]);
    assert!(ran.stdout.contains("'depsync plan -c "), "{}", ran.stdout);
}

#[test]
fn every_option_of_the_installed_rsync_is_known() {
    if !require("every_option_of_the_installed_rsync_is_known", &["rsync"]) {
        return;
    }
    let output = Command::new("rsync").arg("--help").output().expect("rsync starts");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let mut count = 0;
    for line in help.lines().filter(|line| line.starts_with('-')) {
        let names = line.split("  ").next().unwrap_or_default();
        for name in names.split([',', ' ']).filter(|name| name.starts_with('-')) {
            let name = name.trim_start_matches('-').split('=').next().unwrap_or_default();
            let name = name.strip_prefix("no-").filter(|rest| *rest != "motd").unwrap_or(name);
            if matches!(name, "OPTION") {
                continue;
            }
            assert!(
                import::knows_option(name) || import::knows_option(&format!("no-{name}")),
                "{line}"
            );
            count += 1;
        }
    }
    assert!(count > 150, "{count}: {help}");
}

/// The paths below a directory.
fn paths(root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("list") {
            let path = entry.expect("a name").path();
            paths.push(path.strip_prefix(root).expect("below").to_string_lossy().into_owned());
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    paths.sort();
    paths
}

#[test]
fn what_is_left_out_is_what_rsync_left_out() {
    if !require("what_is_left_out_is_what_rsync_left_out", &["rsync"]) {
        return;
    }
    for options in [
        &["--exclude=*.log"][..],
        &["--exclude=a/b"],
        &["--exclude=/a/b"],
        &["--exclude=b/"],
        &["--exclude=a/***"],
        &["--exclude=/x/a/***"],
        &["--exclude=a/**"],
        &["--exclude=/x/**/b"],
        &["--exclude=**.log"],
        &["--exclude=**/c"],
        &["--exclude=a{1,2}"],
        &["--exclude=!bang", "--exclude=#hash"],
        &["--exclude=back\\slash"],
        &["--exclude=[ab].log"],
        &["--exclude=?.log"],
        &["--include=*/", "--include=*.log", "--exclude=*"],
        &["--include=/x/***", "--exclude=*"],
        &["--include=a/***", "--exclude=*"],
        &["--include=a.log", "--exclude=*.log"],
        &["--exclude=*.log", "--include=a.log"],
        &["-f", "- *.log", "-f", "+ c"],
        &["--exclude=- *.log"],
        &["--exclude=/source/a"],
    ] {
        // Without the slash a lone star leaves the source itself out.
        let slashes = if options.contains(&"--exclude=*") { &["/"][..] } else { &["/", ""] };
        for slash in slashes {
            let bench = Bench::new();
            for file in [
                "a/b/c",
                "a/a.log",
                "b/c",
                "x/a/b/c",
                "x/a/b.log",
                "x/b",
                "x/y/z/b",
                "a.log",
                "ab.log",
                "a1",
                "a{1,2}",
                "!bang",
                "#hash",
                "back\\slash",
            ] {
                let path = bench.at("source").join(file);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
                std::fs::write(path, file).expect("write");
            }
            for directory in ["by-rsync", "node"] {
                std::fs::create_dir(bench.at(directory)).expect("mkdir");
            }
            let source = format!("{}{slash}", bench.at("source").display());
            let call = |target: &str| {
                let target = format!("{}/", bench.at(target).display());
                let words = ["rsync", "-a"].into_iter().chain(options.iter().copied());
                words.chain([source.as_str(), &target]).map(str::to_owned).collect::<Vec<String>>()
            };
            let words = call("by-rsync");
            assert!(
                Command::new("rsync").args(&words[1..]).status().expect("rsync starts").success()
            );
            let words: Vec<String> =
                ["import", "--"].map(str::to_owned).into_iter().chain(call("node")).collect();
            let ran = bench.run(&words);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            let ran = bench.run(&["push"]);
            assert_eq!(ran.code, 0, "{options:?}{slash} {}{}", ran.stdout, ran.stderr);
            let (by_rsync, by_depsync) = (paths(&bench.at("by-rsync")), paths(&bench.at("node")));
            let by_depsync: Vec<_> =
                by_depsync.into_iter().filter(|path| !path.starts_with(".depsync")).collect();
            assert_eq!(by_depsync, by_rsync, "{options:?} source{slash}");
        }
    }
}
