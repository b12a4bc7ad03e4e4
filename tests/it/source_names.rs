//! Names of every kind (faults 10 to 16) and the rules that leave some out.

use std::fs;

use depsync::model::entry::Kind;
use depsync::model::limits::PATH_DEPTH_MAX;
use depsync::model::path::TreePath;
use depsync::os::root::{self, Missing};
use depsync::scan::What;
use depsync::scan::content::content_of;
use depsync::source::{Class, Error, Options};

use crate::source_tree::{Tree, entry, paths, read, read_ok};

#[test]
fn fault_010_and_011_and_012_and_014_and_015_names_are_exact() {
    let tree = Tree::new();
    let long = vec![b' '; 255];
    let names: [&[u8]; 14] = [
        b"\xff\xfe\x80",
        b"new\nline",
        b"esc\x1b[31m",
        b"\x9b",
        "\u{202e}bidi".as_bytes(),
        b"-leading",
        b"   ",
        b"trailing. ",
        b"\"quote'",
        b"back\\slash",
        b"*?[x]",
        b"Case",
        b"case",
        &long,
    ];
    for name in names {
        tree.write(name, name);
        tree.write([b"d/", name].concat(), "below");
    }
    for name in ["u\u{308}", "\u{fc}"] {
        tree.write(name, name);
    }
    let source = read_ok(&tree.options());
    assert_eq!(source.entries, 2 + 2 * names.len() as u64 + 2);
    for name in names {
        assert_eq!(
            entry(&source.release.manifest().expect("made"), name).kind,
            Kind::File(content_of(name))
        );
    }
    let shown = paths(&source.release.manifest().expect("made"));
    assert!(shown.iter().all(|path| !path.contains(['\n', '\u{1b}', '\u{202e}'])), "{shown:?}");
}

#[test]
fn fault_013_paths_up_to_the_limits_are_read_and_deeper_ones_refused() {
    let tree = Tree::new();
    // Deeper and longer than any path that a system call takes, so it is made level by level.
    let opened = root::open(tree.directory.path(), Missing::Refuse).expect("open");
    let mut at = opened.dir.expect("the root");
    let name = [b'n'; 31];
    let mut path = TreePath::root();
    for _ in 0..PATH_DEPTH_MAX {
        at.create_dir(&name, 0o755).expect("create");
        path = path.join(&name).expect("within the limits");
        if path.depth() < PATH_DEPTH_MAX {
            at = at.open_dir(&name).expect("open");
        }
    }
    assert_eq!(path.as_bytes().len(), 4095);
    let source = read_ok(&tree.options());
    assert_eq!(source.entries, 1 + PATH_DEPTH_MAX as u64);
    at.open_dir(&name).expect("open").create_dir(b"x", 0o755).expect("create");
    let error = read(&tree.options()).expect_err("too deep");
    assert_eq!((error.class(), error.kind()), (Class::Fail, "source-path"), "{error:?}");
    let Error::Problems { problems } = error else { panic!("other") };
    assert_eq!(problems[0].path, path);
}

#[test]
fn fault_016_the_state_directory_in_the_source_is_refused_with_a_hint() {
    let tree = Tree::new();
    tree.write(".depsync/journal", "x");
    let error = read(&tree.options()).expect_err("refused");
    assert_eq!((error.class(), error.kind()), (Class::Fail, "source-state-directory"));
    assert!(error.hint().is_some_and(|hint| hint.contains(".depsync")), "{error:?}");
    fs::rename(tree.at(".depsync"), tree.make_dir("below").join(".depsync")).expect("rename");
    assert_eq!(read_ok(&tree.options()).entries, 4);
}

#[test]
fn rule_files_hold_for_their_directory_and_travel_with_the_release() {
    let tree = Tree::new();
    tree.write(".depsyncignore", "*.log\n/cache/\n");
    tree.write("a.log", "x");
    tree.write("cache/x", "x");
    tree.write("app/.depsyncignore", "!keep.log\ncache\n");
    tree.write("app/keep.log", "x");
    tree.write("app/drop.log", "x");
    tree.write("app/cache/y", "y");
    tree.write("app/secret.txt", "y");
    let options = Options { ignore: vec!["secret.*".into()], ..tree.options() };
    let source = read_ok(&options);
    let wanted = [".", ".depsyncignore", "app", "app/.depsyncignore", "app/keep.log"];
    assert_eq!(paths(&source.release.manifest().expect("made")), wanted);
    let rules = &source.release.header().rules;
    assert_eq!(rules.ignore, ["secret.*"]);
    let directories: Vec<_> = rules.files.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(directories, [".", "app"]);
    assert_eq!(rules.files[0].1, "*.log\n/cache/\n");
}

#[test]
fn rules_that_cannot_be_used_are_refused_with_file_and_line() {
    let check = |bytes: &[u8], wanted: &str| {
        let tree = Tree::new();
        tree.write("d/file", "x");
        tree.write("d/.depsyncignore", bytes);
        let error = read(&tree.options()).expect_err(wanted);
        assert_eq!((error.class(), error.kind()), (Class::Usage, "ignore-rules"));
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert_eq!(cause, wanted);
    };
    check(b"fine\n{open", "d/.depsyncignore, line 2: bad pattern");
    check(b"\xff", "d/.depsyncignore is not UTF-8 text");
    check(&vec![b'\n'; 1024 * 1024 + 1], "d/.depsyncignore is too long for a file of ignore rules");
    let tree = Tree::new();
    tree.make_dir("d/.depsyncignore");
    let error = read(&tree.options()).expect_err("a directory");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert_eq!(cause, "d/.depsyncignore is not a regular file");
    let options = Options { ignore: vec!["ok".into(), "{x".into()], ..Tree::new().options() };
    let error = read(&options).expect_err("bad line");
    assert_eq!(error.class(), Class::Usage);
}

#[test]
fn a_problem_below_an_ignored_directory_is_none() {
    let tree = Tree::new();
    tree.write("keep", "x");
    tree.make_dir("run");
    let _socket = std::os::unix::net::UnixListener::bind(tree.at("run/socket")).expect("a socket");
    let error = read(&tree.options()).expect_err("a socket");
    let Error::Problems { problems } = error else { panic!("other") };
    assert!(matches!(problems[0].what, What::Special));
    let options = Options { ignore: vec!["/run".into()], ..tree.options() };
    assert_eq!(paths(&read_ok(&options).release.manifest().expect("made")), [".", "keep"]);
}
