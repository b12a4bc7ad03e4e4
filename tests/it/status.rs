//! `depsync status`: where nodes stand, by their own word or by the history's, without hindering anybody.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use depsync::model::digest::{Digest, Domain};
use depsync::node::journal::{Journal, Record};
use depsync::os::dir::Dir;
use depsync::os::root::{self, Missing};
use depsync::wire::message::Txid;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Outcome, names_below, stamps};
use crate::history::{damage, seen};
use crate::hub_cluster::SshCluster;
use crate::prerequisite::require;
use crate::ssh_server::TOOLS;

fn status(cluster: &Cluster, more: &[&str]) -> Outcome {
    cluster.run("status", &cluster.source(), more)
}

/// The line of the node `at`.
fn line(outcome: &Outcome, at: usize) -> &Value {
    let ending = format!("/n{at}/tree");
    let mut lines = outcome.lines.iter().filter(|line| line["type"] == "status");
    lines.find(|line| line["target"].as_str().unwrap().ends_with(&ending)).expect("a line")
}

fn open(path: &Path) -> Dir {
    root::open(path, Missing::Refuse).expect("opened").dir.expect("a directory")
}

/// A cluster of `count` nodes after one push.
fn deployed(count: usize) -> Cluster {
    let cluster = Cluster::new(count);
    cluster.write("a", "one");
    cluster.write("d/b", "one");
    cluster.push(&["-m", "the first"]).expect(0);
    cluster
}

#[test]
fn a_fresh_cluster_is_looked_at_and_nothing_is_made() {
    let cluster = Cluster::new(2);
    cluster.write("a", "one");
    let before = [0, 1].map(|node| stamps(&cluster.nodes[node]));
    let outcome = status(&cluster, &[]);
    outcome.expect(2);
    for (node, before) in before.iter().enumerate() {
        let line = line(&outcome, node);
        assert_eq!((&line["state"], &line["reachable"]), (&"empty".into(), &true.into()));
        for key in ["release", "behind", "since", "drift", "error", "holder"] {
            assert_eq!(line[key], Value::Null, "{key}");
        }
        assert!(line["free_bytes"].as_u64().unwrap() > 0 && line["last_contact"].is_string());
        assert_eq!(stamps(&cluster.nodes[node]), *before);
        assert!(!cluster.nodes[node].parent().unwrap().join(".depsync").exists());
    }
    status(&cluster, &["--offline"]).expect(2);
    assert!(!cluster.path().join("state").exists(), "no state of the hub either");
}

#[test]
fn nodes_as_deployed_are_current_and_a_look_changes_nothing() {
    let cluster = deployed(2);
    let release = cluster.push(&[]).summary()["release"].clone();
    let everything = || {
        let nodes = [0, 1].map(|node| (stamps(&cluster.nodes[node]), stamps(&cluster.state(node))));
        let mut hub = stamps(&cluster.hub_state());
        // SQLite keeps what readers share in files of its own.
        hub.retain(|path, _| {
            !path.as_os_str().is_empty() && !path.to_string_lossy().starts_with("history.db-")
        });
        (nodes, hub)
    };
    let before = everything();
    let outcome = status(&cluster, &[]);
    outcome.expect(0);
    assert_eq!(everything(), before);
    for node in 0..2 {
        let line = line(&outcome, node);
        assert_eq!(
            (&line["state"], &line["release"], &line["behind"]),
            (&"current".into(), &release, &0.into())
        );
        assert_eq!(
            (&line["pending"], &line["drift"]["counts"]["updated"]),
            (&false.into(), &0.into())
        );
        assert_eq!((&line["drift"]["run"], &line["holder"]), (&2.into(), &Value::Null));
        assert!(
            line["since"].as_str() < line["last_contact"].as_str()
                || line["since"] == line["last_contact"]
        );
    }
    let summary = outcome.summary();
    assert_eq!((&summary["exit"], &summary["outcome"]), (&0.into(), &"done".into()));
    assert_eq!((&summary["nodes_at_release"], &summary["release"]), (&2.into(), &release));
    let runs = cluster.run("history", &cluster.source(), &[]).lines.len();
    assert_eq!(runs, 2, "a look is not recorded");
}

