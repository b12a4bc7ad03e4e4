//! What the hub remembers between runs, and what it does where that is damaged, missing or of another run; and the bounds
//! of time that a run keeps.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use depsync::hub::state::{Decision, State};
use depsync::node::journal::Journal;
use depsync::os::root::{self, Missing};
use depsync::source::Options;
use depsync::wire::message::Txid;

use crate::cluster::{Cluster, Mount, Outcome, names_below};
use crate::prerequisite::{require, skip};
use crate::source_tree::read_ok;
use crate::spoken::Spoken;
use crate::ssh_server::script;

/// A node at one release, and a source that is the next.
fn one_behind() -> Cluster {
    let cluster = Cluster::new(1);
    cluster.write("file", "old");
    cluster.push(&[]).expect(0);
    cluster.write("file", "new");
    cluster
}

/// The hub's state of the only cluster.
fn state_dir(cluster: &Cluster) -> PathBuf {
    let clusters = fs::read_dir(cluster.path().join("state/depsync")).unwrap();
    let [state] = &clusters.map(|state| state.unwrap().path()).collect::<Vec<_>>()[..] else {
        panic!("not one cluster");
    };
    state.clone()
}

/// Writes down that `txid` commits the source's release on the node.
fn decide(cluster: &Cluster, txid: Txid) -> PathBuf {
    let release = read_ok(&Options::new(cluster.source())).release.id();
    let state = state_dir(cluster);
    let pending = BTreeSet::from([cluster.nodes[0].display().to_string()]);
    let opened = State::open(&state, "a test").expect("opened");
    opened.save_decision(&Decision { txid, release, pending }).expect("written");
    state.join("decision").join(txid.to_string())
}

/// Leaves the source's release prepared on the node, under `txid`.
fn prepare(cluster: &Cluster, txid: Txid) {
    let manifest = read_ok(&Options::new(cluster.source())).release.manifest().expect("made");
    let (mut hub, opened) = Spoken::open(&cluster.nodes[0]);
    hub.prepare(&manifest, txid, opened.fence, b"new");
    hub.end();
}

fn notes(outcome: &Outcome) -> String {
    outcome.node(0)["notes"].to_string()
}

#[test]
fn a_damaged_decision_is_not_guessed() {
    let cluster = one_behind();
    let path = decide(&cluster, Txid([3; 16]));
    let bytes = fs::read(&path).unwrap();
    // Bytes of the transaction and of the release: the record reads as well as before.
    for at in [3, 20, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).unwrap();
        let outcome = cluster.push(&[]);
        outcome.expect(8);
        assert_eq!(fs::read(cluster.on(0, "file")).unwrap(), b"old", "byte {at}");
    }
    fs::write(&path, bytes).unwrap();
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}

#[test]
fn a_transaction_is_committed_by_its_own_decision_alone() {
    for decided in [false, true] {
        let cluster = one_behind();
        let (own, other) = (Txid([4; 16]), Txid([5; 16]));
        prepare(&cluster, own);
        decide(&cluster, if decided { own } else { other });
        let outcome = cluster.push(&[]);
        outcome.expect(0);
        let word = if decided { "was completed first" } else { "was dropped first" };
        assert!(notes(&outcome).contains(word), "{outcome:#?}");
        cluster.assert_same();
        assert_eq!(fs::read_dir(state_dir(&cluster).join("decision")).unwrap().count(), 0);
    }
}

#[test]
fn an_undecided_transaction_is_dropped_first() {
    let cluster = one_behind();
    prepare(&cluster, Txid([4; 16]));
    let outcome = cluster.push(&[]);
    outcome.expect(0);
    assert!(notes(&outcome).contains("was dropped first"), "{outcome:#?}");
    cluster.assert_same();
}

#[test]
fn fences_only_grow() {
    let cluster = Cluster::new(1);
    let fence = || {
        let state = root::open(&cluster.state(0), Missing::Refuse).unwrap().dir.unwrap();
        Journal::look(&state).expect("a journal").fence
    };
    let mut last = 0;
    for round in 0..3 {
        cluster.write("file", format!("round {round}"));
        cluster.push(&[]).expect(0);
        assert!(fence() > last, "{} follows {last}", fence());
        last = fence();
    }
    // Another hub was here, and has come further.
    cluster.write("file", "new");
    let manifest = read_ok(&Options::new(cluster.source())).release.manifest().expect("made");
    let (mut hub, _) = Spoken::open(&cluster.nodes[0]);
    hub.prepare(&manifest, Txid([6; 16]), last + 1000, b"new");
    hub.end();
    cluster.write("file", "newer");
    cluster.push(&[]).expect(0);
    assert!(fence() >= last + 1000, "{}", fence());
    cluster.assert_same();
}

