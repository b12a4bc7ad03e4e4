//! `depsync rollback`: back to an earlier release, without the source, and pinned there.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::cluster::{Cluster, Name, Outcome, assert_names, names_below, stamps};

/// What a run said beside the nodes.
fn told(outcome: &Outcome) -> String {
    outcome.summary()["notes"].to_string()
}

/// A cluster that had `releases` one after the other, and what nodes were like at each.
struct Past {
    cluster: Cluster,
    at: Vec<BTreeMap<PathBuf, Name>>,
}

impl Past {
    fn new(nodes: usize, releases: u32) -> Self {
        let cluster = Cluster::new(nodes);
        let mut at = Vec::new();
        for release in 0..releases {
            // Noise does not shrink: what crosses the link shows.
            let noise: Vec<u8> = (0..60_000u32)
                .flat_map(|at| (at ^ release).wrapping_mul(2_654_435_761).to_le_bytes())
                .collect();
            cluster.write("changes", &noise);
            cluster.write(format!("only-{release}/file"), &noise[..40_000]);
            cluster.write("stays", "the same in all");
            if release > 0 {
                fs::remove_dir_all(cluster.at(format!("only-{}", release - 1))).expect("removed");
            }
            cluster.push(&["-m", &format!("number {release}")]).expect(0);
            at.push(names_below(&cluster.nodes[0]));
        }
        Self { cluster, at }
    }

    #[track_caller]
    fn rollback(&self, options: &[&str]) -> Outcome {
        self.cluster.run("rollback", &self.cluster.source(), options)
    }

    #[track_caller]
    fn assert_at(&self, release: usize) {
        for node in &self.cluster.nodes {
            assert_names(&self.at[release], &names_below(node));
        }
    }
}

#[test]
fn fault_060_five_releases_back_and_forward_again_are_exact_and_cost_no_content() {
    let past = Past::new(2, 6);
    let source = past.cluster.source();
    fs::rename(&source, source.with_extension("gone")).expect("renamed");
    let mut order: Vec<usize> = (0..5).rev().collect();
    order.extend(1..6);
    let ids = past.releases();
    for release in order {
        let outcome = past.rollback(&[&ids[release]]);
        outcome.expect(0);
        past.assert_at(release);
        for node in 0..2 {
            let sent = outcome.node(node)["bytes_sent"].as_u64().expect("a number");
            assert!(sent < 20_000, "{sent} bytes for release {release}");
        }
        past.cluster.run("verify", &source, &["--deep"]).expect(0);
    }
    // At once as well, and by their place in time.
    past.rollback(&[&ids[0]]).expect(0);
    past.assert_at(0);
    past.rollback(&[]).expect(0);
    past.assert_at(5);
}

impl Past {
    /// The ids of all releases, the first one first, from what `depsync history` says.
    fn releases(&self) -> Vec<String> {
        let store = self.cluster.hub_state().join("manifest");
        let mut stored: Vec<_> = fs::read_dir(store)
            .expect("manifests")
            .map(|entry| entry.expect("an entry"))
            .map(|entry| {
                let made = entry.metadata().and_then(|meta| meta.modified()).expect("a time");
                (made, entry.file_name().into_string().expect("an id"))
            })
            .collect();
        stored.sort();
        stored.into_iter().map(|(_, id)| id.chars().take(12).collect()).collect()
    }
}

#[test]
fn a_push_after_a_rollback_is_refused_until_it_is_unpinned() {
    let past = Past::new(2, 3);
    let source = past.cluster.source();
    past.rollback(&[]).expect(0);
    past.assert_at(1);
    let before = stamps(&past.cluster.nodes[0]);
    let refused = past.cluster.push(&[]);
    refused.expect(5);
    assert!(
        refused.stderr.contains("--unpin") && refused.stderr.contains("pinned"),
        "{}",
        refused.stderr
    );
    assert_eq!(stamps(&past.cluster.nodes[0]), before);
    let plan = past.cluster.run("plan", &source, &[]);
    plan.expect(2);
    assert!(told(&plan).contains("a push needs --unpin"), "{}", told(&plan));
    let status = past.cluster.run("status", &source, &[]);
    status.expect(0);
    assert!(told(&status).contains("is pinned"), "{}", told(&status));
    // What differs from the release is repaired all the same.
    past.cluster.write_on(0, "stays", "edited");
    past.cluster.run("verify", &source, &["--repair"]).expect(0);
    past.assert_at(1);
    past.cluster.push(&[]).expect(5);
    past.cluster.push(&["--unpin"]).expect(0);
    past.assert_at(2);
    past.cluster.write("stays", "changed");
    past.cluster.push(&[]).expect(0);
}

