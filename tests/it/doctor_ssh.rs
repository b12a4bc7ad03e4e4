//! `depsync doctor` through a real sshd: names, ports, keys, logins, shells, agents, and what sshd lets in.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cluster::{Mount, Outcome};
use crate::doctor::assert_found;
use crate::hub_cluster::{SshCluster, stamps};
use crate::prerequisite::require;
use crate::ssh_server::{TOOLS, eventually, keygen, signal};

/// A look at `targets`, with what logs in there.
fn doctor(ssh: &SshCluster, targets: &[&str], more: &[&str]) -> Outcome {
    let mut command: Command = ssh.cluster.bench.command(&["doctor", "source", "--json"]);
    for target in targets {
        command.args(["--node", target]);
    }
    command.args(["--ssh-option", "IdentityAgent=none", "--identity"]);
    command.arg(ssh.server.path("user")).arg("--known-hosts").arg(ssh.server.path("known"));
    Outcome::of(command.args(more))
}

#[test]
fn a_healthy_cluster_behind_ssh_has_no_findings_and_nothing_is_made_there() {
    if !require("a_healthy_cluster_behind_ssh_has_no_findings", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["a", "b"]);
    let targets = [&*ssh.target("a"), &ssh.target("b")];
    let before = stamps(ssh.cluster.bench.at("").as_path());
    assert_found(&doctor(&ssh, &targets, &[]), &[]);
    assert_eq!(stamps(ssh.cluster.bench.at("").as_path()), before, "nothing was changed");
    let pushed = ssh.push(&targets, &[]);
    assert_eq!(pushed.code, 0, "{}", pushed.stderr);
    assert_found(&doctor(&ssh, &targets, &["-j", "1"]), &[]);
}

#[test]
fn what_keeps_a_node_from_being_reached_is_one_finding_each() {
    if !require("what_keeps_a_node_from_being_reached_is_one_finding_each", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["a"]);
    let far = crate::ssh_server::SshServer::start("");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let directory = ssh.cluster.bench.at("a").display().to_string();
    let nowhere = format!("no-such-host.invalid:{directory}");
    let refused = format!("ssh://127.0.0.1:{free}{directory}");
    let unknown = format!("ssh://127.0.0.1:{}{directory}", far.port);
    let stranger = ssh.target_at("nosuchuser@127.0.0.1", "a");
    let targets = [&*ssh.target("a"), &nowhere, &refused, &unknown, &stranger];
    let expected = [
        "a unresolved error",
        "a refused error",
        "a host-key-unknown error",
        "a login-refused error",
    ];
    let outcome = doctor(&ssh, &targets, &["--accept-new-host-keys"]);
    assert_found(&outcome, &expected);
    let known = fs::read_to_string(ssh.server.path("known")).unwrap();
    assert!(!known.contains(&far.port.to_string()), "no key was learned");
    keygen(&far.path("other"), "");
    let key = fs::read_to_string(far.path("other.pub")).unwrap();
    fs::write(ssh.server.path("known"), format!("{known}[127.0.0.1]:{} {key}", far.port)).unwrap();
    let outcome = doctor(&ssh, &[&ssh.target("a"), &unknown], &[]);
    assert_found(&outcome, &["a host-key-changed error"]);
}

#[test]
fn what_a_login_shell_says_or_is_in_the_place_of_one_is_named() {
    if !require("what_a_login_shell_says", TOOLS) {
        return;
    }
    let banner = SshCluster::start("ForceCommand echo Welcome; exec sh", &["a"]);
    let outcome = doctor(&banner, &[&banner.target("a")], &[]);
    assert_found(&outcome, &["a shell-noise warning"]);
    let nologin = SshCluster::start("ForceCommand echo 'not available'; exit 1", &["a"]);
    let outcome = doctor(&nologin, &[&nologin.target("a")], &[]);
    assert_found(&outcome, &["a no-agent error"]);
}

