//! Nodes that come back otherwise than they left: behind, reimaged, put back from a copy, under another name. The next run
//! brings each of them to the release.

use std::fs;
use std::process::Command;

use crate::cluster::{Cluster, run};

/// Two nodes at a release of `bytes` of noise and some text.
fn deployed() -> Cluster {
    let cluster = Cluster::new(2);
    let noise: Vec<u8> =
        (0..50_000u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    cluster.write("noise", noise);
    cluster.write("d/text", "first");
    cluster.push(&[]).expect(0);
    cluster
}

fn sent(outcome: &crate::cluster::Outcome, node: usize) -> u64 {
    outcome.node(node)["bytes_sent"].as_u64().expect("a number")
}

#[test]
fn a_node_that_was_away_for_some_releases_gets_the_newest_at_once() {
    let cluster = deployed();
    for text in ["second", "third"] {
        cluster.write("d/text", text);
        cluster.push(&["--limit", "*n0*"]).expect(0);
    }
    let outcome = cluster.push(&[]);
    outcome.expect(0);
    assert_eq!((outcome.state(0), outcome.state(1)), ("unchanged", "committed"));
    cluster.assert_same();
    assert!(sent(&outcome, 1) < 5_000, "{}", sent(&outcome, 1));
}

#[test]
fn fault_089_a_reimaged_node_is_adopted_by_what_it_has() {
    let cluster = deployed();
    fs::remove_dir_all(cluster.state(0)).expect("removed");
    let outcome = cluster.push(&[]);
    outcome.expect(0);
    assert!(sent(&outcome, 0) < 5_000, "{}", sent(&outcome, 0));
    cluster.assert_same();
    cluster.run("verify", &cluster.source(), &["--deep"]).expect(0);
}

#[test]
fn fault_088_a_node_put_back_from_an_old_copy_gets_the_release_again() {
    let cluster = deployed();
    let (home, copy) = (cluster.path().join("n0"), cluster.path().join("copy"));
    run(Command::new("cp").arg("-a").arg(&home).arg(&copy));
    for text in ["second", "third"] {
        cluster.write("d/text", text);
        cluster.push(&[]).expect(0);
    }
    fs::remove_dir_all(&home).expect("removed");
    fs::rename(&copy, &home).expect("renamed");
    cluster.run("verify", &cluster.source(), &[]).expect(2);
    let outcome = cluster.push(&[]);
    outcome.expect(0);
    assert_eq!((outcome.state(0), outcome.state(1)), ("committed", "unchanged"));
    cluster.assert_same();
}

#[test]
fn a_node_under_another_name_is_the_node_it_was() {
    let mut cluster = deployed();
    let moved = cluster.path().join("renamed");
    fs::rename(cluster.path().join("n0"), &moved).expect("renamed");
    cluster.nodes[0] = moved.join("tree");
    cluster.write("d/text", "second");
    let outcome = cluster.push(&[]);
    outcome.expect(0);
    cluster.assert_same();
    let bytes: u64 = outcome
        .lines
        .iter()
        .filter(|line| line["type"] == "node")
        .map(|line| line["bytes_sent"].as_u64().expect("a number"))
        .sum();
    assert!(bytes < 10_000, "{bytes}");
}
