//! Sources and nodes with names that cannot be taken (faults 6, 7, 9, 35, 42, 49).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use depsync::model::entry::Kind;
use depsync::model::path::TreePath;
use depsync::model::rules::Rules;
use depsync::os::root::{self, Missing};
use depsync::scan::matcher::Matcher;
use depsync::scan::{self, Progress, Scan, ScanOptions, Side, What};
use depsync::source::{Class, Error, Note, Options};

use crate::prerequisite::require;
use crate::source_tree::{self, Tree, paths, read, read_ok, tree_path};

fn scan_node(tree: &Tree, trees: &[TreePath], rules: &Rules) -> Scan {
    let (progress, stop) = (Progress::default(), AtomicBool::new(false));
    let options = ScanOptions::new(Side::Node, &progress, &stop);
    let root = root::open(tree.directory.path(), Missing::Refuse).expect("open").dir.expect("root");
    let matcher = Matcher::new(rules).expect("good rules");
    scan::scan(&root, trees, &matcher, &Arc::default(), &options).expect("a scan")
}

fn found(scan: &Scan) -> Vec<String> {
    source_tree::found(scan).iter().map(|one| one.entry.path.to_string()).collect()
}

fn kind(scan: &Scan, path: &str) -> Kind {
    let path = tree_path(path);
    let found = source_tree::found(scan).into_iter().find(|one| one.entry.path == path);
    found.unwrap_or_else(|| panic!("no {path}")).entry.kind
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(program).args(arguments).arg(path).status().expect(program).success()
}

/// A file system mounted for one test.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(path: &'a Path) -> Option<Self> {
        run("mount", &["-t", "tmpfs", "depsync-test"], path).then_some(Self(path))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        assert!(run("umount", &[], self.0), "unmount {}", self.0.display());
    }
}

#[test]
fn fault_006_every_unreadable_name_is_listed() {
    // Root reads everything, so the test runs itself as another user.
    if let Ok(path) = std::env::var("DEPSYNC_TEST_UNREADABLE") {
        let error = read(&Options::new(&path)).expect_err("unreadable");
        assert_eq!((error.class(), error.kind()), (Class::Fail, "source-unreadable"));
        let Error::Problems { problems } = &error else { panic!("{error:?}") };
        let names: Vec<_> = problems.iter().map(|one| one.path.to_string()).collect();
        assert_eq!(names, ["closed", "secret1", "secret2"]);
        assert!(problems.iter().all(|one| matches!(one.what, What::Unreadable { .. })));
        assert!(error.to_string().ends_with(", and 2 more"), "{error}");
        let opened = root::open(Path::new(&path), Missing::Refuse).expect("open").dir;
        let (progress, stop) = (Progress::default(), AtomicBool::new(false));
        let options = ScanOptions::new(Side::Node, &progress, &stop);
        let matcher = Matcher::new(&Rules::default()).expect("no rules");
        let root = opened.expect("root");
        let node = scan::scan(&root, &[TreePath::root()], &matcher, &Arc::default(), &options)
            .expect("a scan");
        assert_eq!(kind(&node, "secret1"), Kind::Special);
        let fatal: Vec<_> = node.problems.iter().filter(|one| one.is_fatal()).collect();
        assert_eq!(fatal.len(), 1, "{fatal:?}");
        assert_eq!(fatal[0].path, tree_path("closed"));
        assert!(matches!(kind(&node, "closed"), Kind::Directory));
        return;
    }
    if !require("fault_006", &["setpriv", "root"]) {
        return;
    }
    let tree = Tree::new();
    for name in ["secret1", "secret2", "open", "closed/file"] {
        tree.write(name, "x");
    }
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
    };
    set(tree.directory.path(), 0o755);
    set(&tree.at("secret1"), 0o600);
    set(&tree.at("secret2"), 0o000);
    set(&tree.at("closed"), 0o700);
    // The program of the tests may lie where another user cannot reach it.
    let program = tree.directory.path().with_extension("program");
    fs::copy(std::env::current_exe().expect("own program"), &program).expect("copied");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["--exact", "source_faults::fault_006_every_unreadable_name_is_listed"])
        .env("DEPSYNC_TEST_UNREADABLE", tree.directory.path())
        .output()
        .expect("setpriv");
    fs::remove_file(&program).expect("removed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn fault_007_a_source_whose_device_fails_is_refused_by_name() {
    if !require("fault_007", &["root"]) {
        return;
    }
    // /proc/self/mem gives EIO at offset 0: an error of the device as good as any.
    let root =
        root::open(Path::new("/proc/self"), Missing::Refuse).expect("open").dir.expect("root");
    let file = root.open_file(b"mem").expect("open");
    let error = scan::content::read_content(&file, 100).expect_err("an error");
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
}

