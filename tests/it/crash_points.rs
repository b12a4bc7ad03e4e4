//! The most telling points at which a push can be killed or its calls fail: the journal, the rename into the live tree, the
//! decision. `cargo xtask crash` does the same at every point.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cluster::{Cluster, Name, Outcome, assert_names, names_below, stamps};
use crate::prerequisite::require;

type Tree = BTreeMap<PathBuf, Name>;

/// A node at an old release, and a source that is newer in several ways.
struct Two {
    cluster: Cluster,
    old: Tree,
}

impl Two {
    fn new() -> Self {
        let cluster = Cluster::new(1);
        for name in ["edited", "gone", "type/leaf", "d/moved", "e/in/it", "e/beside"] {
            cluster.write(name, format!("the old {name}"));
        }
        cluster.push(&[]).expect(0);
        let old = names_below(&cluster.nodes[0]);
        cluster.write("edited", "the new one");
        fs::remove_file(cluster.at("gone")).expect("removed");
        fs::remove_dir_all(cluster.at("type")).expect("removed");
        cluster.write("type", "a file that was a directory");
        cluster.write("new/leaf", "in a new directory");
        fs::rename(cluster.at("d/moved"), cluster.at("new/moved")).expect("renamed");
        fs::rename(cluster.at("e"), cluster.at("new/e")).expect("renamed");
        Self { cluster, old }
    }

    /// Pushes while `fault` befalls the calls named `call` that have to do with `path`, or all if that is empty.
    fn push(&mut self, call: &str, fault: &str, path: &str) -> Outcome {
        self.cluster.wrapper = tracer(call, fault, path);
        let outcome = self.cluster.push(&[]);
        self.cluster.wrapper.clear();
        outcome
    }

    /// Recovers the node without a hub; what it said.
    fn recover(&self, tracer: &[String]) -> String {
        let program = env!("CARGO_BIN_EXE_depsync").to_owned();
        let line: Vec<&String> = tracer.iter().chain([&program]).collect();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).args(["agent", "--recover"]).arg(&self.cluster.nodes[0]);
        let output = command.stdin(Stdio::null()).output().expect("it starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn node(&self) -> Tree {
        names_below(&self.cluster.nodes[0])
    }

    fn root(&self) -> String {
        self.cluster.nodes[0].display().to_string()
    }

    fn journal(&self) -> String {
        self.cluster.state(0).join("journal").display().to_string()
    }

    #[track_caller]
    fn assert_old(&self) {
        assert_names(&self.old, &self.node());
    }

    #[track_caller]
    fn assert_new(&self) {
        self.cluster.assert_same();
    }

    /// The next push ends at the release, the one behind it writes nothing, and nothing is left of those before.
    #[track_caller]
    fn assert_converges(&self) {
        self.cluster.push(&[]).expect(0);
        self.assert_new();
        let before = stamps(&self.cluster.nodes[0]);
        let again = self.cluster.push(&[]);
        assert_eq!(again.expect(0).state(0), "unchanged");
        assert_eq!(stamps(&self.cluster.nodes[0]), before);
        assert!(self.cluster.staged(0).is_empty());
        assert_eq!(self.decisions(), Vec::<String>::new());
    }

    /// The files in the hub's directory of decisions.
    fn decisions(&self) -> Vec<String> {
        let mut found = Vec::new();
        for cluster in fs::read_dir(self.cluster.path().join("state/depsync")).expect("a state") {
            let directory = cluster.expect("a name").path().join("decision");
            let names = fs::read_dir(directory).expect("decisions");
            found.extend(names.map(|name| name.unwrap().file_name().into_string().unwrap()));
        }
        found
    }
}

fn tracer(call: &str, fault: &str, path: &str) -> Vec<String> {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{fault}"));
    let mut words = vec!["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    if !path.is_empty() {
        words.extend(["-P", path]);
    }
    words.into_iter().map(ToOwned::to_owned).collect()
}

