//! The commit on its own: steps against a tree that somebody else changes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use depsync::model::digest::{Digest, Domain};
use depsync::model::entry::Meta;
use depsync::model::manifest::Capture;
use depsync::model::path::TreePath;
use depsync::node::commit;
use depsync::node::place::Place;
use depsync::node::steps::{Step, Steps};
use depsync::os::meta::KeepXattrs;
use depsync::os::root::{self, Missing};
use depsync::wire::message::Mounted;

use crate::cluster::stamps;

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn open(path: &Path) -> root::Root {
    root::open(path, Missing::Refuse).unwrap()
}

/// The target at `path`, without a state.
fn place(path: &Path) -> Place {
    let root = open(path);
    Place {
        parent: root.parent,
        name: root.name,
        root: root.dir,
        real_path: root.real_path,
        state: None,
        confines: false,
        mounted: Mounted::OWN,
    }
}

#[test]
fn fault_054_a_file_that_somebody_takes_away_does_not_hold_a_commit_up_for_ever() {
    let here = tempfile::tempdir().unwrap();
    for name in ["tree", "stage", "kept"] {
        fs::create_dir(here.path().join(name)).unwrap();
    }
    fs::write(here.path().join("stage/n1"), "new").unwrap();
    let inode = fs::metadata(here.path().join("stage/n1")).unwrap().ino();
    let mut place = place(&here.path().join("tree"));
    let (from, to) = (path("taken-away"), path("moved"));
    let list = vec![
        Step::Move { from, to, inode: 1 },
        Step::Install { number: 0, inode: 1, path: path("no/such/parent") },
        Step::Install { number: 1, inode, path: path("new") },
        Step::Remove { number: 2, path: path("gone/before") },
    ];
    let after = Digest::of(Domain::Tree, b"");
    let steps = Steps { before: None, after, capture: Capture::default(), list };
    let dir = |name: &str| open(&here.path().join(name)).dir.unwrap();
    let (stage, kept) = (dir("stage"), dir("kept"));
    // Twice, as after a crash.
    for _ in 0..2 {
        commit::carry_out(&mut place, &steps, &stage, &kept, KeepXattrs::default()).unwrap();
        assert_eq!(fs::read(here.path().join("tree/new")).unwrap(), b"new");
        assert!(!here.path().join("tree/moved").exists());
    }
}

#[test]
fn fault_052_and_152_what_somebody_puts_where_something_moves_is_kept() {
    let here = tempfile::tempdir().unwrap();
    for name in ["tree/old/in", "stage", "kept"] {
        fs::create_dir_all(here.path().join(name)).unwrap();
    }
    let tree = here.path().join("tree");
    fs::write(tree.join("old/in/it"), "moves").unwrap();
    let inode = fs::metadata(tree.join("old/in")).unwrap().ino();
    fs::create_dir(tree.join("new")).unwrap();
    fs::write(tree.join("new/another's"), "another's").unwrap();
    let mut place = place(&tree);
    let move_in = |inode| Step::Move { from: path("old/in"), to: path("new"), inode };
    let steps = |list| {
        let (after, capture) = (Digest::of(Domain::Tree, b""), Capture::default());
        Steps { before: None, after, capture, list }
    };
    let dir = |name: &str| open(&here.path().join(name)).dir.unwrap();
    let (stage, kept) = (dir("stage"), dir("kept"));
    let mut carry_out = |steps: &Steps| {
        commit::carry_out(&mut place, steps, &stage, &kept, KeepXattrs::default()).unwrap();
    };
    // Another directory by now has the name that was to move: it stays.
    let before = stamps(&tree);
    carry_out(&steps(vec![move_in(inode + 1_000_000)]));
    assert_eq!(stamps(&tree), before);
    let all = steps(vec![move_in(inode), Step::Remove { number: 1, path: path("old") }]);
    // Twice, as after a crash.
    for _ in 0..2 {
        carry_out(&all);
        assert_eq!(fs::metadata(tree.join("new")).unwrap().ino(), inode);
        assert_eq!(fs::read(tree.join("new/it")).unwrap(), b"moves");
        assert!(!tree.join("old").exists());
        let kept = fs::read(here.path().join("kept/n1/in/another's")).unwrap();
        assert_eq!(kept, b"another's");
    }
}

#[test]
fn fault_152_metadata_is_not_set_on_what_took_a_files_place() {
    let here = tempfile::tempdir().unwrap();
    for name in ["tree", "stage", "kept"] {
        fs::create_dir(here.path().join(name)).unwrap();
    }
    let canary = here.path().join("canary");
    fs::write(&canary, "canary").unwrap();
    let tree = here.path().join("tree");
    fs::hard_link(&canary, tree.join("hard-link")).unwrap();
    std::os::unix::fs::symlink(&canary, tree.join("link")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.join("fifo"), mode).unwrap();
    fs::create_dir(tree.join("directory")).unwrap();
    fs::write(tree.join("file"), "file").unwrap();
    let before = stamps(here.path());
    let mut place = place(&tree);
    let meta = Meta { mode: 0o777, ..Meta::default() };
    let names = ["hard-link", "link", "fifo", "directory", "no/such/file", "file"];
    let list = names.map(|name| Step::SetMeta {
        path: path(name),
        is_directory: false,
        meta: meta.clone(),
    });
    let steps = Steps {
        before: None,
        after: Digest::of(Domain::Tree, b""),
        capture: Capture::default(),
        list: list.into_iter().collect(),
    };
    let dir = |name: &str| open(&here.path().join(name)).dir.unwrap();
    let (stage, kept) = (dir("stage"), dir("kept"));
    // Twice: a commit that met one of them is not held up, now or at the next contact.
    for _ in 0..2 {
        commit::carry_out(&mut place, &steps, &stage, &kept, KeepXattrs::default()).unwrap();
    }
    let mut after = stamps(here.path());
    assert_eq!(fs::metadata(tree.join("file")).unwrap().mode() & 0o7777, 0o777);
    let mut before = before;
    let file = Path::new("tree/file");
    assert_ne!(before.remove(file), after.remove(file));
    assert_eq!(before, after);
}