#[test]
fn a_node_that_was_away_is_two_releases_behind() {
    let cluster = deployed(2);
    let old = cluster.push(&[]).summary()["release"].clone();
    for content in ["two", "three"] {
        cluster.write("a", content);
        cluster.push(&["-l", "*/n0/tree"]).expect(0);
    }
    let outcome = status(&cluster, &[]);
    outcome.expect(2);
    assert_eq!(
        (&line(&outcome, 0)["behind"], &line(&outcome, 0)["state"]),
        (&0.into(), &"current".into())
    );
    assert_eq!(
        (&line(&outcome, 1)["behind"], &line(&outcome, 1)["state"]),
        (&2.into(), &"behind".into())
    );
    assert_eq!(line(&outcome, 1)["release"], old);
    status(&cluster, &["-l", "*/n0/tree"]).expect(0);
    let (code, text, _) = seen(&cluster, &["status"]);
    assert!(code == 2 && text.contains("1 of 2 nodes at release "), "{text}");
    cluster.run("rollback", &cluster.source(), &["@{2}"]).expect(0);
    let outcome = status(&cluster, &[]);
    outcome.expect(0);
    assert_eq!((&line(&outcome, 1)["behind"], &line(&outcome, 0)["release"]), (&0.into(), &old));
}

#[test]
fn drift_is_told_as_of_the_last_look() {
    let cluster = deployed(2);
    cluster.write_on(1, "a", "edited");
    cluster.write_on(1, "extra", "extra");
    let drift = |outcome: &Outcome, at| line(outcome, at)["drift"]["counts"].clone();
    let none = json!({"created": 0, "updated": 0, "deleted": 0, "metadata": 0});
    assert_eq!(drift(status(&cluster, &[]).expect(0), 1), none, "nobody has looked");
    cluster.run("verify", &cluster.source(), &[]).expect(2);
    let outcome = status(&cluster, &[]);
    outcome.expect(0);
    assert_eq!((drift(&outcome, 0), &line(&outcome, 1)["drift"]["run"]), (none.clone(), &2.into()));
    let found = drift(&outcome, 1);
    assert_eq!((&found["updated"], &found["deleted"]), (&1.into(), &1.into()));
    // A plan towards another release tells of that, not of drift.
    cluster.write("a", "two");
    cluster.plan(&[]).expect(2);
    assert_eq!(drift(&status(&cluster, &[]), 1), found);
    cluster.push(&[]).expect(0);
    assert_eq!(drift(&status(&cluster, &[]), 1), none);
}

#[test]
fn the_history_speaks_for_a_node_that_cannot_be_asked_and_for_all_offline() {
    let cluster = deployed(2);
    let asked = status(&cluster, &[]);
    fs::rename(cluster.path().join("n1"), cluster.path().join("away")).expect("renamed");
    let outcome = status(&cluster, &[]);
    outcome.expect(3);
    let away = line(&outcome, 1);
    assert_eq!((&away["reachable"], &away["free_bytes"]), (&false.into(), &Value::Null));
    assert_eq!(away["error"]["kind"], "target");
    for key in ["release", "behind", "since", "drift"] {
        assert_eq!(away[key], line(&asked, 1)[key], "{key}");
    }
    let offline = status(&cluster, &["--offline"]);
    offline.expect(0);
    for node in 0..2 {
        let line = line(&offline, node);
        assert_eq!((&line["reachable"], &line["error"]), (&Value::Null, &Value::Null));
        for key in ["state", "release", "behind", "since", "drift"] {
            assert_eq!(line[key], self::line(&asked, node)[key], "{key}");
        }
    }
    fs::rename(cluster.path().join("n0"), cluster.path().join("away too")).expect("renamed");
    status(&cluster, &[]).expect(1);
}

#[test]
fn a_commit_that_waits_for_its_decision_is_pending() {
    let cluster = deployed(1);
    let release = Digest::of(Domain::Tree, b"next");
    let mut journal = Journal::open(&open(&cluster.state(0))).expect("a journal");
    let (txid, fence) = (Txid([7; 16]), journal.standing().fence + 1);
    journal.append(&Record::Begin { txid, fence, release }).expect("written");
    status(&cluster, &[]).expect(0);
    journal.append(&Record::Prepared { txid, steps: release }).expect("written");
    drop(journal);
    let before = stamps(&cluster.state(0));
    let outcome = status(&cluster, &[]);
    outcome.expect(2);
    let pending = line(&outcome, 0);
    assert_eq!((&pending["pending"], &pending["state"]), (&true.into(), &"pending".into()));
    assert_eq!(pending["behind"], 0, "the live release is the deployed one all the same");
    assert_eq!(stamps(&cluster.state(0)), before, "it is left as it is");
}