#[test]
fn a_source_that_is_no_longer_mounted_is_refused() {
    if !require("a_source_that_is_no_longer_mounted", &["root"]) {
        return;
    }
    let cluster = Cluster::new(1);
    cluster.write("below-the-mount-point", "x");
    let Some(mount) = Mount::new(&["-t", "tmpfs", "t"], &cluster.source()) else {
        return skip("a_source_that_is_no_longer_mounted", "needs a tmpfs");
    };
    cluster.write("file", "content");
    cluster.push(&[]).expect(0);
    let before = names_below(&cluster.nodes[0]);
    drop(mount);
    let outcome = cluster.push(&[]);
    outcome.expect(5);
    assert!(outcome.summary().to_string().contains("source-changed"), "{outcome:#?}");
    assert_eq!(names_below(&cluster.nodes[0]), before);
    cluster.push(&["--accept-source-change"]).expect(0);
    cluster.assert_same();
}

#[test]
fn a_share_of_the_disk_that_must_stay_free_is_left_free() {
    let mut cluster = one_behind();
    let config = cluster.path().join("depsync.toml");
    cluster.options = vec!["--config".into(), config.display().to_string()];
    for (percent, code) in [("99%", 1), ("0%", 0)] {
        fs::write(&config, format!("[guard]\nmin_free = \"{percent}\"\n")).unwrap();
        let outcome = cluster.push(&[]);
        outcome.expect(code);
        if code == 1 {
            assert!(outcome.error(0).contains("must stay free"), "{outcome:#?}");
            assert_eq!(fs::read(cluster.on(0, "file")).unwrap(), b"old");
        }
    }
    cluster.assert_same();
}

#[test]
fn kept_areas_are_as_many_as_are_wanted() {
    let mut cluster = Cluster::new(1);
    let config = cluster.path().join("depsync.toml");
    fs::write(&config, "[keep]\nreleases = 2\n").unwrap();
    cluster.options = vec!["--config".into(), config.display().to_string()];
    for round in 0..5 {
        cluster.write("file", format!("round {round}"));
        cluster.push(&[]).expect(0);
    }
    let kept: BTreeSet<Vec<u8>> = cluster.kept(0).into_iter().collect();
    for round in 0..5 {
        let content = format!("round {round}").into_bytes();
        assert_eq!(kept.contains(&content), round == 2 || round == 3, "round {round}");
    }
}

#[test]
fn a_run_ends_at_its_deadline() {
    let cluster = one_behind();
    let noise: Vec<u8> =
        (0..6u32 << 18).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    cluster.write("big", noise);
    let before = names_below(&cluster.nodes[0]);
    let started = Instant::now();
    let outcome = cluster.push(&["--bwlimit", "200k", "--deadline", "2s"]);
    outcome.expect(1);
    assert!(outcome.summary().to_string().contains("deadline"), "{outcome:#?}");
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    assert_eq!(names_below(&cluster.nodes[0]), before);
    assert!(cluster.staged(0).is_empty());
}

#[test]
fn a_node_that_falls_silent_is_given_up() {
    let cluster = one_behind();
    fs::create_dir(cluster.path().join("bin")).unwrap();
    let greeting = r"printf '\000depsync-agent\000\004\000\n'";
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in *' -G '*|*' -V '*|*' -O '*) exit 1;; esac\n{greeting}\nexec sleep 20\n"
    );
    script(&cluster.path().join("bin/ssh"), &text);
    let mut command = cluster.command("push");
    command.env("PATH", format!("{}:/usr/bin:/bin", cluster.path().join("bin").display()));
    command.args(["--ssh-reuse", "0", "--timeout", "2s", "--source"]).arg(cluster.source());
    let outcome = Outcome::of(command.args(["--node", "ssh://node/srv/x"]));
    outcome.expect(1);
    assert!(outcome.error(0).contains("timeout"), "{outcome:#?}");
}
