//! The order of writes that docs/safety.md states, read from the system calls of whole pushes: what must be durable before
//! what. A crash shows a missing sync once in a while; the calls show it every time.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, chmod, names_below};
use crate::prerequisite::{require, skip};

const CALLS: &str = "trace=write,pwrite64,fsync,fdatasync,syncfs,renameat2,mkdirat,unlinkat,ftruncate,fchmod,utimensat";

/// A system call, with the lines of the trace at which it began and ended.
#[derive(Debug)]
struct Call {
    text: String,
    began: usize,
    ended: usize,
}

/// The calls of a push to one node, in order.
struct Order {
    base: String,
    calls: Vec<Call>,
}

impl Order {
    /// Pushes, and takes down the order of calls.
    fn of_push(cluster: &mut Cluster) -> Self {
        Self::of_push_with(cluster, &[])
    }

    /// As [`Order::of_push`], with `more` options of strace.
    fn of_push_with(cluster: &mut Cluster, more: &[&str]) -> Self {
        let log = cluster.path().join("order");
        let words = ["strace", "-f", "-y", "-qq", "-s", "4", "-e", CALLS, "-o"];
        let words = words[..8].iter().chain(more).chain(&words[8..]);
        cluster.wrapper = words.map(ToString::to_string).collect();
        cluster.wrapper.push(log.display().to_string());
        cluster.push(&[]).expect(0);
        cluster.wrapper.clear();
        cluster.assert_same();
        Self::read(&String::from_utf8_lossy(&fs::read(log).unwrap()), cluster.path())
    }

    fn read(trace: &str, base: &Path) -> Self {
        let mut calls: Vec<Call> = Vec::new();
        let mut open: Vec<(&str, usize)> = Vec::new();
        for (at, line) in trace.lines().enumerate() {
            let Some((thread, text)) = line.split_once(' ') else { continue };
            let text = text.trim_start();
            if text.starts_with("<... ") {
                let index = open.iter().position(|(of, _)| *of == thread).expect("it began");
                let (_, call) = open.swap_remove(index);
                calls[call].ended = at;
                calls[call].text.push_str(text);
                continue;
            }
            if text.ends_with("<unfinished ...>") {
                open.push((thread, calls.len()));
            }
            calls.push(Call { text: text.to_owned(), began: at, ended: at });
        }
        Self { base: base.display().to_string(), calls }
    }

    /// The calls of this name that succeeded and hold all of `parts`, in which `<` begins a path below the cluster.
    fn all(&self, name: &str, parts: &[&str]) -> Vec<&Call> {
        let start = format!("{name}(");
        let parts: Vec<String> =
            parts.iter().map(|part| part.replacen('<', &format!("<{}/", self.base), 1)).collect();
        let holds = |call: &&Call| {
            call.text.starts_with(&start)
                && !call.text.contains(" = -1 ")
                && parts.iter().all(|part| call.text.contains(part))
        };
        self.calls.iter().filter(holds).collect()
    }

    #[track_caller]
    fn one(&self, name: &str, parts: &[&str]) -> &Call {
        let found = self.all(name, parts);
        assert_eq!(found.len(), 1, "{name} {parts:?}: {found:#?}");
        found[0]
    }

    /// The records of the journal: begun, prepared, committing, committed.
    #[track_caller]
    fn records(&self) -> [&Call; 4] {
        let found = self.all("write", &["<n0/.depsync/tree/journal>"]);
        found.try_into().expect("four records")
    }

    /// What was changed at or below a directory of the node, as far as a sync is needed for it.
    fn changes(&self, part: &str) -> Vec<&Call> {
        let names = ["write", "pwrite64", "renameat2", "mkdirat", "fchmod", "utimensat"];
        names.iter().flat_map(|name| self.all(name, &[part])).collect()
    }
}

/// Fails unless `one` was over before `other` began.
#[track_caller]
fn assert_before(one: &Call, other: &Call) {
    assert!(one.ended < other.began, "{one:?} must be over before {other:?}");
}

/// A release that changes names in two directories, content and metadata of what was pushed before.
fn changed() -> Cluster {
    let cluster = Cluster::new(1);
    for name in ["edited", "gone", "mode", "sub/edited"] {
        cluster.write(name, "old");
    }
    cluster.push(&[]).expect(0);
    cluster.write("edited", "new");
    cluster.write("sub/edited", "new, too");
    cluster.write("sub/more/new", "new");
    fs::remove_file(cluster.at("gone")).unwrap();
    chmod(&cluster.at("mode"), 0o600);
    cluster
}

