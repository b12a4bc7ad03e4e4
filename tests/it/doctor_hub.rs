//! `depsync doctor` on the hub itself: its source, its state, its limits, its ssh.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use depsync::hub::state::{Decision, State};
use depsync::model::digest::Digest;
use depsync::wire::message::Txid;

use crate::cluster::{Cluster, Mount, Outcome, chmod, run};
use crate::doctor::{assert_found, cluster, doctor};
use crate::prerequisite::require;
use crate::ssh_server::script;

/// Where the hub has its state of the cluster.
fn state_of(cluster: &Cluster) -> PathBuf {
    let all = fs::read_dir(cluster.path().join("state/depsync")).expect("a state");
    all.map(|name| name.expect("a name").path()).next().expect("one cluster")
}

#[test]
fn a_source_that_no_push_would_take_is_named() {
    let cluster = cluster(1, false);
    let look = |name: &str| cluster.run("doctor", &cluster.path().join(name), &[]);
    assert_found(&look("no-such"), &["hub source-missing error"]);
    fs::create_dir(cluster.path().join("empty")).expect("made");
    assert_found(&look("empty"), &["hub source-empty error"]);
    assert_found(&doctor(&cluster, &["--exclude", "*"]), &["hub source-all-ignored error"]);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        cluster.at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a fifo");
    assert_found(&doctor(&cluster, &[]), &["hub source-special error"]);
    assert_found(&doctor(&cluster, &["--skip-specials"]), &[]);
}

#[test]
fn a_state_that_is_not_the_users_alone_or_cannot_be_made_is_named() {
    let cluster = cluster(1, true);
    chmod(&state_of(&cluster), 0o750);
    assert_found(&doctor(&cluster, &[]), &["hub hub-state error"]);
    fs::remove_dir_all(cluster.path().join("state")).expect("removed");
    fs::write(cluster.path().join("state"), "a file").expect("written");
    assert_found(&doctor(&cluster, &[]), &["hub hub-state error"]);
}

#[test]
fn a_state_on_a_disk_that_is_full_or_fixed_is_named() {
    let test = "a_state_on_a_disk_that_is_full_or_fixed_is_named";
    if !require(test, &["root", "mount"]) {
        return;
    }
    let cluster = cluster(1, false);
    let at = cluster.path().join("state");
    let _mount = Mount::new(&["-t", "tmpfs", "-o", "size=8M", "tmpfs"], &at).expect("tmpfs");
    chmod(&at, 0o700);
    assert_found(&doctor(&cluster, &[]), &["hub no-space warning"]);
    run(Command::new("mount").args(["-o", "remount,ro"]).arg(&at));
    assert_found(&doctor(&cluster, &[]), &["hub read-only error"]);
}

#[test]
fn a_source_that_this_user_cannot_read_is_named() {
    if !require("a_source_that_this_user_cannot_read_is_named", &["root", "setpriv"]) {
        return;
    }
    let mut cluster = cluster(1, false);
    cluster.run_as(12_345);
    let secret = cluster.write("d/secret", "x");
    chmod(&secret, 0o600);
    let outcome = doctor(&cluster, &[]);
    assert_found(&outcome, &["hub source-unreadable error"]);
    let told = outcome.lines[0]["message"].as_str().expect("a text");
    assert!(told.contains("d/secret"), "{told}");
}

#[test]
fn a_run_under_way_and_a_decision_that_waits_are_told() {
    let cluster = cluster(1, true);
    let path = state_of(&cluster);
    let state = State::open(&path, "a test").expect("the lock");
    let pending = ["mi-1:server".to_owned(), "mi-2:server".to_owned()].into_iter().collect();
    let decision = Decision { txid: Txid([3; 16]), release: Digest([4; 32]), pending };
    state.save_decision(&decision).expect("written");
    assert_found(&doctor(&cluster, &[]), &["hub busy warning", "hub pending warning"]);
    drop(state);
    let outcome = doctor(&cluster, &[]);
    assert_found(&outcome, &["hub pending warning"]);
    let told = outcome.lines[0]["message"].as_str().expect("a text");
    assert!(told.contains("mi-1:server, mi-2:server"), "{told}");
    fs::write(path.join("decision").join(decision.txid.to_string()), "damaged").expect("written");
    assert_found(&doctor(&cluster, &[]), &["hub state-damaged error"]);
}

#[test]
fn too_few_open_files_are_told() {
    if !require("too_few_open_files_are_told", &["prlimit"]) {
        return;
    }
    let mut cluster = cluster(2, false);
    cluster.wrapper = ["prlimit", "--nofile=79:79"].map(String::from).to_vec();
    assert_found(&doctor(&cluster, &[]), &["hub open-files error"]);
    cluster.wrapper = ["prlimit", "--nofile=80:80"].map(String::from).to_vec();
    assert_found(&doctor(&cluster, &[]), &[]);
}

#[test]
fn no_ssh_is_one_finding_of_the_hub_and_a_strange_one_is_told() {
    let cluster = cluster(1, false);
    let look = |path: &str| {
        let mut command = cluster.command("doctor");
        command.env("PATH", path).args(["--source", "source", "--node"]).arg(&cluster.nodes[0]);
        Outcome::of(command.args(["--node", "mi-1:server", "--node", "mi-2:server"]))
    };
    assert_found(&look("/nonexistent"), &["hub ssh-missing error"]);
    let tools = cluster.path().join("bin");
    fs::create_dir(&tools).expect("made");
    let refused = "echo 'ssh: connect to host mi port 22: Connection refused' >&2; exit 255";
    script(
        &tools.join("ssh"),
        &format!("#!/bin/sh\n[ \"$1\" = -V ] && {{ echo Dropbear v1 >&2; exit 0; }}\n{refused}\n"),
    );
    let outcome = look(&format!("{}:/usr/bin:/bin", tools.display()));
    let expected =
        ["hub ssh-version warning", "mi-1:server refused error", "mi-2:server refused error"];
    assert_found(&outcome, &expected);
}
