//! The confined handle: what it takes for a name, and what it opens.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::sync::mpsc;
use std::time::Duration;

use depsync::os::dir::{Dir, Rename};
use depsync::os::root::{self, Missing};
use rustix::fs::{CWD, Mode, mkfifoat};

/// A directory with a file, a link to it, a FIFO and a directory, opened.
fn opened() -> (tempfile::TempDir, Dir) {
    let here = tempfile::tempdir().expect("a directory");
    fs::write(here.path().join("file"), "content").unwrap();
    symlink("file", here.path().join("link")).unwrap();
    mkfifoat(CWD, here.path().join("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
    fs::create_dir(here.path().join("dir")).unwrap();
    fs::write(here.path().join("dir/inner"), "inner").unwrap();
    let dir = root::open(here.path(), Missing::Refuse).expect("opened").dir.expect("there");
    (here, dir)
}

#[test]
fn a_name_is_one_component() {
    let (_here, dir) = opened();
    let long = [b'x'; 256];
    for name in [&b"dir/inner"[..], b"..", ".".as_bytes(), b"", b"/etc", b"a\0b", &long] {
        let outcomes = [
            dir.open_file(name).map(drop),
            dir.open_dir(name).map(drop),
            dir.create_file(name, 0o600).map(drop),
            dir.create_dir(name, 0o700),
            dir.create_symlink(name, b"text"),
            dir.stat(name).map(drop),
            dir.read_link(name).map(drop),
            dir.rename(name, &dir, b"other", Rename::KeepExisting),
            dir.rename(b"file", &dir, name, Rename::KeepExisting),
            dir.hard_link(b"file", &dir, name),
            dir.remove_file(name),
            dir.remove_dir(name),
            dir.remove_all(name),
        ];
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let kind = outcome.map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::InvalidInput), "{at}: {}", name.escape_ascii());
        }
    }
}

#[test]
fn nothing_but_a_regular_file_is_opened_and_nobody_is_waited_for() {
    let (_here, dir) = opened();
    let (told, outcomes) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        for name in ["fifo", "link", "dir"] {
            for outcome in
                [dir.open_file(name.as_bytes()), dir.open_file_for_writing(name.as_bytes())]
            {
                told.send((name, outcome.is_err())).expect("heard");
            }
        }
        dir
    });
    for _ in 0..6 {
        let (name, is_refused) = outcomes.recv_timeout(Duration::from_secs(20)).expect("no wait");
        assert!(is_refused, "{name} was opened");
    }
    let dir = worker.join().expect("no panic");
    assert!(dir.open_file(b"file").is_ok() && dir.open_dir(b"dir").is_ok());
    let taken = dir.create_file(b"file", 0o600).map_err(|error| error.kind());
    assert_eq!(taken.map(drop), Err(ErrorKind::AlreadyExists));
}