#[test]
fn fault_079_a_kill_at_each_record_of_the_journal_gives_old_or_new() {
    if !require("fault_079_journal", &["strace"]) {
        return;
    }
    let mut ends = Vec::new();
    for at in 1.. {
        let mut two = Two::new();
        let journal = two.journal();
        if two.push("write", &format!("signal=KILL:when={at}"), &journal).code == Some(0) {
            break;
        }
        // BEGIN, PREPARED and COMMITTING are not there yet: the tree is untouched. COMMITTED is not: it is complete.
        let said = two.recover(&[]);
        if said.contains("is live") {
            two.assert_new();
        } else {
            two.assert_old();
        }
        ends.push(said.contains("is live"));
        two.assert_converges();
    }
    assert_eq!(ends, [false, false, false, true]);
}

#[test]
fn fault_079_a_kill_at_each_rename_into_the_live_tree_gives_the_new_release() {
    if !require("fault_079_rename", &["strace"]) {
        return;
    }
    let mut between = 0;
    for at in 1.. {
        let mut two = Two::new();
        let root = two.root();
        if two.push("renameat2", &format!("signal=KILL:when={at}"), &root).code == Some(0) {
            assert!(at > 4, "{at}");
            break;
        }
        let now = two.node();
        between += usize::from(now != two.old && now != names_below(&two.cluster.source()));
        assert!(two.recover(&[]).contains("is live"));
        two.assert_new();
        two.assert_converges();
    }
    assert!(between > 2, "the tree was seen between two releases {between} times");
}

#[test]
fn fault_080_a_hub_that_is_killed_at_its_decision_leaves_all_old_or_finishes_first() {
    if !require("fault_080_decision", &["strace"]) {
        return;
    }
    // Before it is synced, before its directory is: under its final name it counts, whoever dies.
    for (at, is_decided) in [(1, false), (2, true)] {
        let mut two = Two::new();
        assert_eq!(two.push("fsync", &format!("signal=KILL:when={at}"), "").code, None);
        let decisions = two.decisions();
        assert_eq!(decisions.len(), 1);
        assert_eq!(!decisions[0].contains(".new"), is_decided);
        two.assert_old();
        assert!(two.recover(&[]).contains("waits"));
        two.assert_old();
        let contact = two.cluster.plan(&[]);
        if is_decided {
            contact.expect(0);
            two.assert_new();
        } else {
            contact.expect(2);
            two.assert_old();
        }
        two.assert_converges();
    }
}

#[test]
fn fault_080_nodes_that_committed_are_told_although_the_hub_cannot_note_it() {
    if !require("fault_080_standing", &["strace"]) {
        return;
    }
    let mut two = Two::new();
    let outcome = two.push("openat", "error=EIO:when=1+", "standing.new");
    assert_eq!(outcome.expect(3).state(0), "committed");
    assert!(outcome.summary()["error"].to_string().contains("standing"), "{outcome:?}");
    two.assert_new();
    two.assert_converges();
}

#[test]
fn fault_081_crashes_of_the_recovery_of_a_recovery_end_at_the_new_release() {
    if !require("fault_081", &["strace"]) {
        return;
    }
    let mut two = Two::new();
    let root = two.root();
    assert_eq!(two.push("renameat2", "signal=KILL:when=2", &root).code, None);
    let mut crashes = 0;
    for (call, at) in [("renameat2", 2), ("renameat2", 3), ("utimensat", 1), ("fsync", 2)] {
        let path = if call == "renameat2" { root.as_str() } else { "" };
        let said = two.recover(&tracer(call, &format!("signal=KILL:when={at}"), path));
        crashes += usize::from(said.is_empty());
    }
    assert_eq!(crashes, 4, "each was killed before it was through");
    assert!(two.recover(&[]).contains("is live"));
    two.assert_new();
    two.assert_converges();
}

#[test]
fn fault_065_a_stage_that_cannot_be_synced_is_dropped_and_never_published() {
    if !require("fault_065_stage", &["strace"]) {
        return;
    }
    let mut two = Two::new();
    let outcome = two.push("syncfs", "error=EIO:when=1", "");
    assert_eq!(outcome.expect(1).state(0), "failed");
    assert!(outcome.error(0).contains("sync"), "{outcome:?}");
    two.assert_old();
    assert!(two.cluster.staged(0).is_empty());
    assert!(two.recover(&[]).contains("nothing was in flight"));
    two.assert_converges();
}

