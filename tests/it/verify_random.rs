//! Random drift on several nodes: `verify --deep` tells every bit of it, and `--repair` undoes it, by rsync's own word.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::cluster::{Cluster, assert_rsync_agrees, chmod, set_mtime};
use crate::simulation::dice::Dice;

/// As many changes of nodes.
const DRIFTS: usize = 200;
const NODES: usize = 4;
/// They are made in so many rounds, each of which is verified and repaired.
const ROUNDS: usize = 4;

fn names(root: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.symlink_metadata().expect("a name").is_dir() {
                left.push(path.clone());
            }
            all.push(path);
        }
    }
    all.sort();
    all
}

/// Changes one name of the node at `root`, none of `taken`; gives what was done and the names that must be told.
fn drift(
    root: &Path,
    dice: &mut Dice,
    number: usize,
    taken: &BTreeSet<PathBuf>,
) -> Option<(String, Vec<PathBuf>)> {
    let all = names(root);
    let path = all[dice.index(all.len())].clone();
    let is_taken =
        |path: &Path| taken.iter().any(|one| one.starts_with(path) || path.starts_with(one));
    if is_taken(&path) {
        return None;
    }
    let kind = path.symlink_metadata().expect("a name").file_type();
    let fresh = path.with_file_name(format!("fresh-{number}"));
    let remove = |path: &Path| {
        if path.symlink_metadata().expect("a name").is_dir() {
            fs::remove_dir_all(path).expect("removed");
        } else {
            fs::remove_file(path).expect("removed");
        }
    };
    let below =
        |path: &Path| all.iter().filter(|one| one.starts_with(path)).cloned().collect::<Vec<_>>();
    Some(match dice.index(8) {
        0 if kind.is_file() => {
            let (old, meta) = (fs::read(&path).expect("read"), path.metadata().expect("a file"));
            // As quietly as it goes: same length, same times.
            let new: Vec<u8> = old.iter().map(|byte| byte ^ 1).collect();
            fs::write(&path, if new.is_empty() { b"x".to_vec() } else { new }).expect("written");
            set_mtime(&path, meta.mtime(), meta.mtime_nsec());
            ("edit".into(), vec![path])
        }
        1 => {
            let told = below(&path);
            remove(&path);
            ("delete".into(), told)
        }
        2 => {
            fs::write(&fresh, "fresh").expect("written");
            ("add".into(), vec![fresh])
        }
        3 if !kind.is_symlink() => {
            let mode = path.metadata().expect("a name").permissions().mode() & 0o7777;
            chmod(&path, mode ^ 0o011);
            ("chmod".into(), vec![path])
        }
        4 => {
            set_mtime(&path, 1_000_000_000 + i64::try_from(number).expect("small"), 5);
            ("touch".into(), vec![path])
        }
        5 => {
            let told = below(&path);
            remove(&path);
            match dice.index(3) {
                0 if !kind.is_file() => fs::write(&path, "flipped").expect("written"),
                1 if !kind.is_dir() => fs::create_dir(&path).expect("made"),
                _ if !kind.is_symlink() => symlink("flipped", &path).expect("linked"),
                _ => fs::create_dir(&path).expect("made"),
            }
            ("type flip".into(), told)
        }
        6 => {
            let told = below(&path);
            fs::rename(&path, &fresh).expect("renamed");
            ("rename".into(), [told, vec![fresh]].concat())
        }
        _ => {
            fs::create_dir(&fresh).expect("made");
            fs::write(fresh.join("inside"), "new").expect("written");
            ("add a directory".into(), vec![fresh.join("inside"), fresh])
        }
    })
}

fn source(cluster: &Cluster, dice: &mut Dice) {
    for directory in ["", "a/", "a/b/", "c/", "c/d/e/"] {
        for file in 0..12 {
            let bytes: Vec<u8> =
                (0..dice.index(1_200)).flat_map(|_| dice.next().to_le_bytes()).collect();
            cluster.write(format!("{directory}f{file}"), bytes);
        }
        let at = cluster.at(format!("{directory}link"));
        symlink("f0", at).expect("a link");
    }
    fs::create_dir_all(cluster.at("empty/within")).expect("empty directories");
}

#[test]
fn fault_052_and_053_and_057_two_hundred_random_drifts_are_all_told_and_all_undone() {
    let mut dice = Dice::new(5);
    let cluster = Cluster::new(NODES);
    source(&cluster, &mut dice);
    cluster.push(&[]).expect(0);
    let mut made = 0;
    let mut kinds = BTreeSet::new();
    for round in 1..=ROUNDS {
        let mut told: Vec<BTreeSet<PathBuf>> = vec![BTreeSet::new(); NODES];
        while made < DRIFTS * round / ROUNDS {
            let node = dice.index(NODES);
            let Some((kind, paths)) = drift(&cluster.nodes[node], &mut dice, made, &told[node])
            else {
                continue;
            };
            kinds.insert(kind);
            told[node].extend(paths);
            made += 1;
        }
        let outcome = cluster.run("verify", &cluster.source(), &["--deep"]);
        outcome.expect(2);
        for (node, paths) in told.iter().enumerate() {
            let ending = format!("/n{node}/tree");
            let found: BTreeSet<PathBuf> = outcome
                .lines
                .iter()
                .filter(|line| {
                    line["type"] == "change"
                        && line["target"].as_str().is_some_and(|it| it.ends_with(&ending))
                })
                .map(|line| cluster.on(node, line["path"].as_str().expect("a path")))
                .collect();
            let missed: Vec<_> = paths.difference(&found).collect();
            assert!(missed.is_empty(), "round {round}, node {node}: {missed:?} of {paths:?}");
        }
        cluster
            .run("verify", &cluster.source(), &["--deep", "--repair", "--max-delete", "100%"])
            .expect(0);
        for node in &cluster.nodes {
            assert_rsync_agrees(&cluster.source(), node, &[]);
        }
        cluster.run("verify", &cluster.source(), &["--deep"]).expect(0);
    }
    assert_eq!((made, kinds.len()), (DRIFTS, 8), "{kinds:?}");
}
