//! `approach = "shared"`: targets that are one directory, which one node writes and all look at. Directories reached by
//! several names stand for mounts here; `cargo xtask approaches shared` has real ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::cluster::{Cluster, Mount, Outcome, stamps};
use crate::doctor::{assert_found, doctor};

/// A cluster whose `count` targets are one directory.
fn shared(count: usize) -> Cluster {
    let mut cluster = Cluster::new(count);
    for at in 1..count {
        let own = cluster.path().join(format!("n{at}"));
        fs::remove_dir_all(&own).unwrap();
        symlink(cluster.path().join("n0"), &own).unwrap();
    }
    configure(&mut cluster, "allow_local = true");
    cluster
}

fn configure(cluster: &mut Cluster, more: &str) {
    let file = cluster.path().join("shared.toml");
    fs::write(&file, format!("[storage]\napproach = \"shared\"\nshare_wait = \"1s\"\n{more}\n"))
        .unwrap();
    cluster.options = vec!["--config".into(), file.display().to_string()];
}

fn states(outcome: &Outcome, count: usize) -> Vec<&str> {
    (0..count).map(|at| outcome.state(at)).collect()
}

fn kind(outcome: &Outcome, node: usize) -> &str {
    outcome.node(node)["error"]["kind"].as_str().unwrap_or_default()
}

#[test]
fn one_node_writes_and_every_node_says_that_it_sees_the_release() {
    let cluster = shared(3);
    cluster.write("a.car", vec![7; 300_000]);
    cluster.write("conf/b.xml", "<b/>");
    let first = cluster.push(&[]);
    first.expect(0);
    assert_eq!(states(&first, 3), ["committed"; 3]);
    cluster.assert_same();
    assert_eq!(first.count(0, "created"), 2 + 1, "{first:?}");
    assert_eq!(first.count(1, "created"), 0, "a witness changes nothing");
    let before = stamps(&cluster.nodes[0]);
    let second = cluster.push(&[]);
    second.expect(0);
    assert_eq!(states(&second, 3), ["unchanged"; 3]);
    assert_eq!(stamps(&cluster.nodes[0]), before, "a push of nothing touches nothing");
    cluster.write("a.car", "new");
    fs::remove_file(cluster.at("conf/b.xml")).unwrap();
    let third = cluster.push(&[]);
    third.expect(0);
    assert_eq!(states(&third, 3), ["committed"; 3]);
    cluster.assert_same();
}

#[test]
fn drift_on_a_share_shows_at_every_node_and_a_push_or_a_rollback_mends_it() {
    let cluster = shared(2);
    cluster.write("a.xml", "one");
    cluster.push(&[]).expect(0);
    cluster.write("a.xml", "two, longer");
    cluster.push(&[]).expect(0);
    cluster.write_on(1, "a.xml", "somebody else's");
    let verified = cluster.run("verify", &cluster.source(), &[]);
    verified.expect(2);
    assert_eq!(states(&verified, 2), ["differs"; 2]);
    let planned = cluster.plan(&[]);
    planned.expect(2);
    assert_eq!(states(&planned, 2), ["differs"; 2]);
    cluster.push(&[]).expect(0);
    cluster.assert_same();
    let back = cluster.run("rollback", &cluster.source(), &[]);
    back.expect(0);
    assert_eq!(states(&back, 2), ["committed"; 2]);
    assert_eq!(fs::read(cluster.on(1, "a.xml")).unwrap(), b"one");
}

#[test]
fn fault_105_a_node_with_another_share_stops_the_run_before_anything_changes() {
    let mut cluster = Cluster::new(3);
    fs::remove_dir_all(cluster.path().join("n1")).unwrap();
    symlink(cluster.path().join("n0"), cluster.path().join("n1")).unwrap();
    configure(&mut cluster, "allow_local = true");
    cluster.write("a.xml", "one");
    let outcome = cluster.push(&[]);
    outcome.expect(5);
    assert_eq!(outcome.summary()["error"]["kind"], "other-share", "{outcome:?}");
    assert!(outcome.error(2).contains("it is another share, or none"), "{}", outcome.error(2));
    for node in [0, 2] {
        assert_eq!(
            fs::read_dir(&cluster.nodes[node]).unwrap().count(),
            0,
            "node {node} is as it was"
        );
    }
    assert!(cluster.staged(0).is_empty(), "the stage is dropped");
    assert!(!cluster.state(2).exists(), "a witness makes nothing");
}

