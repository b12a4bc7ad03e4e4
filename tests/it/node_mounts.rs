//! File systems: mounts in the way, kinds of them, and full ones (faults 15, 48, 49, 55, 61 to 64, 98).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cluster::{Cluster, Mount, chmod, names_below, run, set_mtime, stamps};
use crate::prerequisite::{require, skip};

const TMPFS: [&str; 5] = ["-t", "tmpfs", "-o", "size=32m", "t"];

#[test]
fn fault_048_a_state_directory_on_another_file_system_is_refused() {
    if !require("fault_048", &["root"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    cluster.write("file", "x");
    let elsewhere = cluster.path().join("elsewhere");
    let Some(_mount) = Mount::new(&TMPFS, &elsewhere) else {
        return skip("fault_048", "needs a tmpfs");
    };
    let config = cluster.path().join("depsync.toml");
    let line = format!("[storage]\nstate_dir = \"{}/state\"\n", elsewhere.display());
    fs::write(&config, line).expect("written");
    cluster.options = vec!["--config".into(), config.display().to_string()];
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("another file system"), "{}", outcome.error(0));
    assert!(!cluster.on(0, "file").exists());
    let own = cluster.path().join("own");
    fs::write(&config, format!("[storage]\nstate_dir = \"{}\"\n", own.display())).expect("written");
    fs::create_dir(&own).expect("a directory");
    chmod(&own, 0o700);
    cluster.push(&[]).expect(0);
    cluster.assert_same();
    assert!(!cluster.state(0).exists(), "the state is where it was asked for");
}

#[test]
fn fault_049_what_is_mounted_below_a_target_is_refused_by_name_or_left_alone() {
    if !require("fault_049", &["root"]) {
        return;
    }
    let cluster = Cluster::new(1);
    cluster.write("file", "x");
    cluster.push(&[]).expect(0);
    cluster.write("file", "y");
    for arguments in [&TMPFS[..], &["--bind", "/usr/share"][..]] {
        let Some(_mount) = Mount::new(arguments, &cluster.on(0, "d/mounted")) else {
            return skip("fault_049", "cannot mount");
        };
        let outcome = cluster.push(&[]);
        outcome.expect(1);
        assert!(outcome.error(0).contains("d/mounted"), "{}", outcome.error(0));
        assert_eq!(fs::read(cluster.on(0, "file")).expect("read"), b"x");
    }
    {
        let _mount = Mount::new(&TMPFS, &cluster.on(0, "d/mounted")).expect("mounted");
        cluster.write_on(0, "d/mounted/precious", "x");
        cluster.push(&["--exclude", "/d/mounted/"]).expect(0);
        assert_eq!(fs::read(cluster.on(0, "file")).expect("read"), b"y");
        assert!(cluster.on(0, "d/mounted/precious").exists());
    }
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}

#[test]
fn fault_049_a_root_that_is_a_mount_point_holds_its_own_state() {
    if !require("fault_049_root", &["root"]) {
        return;
    }
    let cluster = Cluster::new(1);
    cluster.write("d/file", "x");
    let Some(_mount) = Mount::new(&TMPFS, &cluster.nodes[0]) else {
        return skip("fault_049_root", "needs a tmpfs");
    };
    cluster.write_on(0, "extra", "x");
    cluster.push(&[]).expect(0);
    cluster.assert_same();
    assert!(cluster.on(0, ".depsync/tree/journal").exists());
    assert!(!cluster.path().join("n0/.depsync").exists());
    assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
    cluster.write("d/file", "y");
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}

/// Everything that a push does, on a node of the given file system.
fn scenario(cluster: &Cluster) {
    cluster.write("d/changed", vec![1; 100_000]);
    cluster.write("d/renamed", vec![2; 50_000]);
    cluster.write("removed/deep/er", "x");
    cluster.write("flip/below", "x");
    cluster.write("flop", "x");
    std::os::unix::fs::symlink("d", cluster.at("link")).expect("a link");
    cluster.push(&[]).expect(0);
    cluster.assert_same();
    cluster.write("d/changed", vec![3; 90_000]);
    fs::rename(cluster.at("d/renamed"), cluster.at("elsewhere")).expect("renamed");
    fs::remove_dir_all(cluster.at("removed")).expect("removed");
    fs::remove_dir_all(cluster.at("flip")).expect("removed");
    fs::remove_file(cluster.at("flop")).expect("removed");
    cluster.write("flip", "a file");
    cluster.write("flop/below", "a directory");
    chmod(&cluster.at("d"), 0o700);
    set_mtime(&cluster.at("d"), 1_234_567_890, 123_456_789);
    let outcome = cluster.push(&[]);
    outcome.expect(0);
    cluster.assert_same();
    let before = stamps(&cluster.nodes[0]);
    assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
    assert_eq!(before, stamps(&cluster.nodes[0]));
}

fn on_image(kind: &str, mebibytes: u64, more: &[&str]) {
    let test = format!("fault_055_{kind}");
    if !require(&test, &["root", "rsync", &format!("mkfs.{kind}")]) {
        return;
    }
    let cluster = Cluster::new(1);
    let Some(_mount) = Mount::image(kind, mebibytes, more, &cluster.path().join("n0")) else {
        return skip(&test, "the kernel does not mount it");
    };
    fs::create_dir(&cluster.nodes[0]).expect("a directory");
    scenario(&cluster);
}

#[test]
fn fault_055_ext4() {
    on_image("ext4", 32, &["-q"]);
}

#[test]
fn fault_055_xfs() {
    on_image("xfs", 320, &["-q"]);
}

#[test]
fn fault_055_btrfs() {
    on_image("btrfs", 128, &["-q"]);
}

#[test]
fn fault_055_tmpfs() {
    if !require("fault_055_tmpfs", &["root", "rsync"]) {
        return;
    }
    let cluster = Cluster::new(1);
    let Some(_mount) = Mount::new(&TMPFS, &cluster.path().join("n0")) else {
        return skip("fault_055_tmpfs", "needs a tmpfs");
    };
    fs::create_dir(&cluster.nodes[0]).expect("a directory");
    scenario(&cluster);
}

#[test]
fn fault_055_overlayfs_as_in_a_container() {
    if !require("fault_055_overlayfs", &["root", "rsync"]) {
        return;
    }
    let cluster = Cluster::new(1);
    let at = |name: &str| {
        let path = cluster.path().join(name);
        fs::create_dir_all(&path).expect("a directory");
        path
    };
    let (lower, upper, work) = (at("lower"), at("upper"), at("work"));
    // What a container's image holds lies in the lower layer.
    for (name, text) in [("d/changed", "of the image"), ("gone/deep/file", "x"), ("flop", "y")] {
        let path = lower.join("tree").join(name);
        fs::create_dir_all(path.parent().unwrap()).expect("parents");
        fs::write(path, text).expect("written");
    }
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let around = cluster.path().join("n0");
    let Some(_mount) = Mount::new(&["-t", "overlay", "-o", &layers, "o"], &around) else {
        return skip("fault_055_overlayfs", "the kernel does not mount it here");
    };
    // Directories of a lower layer cannot be moved; that is said before anything changes.
    cluster.write("d/x", "x");
    let before = names_below(&cluster.nodes[0]);
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("gone lies in the lower layer"), "{}", outcome.error(0));
    assert_eq!(before, names_below(&cluster.nodes[0]));
    assert!(cluster.staged(0).is_empty());
    fs::remove_dir_all(cluster.on(0, "gone")).expect("removed by hand");
    scenario(&cluster);
}