#[test]
fn what_is_staged_is_durable_before_the_hub_decides_and_the_decision_before_anything_is_live() {
    if !require("what_is_staged_is_durable", &["strace", "rsync"]) {
        return;
    }
    // So long that a node that does not wait for them is ahead of them.
    let order = Order::of_push_with(&mut changed(), &["-e", "inject=fsync:delay_enter=150000"]);
    let [begun, prepared, committing, _] = order.records();
    let barrier = order.one("syncfs", &["<n0/.depsync/tree/stage/"]);
    let staged = order.changes("<n0/.depsync/tree/");
    let staged: Vec<&&Call> = staged
        .iter()
        .filter(|call| call.began > begun.began && call.began < committing.began)
        .collect();
    assert!(staged.len() > 8, "{staged:#?}");
    for call in staged {
        assert_before(call, barrier);
    }
    assert_before(prepared, barrier);

    let written = order.one("write", &["/decision/"]);
    let renamed = order.one("renameat2", &["/decision>"]);
    let [new, directory] = ["/decision/", "/decision>"].map(|part| order.one("fsync", &[part]));
    assert_before(barrier, written);
    assert_before(written, new);
    assert_before(new, renamed);
    assert_before(renamed, directory);
    assert_before(directory, committing);
}

#[test]
fn the_journal_is_durable_before_the_first_step_and_every_step_before_it_says_committed() {
    if !require("the_journal_is_durable", &["strace", "rsync"]) {
        return;
    }
    let order = Order::of_push(&mut changed());
    let [_, _, committing, committed] = order.records();
    let syncs = order.all("fdatasync", &["<n0/.depsync/tree/journal>"]);
    let [decided, ended] = syncs[..] else { panic!("{syncs:#?}") };
    assert_before(committing, decided);
    let live = order.changes("<n0/tree");
    let steps = order.changes("<n0/.depsync/tree/stage/");
    let steps = steps.into_iter().filter(|call| call.began > committing.began);
    let steps: Vec<&Call> = steps.chain(live).collect();
    assert!(steps.len() > 8, "{steps:#?}");
    for step in &steps {
        assert_before(decided, step);
    }
    let last = steps.iter().max_by_key(|step| step.ended).unwrap();
    let area = order.all("fsync", &["<n0/.depsync/tree/kept/"]);
    let stage = order.all("fsync", &["<n0/.depsync/tree/stage/"]);
    let [area, stage] = [&area[..], &stage[..]].map(|found| *found.first().expect("a sync"));
    let tops = ["<n0>", "<n0/tree>", "<n0/tree/sub>", "<n0/.depsync/tree/kept>"];
    let tops = tops.map(|part| order.one("fsync", &[part]));
    for sync in tops.into_iter().chain([area, stage]) {
        assert_before(last, sync);
        assert_before(sync, committed);
    }
    // Only then may go what the steps would be carried out from again.
    assert_before(committed, ended);
    let removed = order.all("unlinkat", &["<n0/.depsync/tree/stage"]);
    assert!(!removed.is_empty());
    for call in removed {
        assert_before(ended, call);
    }
}