#[test]
fn fault_105_a_directory_that_is_no_share_is_refused_as_a_mount_point_without_its_mount() {
    let mut cluster = shared(2);
    configure(&mut cluster, "");
    cluster.write("a.xml", "one");
    let outcome = cluster.push(&[]);
    outcome.expect(5);
    assert_eq!(kind(&outcome, 0), "not-mounted", "{outcome:?}");
    assert_eq!(fs::read_dir(cluster.path().join("n0")).unwrap().count(), 1, "no state was made");
}

#[test]
fn a_share_that_is_mounted_on_one_node_alone_deletes_and_writes_nothing() {
    let mut cluster = Cluster::new(2);
    configure(&mut cluster, "allow_local = true");
    cluster.write("a.xml", "one");
    let (first, second) = (cluster.nodes[0].clone(), cluster.nodes[1].clone());
    let share = Mount::new(&["-t", "tmpfs", "share"], &first).expect("tmpfs");
    let bound = Mount::new(&["--bind", &first.display().to_string()], &second).expect("bound");
    cluster.push(&[]).expect(0);
    assert_eq!(fs::read(second.join("a.xml")).unwrap(), b"one");
    drop(bound);
    cluster.write("a.xml", "two");
    let outcome = cluster.push(&[]);
    outcome.expect(5);
    assert_eq!(kind(&outcome, 1), "other-share");
    assert_eq!(fs::read(first.join("a.xml")).unwrap(), b"one", "the share is as it was");
    assert_eq!(fs::read_dir(&second).unwrap().count(), 0, "nothing is put below the mount point");
    drop(share);
    let gone = cluster.push(&[]);
    assert_ne!(gone.code, Some(0), "both mount points are bare: {gone:?}");
    let empty = |path: &Path| fs::read_dir(path).unwrap().count() == 0;
    assert!(empty(&second), "{gone:?}");
}

#[test]
fn the_next_node_writes_where_the_first_cannot_be_reached() {
    let cluster = shared(2);
    cluster.write("a.xml", "one");
    let mut command = cluster.command("push");
    command.arg("--source").arg(cluster.source());
    let gone = format!("ssh://127.0.0.1:1{}", cluster.nodes[0].display());
    command.args(["--node", &gone, "--known-hosts", "/dev/null"]);
    for node in &cluster.nodes {
        command.arg("--node").arg(node);
    }
    let outcome = Outcome::of(&mut command);
    outcome.expect(3);
    let found: Vec<_> = outcome.lines.iter().filter_map(|line| line["state"].as_str()).collect();
    assert_eq!(found, ["unreachable", "committed", "committed"], "{outcome:?}");
    cluster.assert_same();
}

#[test]
fn targets_of_a_share_that_are_called_otherwise_are_refused_before_anything_is_asked() {
    let cluster = shared(1);
    let mut command = cluster.command("push");
    command.arg("--source").arg(cluster.source()).arg("--node").arg(&cluster.nodes[0]);
    let outcome = Outcome::of(command.arg("--node").arg(cluster.path().join("n0/other")));
    outcome.expect(64);
    assert!(!cluster.path().join("state").exists());
}

#[test]
fn doctor_names_a_node_with_another_share_and_one_with_none() {
    let mut cluster = shared(2);
    cluster.write("a.xml", "one");
    assert_found(&doctor(&cluster, &[]), &[]);
    cluster.push(&[]).expect(0);
    let other = cluster.path().join("n2/tree");
    fs::create_dir_all(&other).unwrap();
    cluster.nodes.push(other);
    let stamps_of = |cluster: &Cluster| ["n0", "n2"].map(|name| stamps(&cluster.path().join(name)));
    let before = stamps_of(&cluster);
    assert_found(&doctor(&cluster, &[]), &["n2 other-share error"]);
    configure(&mut cluster, "");
    let bare = ["n0 not-mounted error", "n1 not-mounted error", "n2 not-mounted error"];
    assert_found(&doctor(&cluster, &[]), &bare);
    cluster.options.clear();
    assert_found(&doctor(&cluster, &[]), &["n1 same-directory error"]);
    assert_eq!(stamps_of(&cluster), before, "something was changed");
}
