//! Sources that change while they are read (faults 1 to 5): what is reported existed, whole, at one moment.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use depsync::model::entry::Kind;
use depsync::model::path::TreePath;
use depsync::model::rules::Rules;
use depsync::os::root::{self, Missing};
use depsync::scan::content::content_of;
use depsync::scan::matcher::Matcher;
use depsync::scan::{self, Moment, Progress, Scan, ScanOptions, Side, What};
use depsync::source::ReadError;

use crate::source_tree::{Tree, found, read_ok, shipped, tree_path};

/// Looks at `tree`, calling `act` at each `moment` on each path.
fn scan_while(tree: &Tree, side: Side, act: &(dyn Fn(Moment, &TreePath) + Sync)) -> Scan {
    let (progress, stop) = (Progress::default(), AtomicBool::new(false));
    let options = ScanOptions { observer: Some(act), ..ScanOptions::new(side, &progress, &stop) };
    let root = root::open(tree.directory.path(), Missing::Refuse).expect("open");
    let root = root.dir.expect("the root");
    let matcher = Matcher::new(&Rules::default()).expect("no rules");
    scan::scan(&root, &[TreePath::root()], &matcher, &Arc::default(), &options).expect("a scan")
}

fn kind_of(scan: &Scan, path: &str) -> Option<Kind> {
    let path = tree_path(path);
    found(scan).into_iter().find(|one| one.entry.path == path).map(|one| one.entry.kind)
}

