//! How much work a push is, counted in system calls, so that no machine's speed decides.

use std::fs;

use crate::cluster::Cluster;
use crate::prerequisite::require;

const DIRECTORIES: usize = 12;
const FILES: usize = 25;

/// A source of many small files that was pushed, and whose time stamps are trusted.
fn settled() -> Cluster {
    let cluster = Cluster::new(1);
    for at in 0..DIRECTORIES * FILES {
        cluster.write(format!("d{}/leaf{at}.x", at % DIRECTORIES), format!("file {at}"));
    }
    cluster.push(&[]).expect(0);
    // Each run is longer than the window in which a stamp is not trusted.
    cluster.push(&[]).expect(0);
    cluster.push(&[]).expect(0);
    cluster
}

/// The system calls of one push, a line each.
fn calls(mut cluster: Cluster) -> (Cluster, Vec<String>) {
    let log = cluster.path().join("calls");
    let strace = ["strace", "-f", "-qq", "-o", log.to_str().unwrap(), "-e"];
    cluster.wrapper = strace.iter().map(ToString::to_string).collect();
    cluster.wrapper.push("trace=%file,%desc".into());
    cluster.push(&[]).expect(0);
    cluster.wrapper.clear();
    let text = fs::read_to_string(log).unwrap();
    (cluster, text.lines().map(ToOwned::to_owned).collect())
}

fn count(calls: &[String], call: &str, name: &str) -> usize {
    calls.iter().filter(|line| line.contains(&format!(" {call}(")) && line.contains(name)).count()
}

#[test]
fn a_push_of_nothing_new_looks_once_at_each_file_and_reads_none() {
    if !require("push_of_nothing_new", &["strace"]) {
        return;
    }
    let (_cluster, calls) = calls(settled());
    // Once in the source, once on the node.
    assert_eq!(count(&calls, "statx", "leaf"), 2 * DIRECTORIES * FILES);
    for call in ["openat", "renameat2", "unlinkat", "mkdirat"] {
        assert_eq!(count(&calls, call, "leaf"), 0, "{call}");
    }
    assert_eq!(count(&calls, "fsync", "") + count(&calls, "syncfs", ""), 0, "nothing to wait for");
}

#[test]
fn a_push_of_one_changed_file_reads_that_file_alone() {
    if !require("push_of_one_file", &["strace"]) {
        return;
    }
    let cluster = settled();
    cluster.write("d3/leaf3.x", "changed");
    let (cluster, calls) = calls(cluster);
    cluster.assert_same();
    // Read twice if it changed just before, then to be shipped, and read on the node for what it was.
    let opened = count(&calls, "openat", "\"leaf3.x\"");
    assert!((2..=5).contains(&opened), "{opened}");
    assert_eq!(count(&calls, "openat", "leaf"), opened, "no other file is opened");
    // Each in the source and on the node; the changed one a few times more.
    let looks = count(&calls, "statx", "leaf");
    assert!(looks <= 2 * DIRECTORIES * FILES + 4, "{looks}");
    // What the node was is known; what it becomes is written once it is that. The other is the hub's.
    assert_eq!(count(&calls, "renameat2", "\"index\""), 2);
}