#[test]
fn many_directories_are_made_durable_by_one_sync_of_the_file_system() {
    if !require("many_directories_are_made_durable", &["strace", "rsync"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    for round in ["old", "new"] {
        for at in 0..70 {
            cluster.write(format!("d{at}/file"), round);
        }
        if round == "old" {
            cluster.push(&[]).expect(0);
        }
    }
    let order = Order::of_push(&mut cluster);
    let [.., committed] = order.records();
    let sync = order.one("syncfs", &["<n0/.depsync/tree/kept/"]);
    let steps = order.changes("<n0/tree");
    assert!(steps.len() >= 70, "{}", steps.len());
    for step in steps {
        assert_before(step, sync);
    }
    assert_before(sync, committed);
}

#[test]
fn a_directory_that_moved_or_has_another_mode_is_durable_before_it_says_committed() {
    if !require("a_directory_that_moved", &["strace", "rsync"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    for name in ["mode/file", "old/in/it", "old/beside"] {
        cluster.write(name, name);
    }
    cluster.push(&[]).expect(0);
    chmod(&cluster.at("mode"), 0o700);
    fs::rename(cluster.at("old"), cluster.at("new")).expect("renamed");
    let order = Order::of_push(&mut cluster);
    let [.., committed] = order.records();
    let moved = order.one("renameat2", &["\"old\"", "\"new\""]);
    let set = order.one("fchmod", &["<n0/tree/mode>"]);
    for (change, part) in [(moved, "<n0/tree>"), (moved, "<n0/tree/new>"), (set, "<n0/tree/mode>")]
    {
        let sync = order.one("fsync", &[part]);
        assert_before(change, sync);
        assert_before(sync, committed);
    }
}

#[test]
fn directories_of_the_state_and_a_new_journal_are_durable_before_anything_rests_on_them() {
    if !require("directories_of_the_state", &["strace", "rsync"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    cluster.write("file", "content");
    let order = Order::of_push(&mut cluster);
    let [begun, ..] = order.records();
    let made = order.all("mkdirat", &[]);
    let is_own = |call: &&&Call| call.began < begun.began && call.text.contains(&order.base);
    let made: Vec<&&Call> = made.iter().filter(is_own).collect();
    assert!(made.len() >= 9, "{made:#?}");
    for call in made {
        let around = call.text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let around = format!("<{}>", around.expect("a handle").0);
        let after = |sync: &&&Call| sync.text.contains(&around) && sync.began > call.ended;
        let syncs = order.all("fsync", &[]);
        let sync = syncs.iter().find(after).unwrap_or_else(|| panic!("{call:?} is not synced"));
        assert_before(sync, begun);
    }
    let written = order.one("write", &["<n0/.depsync/tree/journal.new>"]);
    let synced = order.one("fsync", &["<n0/.depsync/tree/journal.new>"]);
    let renamed = order.one("renameat2", &["\"journal.new\""]);
    assert_before(written, synced);
    assert_before(synced, renamed);
    let directory = order.all("fsync", &["<n0/.depsync/tree>"]);
    let directory = directory.last().expect("a sync");
    assert_before(renamed, directory);
    assert_before(directory, begun);
}

#[test]
fn fault_084_a_torn_tail_is_cut_off_for_good_before_anything_is_written_behind_it() {
    if !require("fault_084_cut", &["strace", "rsync"]) {
        return;
    }
    let mut cluster = changed();
    let journal = cluster.state(0).join("journal");
    let whole = fs::read(&journal).unwrap();
    fs::write(&journal, [&whole[..], &whole[..40]].concat()).unwrap();
    let order = Order::of_push(&mut cluster);
    let [begun, ..] = order.records();
    let cut =
        order.one("ftruncate", &["<n0/.depsync/tree/journal>", &format!(", {}", whole.len())]);
    let sync = order.one("fsync", &["<n0/.depsync/tree/journal>"]);
    assert_before(cut, sync);
    assert_before(sync, begun);
}

#[test]
fn fault_065_an_error_of_the_disk_in_any_round_of_writing_ends_the_push() {
    if !require("fault_065_rounds", &["strace"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    cluster.write("file", "old");
    cluster.push(&[]).expect(0);
    let before = names_below(&cluster.nodes[0]);
    // What is written from behind takes several rounds; the barrier is another thread's first.
    let mut bytes = vec![0u8; 80 << 20];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(at.wrapping_mul(2_654_435_761) >> 13 & 0xff).unwrap();
    }
    cluster.write("big", &bytes);
    let inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=syncfs", "-e"];
    cluster.wrapper = inject.iter().map(ToString::to_string).collect();
    cluster.wrapper.push("inject=syncfs:error=EIO:when=2".into());
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("stage"), "{outcome:#?}");
    assert_eq!(names_below(&cluster.nodes[0]), before);
    assert!(cluster.staged(0).is_empty());
}

#[test]
fn a_file_that_is_changed_during_the_commit_is_told() {
    if !require("a_file_that_is_changed_during_the_commit", &["strace"]) {
        return;
    }
    let mut cluster = changed();
    // Between the steps and the last check there are several of these.
    let slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e"];
    cluster.wrapper = slow.iter().map(ToString::to_string).collect();
    cluster.wrapper.push("inject=fsync:delay_enter=300000".into());
    let live = cluster.on(0, "edited");
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let give_up = Instant::now() + Duration::from_mins(1);
            while fs::read(&live).is_ok_and(|bytes| bytes != b"new") && Instant::now() < give_up {
                std::thread::sleep(Duration::from_millis(5)); // poll: the file is live
            }
            fs::write(&live, "somebody else's").unwrap();
        });
        cluster.push(&[])
    });
    cluster.wrapper.clear();
    outcome.expect(1);
    assert!(outcome.error(0).contains("changed-meanwhile"), "{outcome:#?}");
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}

/// A directory in which nothing can be made, not even by root, until the value is dropped.
struct Immutable<'a>(&'a Path);

impl Immutable<'_> {
    fn set(&self, what: &str) -> bool {
        let mut command = Command::new("chattr");
        command.arg(what).arg(self.0).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Immutable<'_> {
    fn drop(&mut self) {
        if !self.set("-i") {
            eprintln!("{} stays immutable", self.0.display());
        }
    }
}

#[test]
fn a_decision_that_cannot_be_written_changes_no_node() {
    if !require("a_decision_that_cannot_be_written", &["root", "chattr"]) {
        return;
    }
    let cluster = changed();
    let before = names_below(&cluster.nodes[0]);
    let state = fs::read_dir(cluster.path().join("state/depsync")).unwrap().next().unwrap();
    let decisions = state.unwrap().path().join("decision");
    let immutable = Immutable(&decisions);
    if !immutable.set("+i") {
        return skip("a_decision_that_cannot_be_written", "needs attributes of files");
    }
    let outcome = cluster.push(&[]);
    drop(immutable);
    outcome.expect(1);
    assert_eq!(names_below(&cluster.nodes[0]), before);
    assert!(cluster.staged(0).is_empty());
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}