#[test]
fn a_node_that_hangs_is_told_within_the_deadline_and_two_names_for_one_node_are() {
    if !require("a_node_that_hangs_is_told_within_the_deadline", TOOLS) {
        return;
    }
    let hangs = SshCluster::start("ForceCommand sleep 60", &["a"]);
    let target = hangs.target("a");
    let outcome = doctor(&hangs, &[&target], &["--connect-timeout", "1s"]);
    assert_found(&outcome, &["a timeout error"]);
    let outcome = doctor(&hangs, &[&target], &["--deadline", "1s"]);
    assert_found(&outcome, &["a deadline error"]);
    let mut command = hangs.cluster.bench.command(&["doctor", "source", "--node", &target]);
    command.arg("--identity").arg(hangs.server.path("user"));
    command.arg("--known-hosts").arg(hangs.server.path("known"));
    let before = hangs.server.logins();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it is logged in", || hangs.server.logins() > before);
    signal(&child.id().to_string(), "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
    let ssh = SshCluster::start("", &["a"]);
    let local = ssh.cluster.bench.at("a").display().to_string();
    let outcome = doctor(&ssh, &[&ssh.target("a"), &local], &[]);
    assert_found(&outcome, &["a same-directory error"]);
}

#[test]
fn a_restricted_agent_looks_at_what_it_may_and_at_nothing_else() {
    if !require("a_restricted_agent_looks_at_what_it_may_and_at_nothing_else", TOOLS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (inside, outside) = (directory.path().join("in"), directory.path().join("out"));
    for path in [&inside, &outside] {
        fs::create_dir(path).unwrap();
    }
    let agent = env!("CARGO_BIN_EXE_depsync");
    let command = format!("{agent} agent --restrict {}", inside.display());
    let ssh = SshCluster::start(&format!("MaxSessions 1\nForceCommand {command}"), &["a"]);
    let target = |path: &Path| format!("ssh://127.0.0.1:{}{}", ssh.server.port, path.display());
    // What sshd lets in stands outside of what it may look at.
    let outcome = doctor(&ssh, &[&target(&inside.join("new")), &target(&outside)], &[]);
    assert_found(&outcome, &["out restricted error"]);
}

#[test]
fn a_home_that_runs_no_programs_is_named() {
    if !require("a_home_that_runs_no_programs_is_named", &[TOOLS, &["root", "mount"]].concat()) {
        return;
    }
    // The server's own setting comes first, and counts.
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    let _mount = Mount::new(&["-t", "tmpfs", "-o", "noexec,mode=0700", "tmpfs"], &cache).unwrap();
    let setting = format!("SetEnv XDG_CACHE_HOME={} SHLVL=1", cache.display());
    let ssh = SshCluster::start(&setting, &["a"]);
    let outcome = doctor(&ssh, &[&ssh.target("a")], &[]);
    assert_found(&outcome, &["a noexec error"]);
}

#[test]
fn an_sshd_that_lets_too_few_in_is_told() {
    if !require("an_sshd_that_lets_too_few_in_is_told", TOOLS) {
        return;
    }
    let included = tempfile::tempdir().unwrap();
    fs::write(included.path().join("10-few.conf"), "MaxSessions 2\n").unwrap();
    let include = |directory: &Path| format!("Include {}/*.conf", directory.display());
    let settings = format!("{}\nMaxSessions 9\nMaxStartups 2:100:2", include(included.path()));
    let ssh = SshCluster::start(&settings, &["a", "b", "c"]);
    let (a, b, c) = (ssh.target("a"), ssh.target("b"), ssh.target("c"));
    // Two at once are what it bears.
    assert_found(&doctor(&ssh, &[&a, &b], &[]), &[]);
    assert_found(&doctor(&ssh, &[&a, &b, &c], &["-j", "2"]), &[]);
    let one = SshCluster::start("MaxSessions 1\nMaxStartups 1:30:100", &["a"]);
    let outcome = doctor(&one, &[&one.target("a")], &[]);
    assert_found(&outcome, &["a max-startups warning", "a max-sessions warning"]);
    let outcome = doctor(&one, &[&one.target("a")], &["--ssh-reuse", "0"]);
    assert_found(&outcome, &["a max-startups warning"]);
}
