//! Random pairs of trees: pushing one, the other and the first again leaves exactly what rsync would.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{Cluster, chmod, run, set_mtime};
use crate::prerequisite::require;

/// Pairs of one run; `DEPSYNC_SEED` runs that one alone.
const PAIRS: u64 = 60;

const NAMES: [&[u8]; 16] = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"lib",
    b" e ",
    b"-f",
    b"g\n\x1b[1m",
    b"h*?",
    b"\xff\xfe",
    b"\xc3\xa9",
    b"e\xcc\x81",
    b"B",
    b"quote'\"\\",
    b"dot.",
    b".hidden",
];

/// A small generator of numbers that depend on the seed alone.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below")
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// Makes a random entry at `path`, where nothing is.
fn make(random: &mut Random, path: &Path, depth: usize, hard_links: &[PathBuf]) {
    match random.below(10) {
        0..4 if depth > 0 => {
            fs::create_dir(path).expect("a directory");
            for _ in 0..random.below(6) {
                let child = path.join(std::ffi::OsStr::from_bytes(random.of(&NAMES)));
                if child.symlink_metadata().is_err() {
                    make(random, &child, depth - 1, hard_links);
                }
            }
        }
        4 => {
            let text = random.of(&["a", "../b", "/nowhere", "dangling\n", "."]);
            symlink(text, path).expect("a link");
        }
        5 if !hard_links.is_empty() => {
            let first = &hard_links[random.below(hard_links.len())];
            fs::hard_link(first, path).expect("a hard link");
            return;
        }
        _ => fs::write(path, content(random)).expect("a file"),
    }
    dress(random, path);
}

fn content(random: &mut Random) -> Vec<u8> {
    let length = random.of(&[0, 1, 5, 300, 9_000, 70_000, 300_000]);
    let mut stream = Random(u64::from(random.below(6) == 0) * random.next());
    let mut bytes: Vec<u8> = (0..length).map(|_| stream.next().to_le_bytes()[0]).collect();
    if length == 300_000 && random.below(2) == 0 {
        bytes[100_000..250_000].fill(0);
    }
    bytes
}

/// Gives `path` a random mode and time.
fn dress(random: &mut Random, path: &Path) {
    let kind = path.symlink_metadata().expect("stat").file_type();
    if kind.is_dir() {
        chmod(path, random.of(&[0o755, 0o755, 0o700, 0o555, 0o2775, 0o1777]));
    } else if kind.is_file() {
        chmod(path, random.of(&[0o644, 0o644, 0o600, 0o755, 0o000, 0o4755, 0o2644]));
    }
    let seconds = random.of(&[1_700_000_000, 1_700_000_001, 0, -5, 4_000_000_000]);
    set_mtime(path, seconds, random.of(&[0, 1, 999_999_999]));
}

fn all_below(root: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let mut names: Vec<_> =
            fs::read_dir(path).expect("names").map(|n| n.unwrap().path()).collect();
        names.sort();
        open.extend(names.iter().filter(|path| path.is_dir() && !path.is_symlink()).cloned());
        all.extend(names);
    }
    all
}

fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path).expect("removed");
    } else {
        fs::remove_file(path).expect("removed");
    }
}

/// Changes a random name of the tree.
fn change(random: &mut Random, root: &Path, hard_links: bool) {
    let all = all_below(root);
    let links: Vec<PathBuf> = all
        .iter()
        .filter(|path| hard_links && path.is_file() && !path.is_symlink())
        .cloned()
        .collect();
    let fresh = |random: &mut Random| {
        let directories: Vec<_> =
            all.iter().filter(|path| path.is_dir() && !path.is_symlink()).collect();
        let at = random.below(directories.len() + 1);
        let around = directories.get(at).map_or(root, |path| path.as_path());
        let path = around.join(std::ffi::OsStr::from_bytes(random.of(&NAMES)));
        path.symlink_metadata().is_err().then_some(path)
    };
    let some = (!all.is_empty()).then(|| random.of(&all.iter().collect::<Vec<_>>()).clone());
    match (random.below(6), some) {
        (0, Some(path)) => {
            remove(&path);
            let links: Vec<_> = links.into_iter().filter(|link| link.exists()).collect();
            make(random, &path, 2, &links);
        }
        (1, Some(path)) => remove(&path),
        (2, Some(path)) => dress(random, &path),
        (3, Some(path)) => {
            if let Some(to) = fresh(random).filter(|to| !to.starts_with(&path)) {
                fs::rename(path, to).expect("renamed");
            }
        }
        (4, Some(path)) if path.is_file() && !path.is_symlink() => {
            let mut bytes = fs::read(&path).expect("read");
            let at = random.below(bytes.len() + 1);
            bytes.insert(at, 7);
            fs::write(&path, bytes).expect("written");
        }
        _ => {
            if let Some(path) = fresh(random) {
                make(random, &path, 2, &links);
            }
        }
    }
}

fn check(seed: u64) {
    let mut random = Random(seed);
    let hard_links = random.below(3) == 0;
    let mut cluster = Cluster::new(1);
    cluster.options = vec!["--max-delete=100%".into(), "--allow-empty".into()];
    if hard_links {
        cluster.options.push("--hard-links".into());
    }
    if seed % 2 == 1 {
        cluster.options.push("--commit=swap".into());
    }
    let (a, b) = (cluster.path().join("a"), cluster.path().join("b"));
    fs::create_dir(&a).expect("a");
    fs::write(a.join("always"), "x").expect("written");
    for _ in 0..8 {
        change(&mut random, &a, hard_links);
    }
    run(Command::new("cp").arg("-a").arg(&a).arg(&b));
    for _ in 0..random.below(12) {
        change(&mut random, &b, hard_links);
    }
    dress(&mut random, &a);
    fs::write(b.join("always-too"), "x").expect("written");
    for source in [&a, &b, &a] {
        cluster.push_ok(source, &[]);
        cluster.assert_same_as(source);
        let again = cluster.push_ok(source, &[]);
        assert_eq!(again.state(0), "unchanged");
        assert!(cluster.staged(0).is_empty());
    }
}

#[test]
fn fault_036_to_041_random_trees_become_each_other_as_rsync_would_have_it() {
    if !require("node_model", &["rsync", "root"]) {
        return;
    }
    let seeds = match std::env::var("DEPSYNC_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_none) => (0..PAIRS).collect(),
    };
    for seed in seeds {
        let done = std::panic::catch_unwind(|| check(seed));
        assert!(done.is_ok(), "DEPSYNC_SEED={seed} shows it again");
    }
}