#[test]
fn fault_055_and_015_vfat_says_what_it_cannot_do() {
    if !require("fault_055_vfat", &["root", "mkfs.vfat"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    let Some(_mount) = Mount::image("vfat", 32, &[], &cluster.path().join("n0")) else {
        return skip("fault_055_vfat", "the kernel does not mount it");
    };
    fs::create_dir(&cluster.nodes[0]).expect("a directory");
    cluster.write("name", "x");
    cluster.write("NAME", "y");
    cluster.options = vec!["--owner".into(), "agent".into()];
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("one name"), "{}", outcome.error(0));
    assert!(!cluster.on(0, "name").exists());
}

#[test]
fn fault_015_names_that_fold_into_one_are_refused_where_the_directory_folds() {
    if !require("fault_015", &["root", "mkfs.ext4", "chattr"]) {
        return;
    }
    let cluster = Cluster::new(1);
    let around = cluster.path().join("n0");
    let options = ["-q", "-O", "casefold"];
    let Some(_mount) = Mount::image("ext4", 32, &options, &around) else {
        return skip("fault_015", "the kernel has no Unicode tables to fold names with");
    };
    fs::create_dir(&cluster.nodes[0]).expect("a directory");
    run(Command::new("chattr").arg("+F").arg(&cluster.nodes[0]));
    cluster.write("name", "x");
    cluster.push(&[]).expect(0);
    cluster.write("NAME", "y");
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("one name"), "{}", outcome.error(0));
    assert_eq!(fs::read(cluster.on(0, "name")).expect("read"), b"x");
}

