//! What a machine finds after it lost power: its disk, without anything that was not synced. `cargo xtask crash power`
//! tries every moment; these are some that tell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{Cluster, Mount, Outcome, assert_names, names_below, run};
use crate::prerequisite::{require, skip};

/// A cluster of one node with a disk of its own, which writes nothing by itself.
struct Machine {
    /// Goes before the directory that it is mounted in.
    disk: Option<Mount>,
    cluster: Cluster,
    image: PathBuf,
}

impl Machine {
    /// Makes it; `None`, with a word, where images cannot be mounted.
    fn new(test: &str) -> Option<Self> {
        if !require(test, &["root", "strace", "mkfs.ext4"]) {
            return None;
        }
        let mut cluster = Cluster::new(1);
        cluster.options = vec!["--max-delete=100%".into()];
        let image = cluster.path().join("image");
        fs::File::create(&image).expect("an image").set_len(48 << 20).expect("a length");
        let make = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run(Command::new("mkfs.ext4").args(make).arg(&image));
        let mut machine = Self { disk: None, cluster, image };
        machine.mount();
        if machine.disk.is_none() {
            skip(test, "needs a loop device");
            return None;
        }
        fs::create_dir(&machine.cluster.nodes[0]).expect("a directory");
        Some(machine)
    }

    fn around(&self) -> PathBuf {
        self.cluster.path().join("n0")
    }

    fn mount(&mut self) {
        let image = self.image.display().to_string();
        self.disk = Mount::new(&["-o", "loop,commit=300", &image], &self.around());
    }

    /// The disk is what was written to it by now; what the machine had in memory is lost.
    fn lose_power(&mut self) {
        let copy = self.image.with_extension("copy");
        run(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&copy));
        self.disk = None;
        fs::rename(&copy, &self.image).expect("renamed");
        self.mount();
        assert!(self.disk.is_some(), "what is on the disk can be mounted");
    }

    /// Pushes, and kills the run before the given call, counted for each of its threads; the machine loses power then.
    fn push_until(&mut self, call: &str, at: usize) -> Outcome {
        let inject = format!("inject={call}:signal=KILL:when={at}");
        let log = self.cluster.path().join("calls").display().to_string();
        let words =
            ["strace", "-f", "-qq", "-o", &log, "-e", &format!("trace={call}"), "-e", &inject];
        self.cluster.wrapper = words.iter().map(ToString::to_string).collect();
        let outcome = self.cluster.push(&[]);
        self.cluster.wrapper.clear();
        self.lose_power();
        outcome
    }

    fn sync(&self) {
        run(Command::new("sync").arg("-f").arg(self.around()));
    }

    /// What a node does when it boots.
    fn boot(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_depsync"));
        run(command.args(["agent", "--recover"]).arg(&self.cluster.nodes[0]));
    }

    fn old(&self) -> PathBuf {
        self.cluster.path().join("old")
    }

    /// True if the node's tree is exactly new, false if it is exactly old.
    fn is_new(&self, what: &str) -> bool {
        let found = names_below(&self.cluster.nodes[0]);
        if found == names_below(&self.cluster.source()) {
            return true;
        }
        eprintln!("{what}: not new, so it must be old");
        assert_names(&names_below(&self.old()), &found);
        false
    }
}

/// Two releases that differ in content, in kinds, and by a directory, of which the node has the old one.
fn two_releases(machine: &Machine) {
    let Machine { cluster, .. } = machine;
    for at in 0..6 {
        cluster.write(format!("d{at}/kept"), "stays");
        cluster.write(format!("d{at}/changed"), format!("first {at}"));
    }
    cluster.write("file", "becomes a directory");
    cluster.write("moves/in/it", "moves with its directory");
    cluster.push(&[]).expect(0);
    machine.sync();
    run(Command::new("cp").arg("-a").arg(cluster.source()).arg(machine.old()));
    for at in 0..6 {
        cluster.write(format!("d{at}/changed"), vec![b'n'; 9000 + at]);
    }
    fs::remove_file(cluster.at("file")).expect("removed");
    cluster.write("file/leaf", "in what was a file");
    fs::rename(cluster.at("moves"), cluster.at("d0/moved")).expect("renamed");
}

/// A moment in each phase: while staging, at the barrier, behind it, at COMMITTING, in the steps, at the directories' sync.
const MOMENTS: [(&str, usize); 9] = [
    ("pwrite64", 2),
    ("syncfs", 1),
    ("fdatasync", 1),
    ("renameat2", 2),
    ("renameat2", 5),
    ("renameat2", 9),
    ("fsync", 1),
    ("fsync", 3),
    ("fsync", 6),
];

#[test]
fn fault_082_what_is_on_the_disk_at_any_moment_becomes_old_or_new() {
    for (call, at) in MOMENTS {
        let Some(mut machine) = Machine::new("fault_082") else { return };
        two_releases(&machine);
        let outcome = machine.push_until(call, at);
        let what = format!("{call} {at}");
        assert_eq!(outcome.code, None, "{what}: the run was killed there");
        // The plan recovers what was in flight, and has the hub settle what waits for it.
        let planned = machine.cluster.plan(&[]);
        assert!(matches!(planned.code, Some(0 | 2)), "{what}: {planned:#?}");
        machine.is_new(&what);
        machine.cluster.push(&[]).expect(0);
        machine.cluster.assert_same();
        assert_eq!(machine.cluster.push(&[]).expect(0).state(0), "unchanged", "{what}");
    }
}

#[test]
fn fault_083_what_was_told_done_is_on_the_disk_at_once() {
    let few = |source: &Path| fs::write(source.join("file"), "little").expect("written");
    // More directories than are synced one by one.
    let many = |source: &Path| {
        for at in 0..90 {
            fs::create_dir(source.join(format!("d{at}"))).expect("a directory");
            fs::write(source.join(format!("d{at}/leaf")), at.to_string()).expect("written");
        }
    };
    // Blocks are given to it when it is written, and not before.
    let large = |source: &Path| {
        let bytes: Vec<u8> =
            (0..6_000_000u32).map(|at| at.wrapping_mul(at).to_be_bytes()[1]).collect();
        fs::write(source.join("large"), bytes).expect("written");
        fs::rename(source.join("file"), source.join("moved")).expect("moved");
    };
    let Some(mut machine) = Machine::new("fault_083") else { return };
    for change in [&few as &dyn Fn(&Path), &many, &large] {
        change(&machine.cluster.source());
        machine.cluster.push(&[]).expect(0);
        machine.lose_power();
        machine.cluster.assert_same();
        assert_eq!(machine.cluster.push(&[]).expect(0).state(0), "unchanged");
    }
}

#[test]
fn fault_092_a_node_that_lost_power_in_a_commit_goes_on_when_it_boots() {
    let mut ends = Vec::new();
    for (call, at) in [("syncfs", 1), ("fdatasync", 1), ("renameat2", 5), ("fsync", 3)] {
        let Some(mut machine) = Machine::new("fault_092") else { return };
        two_releases(&machine);
        machine.push_until(call, at);
        machine.boot();
        ends.push(machine.is_new(&format!("{call} {at}")));
        machine.cluster.push(&[]).expect(0);
        machine.cluster.assert_same();
    }
    assert!(ends.contains(&true), "COMMITTING goes forward without a hub: {ends:?}");
    assert!(ends.contains(&false), "what is not COMMITTING waits: {ends:?}");
}