fn problems(scan: &Scan) -> Vec<String> {
    scan.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn fault_001_a_file_that_changes_once_is_read_again() {
    let tree = Tree::new();
    let path = tree.write("file", vec![1; 300_000]);
    let changes = AtomicU32::new(0);
    let scan = scan_while(&tree, Side::Source, &|moment, _| {
        if moment == Moment::Reading && changes.fetch_add(1, Ordering::Relaxed) == 0 {
            fs::write(&path, vec![2; 300_000]).expect("written");
        }
    });
    assert_eq!(problems(&scan), [""; 0]);
    assert_eq!(kind_of(&scan, "file"), Some(Kind::File(content_of(&vec![2; 300_000]))));
    assert!(scan.files_read >= 2);
}

#[test]
fn fault_001_a_file_that_keeps_changing_is_refused_by_name() {
    let tree = Tree::new();
    let path = tree.write("d/file", "0");
    tree.write("d/still", "still");
    let round = AtomicU32::new(0);
    let change = |moment: Moment, at: &TreePath| {
        if moment == Moment::Reading && *at == tree_path("d/file") {
            let round = round.fetch_add(1, Ordering::Relaxed);
            fs::write(&path, vec![b'x'; round as usize + 2]).expect("written");
        }
    };
    let scan = scan_while(&tree, Side::Source, &change);
    assert_eq!(problems(&scan), ["d/file changed every time it was read"]);
    assert!(scan.problems[0].is_fatal());
    assert_eq!(kind_of(&scan, "d/file"), None);
    assert!(kind_of(&scan, "d/still").is_some());
    let scan = scan_while(&tree, Side::Node, &change);
    assert!(!scan.problems[0].is_fatal());
    assert_eq!(kind_of(&scan, "d/file"), Some(Kind::Special));
}

#[test]
fn fault_002_a_growing_file_is_refused_by_name() {
    let tree = Tree::new();
    let path = tree.write("log", vec![b'l'; 5000]);
    let file = fs::OpenOptions::new().append(true).open(path).expect("open");
    let scan = scan_while(&tree, Side::Source, &|moment, _| {
        if moment == Moment::Reading {
            std::io::Write::write_all(&mut &file, b"line\n").expect("appended");
        }
    });
    assert_eq!(problems(&scan), ["log changed every time it was read"]);
}

#[test]
fn fault_003_a_file_truncated_while_it_is_read_has_its_new_content() {
    let tree = Tree::new();
    let path = tree.write("file", vec![3; 900_000]);
    let file = fs::OpenOptions::new().write(true).open(path).expect("open");
    let scan = scan_while(&tree, Side::Source, &|moment, _| {
        if moment == Moment::Reading {
            file.set_len(10).expect("truncated");
        }
    });
    // Truncating to the same length again is a change of time alone; either outcome is sound, padding is not.
    match kind_of(&scan, "file") {
        Some(kind) => assert_eq!(kind, Kind::File(content_of(&[3; 10]))),
        None => assert_eq!(problems(&scan), ["file changed every time it was read"]),
    }
}

/// Each version of the file is written byte by byte, one byte every eight kilobytes: these are all states that it is
/// ever in, as the kernel writes a single byte whole.
#[test]
fn fault_001_and_002_and_003_no_mix_of_two_contents_is_ever_reported() {
    const STEPS: usize = 16;
    const STRIDE: usize = 8192;
    const VERSIONS: u8 = 8;
    let tree = Tree::new();
    let mut bytes = vec![0u8; STEPS * STRIDE];
    let path = tree.write("file", &bytes);
    let mut states = vec![content_of(&bytes)];
    for version in (1..=VERSIONS).map(|version| version % VERSIONS) {
        for step in 0..STEPS {
            bytes[step * STRIDE] = version;
            states.push(content_of(&bytes));
        }
    }
    let is_over = AtomicBool::new(false);
    let (mut taken, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::OpenOptions::new().write(true).open(&path).expect("open");
            for round in 1..1_000_000u64 {
                let version = (round % u64::from(VERSIONS)).to_le_bytes();
                for step in 0..STEPS {
                    file.write_all_at(&version[..1], (step * STRIDE) as u64).expect("written");
                }
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                if round % 64 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..200 {
            let scan = scan_while(&tree, Side::Source, &|_, _| {});
            if let Some(Kind::File(content)) = kind_of(&scan, "file") {
                taken += 1;
                assert!(states.contains(&content), "a mix was reported");
            } else {
                refused += 1;
                assert_eq!(problems(&scan), ["file changed every time it was read"]);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(taken + refused, 200);
    let still = scan_while(&tree, Side::Source, &|_, _| {});
    assert!(
        matches!(kind_of(&still, "file"), Some(Kind::File(content)) if states.contains(&content))
    );
}

#[test]
fn fault_001_bytes_that_changed_after_the_scan_are_never_shipped() {
    let tree = Tree::new();
    let path = tree.write("file", vec![1; 300_000]);
    let source = read_ok(&tree.options());
    assert_eq!(shipped(&source, "file").expect("unchanged"), vec![1; 300_000]);
    let file = fs::OpenOptions::new().write(true).open(&path).expect("open");
    file.write_all_at(b"other", 290_000).expect("written");
    let error = shipped(&source, "file").expect_err("changed");
    assert_eq!(error.to_string(), "file changed after it was read");
    file.set_len(100).expect("truncated");
    assert!(matches!(shipped(&source, "file"), Err(ReadError::Changed { .. })));
    fs::remove_file(&path).expect("removed");
    assert!(matches!(shipped(&source, "file"), Err(ReadError::Unreadable { .. })));
}

#[test]
fn fault_004_a_file_that_vanishes_is_absent() {
    for at in [Moment::Listed, Moment::Opening] {
        let tree = Tree::new();
        let path = tree.write("d/gone", "x");
        tree.write("d/stays", "y");
        let scan = scan_while(&tree, Side::Source, &|moment, name| {
            if moment == at && name.is_within(&tree_path("d")) && path.exists() {
                fs::remove_file(&path).expect("removed");
            }
        });
        assert_eq!(problems(&scan), [""; 0], "{at:?}");
        assert_eq!(kind_of(&scan, "d/gone"), None);
        assert_eq!(kind_of(&scan, "d/stays"), Some(Kind::File(content_of(b"y"))));
        let directory = found(&scan).into_iter().find(|one| one.entry.path == tree_path("d"));
        let mtime = directory.expect("the directory").entry.meta.mtime;
        let now = fs::metadata(tree.at("d")).expect("stat");
        assert_eq!(mtime.seconds, std::os::unix::fs::MetadataExt::mtime(&now));
        assert_eq!(i64::from(mtime.nanos), std::os::unix::fs::MetadataExt::mtime_nsec(&now));
    }
}

#[test]
fn fault_004_names_that_come_and_go_each_time_are_a_problem() {
    let tree = Tree::new();
    let path = tree.write("d/flicker", "x");
    let scan = scan_while(&tree, Side::Source, &|moment, at| {
        if moment == Moment::Listed && *at == tree_path("d") {
            fs::remove_file(&path).expect("removed");
            fs::write(&path, "y").expect("written");
        }
    });
    assert_eq!(problems(&scan), ["d changed while it was walked"]);
}

#[test]
fn fault_005_a_directory_swapped_during_the_walk_is_a_problem() {
    let tree = Tree::new();
    tree.write("a/d/file", "old");
    tree.write("other/file", "new");
    let swapped = Mutex::new(false);
    let scan = scan_while(&tree, Side::Source, &|moment, at| {
        let mut swapped = swapped.lock().expect("the flag");
        // `a` is being looked at: its directory `d` is exchanged before anyone opens it, the second time too late.
        if moment == Moment::Reading && *at == tree_path("a/d/file") && !*swapped {
            fs::rename(tree.at("a/d"), tree.at("a/aside")).expect("aside");
            fs::rename(tree.at("other"), tree.at("a/d")).expect("in");
            *swapped = true;
        }
    });
    assert!(*swapped.lock().expect("the flag"));
    assert!(!scan.problems.is_empty(), "{:?}", found(&scan));
    assert!(scan.problems.iter().all(|one| matches!(one.what, What::DirectoryChanged)));
}

#[test]
fn fault_005_a_directory_turned_into_a_link_is_not_entered() {
    let tree = Tree::new();
    let outside = Tree::new();
    outside.write("secret", "s");
    tree.write("a/d/file", "old");
    tree.write("a/first", "f");
    let scan = scan_while(&tree, Side::Source, &|moment, at| {
        if moment == Moment::Reading && *at == tree_path("a/first") && tree.at("a/d/file").exists()
        {
            fs::rename(tree.at("a/d"), tree.at("aside")).expect("aside");
            std::os::unix::fs::symlink(outside.directory.path(), tree.at("a/d")).expect("link");
        }
    });
    assert!(!scan.problems.is_empty());
    assert_eq!(kind_of(&scan, "a/d/secret"), None);
}

#[test]
fn a_walk_ends_soon_after_it_is_stopped() {
    let tree = Tree::new();
    for at in 0..200 {
        tree.write(format!("d{}/{at}", at % 20), "x");
    }
    let (progress, stop) = (Progress::default(), AtomicBool::new(false));
    let act = |moment: Moment, _: &TreePath| {
        if moment == Moment::Reading {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let options =
        ScanOptions { observer: Some(&act), ..ScanOptions::new(Side::Source, &progress, &stop) };
    let root = root::open(tree.directory.path(), Missing::Refuse).expect("open").dir.expect("root");
    let matcher = Matcher::new(&Rules::default()).expect("no rules");
    let scan = scan::scan(&root, &[TreePath::root()], &matcher, &Arc::default(), &options);
    assert!(matches!(scan, Err(scan::Error::Stopped)));
    assert!(progress.bytes.load(Ordering::Relaxed) <= 16);
}