/// Pushes what does not fit on the second node; all stay as they are.
fn push_onto_full(options: &str, fill: impl Fn(&Path), word: &str) {
    let cluster = Cluster::new(2);
    let around = cluster.path().join("n1");
    let Some(_mount) = Mount::new(&["-t", "tmpfs", "-o", options, "t"], &around) else {
        return skip("fault_061", "needs a tmpfs");
    };
    fs::create_dir(&cluster.nodes[1]).expect("a directory");
    cluster.write("old", "old");
    cluster.push(&[]).expect(0);
    fill(&cluster.source());
    let before = [stamps(&cluster.nodes[0]), stamps(&cluster.nodes[1])];
    let kept_names = || {
        let names = |node| names_below(&cluster.state(node).join("kept")).into_keys();
        [0, 1].map(|node| names(node).collect::<Vec<_>>())
    };
    let kept = kept_names();
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    let error = outcome.error(1);
    assert!(error.contains(word), "{error}");
    assert_eq!(before, [stamps(&cluster.nodes[0]), stamps(&cluster.nodes[1])]);
    assert!(cluster.staged(0).is_empty() && cluster.staged(1).is_empty());
    assert_eq!(kept, kept_names());
    let names = names_below(&cluster.source())
        .into_iter()
        .filter(|(path, name)| name.kind == '-' && path != Path::new("old"));
    for (path, _) in names {
        fs::remove_file(cluster.source().join(path)).expect("removed");
    }
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}

#[test]
fn fault_061_and_098_a_full_disk_on_one_node_leaves_all_as_they_are() {
    if !require("fault_061", &["root"]) {
        return;
    }
    let fill = |source: &Path| {
        let bytes: Vec<u8> =
            (0..3_000_000u32).map(|at| at.wrapping_mul(at).to_be_bytes()[1]).collect();
        fs::write(source.join("large"), bytes).expect("written");
    };
    push_onto_full("size=2m", fill, "bytes");
}

#[test]
fn fault_063_a_disk_without_inodes_is_told_from_a_full_one() {
    if !require("fault_063", &["root"]) {
        return;
    }
    let fill = |source: &Path| {
        for at in 0..200 {
            fs::write(source.join(format!("f{at}")), "x").expect("written");
        }
    };
    push_onto_full("size=8m,nr_inodes=100", fill, "inodes");
}

#[test]
fn fault_061_to_064_every_size_of_a_disk_gives_the_whole_release_or_none() {
    if !require("fault_061_steps", &["root"]) {
        return;
    }
    for kibibytes in (160..480).step_by(40) {
        let mut cluster = Cluster::new(1);
        cluster.options = vec!["--max-delete=100%".into()];
        let config = cluster.path().join("depsync.toml");
        fs::write(&config, "[guard]\nmin_free = \"0%\"\n").expect("written");
        cluster.options.extend(["--config".into(), config.display().to_string()]);
        let around = cluster.path().join("n0");
        let size = format!("size={kibibytes}k");
        let Some(_mount) = Mount::new(&["-t", "tmpfs", "-o", &size, "t"], &around) else {
            return skip("fault_061_steps", "needs a tmpfs");
        };
        fs::create_dir(&cluster.nodes[0]).expect("a directory");
        for at in 0..10u8 {
            cluster.write(format!("f{at}"), vec![at; 9_000]);
        }
        let first = cluster.push(&[]);
        if first.code == Some(0) {
            cluster.assert_same();
        } else {
            assert_eq!(first.code, Some(1), "{first:#?}");
        }
        for at in 0..10u8 {
            cluster.write(format!("f{at}"), vec![at + 100; 9_000]);
        }
        let before = stamps(&cluster.nodes[0]);
        let outcome = cluster.push(&[]);
        if outcome.code == Some(0) {
            cluster.assert_same();
        } else {
            assert_eq!(outcome.code, Some(1), "{kibibytes} KiB: {outcome:#?}");
            assert_eq!(before, stamps(&cluster.nodes[0]), "{kibibytes} KiB");
            assert!(cluster.staged(0).is_empty());
        }
    }
}
