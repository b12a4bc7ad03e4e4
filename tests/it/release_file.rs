//! `depsync release` and `depsync apply`: a release in a file, and a host that is brought to it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{
    Cluster, Outcome, assert_rsync_agrees, assert_same, chmod, names_below, set_mtime, stamps,
};
use crate::prerequisite::require;

/// A host with one directory, and a source elsewhere.
struct Host(Cluster);

impl Host {
    /// With a source of all kinds of names.
    fn new() -> Self {
        let cluster = Cluster::new(1);
        cluster.write("plain", "text");
        cluster.write("dir/same", "text");
        cluster.write("dir/big", noise(300_000));
        cluster.write("dir/'quo ted' $x%\n\u{fc}", "odd");
        fs::create_dir(cluster.at("empty")).expect("a directory");
        symlink("../plain", cluster.at("dir/link")).expect("a link");
        chmod(&cluster.at("plain"), 0o640);
        chmod(&cluster.at("empty"), 0o2750);
        set_mtime(&cluster.at("plain"), 1_000_000_007, 123_456_789);
        set_mtime(&cluster.at("dir/link"), 1_000_000_009, 5);
        let sparse = fs::File::create(cluster.at("sparse")).expect("a file");
        sparse.set_len(4 << 20).expect("a hole");
        Self(cluster)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("shop.depsync")
    }

    fn release(&self, more: &[&str]) -> Outcome {
        let mut command = self.0.command("release");
        Outcome::of(command.arg(self.file()).arg(self.0.source()).args(more))
    }

    fn apply(&self, more: &[&str]) -> Outcome {
        self.apply_file(&self.file(), more)
    }

    fn apply_file(&self, file: &Path, more: &[&str]) -> Outcome {
        let mut command = self.0.command("apply");
        Outcome::of(command.arg(file).arg("--target").arg(self.target()).args(more))
    }

    fn target(&self) -> &Path {
        &self.0.nodes[0]
    }
}

/// Bytes that do not shrink.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn a_host_is_brought_to_the_release_and_stays_as_it_is() {
    let host = Host::new();
    let line = host.release(&["--hard-links"]).expect(0).lines[0].clone();
    assert_eq!((&line["type"], &line["format_version"]), (&"release-file".into(), &1.into()));
    let meta = fs::metadata(host.file()).expect("the file");
    assert_eq!(line["file_bytes"], meta.len());
    assert_eq!(meta.mode() & 0o777, 0o600, "what is deployed may hold credentials");
    // The source is of no more use to anyone.
    let source = host.0.path().join("elsewhere");
    fs::rename(host.0.source(), &source).expect("renamed");

    let applied = host.apply(&["--detailed-exitcode"]);
    assert_eq!(applied.expect(2).state(0), "committed");
    assert_eq!(applied.summary()["release"], line["release"]);
    assert_same(&source, host.target());
    assert_rsync_agrees(&source, host.target(), &[]);

    let before = stamps(host.target());
    assert_eq!(host.apply(&["--detailed-exitcode"]).expect(0).state(0), "unchanged");
    assert_eq!(host.apply(&[]).expect(0).state(0), "unchanged");
    assert_eq!(stamps(host.target()), before, "the second one writes nothing");
}

#[test]
fn check_tells_what_apply_does_and_changes_nothing() {
    let host = Host::new();
    host.release(&[]).expect(0);
    host.apply(&[]).expect(0);
    host.0.write_on(0, "plain", "drift");
    host.0.write_on(0, "extra", "more");
    fs::remove_file(host.0.on(0, "dir/same")).expect("removed");
    let before = stamps(host.target());

    let told = host.apply(&["--check", "--diff"]);
    assert_eq!(told.expect(0).state(0), "differs");
    assert_eq!(host.apply(&["--check", "--detailed-exitcode"]).code, Some(2));
    assert_eq!(stamps(host.target()), before);
    let done = host.apply(&["--diff"]);
    done.expect(0);
    assert_eq!(told.changes(), done.changes());
    let change = |path: &str| {
        let changes = done.changes();
        changes.into_iter().find(|(name, _)| name == path).map(|(_, change)| change)
    };
    assert_eq!(change("plain").as_deref(), Some("update"));
    assert_eq!(change("extra").as_deref(), Some("delete"));
    assert_eq!(change("dir/same").as_deref(), Some("create"));
    assert_same(&host.0.source(), host.target());
}

#[test]
fn the_same_release_is_the_same_bytes_and_replaces_only_its_like() {
    let host = Host::new();
    host.release(&[]).expect(0);
    let first = fs::read(host.file()).expect("the file");
    host.release(&[]).expect(0);
    assert_eq!(fs::read(host.file()).expect("the file"), first);

    fs::write(host.file(), "my notes").expect("written");
    let refused = host.release(&[]);
    refused.expect(64);
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    assert_eq!(fs::read(host.file()).expect("the file"), b"my notes");
    host.release(&["--force"]).expect(0);
    assert_eq!(fs::read(host.file()).expect("the file"), first);
}

