//! What an agent calls, as strace tells it, in pushes that use everything there is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use crate::agent_process::AgentCluster;
use crate::cluster::{Cluster, chmod, names_below, run, set_mtime};
use crate::prerequisite::require;
use crate::traced::{Beside, STRACE, Trace};

const OPTIONS: [&str; 5] = ["--xattrs", "--acls", "--hard-links", "--max-delete", "100%"];

/// Makes the source one of two releases that differ in every way that a commit has a step for.
fn make_release(cluster: &Cluster, round: usize) {
    fs::remove_dir_all(cluster.source()).unwrap();
    let is_first = round.is_multiple_of(2);
    let (one, other) = if is_first { ("x", "y") } else { ("y", "x") };
    // All six flips of type, in both directions.
    for (name, kind) in [("f-d", 0), ("d-l", 1), ("l-f", 2)] {
        let kind = if is_first { kind } else { (kind + 1) % 3 };
        match kind {
            0 => drop(cluster.write(name, format!("{name} of {round}"))),
            1 => drop(cluster.write(format!("{name}/in/it"), format!("{name} of {round}"))),
            _ => symlink("/nowhere/at/all", cluster.at(name)).unwrap(),
        }
    }
    let deep = (0..60).fold(String::new(), |path, at| path + &format!("d{at}/"));
    cluster.write(deep + "bottom", format!("bottom of {round}"));
    cluster.write(format!("{one}/moved"), "the same content under another name, long enough");
    cluster.write(format!("{other}/stays"), "stays");
    cluster.write(format!("only-in-{one}/a/b"), "goes");
    fs::hard_link(cluster.write("linked", format!("{round}")), cluster.at("linked-too")).unwrap();
    chmod(&cluster.write("mode", "mode"), if is_first { 0o600 } else { 0o755 });
    let attributes = cluster.write("attributes", "attributes");
    run(Command::new("setfattr").args(["-n", "user.round", "-v", one]).arg(&attributes));
    run(Command::new("setfacl").args(["-m", "u:1:r"]).arg(cluster.at(format!("{one}/moved"))));
    chmod(cluster.write("closed/file", format!("{round}")).parent().unwrap(), 0o555);
    // So that the commit has metadata to set on what stays.
    for name in ["mode", "attributes"] {
        set_mtime(&cluster.at(name), 1_700_000_000, 0);
    }
}

/// Counts of calls over all traces, each of which was checked.
struct Seen {
    cluster: AgentCluster,
    counts: BTreeMap<String, usize>,
    traces: usize,
}

impl Seen {
    fn base(&self) -> PathBuf {
        self.cluster.cluster.path().join("n0")
    }

    /// Pushes under strace with `more` of its options, and checks every call.
    fn push(&mut self, more: &str, code: i32) {
        self.traces += 1;
        let prefix = self.cluster.at(&format!("trace{}", self.traces));
        let strace = format!("{STRACE} {more} -o {}", prefix.display());
        let outcome = self.cluster.push("", &strace, &OPTIONS);
        outcome.expect(code);
        let trace = Trace::read(&prefix);
        trace.check(&self.base(), Beside::Agent);
        trace.count(&self.base(), &mut self.counts);
    }
}

#[test]
fn fault_017_and_018_and_152_an_agent_names_one_component_at_a_time_below_handles() {
    let test = "an_agent_names_one_component_at_a_time_below_handles";
    if !require(test, &["strace", "setfattr", "setfacl", "rsync"]) {
        return;
    }
    let mut seen = Seen { cluster: AgentCluster::new(), counts: BTreeMap::new(), traces: 0 };
    for round in 0..6 {
        make_release(&seen.cluster.cluster, round);
        seen.push("", 0);
        seen.cluster.cluster.assert_same();
    }
    // The kernel, or a filter, has no openat2: then each component is opened by itself.
    make_release(&seen.cluster.cluster, 6);
    let before = seen.counts["openat"];
    seen.push("-e inject=openat2:error=ENOSYS", 0);
    seen.cluster.cluster.assert_same();
    assert!(seen.counts["openat"] > before + 60, "component by component");
    // Recovery: the agent dies in its commit, and the next one goes on.
    make_release(&seen.cluster.cluster, 7);
    let old = names_below(&seen.cluster.cluster.nodes[0]);
    seen.push("-e inject=renameat2:signal=KILL:when=9", 3);
    assert_ne!(old, names_below(&seen.cluster.cluster.nodes[0]), "it died between two releases");
    seen.push("", 0);
    seen.cluster.cluster.assert_same();
    let kept = fs::read_dir(seen.cluster.cluster.state(0).join("kept")).unwrap().count();
    assert!((1..8).contains(&kept), "{kept} of 8 are kept: others were pruned");
    for call in ["openat2", "renameat2", "unlinkat", "linkat", "symlinkat", "mkdirat", "statx"] {
        assert!(seen.counts.get(call).is_some_and(|count| *count > 5), "{call}: {:?}", seen.counts);
    }
    let state = fs::metadata(seen.base().join(".depsync/tree")).unwrap().permissions().mode();
    assert_eq!(state & 0o7777, 0o700);
}

#[test]
fn a_local_target_is_served_with_single_names_too() {
    let test = "a_local_target_is_served_with_single_names_too";
    if !require(test, &["strace", "setfattr", "setfacl", "rsync"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    let mut counts = BTreeMap::new();
    for round in 0..3 {
        make_release(&cluster, round);
        let prefix = cluster.path().join(format!("trace{round}"));
        let strace = format!("{STRACE} -o {}", prefix.display());
        cluster.wrapper = strace.split(' ').map(String::from).collect();
        cluster.push(&OPTIONS).expect(0);
        cluster.assert_same();
        let trace = Trace::read(&prefix);
        trace.check(&cluster.path().join("n0"), Beside::Hub);
        trace.count(&cluster.path().join("n0"), &mut counts);
    }
    assert!(counts["renameat2"] > 20 && counts["openat2"] > 20, "{counts:?}");
}