#[test]
fn fault_065_a_staged_file_that_cannot_be_written_fails_the_push() {
    if !require("fault_065_write", &["strace"]) {
        return;
    }
    for fault in ["error=EIO:when=1", "error=EIO:when=2", "retval=0:when=1"] {
        let mut two = Two::new();
        assert_eq!(two.push("pwrite64", fault, "").expect(1).state(0), "failed");
        two.assert_old();
        assert!(two.cluster.staged(0).is_empty());
        two.assert_converges();
    }
}

#[test]
fn fault_066_a_journal_that_fails_before_the_decision_stops_the_push() {
    if !require("fault_066_begin", &["strace"]) {
        return;
    }
    for at in [1, 2] {
        let mut two = Two::new();
        let journal = two.journal();
        let outcome = two.push("write", &format!("error=EIO:when={at}+"), &journal);
        assert_eq!(outcome.expect(1).state(0), "failed");
        assert!(outcome.error(0).contains("journal"), "{outcome:?}");
        two.assert_old();
        two.assert_converges();
    }
}

#[test]
fn fault_066_a_journal_that_fails_behind_the_decision_leaves_it_pending() {
    if !require("fault_066_committing", &["strace"]) {
        return;
    }
    for (call, at) in [("write", 3), ("fdatasync", 1), ("write", 4)] {
        let mut two = Two::new();
        let journal = two.journal();
        let outcome = two.push(call, &format!("error=EIO:when={at}+"), &journal);
        assert_eq!(outcome.expect(3).state(0), "pending", "{call} {at}");
        if (call, at) != ("write", 4) {
            two.assert_old();
        }
        two.cluster.plan(&[]).expect(0);
        two.assert_new();
        two.assert_converges();
    }
}

#[test]
fn fault_067_a_disk_that_becomes_read_only_in_the_commit_leaves_it_pending() {
    if !require("fault_067", &["strace"]) {
        return;
    }
    for at in [1, 3, 5] {
        let mut two = Two::new();
        let root = two.root();
        let outcome = two.push("renameat2", &format!("error=EROFS:when={at}+"), &root);
        assert_eq!(outcome.expect(3).state(0), "pending");
        assert!(outcome.error(0).contains("read-only") || outcome.error(0).contains("Read-only"));
        assert!(two.recover(&[]).contains("is live"));
        two.assert_new();
        two.assert_converges();
    }
}

#[test]
fn fault_070_interrupted_writes_and_syncs_are_repeated() {
    if !require("fault_070", &["strace"]) {
        return;
    }
    for (call, times) in [("pwrite64", "1..3"), ("write", "1..2"), ("fdatasync", "1")] {
        let mut two = Two::new();
        let journal = two.journal();
        let path = if call == "pwrite64" { "" } else { journal.as_str() };
        let outcome = two.push(call, &format!("error=EINTR:when={times}"), path);
        assert_eq!(outcome.expect(0).state(0), "committed");
        two.assert_new();
    }
}

#[test]
fn fault_090_what_dead_runs_left_in_stage_kept_area_and_decisions_is_removed() {
    if !require("fault_090", &["strace"]) {
        return;
    }
    let mut two = Two::new();
    assert_eq!(two.push("fsync", "signal=KILL:when=1", "").code, None);
    let state = two.cluster.state(0);
    let left = [
        state.join("stage/00000000000000000000000000000001"),
        state.join("kept/going-00000000000000000000000000000002"),
    ];
    for directory in &left {
        fs::create_dir(directory).expect("a directory");
        fs::write(directory.join("n0"), "staged once").expect("a file");
    }
    assert!(two.decisions()[0].contains(".new") && two.cluster.staged(0).len() == 2);
    two.assert_converges();
    assert!(left.iter().all(|directory| !directory.exists()));
}
