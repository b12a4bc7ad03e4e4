//! Pushes through a real sshd to the real agent: who is trusted, what shells say, agents and hubs that die.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::hub_cluster::{Pushing, SshCluster, stamps, tree};
use crate::prerequisite::require;
use crate::ssh_server::{SshServer, TOOLS, eventually, keygen, script, signal, within};

const SLOW: &[&str] = &["--bwlimit", "2M"];
const BIG: usize = 12 << 20;

/// Three nodes of which the second is the first's equal, but behind a server of its own.
struct Two {
    near: SshCluster,
    far: SshServer,
}

impl Two {
    fn start() -> Self {
        let near = SshCluster::start("", &["a", "b"]);
        let far = SshServer::start("");
        fs::copy(near.server.path("user.pub"), far.path("authorized")).unwrap();
        Self { near, far }
    }

    fn far_target(&self, user: &str) -> String {
        format!(
            "ssh://{user}127.0.0.1:{}{}",
            self.far.port,
            self.near.cluster.bench.at("b").display()
        )
    }

    /// Adds the far server to the known hosts, with the key in its file `name`.
    fn know_far(&self, name: &str) {
        let known = self.near.server.path("known");
        let key = fs::read_to_string(self.far.path(name)).unwrap();
        let line = format!("[127.0.0.1]:{} {key}", self.far.port);
        fs::write(&known, fs::read_to_string(&known).unwrap() + &line).unwrap();
    }
}

#[test]
fn fault_115_a_changed_host_key_of_one_node_stops_all() {
    if !require("fault_115_a_changed_host_key_of_one_node_stops_all", TOOLS) {
        return;
    }
    let two = Two::start();
    keygen(&two.far.path("other"), "");
    two.know_far("other.pub");
    for more in [&[][..], &["--accept-new-host-keys"]] {
        let ran = two.near.push(&[&two.near.target("a"), &two.far_target("")], more);
        assert_eq!(ran.code, 7, "{}", ran.stderr);
        assert!(ran.stderr.contains("host key is not the known one"), "{}", ran.stderr);
        two.near.cluster.assert_empty(&["a", "b"]);
    }
}

#[test]
fn fault_116_an_unknown_host_key_is_that_nodes_failure() {
    if !require("fault_116_an_unknown_host_key_is_that_nodes_failure", TOOLS) {
        return;
    }
    let two = Two::start();
    let targets = [&*two.near.target("a"), &two.far_target("")];
    let ran = two.near.push(&targets, &[]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("--accept-new-host-keys"), "{}", ran.stderr);
    two.near.cluster.assert_same(&["a"]);
    two.near.cluster.assert_empty(&["b"]);
    assert_eq!(two.near.push(&targets[1..], &[]).code, 7, "nobody is left");
    let learned = two.near.push(&targets, &["--accept-new-host-keys"]);
    assert_eq!(learned.code, 0, "{}", learned.stderr);
    assert!(learned.stderr.contains("SHA256:"), "{}", learned.stderr);
    two.near.cluster.assert_same(&["a", "b"]);
}

#[test]
fn fault_117_a_refused_login_is_that_nodes_failure() {
    if !require("fault_117_a_refused_login_is_that_nodes_failure", TOOLS) {
        return;
    }
    let two = Two::start();
    two.know_far("host.pub");
    let targets = [&*two.near.target("a"), &two.far_target("nosuchuser@")];
    let ran = two.near.push(&targets, &[]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("login was refused"), "{}", ran.stderr);
    two.near.cluster.assert_same(&["a"]);
    assert_eq!(two.far.log().matches("Connection from").count(), 1, "one attempt");
}

#[test]
fn fault_097_a_dead_node_and_how_many_are_required() {
    if !require("fault_097_a_dead_node_and_how_many_are_required", TOOLS) {
        return;
    }
    let nodes = ["a", "b", "c"];
    let ssh = SshCluster::start("", &nodes);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead = format!("ssh://127.0.0.1:{free}/srv/x");
    let (a, b, c) = (ssh.target("a"), ssh.target("b"), ssh.target("c"));
    let targets = [&*a, &b, &c, &dead];
    for require in ["all", "4", "100%", "76%"] {
        let ran = ssh.push(&targets, &["--require", require]);
        assert_eq!(ran.code, 1, "{require}: {}", ran.stderr);
        ssh.cluster.assert_empty(&nodes);
        for node in nodes {
            ssh.cluster.assert_no_stage(node);
        }
    }
    for (round, require) in ["reachable", "3", "75%"].into_iter().enumerate() {
        ssh.cluster.change(&format!("round {round}"));
        let ran = ssh.push(&targets, &["--require", require]);
        assert_eq!(ran.code, 3, "{require}: {}", ran.stderr);
        assert!(ran.stderr.contains(&dead) && ran.stderr.contains("refused"), "{}", ran.stderr);
        ssh.cluster.assert_same(&nodes);
    }
    assert_eq!(ssh.push(&[&dead], &[]).code, 1);
}

