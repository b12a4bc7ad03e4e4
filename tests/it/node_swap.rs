//! `commit = "swap"`: one rename, no mix, and what speaks against it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cluster::{Cluster, Mount, assert_same, names_below, stamps};
use crate::prerequisite::{require, skip};

fn swapping(count: usize) -> Cluster {
    let mut cluster = Cluster::new(count);
    cluster.options = vec!["--commit".into(), "swap".into()];
    cluster
}

/// Every file of the release tells which one it is.
fn write_release(cluster: &Cluster, release: usize) {
    for at in 0..40 {
        cluster.write(format!("d{}/leaf{at}", at % 4), release.to_string());
    }
    cluster.write("same", "in every release");
}

#[test]
fn a_swap_gives_the_release_and_the_next_push_writes_nothing() {
    let cluster = swapping(2);
    for release in 0..4 {
        write_release(&cluster, release);
        cluster.write(format!("only-in-{release}"), "x");
        fs::remove_file(cluster.at(format!("only-in-{}", release + 7))).unwrap_or_default();
        cluster.push(&[]).expect(0);
        cluster.assert_same();
        assert!(cluster.staged(0).is_empty() && cluster.staged(1).is_empty());
    }
    let before = stamps(&cluster.nodes[0]);
    let again = cluster.push(&[]);
    again.expect(0);
    assert_eq!(again.state(0), "unchanged");
    assert_eq!(stamps(&cluster.nodes[0]), before);
}

#[test]
fn a_swap_keeps_what_went_and_no_second_copy_of_what_stayed() {
    let cluster = swapping(1);
    write_release(&cluster, 1);
    cluster.push(&[]).expect(0);
    cluster.write_on(0, "d1/extra", "somebody's own");
    write_release(&cluster, 2);
    cluster.push(&[]).expect(0);
    let kept = cluster.kept(0);
    assert!(kept.contains(&b"somebody's own".to_vec()));
    assert_eq!(kept.iter().filter(|bytes| **bytes == b"1").count(), 40);
    assert!(!kept.contains(&b"in every release".to_vec()));
    write_release(&cluster, 1);
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}

#[test]
fn a_swap_shares_no_inode_with_the_tree_before() {
    let cluster = swapping(1);
    write_release(&cluster, 1);
    cluster.push(&[]).expect(0);
    let inode = |name: &str| fs::metadata(cluster.on(0, name)).unwrap().ino();
    let (root, same) = (inode(""), inode("same"));
    write_release(&cluster, 2);
    cluster.push(&[]).expect(0);
    assert!(inode("") != root && inode("same") != same);
    assert_eq!(fs::metadata(cluster.on(0, "same")).unwrap().nlink(), 1);
}

/// Reads all of the tree at `root` beneath one handle; gives the releases that its files belong to.
fn releases_seen(root: &Path) -> Vec<Vec<u8>> {
    let handle = fs::File::open(root).expect("the root is always there");
    let beneath = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
    let mut seen = Vec::new();
    for at in 0..40 {
        let path = Path::new(&beneath).join(format!("d{}/leaf{at}", at % 4));
        seen.push(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    }
    seen.dedup();
    seen
}

#[test]
fn whoever_looks_during_a_swap_sees_one_release_and_never_a_mix() {
    let cluster = swapping(1);
    write_release(&cluster, 0);
    cluster.push(&[]).expect(0);
    let (root, is_over) = (cluster.nodes[0].clone(), AtomicBool::new(false));
    let (looks, releases) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut looks, mut releases) = (0, std::collections::BTreeSet::new());
            while !is_over.load(Ordering::Relaxed) {
                let seen = releases_seen(&root);
                assert_eq!(seen.len(), 1, "a mix: {seen:?}");
                releases.extend(seen);
                looks += 1;
            }
            (looks, releases)
        });
        for release in 1..12 {
            write_release(&cluster, release);
            // The old tree goes to the kept area as a whole, where a reader that came before still finds it.
            cluster.push(&[]).expect(0);
        }
        is_over.store(true, Ordering::Relaxed);
        watcher.join().expect("no mix")
    });
    assert!(looks > 11 && releases.len() > 3, "{looks} looks saw {} releases", releases.len());
}

#[test]
fn a_swap_is_refused_where_something_is_to_stay() {
    let mut cluster = swapping(1);
    write_release(&cluster, 1);
    cluster.push(&[]).expect(0);
    cluster.write_on(0, "d1/local.log", "x");
    write_release(&cluster, 2);
    let before = names_below(&cluster.nodes[0]);
    for options in [&["--no-delete"][..], &["--exclude", "*.log"]] {
        let outcome = cluster.push(options);
        outcome.expect(1);
        let error = outcome.error(0);
        assert!(error.contains("swap-keeps") && error.contains("d1/local.log"), "{error}");
        assert!(error.contains("in-place"), "{error}");
        assert_eq!(names_below(&cluster.nodes[0]), before);
    }
    let config = cluster.path().join("depsync.toml");
    fs::write(&config, "[guard]\nprotect = [\"*.log\"]\n").expect("written");
    let outcome = cluster.push(&["--config", &config.display().to_string()]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("swap-keeps"), "{}", outcome.error(0));
    cluster.options.clear();
    cluster.push(&["--no-delete"]).expect(0);
    assert!(cluster.on(0, "d1/local.log").exists());
}

#[test]
fn a_swap_of_one_tree_below_a_home_leaves_the_rest_and_several_are_refused() {
    let cluster = swapping(1);
    let config = cluster.path().join("depsync.toml");
    let with = config.display().to_string();
    for name in ["a/server/x", "a/other/y"] {
        cluster.write(name, "1");
    }
    cluster.write_on(0, "a/own", "stays");
    fs::write(&config, "[cluster]\ntrees = [\"a/server\"]\n").expect("written");
    cluster.push(&["--config", &with]).expect(0);
    cluster.write("a/server/x", "2");
    cluster.push(&["--config", &with]).expect(0);
    assert_same(&cluster.at("a/server"), &cluster.on(0, "a/server"));
    assert_eq!(fs::read(cluster.on(0, "a/own")).expect("read"), b"stays");
    assert!(!cluster.on(0, "a/other").exists());
    fs::write(&config, "[cluster]\ntrees = [\"a/server\", \"a/other\"]\n").expect("written");
    let outcome = cluster.push(&["--config", &with]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("swap-trees"), "{}", outcome.error(0));
}

#[test]
fn a_swap_of_a_mount_point_is_refused_with_the_reason() {
    if !require("a_swap_of_a_mount_point", &["root"]) {
        return;
    }
    let mut cluster = swapping(1);
    let Some(_mount) = Mount::new(&["-t", "tmpfs", "-o", "size=32m", "t"], &cluster.nodes[0])
    else {
        return skip("a_swap_of_a_mount_point", "needs a tmpfs");
    };
    write_release(&cluster, 1);
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    let error = outcome.error(0);
    assert!(error.contains("swap-mount-point") && error.contains("mount point"), "{error}");
    cluster.options.clear();
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}