#[test]
fn fault_009_and_042_special_files_are_never_opened() {
    if !require("fault_009", &["mkfifo"]) {
        return;
    }
    let tree = Tree::new();
    tree.write("d/file", "x");
    // Opening a FIFO without a writer would wait for ever.
    assert!(run("mkfifo", &[], &tree.at("d/fifo")));
    let _socket = std::os::unix::net::UnixListener::bind(tree.at("socket")).expect("a socket");
    let mut options = tree.options();
    let error = read(&options).expect_err("specials");
    assert_eq!((error.class(), error.kind()), (Class::Fail, "source-special"));
    assert_eq!(error.to_string(), "d/fifo is a FIFO, a socket or a device, and 1 more");
    options.checks.skip_specials = true;
    let source = read_ok(&options);
    assert_eq!(paths(&source.release.manifest().expect("made")), [".", "d", "d/file"]);
    let skipped = ["d/fifo", "socket"].map(|path| Note::SkippedSpecial { path: tree_path(path) });
    assert_eq!(source.notes, skipped);
    let node = scan_node(&tree, &[TreePath::root()], &Rules::default());
    assert!(node.problems.is_empty(), "{:?}", node.problems);
    assert_eq!(kind(&node, "d/fifo"), Kind::Special);
    assert_eq!(kind(&node, "socket"), Kind::Special);
}

#[test]
fn fault_035_and_049_a_mount_point_below_the_root_is_refused_unless_ignored() {
    if !require("fault_035", &["mount", "umount", "root"]) {
        return;
    }
    let tree = Tree::new();
    tree.write("file", "x");
    let path = tree.make_dir("d/mounted");
    let Some(_mounted) = Mounted::new(&path) else {
        eprintln!("skipped: this root may not mount");
        return;
    };
    fs::write(path.join("inside"), "x").expect("written");
    let error = read(&tree.options()).expect_err("a mount point");
    assert_eq!((error.class(), error.kind()), (Class::Fail, "source-mount-point"));
    assert_eq!(error.to_string(), "d/mounted is on another file system");
    let options = Options { ignore: vec!["/d/mounted/".into()], ..tree.options() };
    assert_eq!(paths(&read_ok(&options).release.manifest().expect("made")), [".", "d", "file"]);
    let node = scan_node(&tree, &[TreePath::root()], &Rules::default());
    assert!(matches!(node.problems[0].what, What::MountPoint));
    let rules = Rules { protect: vec!["mounted".into()], ..Rules::default() };
    let node = scan_node(&tree, &[TreePath::root()], &rules);
    assert!(node.problems.is_empty());
    assert_eq!(node.ignored, [tree_path("d/mounted")]);
    // The root itself may be a mount point, as a source often is.
    assert_eq!(
        paths(&read_ok(&Options::new(&path)).release.manifest().expect("made")),
        [".", "inside"]
    );
}

#[test]
fn a_node_has_what_no_rule_of_the_release_covers() {
    let tree = Tree::new();
    for name in [".depsync/journal", "a/keep", "a/x.log", "data/db/1", "cache/y", "cache/deep/z"] {
        tree.write(name, "x");
    }
    let rules = Rules {
        ignore: vec!["*.log".into()],
        files: vec![(TreePath::root(), "cache".into())],
        protect: vec!["/data/db".into()],
    };
    let node = scan_node(&tree, &[TreePath::root()], &rules);
    assert_eq!(found(&node), [".", "a", "a/keep", "data", "data/db", "data/db/1"]);
    assert_eq!(node.ignored, ["a/x.log", "cache"].map(tree_path));
    assert_eq!(node.protected, [tree_path("data/db")]);
    assert!(node.problems.is_empty() && node.rule_files.is_empty());
}

#[test]
fn a_tree_that_a_node_does_not_have_is_found_as_nothing() {
    let tree = Tree::new();
    tree.write("home/a/file", "x");
    tree.write("home/b", "a file where a tree belongs");
    std::os::unix::fs::symlink("a", tree.at("home/c")).expect("link");
    let trees = ["home/a", "home/b", "home/c", "home/none", "none/deeper"].map(tree_path);
    let node = scan_node(&tree, &trees, &Rules::default());
    assert_eq!(found(&node), ["home/a", "home/a/file", "home/b", "home/c"]);
    assert_eq!(kind(&node, "home/b"), Kind::Special);
    assert_eq!(kind(&node, "home/c"), Kind::Symlink(b"a"[..].into()));
    assert!(node.problems.is_empty(), "{:?}", node.problems);
    let node = scan_node(&tree, &[tree_path("home/c/deep")], &Rules::default());
    assert!(matches!(node.problems[0].what, What::NotDirectory));
    assert!(node.problems[0].is_fatal());
}
