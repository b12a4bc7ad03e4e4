//! The example of the repository does what the README says.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::cli_bench::{Bench, Ran};

/// Files of the example, as git has them: what earlier pushes left there is not copied.
fn copy_of_example(bench: &Bench) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cluster");
    let to = bench.at("cluster");
    std::fs::create_dir_all(to.join("nodes")).unwrap();
    bench.write("cluster/nodes-list.txt", &std::fs::read(from.join("nodes-list.txt")).unwrap());
    assert!(from.join("nodes").is_dir(), "a clone has the parent of the targets");
    copy(&from.join("server"), &to.join("server"));
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every name below `root` with its mode, time and content, the inode left out.
type Tree = BTreeMap<PathBuf, (u32, i64, i64, Option<Vec<u8>>)>;

fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let stat = std::fs::symlink_metadata(root.join(&path)).unwrap();
        let content = stat.is_file().then(|| std::fs::read(root.join(&path)).unwrap());
        if stat.is_dir() {
            for entry in std::fs::read_dir(root.join(&path)).unwrap() {
                todo.push(path.join(entry.unwrap().file_name()));
            }
        }
        found.insert(path, (stat.mode(), stat.mtime(), stat.mtime_nsec(), content));
    }
    found
}

fn push(bench: &Bench) -> Ran {
    bench.run(&["push", "--source", "cluster/server", "--nodes", "cluster/nodes-list.txt"])
}

#[test]
fn the_example_is_pushed_and_pushing_it_again_changes_nothing() {
    let bench = Bench::new();
    let cluster = copy_of_example(&bench);
    let source = tree(&cluster.join("server"));
    assert!(source.len() > 20, "the example is there: {}", source.len());

    let first = push(&bench);
    assert_eq!((first.code, first.stderr.as_str()), (0, ""), "{}", first.stdout);
    assert!(first.stdout.contains("3 nodes at release "), "{}", first.stdout);
    for node in ["nodes/1", "nodes/2", "nodes/3"] {
        assert_eq!(tree(&cluster.join(node)), source, "{node}");
    }

    let second = push(&bench);
    assert_eq!((second.code, second.stderr.as_str()), (0, ""), "{}", second.stdout);
    assert!(second.stdout.contains("nothing changed: 3 nodes at release "), "{}", second.stdout);
    assert_eq!(tree(&cluster.join("nodes/1")), source);
}

#[test]
fn the_applications_of_the_example_are_archives_with_a_list_of_artifacts() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cluster/server/carbonapps");
    let mut cars = 0;
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(path.extension(), Some(OsStr::new("car")), "{}", path.display());
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"PK\x03\x04"), "{}", path.display());
        assert!(bytes.windows(13).any(|name| name == b"artifacts.xml"), "{}", path.display());
        cars += 1;
    }
    assert_eq!(cars, 2);
}
