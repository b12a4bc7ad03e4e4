//! `depsync verify`: drift is told by its class and changes nothing; `--repair` undoes exactly that.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, assert_names, chmod, names_below, run, set_mtime, stamps};
use crate::prerequisite::require;
use crate::ssh_server::eventually;

/// Path and drift of each change line.
fn drifts(outcome: &crate::cluster::Outcome) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let lines = outcome.lines.iter().filter(|line| line["type"] == "change");
    lines.map(|line| (text(&line["path"]), text(&line["drift"]))).collect()
}

fn deployed(count: usize) -> Cluster {
    let cluster = Cluster::new(count);
    for name in ["a", "b", "c", "d/e", "d/f", "deep/er/still"] {
        cluster.write(name, format!("content of {name}"));
    }
    cluster.push(&[]).expect(0);
    cluster
}

#[test]
fn a_node_as_deployed_is_verified_and_nothing_is_written_whatever_the_source_is_by_now() {
    let cluster = deployed(2);
    cluster.write("a", "the source went on");
    let before = stamps(&cluster.nodes[0]);
    for options in [&[][..], &["--deep"]] {
        let outcome = cluster.run("verify", &cluster.source(), options);
        outcome.expect(0);
        assert_eq!((outcome.state(0), outcome.state(1)), ("unchanged", "unchanged"));
    }
    assert_eq!(stamps(&cluster.nodes[0]), before);
}

#[test]
fn verify_before_any_push_is_a_difference() {
    let cluster = Cluster::new(1);
    cluster.write("a", "x");
    let outcome = cluster.run("verify", &cluster.source(), &[]);
    outcome.expect(2);
    assert!(outcome.stderr.contains("nothing was deployed"), "{}", outcome.stderr);
    assert!(!cluster.state(0).exists());
}

#[test]
fn every_class_of_drift_is_told_and_repaired_and_the_other_node_is_left_alone() {
    let cluster = deployed(2);
    let (released, other) = (names_below(&cluster.nodes[0]), stamps(&cluster.nodes[1]));
    fs::remove_file(cluster.on(0, "a")).expect("removed");
    cluster.write_on(0, "b", "edited");
    cluster.write_on(0, "b.back", "rejected");
    cluster.write_on(0, "d/own", "extra");
    chmod(&cluster.on(0, "d/e"), 0o600);
    fs::remove_file(cluster.on(0, "d/f")).expect("removed");
    symlink("e", cluster.on(0, "d/f")).expect("a link");
    set_mtime(&cluster.on(0, "deep/er/still"), 1_000_000, 7);
    let drifted = names_below(&cluster.nodes[0]);
    let outcome = cluster.run("verify", &cluster.source(), &[]);
    outcome.expect(2);
    let found = drifts(&outcome);
    for expected in [
        ("a", "missing"),
        ("b", "modified"),
        ("b.back", "rejected"),
        ("d/own", "extra"),
        ("d/e", "metadata"),
        ("d/f", "modified"),
        ("deep/er/still", "metadata"),
    ] {
        let is_told = found.iter().any(|(path, drift)| (path.as_str(), drift.as_str()) == expected);
        assert!(is_told, "{expected:?} in {found:?}");
    }
    assert_eq!((outcome.state(0), outcome.state(1)), ("differs", "unchanged"));
    assert_names(&drifted, &names_below(&cluster.nodes[0]));
    cluster.run("verify", &cluster.source(), &["--repair", "--force"]).expect(0);
    assert_names(&released, &names_below(&cluster.nodes[0]));
    assert_eq!(stamps(&cluster.nodes[1]), other);
    cluster.run("verify", &cluster.source(), &["--deep"]).expect(0);
}

#[test]
fn what_a_server_rejected_is_told_with_the_time_and_pushed_again_for_a_new_release_alone() {
    let cluster = deployed(2);
    let (before, other) = (names_below(&cluster.nodes[0]), stamps(&cluster.nodes[1]));
    // As the server does it: the new version aside, the old one back.
    fs::rename(cluster.on(0, "d/e"), cluster.on(0, "d/e.back")).expect("renamed");
    cluster.write_on(0, "d/e", "the old version");
    let rejected = names_below(&cluster.nodes[0]);
    let verify = cluster.run("verify", &cluster.source(), &[]);
    verify.expect(2);
    let notes = verify.node(0)["notes"].to_string();
    let today = |text: &str| text.contains("rejected d/e (20") && text.contains("Z)");
    assert!(today(&notes), "{notes}");
    for (what, options) in [("push", &[][..]), ("verify", &["--repair"])] {
        let outcome = cluster.run(what, &cluster.source(), options);
        outcome.expect(3);
        let error = outcome.error(0);
        assert!(today(&error) && error.contains("--force"), "{error}");
        assert_eq!((outcome.state(0), outcome.state(1)), ("refused", "unchanged"));
        assert_names(&rejected, &names_below(&cluster.nodes[0]));
    }
    assert_eq!(stamps(&cluster.nodes[1]), other);
    cluster.push(&["--force"]).expect(0);
    assert_names(&before, &names_below(&cluster.nodes[0]));
    // A new release goes to all, and a node whose server is at odds with the last one holds up none of them.
    fs::rename(cluster.on(0, "d/e"), cluster.on(0, "d/e.back")).expect("renamed");
    cluster.write_on(0, "d/e", "the old version");
    cluster.write_on(1, "d/f", "edited");
    let outcome = cluster.push(&[]);
    outcome.expect(3);
    assert_eq!((outcome.state(0), outcome.state(1)), ("refused", "committed"));
    cluster.write("d/e", "mended");
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}