#[test]
fn the_guards_on_the_source_hold_and_no_file_is_left() {
    let host = Host(Cluster::new(1));
    let refused = host.release(&[]);
    refused.expect(5);
    host.release(&["--allow-empty"]).expect(0);
    fs::remove_file(host.file()).expect("removed");
    fs::remove_dir(host.0.source()).expect("removed");
    host.release(&[]).expect(64);
    let names: Vec<_> = names_below(host.0.path()).into_keys().collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("shop")), "{names:?}");
}

#[test]
fn the_guards_on_the_target_hold() {
    let host = Host::new();
    host.release(&[]).expect(0);
    for number in 0..40 {
        host.0.write_on(0, format!("own/{number}"), "theirs");
    }
    let before = stamps(host.target());
    let refused = host.apply(&[]);
    refused.expect(5);
    assert_eq!(stamps(host.target()), before);
    host.apply(&["--no-delete"]).expect(0);
    assert!(host.0.on(0, "own/7").exists() && host.0.on(0, "plain").exists());
    host.apply(&["--max-delete", "100%"]).expect(0);
    assert_same(&host.0.source(), host.target());
}

#[test]
fn fault_136_and_137_a_damaged_release_file_is_refused_whole() {
    let host = Host::new();
    host.release(&[]).expect(0);
    let whole = fs::read(host.file()).expect("the file");
    let damaged = host.0.path().join("damaged");
    let before = stamps(host.target());
    let middle = whole.len() / 2;
    let mut turned = whole.clone();
    turned[middle] ^= 1;
    let cases: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("cut to its head", whole[..20].to_vec()),
        ("cut", whole[..middle].to_vec()),
        ("cut by a byte", whole[..whole.len() - 1].to_vec()),
        ("turned", turned),
        ("longer", [&whole[..], b"\n"].concat()),
    ];
    for (what, bytes) in cases {
        fs::write(&damaged, bytes).expect("written");
        for mode in [&[][..], &["--check"]] {
            let refused = host.apply_file(&damaged, mode);
            assert_eq!(refused.code, Some(8), "{what}: {refused:?}");
            assert!(refused.stderr.contains("damaged") && refused.stderr.contains("hint:"));
        }
    }
    host.apply_file(&host.0.path().join("none"), &[]).expect(64);
    host.apply_file(host.0.path(), &[]).expect(64);
    assert_eq!(stamps(host.target()), before);
    assert!(!host.0.state(0).exists(), "nobody looked at the target");
}

#[test]
fn fault_135_a_release_file_that_others_may_write_is_refused() {
    let host = Host::new();
    host.release(&[]).expect(0);
    chmod(&host.file(), 0o666);
    let refused = host.apply(&[]);
    refused.expect(64);
    assert!(refused.stderr.contains("others may write it"), "{refused:?}");
}

#[test]
fn what_was_applied_has_a_history_and_can_be_rolled_back() {
    let host = Host::new();
    host.release(&[]).expect(0);
    host.apply(&["-m", "the first"]).expect(0);
    let old = names_below(host.target());
    host.0.write("plain", "new");
    host.release(&[]).expect(0);
    host.apply(&[]).expect(0);
    let of_target = |what: &str| {
        let mut command = host.0.command(what);
        Outcome::of(command.arg("--source").arg(host.target()).arg("--node").arg(host.target()))
    };
    let runs = of_target("history").expect(0).lines.clone();
    assert_eq!((&runs[0]["act"], &runs[1]["message"]), (&"apply".into(), &"the first".into()));
    of_target("rollback").expect(0);
    assert_eq!(names_below(host.target()), old);
    assert_eq!(host.apply(&[]).expect(0).state(0), "committed", "an apply says what is wanted");
}

#[test]
fn fault_079_an_apply_that_is_killed_anywhere_is_old_or_new_and_ends_next_time() {
    if !require("fault_079_apply", &["strace"]) {
        return;
    }
    // Every rename: of the hub's own state, of the decision, into the live tree.
    let mut ends = Vec::new();
    for at in 1.. {
        let mut host = Host::new();
        host.0.write_on(0, "old", "of before");
        let old = names_below(host.target());
        host.release(&[]).expect(0);
        let fault = format!("inject=renameat,renameat2:signal=KILL:when={at}");
        let words =
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat,renameat2", "-e"];
        host.0.wrapper = words.iter().map(ToString::to_string).chain([fault]).collect();
        let killed = host.apply(&["--max-delete", "100%"]);
        host.0.wrapper.clear();
        if killed.code == Some(0) {
            break;
        }
        let new = names_below(&host.0.source());
        let mut recover = Command::new(env!("CARGO_BIN_EXE_depsync"));
        recover.args(["agent", "--recover"]).arg(host.target());
        assert!(recover.output().expect("it starts").status.success());
        let recovered = names_below(host.target());
        assert!(recovered == old || recovered == new, "kill {at}");
        host.apply(&["--max-delete", "100%"]).expect(0);
        assert_same(&host.0.source(), host.target());
        assert!(host.0.staged(0).is_empty());
        ends.push(recovered == new);
    }
    assert!(ends.len() > 8 && ends.contains(&false) && ends.contains(&true), "{ends:?}");
}