#[test]
fn fault_099_an_agent_that_dies_before_its_commit_is_completed_by_the_next_push() {
    let test = "fault_099_an_agent_that_dies_before_its_commit_is_completed_by_the_next_push";
    if !require(test, TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["a", "b"]);
    let (a, b) = (ssh.target("a"), ssh.target("b"));
    let (ran, old) = stop_first_before_its_commit(&ssh, |_| {});
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains(&a) && !ran.stderr.contains(&b), "{}", ran.stderr);
    assert!(tree(&ssh.cluster.bench.at("a")) == old, "the dead node is at the old release");
    ssh.cluster.assert_same(&["b"]);
    assert_eq!(ssh.cluster.decisions(), 1);
    let next = ssh.push(&[&a, &b], &[]);
    assert_eq!(next.code, 0, "{}", next.stderr);
    assert!(next.stderr.contains("was completed first"), "{}", next.stderr);
    ssh.cluster.assert_same(&["a", "b"]);
    assert_eq!(ssh.cluster.decisions(), 0);
}

#[test]
fn fault_091_a_hub_that_dies_behind_its_decision_finishes_first() {
    if !require("fault_091_a_hub_that_dies_behind_its_decision_finishes_first", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["a", "b"]);
    let (_, old) = stop_first_before_its_commit(&ssh, |hub| hub.signal("KILL"));
    assert_eq!(ssh.cluster.decisions(), 1);
    assert!(tree(&ssh.cluster.bench.at("a")) == old);
    let decided = tree(&ssh.cluster.bench.at("source"));
    // Even a run that is refused on every node for another reason has finished the old one by then.
    fs::remove_file(ssh.cluster.bench.at("source/big")).unwrap();
    for file in 0..20 {
        fs::remove_file(ssh.cluster.bench.at(&format!("source/dir/{file}"))).unwrap();
    }
    let refused = ssh.push(&[&ssh.target("a"), &ssh.target("b")], &[]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    for node in ["a", "b"] {
        assert!(tree(&ssh.cluster.bench.at(node)) == decided, "{node} is at what was decided");
    }
    let next = ssh.push(&[&ssh.target("a"), &ssh.target("b")], &["--max-delete", "100%"]);
    assert_eq!(next.code, 0, "{}", next.stderr);
    assert_eq!(ssh.cluster.decisions(), 0);
}

/// Pushes to `a` and `b` and holds the agent of `a` from the moment it is prepared; once the hub has decided, `b` has
/// committed, and `then` was done to the hub, that agent is killed. Gives what the run said and the old tree of `a`.
fn stop_first_before_its_commit(
    ssh: &SshCluster,
    then: impl Fn(&Pushing),
) -> (crate::cli_bench::Ran, crate::hub_cluster::Tree) {
    let (a, b) = (ssh.target("a"), ssh.target("b"));
    for file in 0..20 {
        ssh.cluster.bench.write(&format!("source/dir/{file}"), b"small");
    }
    ssh.cluster.add_big(BIG);
    // `a` has the big file already and is prepared long before `b`.
    assert_eq!(ssh.push(&[&a], &[]).code, 0);
    let old = tree(&ssh.cluster.bench.at("a"));
    ssh.cluster.change("decided");
    let hub = Pushing::start(ssh.command(&[&a, &b], SLOW));
    ssh.cluster.await_prepared("a");
    let agent = ssh.agent_of("a");
    // Its journal says prepared before it waits for the disk and says so to the hub; then it waits for the hub.
    eventually("the agent waits", || waits_for_a_message(&agent));
    signal(&agent, "STOP");
    // Six seconds of it are the big file on its slow way to `b`.
    within(Duration::from_mins(1), "the decision is durable", || ssh.cluster.decisions() == 1);
    eventually("the other node commits", || {
        fs::read(ssh.cluster.bench.at("b/file")).is_ok_and(|bytes| bytes == b"decided")
    });
    then(&hub);
    signal(&agent, "KILL");
    (hub.end_however(), old)
}

/// True if no thread of a process did anything for a moment: each sleeps for another or for input, none for the disk.
fn waits_for_a_message(process: &str) -> bool {
    let sleeps = threads_asleep(process);
    sleeps.is_some() && sleeps == threads_asleep(process)
}

/// How often each thread of a process has gone to sleep, unless one is awake or sleeps in another system call than futex
/// or read.
fn threads_asleep(process: &str) -> Option<Vec<String>> {
    let calls = if cfg!(target_arch = "x86_64") { ["202 ", "0 "] } else { ["98 ", "63 "] };
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let asleep = threads.map(|thread| {
        let thread = thread.unwrap().path();
        let call = fs::read_to_string(thread.join("syscall")).ok()?;
        let status = fs::read_to_string(thread.join("status")).ok()?;
        let sleeps = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
        calls.iter().any(|number| call.starts_with(number)).then(|| sleeps.to_owned())
    });
    asleep.collect()
}

#[test]
fn fault_113_an_agent_that_is_killed_while_it_stages_changes_nothing() {
    if !require("fault_113_an_agent_that_is_killed_while_it_stages_changes_nothing", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["a", "b"]);
    let (a, b) = (ssh.target("a"), ssh.target("b"));
    assert_eq!(ssh.push(&[&a, &b], &[]).code, 0);
    let before = stamps(&ssh.cluster.bench.at("a"));
    ssh.cluster.add_big(BIG);
    let hub = Pushing::start(ssh.command(&[&a, &b], SLOW));
    ssh.cluster.await_stage("a");
    signal(&ssh.agent_of("a"), "KILL");
    let ran = hub.end();
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(stamps(&ssh.cluster.bench.at("a")), before);
    ssh.cluster.assert_same(&["b"]);
    assert_eq!(ssh.push(&[&a, &b], &[]).code, 0);
    ssh.cluster.assert_same(&["a", "b"]);
    ssh.cluster.assert_no_stage("a");
}

#[test]
fn fault_106_two_names_of_one_host_are_refused() {
    if !require("fault_106_two_names_of_one_host_are_refused", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["a"]);
    let known = fs::read_to_string(ssh.server.path("known")).unwrap();
    let also = known.replace("127.0.0.1", "localhost");
    fs::write(ssh.server.path("known"), known + &also).unwrap();
    let targets = [ssh.target("a"), ssh.target_at("localhost", "a")];
    let ran = ssh.push(&[&targets[0], &targets[1]], &["--ssh-option", "AddressFamily=inet"]);
    assert_eq!(ran.code, 64, "{}", ran.stderr);
    assert!(ran.stderr.contains("same directory"), "{}", ran.stderr);
    ssh.cluster.assert_empty(&["a"]);
}

#[test]
fn fault_034_a_source_behind_ssh_on_its_own_host_is_no_target() {
    if !require("fault_034_a_source_behind_ssh_on_its_own_host_is_no_target", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &[]);
    let before = tree(&ssh.cluster.bench.at("source"));
    for node in ["source", "source/dir", "source/dir/new", ""] {
        let ran = ssh.push(&[ssh.target(node).trim_end_matches('/')], &["--max-delete", "100%"]);
        assert_eq!(ran.code, 64, "{node}: {}", ran.stderr);
        assert!(tree(&ssh.cluster.bench.at("source")) == before, "{node}");
    }
}

#[test]
fn fault_114_twelve_nodes_behind_one_overloaded_sshd_all_finish() {
    if !require("fault_114_twelve_nodes_behind_one_overloaded_sshd_all_finish", TOOLS) {
        return;
    }
    let names: Vec<String> = (0..12).map(|node| format!("n{node}")).collect();
    let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
    let ssh = SshCluster::start("MaxStartups 2:50:4", &nodes);
    let targets: Vec<String> = nodes.iter().map(|node| ssh.target(node)).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let ran = ssh.push(&targets, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ssh.cluster.assert_same(&nodes);
}

#[test]
fn a_connection_that_is_open_needs_no_ssh_of_its_own() {
    if !require("a_connection_that_is_open_needs_no_ssh_of_its_own", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["a"]);
    let target = ssh.target("a");
    let nowhere = ssh.cluster.bench.at("nowhere");
    std::fs::create_dir(&nowhere).unwrap();
    let push = |path: &std::ffi::OsStr, reuse: &str| {
        let mut command = ssh.cluster.command(&[&target], &["--ssh-reuse", reuse]);
        command.args(["--ssh-option", "IdentityAgent=none"]);
        command.arg("--identity").arg(ssh.server.path("user"));
        command.arg("--known-hosts").arg(ssh.server.path("known"));
        crate::cli_bench::Ran::of(command.env("PATH", path).output().unwrap())
    };
    let ran = push("/usr/bin:/bin".as_ref(), "30s");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for round in ["second", "third"] {
        ssh.cluster.change(round);
        let ran = push(nowhere.as_os_str(), "30s");
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ssh.cluster.assert_same(&["a"]);
    }
    ssh.cluster.change("fourth");
    let ran = push(nowhere.as_os_str(), "0");
    assert_ne!(ran.code, 0, "without an open connection there is nothing to go over");
}

#[test]
fn fault_120_a_banner_is_skipped_and_told() {
    if !require("fault_120_a_banner_is_skipped_and_told", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("ForceCommand echo Welcome; exec sh", &["a"]);
    let ran = ssh.push(&[&ssh.target("a")], &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("Welcome"), "{}", ran.stderr);
    ssh.cluster.assert_same(&["a"]);
}

#[test]
fn fault_121_a_shell_that_starts_no_agent_is_that_nodes_failure() {
    if !require("fault_121_a_shell_that_starts_no_agent_is_that_nodes_failure", TOOLS) {
        return;
    }
    let two = Two::start();
    two.know_far("host.pub");
    let nologin = SshCluster::start("ForceCommand echo 'not available'; exit 1", &["x"]);
    fs::copy(two.near.server.path("user.pub"), nologin.server.path("authorized")).unwrap();
    let known = two.near.server.path("known");
    let all = [&known, &nologin.server.path("known")].map(|path| fs::read_to_string(path).unwrap());
    fs::write(&known, all.concat()).unwrap();
    let ran = two.near.push(&[&two.near.target("a"), &nologin.target("x")], &[]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("not available"), "{}", ran.stderr);
    two.near.cluster.assert_same(&["a"]);
}

#[test]
fn fault_122_a_push_through_foreign_login_shells() {
    for shell in ["csh", "fish"] {
        if !require("fault_122_a_push_through_foreign_login_shells", &[TOOLS, &[shell]].concat()) {
            continue;
        }
        let ssh = SshCluster::start(
            &format!("ForceCommand exec {shell} -c \"$SSH_ORIGINAL_COMMAND\""),
            &["a"],
        );
        let ran = ssh.push(&[&ssh.target("a")], &[]);
        assert_eq!(ran.code, 0, "{shell}: {}", ran.stderr);
        ssh.cluster.assert_same(&["a"]);
    }
}

#[test]
fn fault_123_noise_inside_the_stream_is_that_nodes_failure() {
    if !require("fault_123_noise_inside_the_stream_is_that_nodes_failure", TOOLS) {
        return;
    }
    let two = Two::start();
    // Writes into the stream for as long as the agent lives.
    let noise = "(while printf junk; do sleep 0.05; done) & exec sh";
    let noisy = SshCluster::start(&format!("ForceCommand {noise}"), &["x"]);
    fs::copy(two.near.server.path("user.pub"), noisy.server.path("authorized")).unwrap();
    let known = two.near.server.path("known");
    let all = [&known, &noisy.server.path("known")].map(|path| fs::read_to_string(path).unwrap());
    fs::write(&known, all.concat()).unwrap();
    two.near.cluster.add_big(1 << 20);
    let targets = [two.near.target("a"), noisy.target("x")];
    let ran = two.near.push(&[&targets[0], &targets[1]], &["--bwlimit", "1M"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains(&targets[1]), "{}", ran.stderr);
    two.near.cluster.assert_same(&["a"]);
    noisy.cluster.assert_empty(&["x"]);
}

#[test]
fn fault_124_a_flood_on_standard_error_disturbs_nothing() {
    if !require("fault_124_a_flood_on_standard_error_disturbs_nothing", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("ForceCommand head -c 50000000 /dev/zero >&2; exec sh", &["a"]);
    let ran = ssh.push(&[&ssh.target("a")], &[]);
    assert_eq!(ran.code, 0, "{} bytes of errors", ran.stderr.len());
    assert!(ran.stderr.len() < 200_000);
    ssh.cluster.assert_same(&["a"]);
}

#[test]
fn fault_125_a_jump_host_that_fails_is_that_nodes_failure() {
    if !require("fault_125_a_jump_host_that_fails_is_that_nodes_failure", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["a"]);
    let ran = ssh.push(&[&ssh.target("a")], &["--ssh-option", "ProxyJump=127.0.0.1:1"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("[127.0.0.1]:1"), "the jump host is named: {}", ran.stderr);
    ssh.cluster.assert_empty(&["a"]);
}

#[test]
fn fault_109_an_agent_of_another_protocol_is_refused() {
    if !require("fault_109_an_agent_of_another_protocol_is_refused", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["a"]);
    let agent = ssh.server.path("other-agent");
    script(&agent, "#!/bin/sh\nprintf '\\000depsync-agent\\000\\377\\000\\n'\nexec cat\n");
    let ran = push_with_installed(&ssh, &agent);
    assert_ne!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("protocol"), "{}", ran.stderr);
    ssh.cluster.assert_empty(&["a"]);
}

#[test]
fn an_installed_agent_is_used_as_it_is() {
    if !require("an_installed_agent_is_used_as_it_is", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["a"]);
    let installed = ssh.server.path("depsync");
    fs::copy(env!("CARGO_BIN_EXE_depsync"), &installed).unwrap();
    let slim = Path::new(env!("CARGO_BIN_EXE_depsync")).with_file_name("depsync-agent");
    for agent in [&installed, &slim] {
        ssh.cluster.change(&format!("brought by {}", agent.display()));
        let ran = push_with_installed(&ssh, agent);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ssh.cluster.assert_same(&["a"]);
    }
    let missing = push_with_installed(&ssh, Path::new("/nowhere/depsync"));
    assert_eq!(missing.code, 1, "{}", missing.stderr);
}

fn push_with_installed(ssh: &SshCluster, agent: &Path) -> crate::cli_bench::Ran {
    let config = format!("[ssh]\nagent = \"{}\"\n", agent.display());
    ssh.cluster.bench.write("depsync.toml", config.as_bytes());
    ssh.push(&[&ssh.target("a")], &[])
}

#[test]
fn a_restricted_agent_works_inside_its_directory_alone() {
    if !require("a_restricted_agent_works_inside_its_directory_alone", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["in/a", "out"]);
    let installed = ssh.server.path("depsync");
    fs::copy(env!("CARGO_BIN_EXE_depsync"), &installed).unwrap();
    fs::set_permissions(&installed, fs::Permissions::from_mode(0o755)).unwrap();
    let inside = ssh.cluster.bench.at("in");
    let forced = format!("{} agent --restrict {}", installed.display(), inside.display());
    let key = fs::read_to_string(ssh.server.path("user.pub")).unwrap();
    fs::write(ssh.server.path("authorized"), format!("restrict,command=\"{forced}\" {key}"))
        .unwrap();

    let ran = ssh.push(&[&ssh.target("in/a")], &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ssh.cluster.assert_same(&["in/a"]);
    let ran = ssh.push(&[&ssh.target("in/deep/er/b")], &["--mkpath"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ssh.cluster.assert_same(&["in/deep/er/b"]);

    for node in ["out", "out/new", "out/made/for/it"] {
        let ran = ssh.push(&[&ssh.target(node)], &["--mkpath"]);
        assert_eq!(ran.code, 7, "{node}: {}", ran.stderr);
        assert!(ran.stderr.contains("may not work in"), "{}", ran.stderr);
        ssh.cluster.assert_empty(&["out"]);
    }
    // A link inside leads nowhere else, and neither does a state directory of the hub's choice.
    std::os::unix::fs::symlink("../out", ssh.cluster.bench.at("in/link")).unwrap();
    assert_eq!(ssh.push(&[&ssh.target("in/link/b")], &["--mkpath"]).code, 7);
    let elsewhere = ssh.cluster.bench.at("out/state");
    let config = format!("[storage]\nstate_dir = \"{}\"\n", elsewhere.display());
    ssh.cluster.bench.write("depsync.toml", config.as_bytes());
    let ran = ssh.push(&[&ssh.target("in/a")], &[]);
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    ssh.cluster.assert_empty(&["out"]);
}