#[test]
fn a_held_lock_is_told_and_not_waited_for() {
    let cluster = deployed(2);
    let hold = |path: &Path| {
        let file = fs::File::open(path.join("lock")).expect("a lock");
        flock(file.as_fd(), FlockOperation::LockExclusive).expect("held");
        file
    };
    let _held = [hold(&cluster.hub_state()), hold(&cluster.state(1))];
    let started = Instant::now();
    let outcome = status(&cluster, &["--timeout", "30s"]);
    outcome.expect(0);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(
        (&line(&outcome, 0)["state"], &line(&outcome, 1)["state"]),
        (&"current".into(), &"busy".into())
    );
    let holder = line(&outcome, 1)["holder"].as_str().expect("its holder");
    assert!(holder.starts_with("process "), "{holder}");
    let (_, _, stderr) = seen(&cluster, &["status"]);
    assert!(stderr.contains("a run is under way: process "), "{stderr}");
    cluster.run("history", &cluster.source(), &[]).expect(0);
}

#[test]
fn a_push_goes_on_beside_any_number_of_looks() {
    let cluster = deployed(2);
    for round in 0..3 {
        cluster.write("big", vec![round; 700_000]);
        cluster.write(
            "noise",
            (0..700_000u32)
                .flat_map(|at| (at ^ u32::from(round)).wrapping_mul(2_654_435_761).to_le_bytes())
                .collect::<Vec<u8>>(),
        );
        let mut pushes = cluster.command("push");
        pushes.arg("--source").arg(cluster.source()).args(["--bwlimit", "2M"]);
        for node in &cluster.nodes {
            pushes.arg("--node").arg(node);
        }
        let mut push = pushes.stdout(std::process::Stdio::null()).spawn().expect("started");
        let mut was_busy = false;
        let code = loop {
            if let Some(ended) = push.try_wait().expect("asked") {
                break ended.code();
            }
            let outcome = status(&cluster, &[]);
            assert!(matches!(outcome.code, Some(0 | 2)), "{outcome:#?}");
            assert_eq!(line(&outcome, 0)["reachable"], true);
            was_busy |= line(&outcome, 0)["state"] == "busy";
            cluster.run("history", &cluster.source(), &[]).expect(0);
        };
        assert_eq!((code, was_busy), (Some(0), true), "round {round}");
    }
    assert_eq!(names_below(&cluster.nodes[0]), names_below(&cluster.source()));
    status(&cluster, &[]).expect(0);
}

#[test]
fn nodes_are_asked_though_the_history_cannot_be_read() {
    let cluster = deployed(1);
    damage(&cluster);
    let outcome = status(&cluster, &[]);
    outcome.expect(0);
    assert_eq!(
        (&line(&outcome, 0)["state"], &line(&outcome, 0)["since"]),
        (&"current".into(), &Value::Null)
    );
    assert!(outcome.summary()["notes"].to_string().contains("the history says nothing"));
    let outcome = status(&cluster, &["--offline"]);
    outcome.expect(1);
    assert!(outcome.stderr.contains("hint: move the file away"), "{}", outcome.stderr);
}

#[test]
fn nodes_behind_ssh_are_asked_and_those_that_are_gone_are_told() {
    if !require("nodes_behind_ssh_are_asked_and_those_that_are_gone_are_told", TOOLS) {
        return;
    }
    let ssh = SshCluster::start("", &["a", "b"]);
    let targets = [ssh.target("a"), ssh.target("b")];
    let push = ssh.command(&targets.each_ref().map(|target| &**target), &["--json"]);
    let SshCluster { server, cluster } = ssh;
    let run = |what: &str| {
        let mut command = cluster.bench.command(&[what]);
        command.args(push.get_args().skip(1));
        for (name, value) in push.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        Outcome::of(&mut command)
    };
    run("push").expect(0);
    let before = stamps(&cluster.state_of("a"));
    let outcome = run("status");
    outcome.expect(0);
    let lines: Vec<_> = outcome.lines.iter().filter(|line| line["type"] == "status").collect();
    for line in &lines {
        assert_eq!((&line["state"], &line["reachable"]), (&"current".into(), &true.into()));
        assert!(line["free_bytes"].as_u64().unwrap() > 0, "{line}");
    }
    assert_eq!((lines.len(), stamps(&cluster.state_of("a"))), (2, before));
    drop(server);
    let gone = run("status");
    gone.expect(1);
    let line = &gone.lines[0];
    assert_eq!((&line["state"], &line["reachable"]), (&"unreachable".into(), &false.into()));
    assert_eq!((&line["release"], &line["behind"]), (&lines[0]["release"], &0.into()));
    assert!(line["last_contact"].is_string() && line["error"]["kind"].is_string(), "{line}");
}
