//! `depsync agent --recover`: what a node does when it boots, without its hub.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::cluster::{Cluster, names_below, run};
use crate::prerequisite::require;

fn recover(arguments: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_depsync"));
    command.arg("agent");
    for path in arguments {
        command.arg("--recover").arg(path);
    }
    command.output().expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Pushes a second release under a tracer that kills the program at its `at`-th call to `call`; false if it came through.
fn push_killed(cluster: &mut Cluster, call: &str, at: usize) -> bool {
    let inject = format!("inject={call}:signal=KILL:when={at}");
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
    cluster.wrapper = words.iter().map(ToString::to_string).collect();
    let outcome = cluster.push(&[]);
    cluster.wrapper.clear();
    outcome.code != Some(0)
}

/// Kills a push of one release onto another at each call of a kind, and recovers; gives what was said.
fn recover_at_each(call: &str, style: &str) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for at in 1.. {
        let mut cluster = Cluster::new(1);
        cluster.options = vec!["--commit".into(), style.into()];
        for name in ["edited", "gone", "d/moved", "kept"] {
            cluster.write(name, format!("the old {name}"));
        }
        cluster.push(&[]).expect(0);
        let old = names_below(&cluster.nodes[0]);
        cluster.write("edited", "new");
        cluster.write("new/file", "new");
        fs::remove_file(cluster.at("gone")).expect("removed");
        fs::rename(cluster.at("d/moved"), cluster.at("new/moved")).expect("renamed");
        if !push_killed(&mut cluster, call, at) {
            break;
        }
        let output = recover(&[&cluster.nodes[0]]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let (text, now) = (said(&output), names_below(&cluster.nodes[0]));
        let word = ["is live", "is dropped", "waits", "nothing was in flight"];
        let word = word.into_iter().find(|word| text.contains(word)).expect(&text);
        let new = names_below(&cluster.source());
        match word {
            "is live" => assert_eq!(now, new, "{call} {at}"),
            "nothing was in flight" => assert!(now == old || now == new, "{call} {at}"),
            _ => assert_eq!(now, old, "{call} {at}"),
        }
        told.insert(word.to_owned());
        // Again: there is nothing left to do, but for what the hub must decide.
        let again = said(&recover(&[&cluster.nodes[0]]));
        assert!(again.contains(if word == "waits" { "waits" } else { "nothing" }), "{again}");
        cluster.push(&[]).expect(0);
        cluster.assert_same();
        assert!(cluster.staged(0).is_empty());
    }
    told
}

#[test]
fn fault_092_a_node_that_boots_rolls_forward_drops_or_waits_as_its_journal_says() {
    if !require("fault_092_boot", &["strace"]) {
        return;
    }
    for style in ["in-place", "swap"] {
        let mut told = recover_at_each("renameat2", style);
        // Among the one the stage's own directories, among the other the hub's decision, before which a node is prepared.
        for call in ["mkdirat", "fsync"] {
            told.extend(recover_at_each(call, style));
        }
        let all = ["is dropped", "is live", "waits"].map(str::to_owned);
        assert!(all.iter().all(|word| told.contains(word)), "{style}: {told:?}");
    }
}

/// The manifest is written when all is over: what a commit keeps of each entry stands with its steps.
#[test]
fn fault_092_a_commit_that_goes_on_without_its_hub_keeps_attributes() {
    if !require("fault_092_attributes", &["strace"]) {
        return;
    }
    let value = |path: &Path| {
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(path, "user.depsync", &mut value[..]).expect("a value");
        value[..length].to_vec()
    };
    let set = |path: &Path, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path, "user.depsync", value, flags).expect("attributes");
    };
    let mut told = BTreeSet::new();
    for at in 1.. {
        let mut cluster = Cluster::new(1);
        cluster.options = vec!["--xattrs".into()];
        cluster.write("file", "kept");
        set(&cluster.at("file"), b"old");
        cluster.push(&[]).expect(0);
        set(&cluster.at("file"), b"new");
        if !push_killed(&mut cluster, "fsetxattr", at) {
            break;
        }
        let text = said(&recover(&[&cluster.nodes[0]]));
        let expected: &[u8] = if text.contains("is live") { b"new" } else { b"old" };
        assert_eq!(value(&cluster.nodes[0].join("file")), expected, "{at}: {text}");
        told.insert(text.contains("is live"));
    }
    assert_eq!(told, BTreeSet::from([false, true]), "killed in the stage and in the commit");
}

#[test]
fn a_target_that_was_never_pushed_to_gets_no_state_by_recovery() {
    let cluster = Cluster::new(2);
    let output = recover(&[&cluster.nodes[0], &cluster.nodes[1]]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(said(&output).matches("nothing was in flight").count(), 2);
    assert!(!cluster.state(0).exists());
}

#[test]
fn fault_085_recovery_of_a_damaged_journal_is_an_integrity_failure_and_the_others_are_recovered() {
    let cluster = Cluster::new(2);
    cluster.write("file", "x");
    cluster.push(&[]).expect(0);
    let journal = cluster.state(0).join("journal");
    let mut bytes = fs::read(&journal).expect("a journal");
    bytes[20] ^= 1;
    fs::write(&journal, bytes).expect("written");
    let output = recover(&[&cluster.nodes[0], &cluster.nodes[1], Path::new("/nowhere/at/all")]);
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("journal") && errors.contains("/nowhere"), "{errors}");
    assert_eq!(said(&output).matches("nothing was in flight").count(), 1);
    cluster.assert_same();
}

#[test]
fn fault_088_a_node_put_back_file_by_file_while_it_was_prepared_gets_the_release_anew() {
    if !require("fault_088_file_by_file", &["strace"]) {
        return;
    }
    let mut put_back = 0;
    for at in 1.. {
        let mut cluster = Cluster::new(1);
        cluster.write("edited", "old");
        cluster.write("gone", "old");
        cluster.push(&[]).expect(0);
        cluster.write("edited", "new");
        cluster.write("new/file", "new");
        fs::remove_file(cluster.at("gone")).expect("removed");
        if !push_killed(&mut cluster, "fsync", at) {
            break;
        }
        if !said(&recover(&[&cluster.nodes[0]])).contains("waits") {
            continue;
        }
        // The same names and bytes, under inodes that no list of steps knows.
        let (around, copy) = (cluster.path().join("n0"), cluster.path().join("copy"));
        run(Command::new("cp").arg("-a").arg(&around).arg(&copy));
        fs::remove_dir_all(&around).expect("removed");
        fs::rename(&copy, &around).expect("renamed");
        cluster.push(&[]).expect(0);
        cluster.assert_same();
        assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
        put_back += 1;
    }
    assert!(put_back >= 2, "before the decision and behind it: {put_back}");
}
