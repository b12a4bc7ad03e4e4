use super::super::root::{self, Missing};
use super::*;

fn opened(directory: &tempfile::TempDir) -> Dir {
    let opened = root::open(directory.path(), Missing::Refuse).expect("opened");
    opened.dir.expect("a directory")
}

fn content(dir: &Dir, name: &[u8]) -> String {
    io::read_to_string(dir.open_file(name).expect("opened")).expect("read")
}

fn write(dir: &Dir, name: &[u8], text: &str) {
    io::Write::write_all(&mut dir.create_file(name, 0o600).expect("made"), text.as_bytes())
        .expect("written");
}

#[test]
fn a_rename_without_the_kernels_help_replaces_nothing_and_goes_on_where_it_was_cut_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let dir = opened(&directory);
    write(&dir, b"new", "new");
    write(&dir, b"old", "old");
    let refused = dir.rename_beside(b"new", &dir, b"old").expect_err("it is taken");
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!((content(&dir, b"new"), content(&dir, b"old")), ("new".into(), "old".into()));
    dir.hard_link(b"new", &dir, b"free").expect("as far as an earlier call came");
    dir.rename_beside(b"new", &dir, b"free").expect("ended");
    assert!(dir.find(b"new").expect("looked").is_none());
    assert_eq!(
        (content(&dir, b"free"), dir.stat(b"free").expect("a stat").link_count),
        ("new".into(), 1)
    );
    dir.create_dir(b"full", 0o700).expect("made");
    write(&dir.open_dir(b"full").expect("opened"), b"in", "in it");
    dir.create_dir(b"empty", 0o700).expect("made");
    for taken in [&b"old"[..], b"full", b"empty"] {
        let refused = dir.rename_beside(b"full", &dir, taken).expect_err("it is taken");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    }
    dir.rename_beside(b"full", &dir, b"moved").expect("moved");
    assert_eq!(content(&dir.open_dir(b"moved").expect("opened"), b"in"), "in it");
    let gone = dir.rename_beside(b"full", &dir, b"again").expect_err("it is gone");
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
}