#[test]
fn a_copy_put_aside_beside_an_artifact_as_released_is_drift_and_no_rejection() {
    let cluster = deployed(1);
    let released = names_below(&cluster.nodes[0]);
    cluster.write_on(0, "a.back", "from long ago");
    set_mtime(&cluster.on(0, "a"), 1_000_000, 7);
    let verify = cluster.run("verify", &cluster.source(), &[]);
    verify.expect(2);
    assert!(drifts(&verify).contains(&("a.back".to_owned(), "extra".to_owned())));
    cluster.run("verify", &cluster.source(), &["--repair"]).expect(0);
    assert_names(&released, &names_below(&cluster.nodes[0]));
}

#[test]
fn a_deep_verify_reads_no_faster_than_it_may() {
    let cluster = Cluster::new(1);
    cluster.write("large", vec![b'x'; 3 << 20]);
    cluster.push(&[]).expect(0);
    let deep = |rate: &str| {
        let started = Instant::now();
        let outcome = cluster.run("verify", &cluster.source(), &["--deep", "--read-rate", rate]);
        outcome.expect(0);
        started.elapsed()
    };
    assert!(deep("1M") >= Duration::from_secs(3));
}

#[test]
fn a_repair_takes_content_from_the_node_first_and_names_what_is_nowhere() {
    let cluster = deployed(1);
    let released = names_below(&cluster.nodes[0]);
    // Moved away by hand: the node has it still. The source is of no use.
    fs::rename(cluster.on(0, "a"), cluster.on(0, "moved")).expect("renamed");
    fs::rename(cluster.source(), cluster.path().join("unmounted")).expect("renamed");
    let repair = || cluster.run("verify", &cluster.source(), &["--repair"]);
    repair().expect(0);
    assert_names(&released, &names_below(&cluster.nodes[0]));
    cluster.write_on(0, "d/e", "edited");
    let drifted = names_below(&cluster.nodes[0]);
    let outcome = repair();
    outcome.expect(1);
    assert!(outcome.error(0).contains("content-missing"), "{}", outcome.error(0));
    assert!(outcome.error(0).contains("d/e"), "{}", outcome.error(0));
    assert_names(&drifted, &names_below(&cluster.nodes[0]));
    fs::rename(cluster.path().join("unmounted"), cluster.source()).expect("renamed");
    cluster.write("d/f", "the source went on");
    repair().expect(0);
    assert_names(&released, &names_below(&cluster.nodes[0]));
}

#[test]
fn only_a_deep_verify_finds_what_the_stat_of_a_file_does_not_show() {
    if !require("only_a_deep_verify", &["root", "mkfs.ext4", "debugfs", "losetup"]) {
        return;
    }
    let cluster = Cluster::new(1);
    let around = cluster.path().join("n0");
    let image = around.with_extension("image");
    let file = fs::File::create(&image).expect("an image");
    file.set_len(16 << 20).expect("its length");
    let options = ["-q", "-F", "-b", "1024", "-O", "^has_journal"];
    run(Command::new("mkfs.ext4").args(options).arg(&image));
    // One device all the time: on another one it would be another tree, and read as a whole.
    let Some(device) = LoopDevice::of(&image) else {
        return crate::prerequisite::skip("only_a_deep_verify", "needs a loop device");
    };
    let mount = || crate::cluster::Mount::new(&[&device.0], &around).expect("mounted");
    let mounted = mount();
    fs::create_dir(&cluster.nodes[0]).expect("a directory");
    cluster.write("rotten", "what was deployed, and what should be there".repeat(200));
    cluster.push(&[]).expect(0);
    // A stamp is trusted once it is older than the clock's steps, and the index knows it from the next push on.
    let pushed = Instant::now();
    eventually("the stamp is old", || pushed.elapsed() > Duration::from_millis(200));
    cluster.push(&[]).expect(0);
    cluster.run("verify", &cluster.source(), &[]).expect(0);
    let block = {
        let said = run(Command::new("debugfs").args(["-R", "bmap /tree/rotten 0"]).arg(&image));
        said.trim().parse::<u64>().expect("a block")
    };
    drop(mounted);
    flip(&image, block * 1024 + 10);
    let _mounted = mount();
    cluster.run("verify", &cluster.source(), &[]).expect(0);
    let outcome = cluster.run("verify", &cluster.source(), &["--deep"]);
    outcome.expect(2);
    assert_eq!(drifts(&outcome), [("rotten".to_owned(), "modified".to_owned())]);
    cluster.run("verify", &cluster.source(), &["--deep", "--repair"]).expect(0);
    cluster.assert_same();
}

/// A loop device for as long as this lives.
struct LoopDevice(String);

impl LoopDevice {
    fn of(image: &std::path::Path) -> Option<Self> {
        let set_up = Command::new("losetup").args(["--find", "--show"]).arg(image).output().ok()?;
        let name = String::from_utf8_lossy(&set_up.stdout).trim().to_owned();
        set_up.status.success().then_some(Self(name))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        run(Command::new("losetup").args(["--detach", &self.0]));
    }
}

/// Changes one byte of the image, which no stat of a file in it shows.
fn flip(image: &std::path::Path, at: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::OpenOptions::new().read(true).write(true).open(image).expect("the image");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 1], at).expect("written");
    file.sync_all().expect("synced");
}