#[test]
fn a_source_that_is_the_pinned_release_is_no_conflict() {
    let past = Past::new(1, 2);
    past.rollback(&["@{0}"]).expect(0);
    past.cluster.push(&[]).expect(0);
    past.cluster.write("stays", "changed");
    past.cluster.push(&[]).expect(5);
}

#[test]
fn a_release_that_is_not_known_or_not_one_is_refused_by_name() {
    let past = Past::new(1, 2);
    for (name, message) in [
        ("ffffffff", "no release begins with ffffffff"),
        ("@{2}", "has 2 releases"),
        ("@{3 days ago}", "has 2 releases"),
        ("@{yesterday}", "is not a release"),
        ("abc", "is not a release"),
    ] {
        let outcome = past.rollback(&[name]);
        outcome.expect(64);
        assert!(outcome.stderr.contains(message), "{name}: {}", outcome.stderr);
    }
    past.assert_at(1);
}

#[test]
fn a_rollback_to_content_that_nobody_kept_names_it_and_changes_nothing() {
    let past = Past::new(2, 2);
    let kept = past.cluster.state(1).join("kept");
    for area in fs::read_dir(&kept).expect("kept") {
        fs::remove_dir_all(area.expect("an entry").path()).expect("removed");
    }
    let outcome = past.rollback(&[]);
    outcome.expect(1);
    let said = outcome.error(1);
    assert!(said.contains("content-missing") && said.contains("changes"), "{said}");
    past.assert_at(1);
}

#[test]
fn a_dry_run_of_a_rollback_says_what_would_change() {
    let past = Past::new(1, 2);
    let before = stamps(&past.cluster.nodes[0]);
    let outcome = past.rollback(&["--dry-run"]);
    outcome.expect(2);
    let created = ("only-0/file".to_owned(), "create".to_owned());
    assert!(outcome.changes().contains(&created), "{outcome:?}");
    assert_eq!(stamps(&past.cluster.nodes[0]), before);
    past.cluster.write("more", "not pinned");
    past.cluster.push(&[]).expect(0);
}

#[test]
fn a_history_that_is_newer_or_held_by_another_program_stops_no_push_and_is_told() {
    let past = Past::new(1, 1);
    let file = past.cluster.hub_state().join("history.db");
    let other = rusqlite::Connection::open(&file).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("held");
    past.cluster.write("more", "1");
    let outcome = past.cluster.push(&[]);
    outcome.expect(0);
    assert!(told(&outcome).contains("another program holds it"), "{}", told(&outcome));
    other.execute_batch("ROLLBACK; PRAGMA user_version = 9").expect("let go");
    past.cluster.write("more", "2");
    let outcome = past.cluster.push(&[]);
    outcome.expect(0);
    assert!(told(&outcome).contains("is of version 9"), "{}", told(&outcome));
    let runs = "SELECT count(*) FROM run";
    let count: i64 = other.query_row(runs, [], |row| row.get(0)).expect("counted");
    assert_eq!(count, 1, "nothing was written to it");
}

#[test]
fn a_history_that_is_lost_or_damaged_stops_no_push_and_is_told() {
    let past = Past::new(1, 2);
    let file = past.cluster.hub_state().join("history.db");
    for name in ["history.db", "history.db-wal", "history.db-shm"] {
        fs::remove_file(file.with_file_name(name)).expect("removed");
    }
    past.cluster.write("more", "1");
    let outcome = past.cluster.push(&[]);
    outcome.expect(0);
    assert!(told(&outcome).contains("the history starts anew"), "{}", told(&outcome));
    past.cluster.write("more", "2");
    assert!(!told(&past.cluster.push(&[])).contains("starts anew"));
    for name in ["history.db-wal", "history.db-shm"] {
        fs::remove_file(file.with_file_name(name)).expect("removed");
    }
    fs::write(&file, "no database, and long enough to be seen as none".repeat(99))
        .expect("written");
    past.cluster.write("more", "3");
    let outcome = past.cluster.push(&[]);
    outcome.expect(0);
    assert!(told(&outcome).contains("not in the history"), "{}", told(&outcome));
    past.rollback(&[]).expect(1);
    // The id is enough.
    past.rollback(&[&past.releases()[1]]).expect(0);
    past.assert_at(1);
}
