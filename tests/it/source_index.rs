//! What a source's index spares, and what it must never hide.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use depsync::model::entry::Kind;
use depsync::os::root::{self, Missing};
use depsync::scan::content::content_of;
use depsync::scan::index::Index;
use depsync::source::Source;

use crate::source_tree::{Tree, entry, index_of, read_ok, read_with, set_times};

#[test]
fn an_unchanged_file_is_never_read_twice() {
    let tree = Tree::new();
    for at in 0..50 {
        tree.write(format!("d/{at}"), vec![at; 3000]);
    }
    let old = SystemTime::now() - Duration::from_hours(1);
    let first = read_ok(&tree.options());
    // Files that were written just before are read twice, as their stamps tell nothing yet.
    assert!((50..=100).contains(&first.files_read), "{}", first.files_read);
    // The stamps of the kernel must have moved on before they are trusted.
    let settled = wait_for_index(&tree, 0);
    let second = read_with(&tree.options(), &index_of(&settled)).expect("read");
    assert_eq!((second.files_read, second.bytes_read), (0, 0));
    assert_eq!(
        second.release.manifest().expect("made").id(),
        first.release.manifest().expect("made").id()
    );
    tree.write("d/7", "other");
    set_times(&tree.at("d/7"), old);
    let third = read_with(&tree.options(), &index_of(&settled)).expect("read");
    assert!((1..=2).contains(&third.files_read), "{}", third.files_read);
    assert_eq!(
        entry(&third.release.manifest().expect("made"), "d/7").kind,
        Kind::File(content_of(b"other"))
    );
}

#[test]
fn a_source_is_the_same_whether_what_was_found_stays_in_memory_or_not() {
    let tree = Tree::new();
    for at in 0..60 {
        tree.write(format!("d{at}/e/file"), vec![at; 300]);
    }
    wait_for_index(&tree, 0);
    let in_memory = read_ok(&tree.options());
    for memory_bytes in [0, 3_000, usize::MAX] {
        let room = tempfile::tempdir().expect("a directory");
        let directory = root::open(room.path(), Missing::Refuse).expect("opened").dir;
        let index = Index::empty().beside(directory.expect("a directory"), memory_bytes);
        let beside = read_with(&tree.options(), &Arc::new(index)).expect("read");
        assert!(beside.is_news);
        assert_eq!(beside.release.id(), in_memory.release.id());
        let bytes = |source: &Source| source.write_index(Vec::new()).expect("in memory");
        assert_eq!(bytes(&beside), bytes(&in_memory));
        assert_eq!(fs::read_dir(room.path()).expect("listed").count(), 0);
    }
}

/// Reads until the index trusts all but `untrusted` files.
fn wait_for_index(tree: &Tree, untrusted: u64) -> Source {
    let deadline = SystemTime::now() + Duration::from_secs(20);
    loop {
        let source = read_ok(&tree.options());
        let again = read_with(&tree.options(), &index_of(&source)).expect("read");
        if again.files_read <= untrusted {
            return source;
        }
        assert!(SystemTime::now() < deadline, "{} files are not trusted", again.files_read);
    }
}

#[test]
fn fault_026_same_size_and_mtime_but_other_content_is_found() {
    let tree = Tree::new();
    let path = tree.write("file", "one");
    let stamp = SystemTime::now() - Duration::from_hours(24);
    set_times(&path, stamp);
    let first = wait_for_index(&tree, 0);
    fs::write(&path, "two").expect("written");
    set_times(&path, stamp);
    let second = read_with(&tree.options(), &index_of(&first)).expect("read");
    assert_eq!(
        entry(&second.release.manifest().expect("made"), "file").kind,
        Kind::File(content_of(b"two"))
    );
}

#[test]
fn fault_026_a_file_rewritten_right_after_the_scan_is_found() {
    let tree = Tree::new();
    let path = tree.write("file", "0000");
    let stamp = SystemTime::now() - Duration::from_hours(24);
    for round in 0..300u32 {
        let before = format!("{round:04}");
        fs::write(&path, &before).expect("written");
        set_times(&path, stamp);
        let first = read_ok(&tree.options());
        assert_eq!(
            entry(&first.release.manifest().expect("made"), "file").kind,
            Kind::File(content_of(before.as_bytes()))
        );
        let after = format!("{:04}", round + 5000);
        fs::write(&path, &after).expect("written");
        set_times(&path, stamp);
        let second = read_with(&tree.options(), &index_of(&first)).expect("read");
        assert_eq!(
            entry(&second.release.manifest().expect("made"), "file").kind,
            Kind::File(content_of(after.as_bytes()))
        );
    }
}

#[test]
fn fault_027_times_before_1970_and_after_2038_are_kept_and_never_trusted_ahead() {
    let tree = Tree::new();
    let before = SystemTime::UNIX_EPOCH - Duration::new(1_000_000_000, 250_000_001);
    let after = SystemTime::UNIX_EPOCH + Duration::new(5_000_000_000, 999_999_999);
    for (name, time) in [("after", after), ("before", before)] {
        set_times(&tree.write(name, name), time);
    }
    let source = wait_for_index(&tree, 1);
    for name in ["before", "after"] {
        let mtime = entry(&source.release.manifest().expect("made"), name).meta.mtime;
        let stat = fs::metadata(tree.at(name)).expect("stat");
        assert_eq!((mtime.seconds, i64::from(mtime.nanos)), (stat.mtime(), stat.mtime_nsec()));
    }
    assert_eq!(
        entry(&source.release.manifest().expect("made"), "after").meta.mtime.seconds,
        5_000_000_000
    );
    let again = read_with(&tree.options(), &index_of(&source)).expect("read");
    assert_eq!(again.bytes_read, "after".len() as u64, "the future is read again");
}
