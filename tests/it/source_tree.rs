//! What a source's manifest says of its tree (faults 17 to 24, 26 to 28, 31, 33).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use depsync::model::entry::{Entry, Kind};
use depsync::model::manifest::{Manifest, OwnerPolicy};
use depsync::model::path::TreePath;
use depsync::scan::Progress;
use depsync::scan::content::content_of;
use depsync::scan::index::Index;
use depsync::scan::{Found, Scan};
use depsync::source::{
    self, ChunkReader, Class, Error, Note, Options, ReadChunks as _, ReadError, Source,
};

use crate::prerequisite::require;

/// A directory for one test.
pub(crate) struct Tree {
    pub(crate) directory: tempfile::TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn at(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.directory.path().join(OsStr::from_bytes(name.as_ref()))
    }

    pub(crate) fn write(&self, name: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("parents");
        fs::write(&path, bytes).expect("written");
        path
    }

    pub(crate) fn make_dir(&self, name: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(&path).expect("directories");
        path
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(self.directory.path())
    }
}

pub(crate) fn tree_path(text: impl AsRef<[u8]>) -> TreePath {
    TreePath::new(text.as_ref()).expect("a valid path")
}

pub(crate) fn read_with(options: &Options, index: &Arc<Index>) -> Result<Source, Error> {
    source::read(options, index, &Progress::default(), &AtomicBool::new(false))
}

pub(crate) fn read(options: &Options) -> Result<Source, Error> {
    read_with(options, &Arc::default())
}

pub(crate) fn read_ok(options: &Options) -> Source {
    read(options).unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

pub(crate) fn entry(manifest: &Manifest, path: impl AsRef<[u8]>) -> Entry {
    let path = tree_path(path);
    manifest.entries().find(|entry| entry.path == path).unwrap_or_else(|| panic!("no {path}"))
}

pub(crate) fn paths(manifest: &Manifest) -> Vec<String> {
    manifest.entries().map(|entry| entry.path.to_string()).collect()
}

/// What a reader of the manifest's chunks gets for the file at `path`.
pub(crate) fn shipped(source: &Source, path: &str) -> Result<Vec<u8>, ReadError> {
    let mut reader = ChunkReader::new(&source.root).expect("a reader");
    let Kind::File(content) = entry(&source.release.manifest().expect("made"), path).kind else {
        panic!("{path} is no file")
    };
    let mut all = Vec::new();
    for segment in content.segments() {
        match segment {
            depsync::model::entry::Segment::Hole { bytes } => {
                all.resize(all.len() + usize::try_from(*bytes).expect("small"), 0);
            }
            depsync::model::entry::Segment::Chunk(chunk) => {
                reader.read(&tree_path(path), all.len() as u64, *chunk, &mut all)?;
            }
        }
    }
    Ok(all)
}

pub(crate) fn set_times(path: &Path, time: SystemTime) {
    let file = fs::File::open(path).expect("open");
    file.set_times(fs::FileTimes::new().set_modified(time)).expect("set times");
}

#[test]
fn every_kind_of_entry_is_described_as_it_is() {
    let tree = Tree::new();
    tree.write("a/file", vec![7u8; 100_000]);
    fs::set_permissions(tree.at("a/file"), fs::Permissions::from_mode(0o4751)).expect("mode");
    tree.make_dir("empty");
    symlink("a/file", tree.at("link")).expect("link");
    let source = read_ok(&tree.options());
    assert_eq!(
        paths(&source.release.manifest().expect("made")),
        [".", "a", "a/file", "empty", "link"]
    );
    let file = entry(&source.release.manifest().expect("made"), "a/file");
    let stat = fs::metadata(tree.at("a/file")).expect("stat");
    assert_eq!(file.kind, Kind::File(content_of(&vec![7u8; 100_000])));
    assert_eq!(file.meta.mode, 0o4751);
    assert_eq!(file.meta.mtime.seconds, stat.mtime());
    assert_eq!(i64::from(file.meta.mtime.nanos), stat.mtime_nsec());
    assert_eq!(file.meta.owner.expect("an owner").uid, stat.uid());
    assert_eq!(
        entry(&source.release.manifest().expect("made"), "link").kind,
        Kind::Symlink(b"a/file"[..].into())
    );
    assert_eq!(entry(&source.release.manifest().expect("made"), "link").meta.mode, 0);
    assert_eq!((source.entries, source.bytes), (5, 100_000));
    assert_eq!(shipped(&source, "a/file").expect("unchanged"), vec![7u8; 100_000]);
    let options = Options { owner: OwnerPolicy::Agent, ..tree.options() };
    assert_eq!(
        entry(&read_ok(&options).release.manifest().expect("made"), "a/file").meta.owner,
        None
    );
}

#[test]
fn the_manifest_does_not_depend_on_threads() {
    let tree = Tree::new();
    for at in 0..900 {
        tree.write(format!("d{}/e{}/f{at}", at % 7, at % 31), format!("{at}"));
        tree.write(format!("wide/{at:04}"), format!("{at}"));
    }
    for at in 900..2500 {
        tree.write(format!("wide/{at:04}"), "");
    }
    let one = read_ok(&Options { threads: 1, ..tree.options() });
    assert!(one.files_read >= 900 + 2500, "{}", one.files_read);
    for threads in [2, 8] {
        let many = read_ok(&Options { threads, ..tree.options() });
        assert_eq!(
            many.release.manifest().expect("made").id(),
            one.release.manifest().expect("made").id(),
            "{threads} threads"
        );
    }
}

/// The index by which `source` need not be read again.
pub(crate) fn index_of(source: &Source) -> Arc<Index> {
    let bytes = source.write_index(Vec::new()).expect("written");
    Arc::new(Index::from_bytes(bytes, source.identity.root).expect("an index"))
}

/// Every name that `scan` found.
pub(crate) fn found(scan: &Scan) -> Vec<Found> {
    scan.listing.found().collect::<Result<_, _>>().expect("walked")
}

#[test]
fn fault_017_links_out_of_the_tree_are_kept_told_and_refused_if_asked() {
    let tree = Tree::new();
    tree.make_dir("d");
    for (name, text) in [("d/abs", "/etc/passwd"), ("d/in", "../d"), ("d/out", "../../x")] {
        symlink(text, tree.at(name)).expect("link");
    }
    let mut options = tree.options();
    let source = read_ok(&options);
    assert_eq!(
        entry(&source.release.manifest().expect("made"), "d/out").kind,
        Kind::Symlink(b"../../x"[..].into())
    );
    let wanted = [
        Note::AbsoluteLink { path: tree_path("d/abs") },
        Note::EscapingLink { path: tree_path("d/out") },
    ];
    assert_eq!(source.notes, wanted);
    options.checks.safe_links = true;
    let error = read(&options).expect_err("unsafe links");
    let Error::UnsafeLinks { links } = &error else { panic!("{error:?}") };
    assert_eq!(links, &[tree_path("d/abs"), tree_path("d/out")]);
    assert_eq!(error.class(), Class::Fail);
}

#[test]
fn fault_018_dangling_links_and_loops_are_text() {
    let tree = Tree::new();
    for (name, text) in [("dangling", "nowhere"), ("self", "self"), ("one", "two"), ("two", "one")]
    {
        symlink(text, tree.at(name)).expect("link");
    }
    let source = read_ok(&tree.options());
    assert_eq!(
        entry(&source.release.manifest().expect("made"), "self").kind,
        Kind::Symlink(b"self"[..].into())
    );
    assert_eq!(
        entry(&source.release.manifest().expect("made"), "dangling").kind,
        Kind::Symlink(b"nowhere"[..].into())
    );
    assert_eq!(source.entries, 5);
}

#[test]
fn fault_019_a_tree_reached_through_a_link_is_refused() {
    let tree = Tree::new();
    tree.write("real/tree/file", "x");
    symlink("real", tree.at("link")).expect("link");
    symlink("real/tree", tree.at("leaf")).expect("link");
    for name in ["link/tree", "leaf"] {
        let options = Options { trees: vec![tree_path(name)], ..tree.options() };
        let error = read(&options).expect_err(name);
        assert_eq!((error.class(), error.kind()), (Class::Usage, "source-trees"), "{error:?}");
    }
    let options = Options { trees: vec![tree_path("real/none")], ..tree.options() };
    assert_eq!(read(&options).expect_err("missing").class(), Class::Usage);
}

#[test]
fn several_trees_make_one_manifest_and_nothing_beside_them() {
    let tree = Tree::new();
    tree.write("home/deployment/server/x", "x");
    tree.write("home/tenants/1/y", "y");
    tree.write("home/logs/z", "z");
    let trees = vec![tree_path("home/tenants"), tree_path("home/deployment/server")];
    let source = read_ok(&Options { trees, ..tree.options() });
    let wanted = [
        "home/deployment/server",
        "home/deployment/server/x",
        "home/tenants",
        "home/tenants/1",
        "home/tenants/1/y",
    ];
    assert_eq!(paths(&source.release.manifest().expect("made")), wanted);
    let trees = vec![tree_path("home"), tree_path("home/tenants")];
    let error = read(&Options { trees, ..tree.options() }).expect_err("overlap");
    assert!(matches!(error, Error::TreesOverlap { .. }), "{error:?}");
}

#[test]
fn fault_020_the_root_as_a_link_is_followed_once() {
    let tree = Tree::new();
    tree.write("releases/7/file", "x");
    symlink("releases/7", tree.at("current")).expect("link");
    let source = read_ok(&Options::new(tree.at("current")));
    assert!(source.real_path.ends_with("releases/7"), "{:?}", source.real_path);
    assert_eq!(paths(&source.release.manifest().expect("made")), [".", "file"]);
}

#[test]
fn fault_021_hard_links_are_kept_if_asked_and_read_once_in_any_case() {
    let tree = Tree::new();
    tree.write("b/first", vec![1; 70_000]);
    tree.make_dir("c");
    fs::hard_link(tree.at("b/first"), tree.at("c/second")).expect("link");
    fs::hard_link(tree.at("b/first"), tree.at("z")).expect("link");
    let mut options = tree.options();
    let copied = read_ok(&options);
    let content = Kind::File(content_of(&vec![1; 70_000]));
    assert_eq!(entry(&copied.release.manifest().expect("made"), "z").kind, content);
    options.capture.hard_links = true;
    let kept = read_ok(&options);
    assert_eq!(entry(&kept.release.manifest().expect("made"), "b/first").kind, content);
    assert_eq!(
        entry(&kept.release.manifest().expect("made"), "c/second").kind,
        Kind::HardLink(tree_path("b/first"))
    );
    assert_eq!(
        entry(&kept.release.manifest().expect("made"), "z").kind,
        Kind::HardLink(tree_path("b/first"))
    );
    assert_eq!(kept.bytes, 70_000);
    assert!(kept.files_read <= 4, "{} reads of one inode", kept.files_read);
}

#[test]
fn fault_022_and_024_a_sparse_file_over_four_gibibytes_keeps_its_holes() {
    use std::os::unix::fs::FileExt as _;
    let tree = Tree::new();
    let file = fs::File::create(tree.at("sparse")).expect("create");
    let size = 5u64 << 30;
    file.set_len(size).expect("length");
    let at = (4u64 << 30) + 100;
    file.write_all_at(b"data beyond 32 bits", at).expect("written");
    let source = read_ok(&tree.options());
    let Kind::File(content) = entry(&source.release.manifest().expect("made"), "sparse").kind
    else {
        panic!("no file")
    };
    assert_eq!((content.size(), source.bytes), (size, size));
    assert_eq!(content.data_bytes(), 65_536);
    assert!(source.bytes_read <= 4 * 65_536, "{}", source.bytes_read);
    let chunk = content.chunks().next().expect("a chunk");
    let mut bytes = Vec::new();
    let mut reader = ChunkReader::new(&source.root).expect("a reader");
    reader.read(&tree_path("sparse"), 4 << 30, chunk, &mut bytes).expect("the data");
    assert_eq!(&bytes[100..119], b"data beyond 32 bits");
}

#[test]
fn fault_023_empty_files_and_directories_are_there() {
    let tree = Tree::new();
    tree.write("empty", "");
    tree.make_dir("d/e/f");
    let source = read_ok(&tree.options());
    assert_eq!(
        paths(&source.release.manifest().expect("made")),
        [".", "d", "d/e", "d/e/f", "empty"]
    );
    assert_eq!(
        entry(&source.release.manifest().expect("made"), "empty").kind,
        Kind::File(content_of(b""))
    );
}

#[test]
fn fault_028_modes_are_exact() {
    let tree = Tree::new();
    for mode in [0o000u32, 0o777, 0o4755, 0o2755, 0o1777, 0o6111] {
        let name = format!("m{mode:04o}");
        let path = if mode == 0o1777 { tree.make_dir(&name) } else { tree.write(&name, "x") };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
    }
    if !require("fault_028", &["root"]) {
        return;
    }
    let source = read_ok(&tree.options());
    for found in
        source.release.manifest().expect("made").entries().filter(|entry| !entry.path.is_root())
    {
        assert_eq!(found.path.to_string(), format!("m{:04o}", found.meta.mode));
    }
}

#[test]
fn fault_028_and_029_attributes_and_access_lists_are_kept_if_asked() {
    if !require("fault_028_and_029", &["setfattr", "setfacl", "root"]) {
        return;
    }
    let tree = Tree::new();
    let (file, directory) = (tree.write("file", "x"), tree.make_dir("dir"));
    let run = |program: &str, arguments: &[&str], path: &Path| {
        let status = Command::new(program).args(arguments).arg(path).status().expect(program);
        status.success()
    };
    if !run("setfattr", &["-n", "user.note", "-v", "hello"], &file)
        || !run("setfacl", &["-m", "u:12345:r"], &file)
        || !run("setfacl", &["-d", "-m", "g:54321:rx"], &directory)
    {
        eprintln!("skipped: the file system of temporary files has no attributes");
        return;
    }
    let names = |options: &Options, path: &str| -> Vec<String> {
        let xattrs = entry(&read_ok(options).release.manifest().expect("made"), path).meta.xattrs;
        xattrs.iter().map(|one| String::from_utf8_lossy(&one.name).into_owned()).collect()
    };
    let mut options = tree.options();
    assert_eq!(names(&options, "file"), [""; 0]);
    options.capture.xattrs = true;
    assert_eq!(names(&options, "file"), ["user.note"]);
    options.capture.acls = true;
    assert_eq!(names(&options, "file"), ["system.posix_acl_access", "user.note"]);
    assert_eq!(names(&options, "dir"), ["system.posix_acl_default"]);
}

#[test]
fn fault_031_an_empty_source_is_refused_unless_it_is_meant() {
    let tree = Tree::new();
    let mut options = tree.options();
    let error = read(&options).expect_err("empty");
    assert_eq!((error.class(), error.kind()), (Class::Guard, "source-empty"));
    assert!(error.hint().is_some_and(|hint| hint.contains("--allow-empty")));
    options.checks.allow_empty = true;
    assert_eq!(paths(&read_ok(&options).release.manifest().expect("made")), ["."]);
}

#[test]
fn fault_031_a_source_without_its_marker_is_refused() {
    let tree = Tree::new();
    tree.write("file", "x");
    let options = Options { marker: Some(tree_path("etc/.mounted")), ..tree.options() };
    let error = read(&options).expect_err("no marker");
    assert_eq!((error.class(), error.kind()), (Class::Guard, "source-marker"));
    tree.write("etc/.mounted", "");
    assert_eq!(read_ok(&options).entries, 4);
}

#[test]
fn fault_031_a_source_that_does_not_exist_is_a_mistake_of_use() {
    let tree = Tree::new();
    tree.write("file", "x");
    for name in ["none", "none/deeper", "file"] {
        let error = read(&Options::new(tree.at(name))).expect_err(name);
        assert_eq!(error.class(), Class::Usage, "{name}: {error:?}");
    }
}

#[test]
fn fault_033_rules_that_match_everything_are_refused_unless_it_is_meant() {
    let tree = Tree::new();
    tree.write("d/file", "x");
    tree.write(".depsyncignore", "*\n");
    let mut options = tree.options();
    let error = read(&options).expect_err("nothing left");
    assert_eq!((error.class(), error.kind()), (Class::Guard, "source-all-ignored"));
    options.checks.allow_empty = true;
    assert_eq!(read_ok(&options).entries, 1);
}

#[test]
fn fault_025_a_wide_directory_is_described_whole() {
    let tree = Tree::new();
    let directory = tree.make_dir("wide");
    for at in 0..30_000 {
        fs::File::create(directory.join(format!("{at:05}"))).expect("create");
    }
    let source = read_ok(&tree.options());
    assert_eq!(source.entries, 30_002);
    let manifest = source.release.manifest().expect("made");
    let names = manifest.entries().skip(2).map(|entry| entry.path);
    assert!(names.eq((0..30_000).map(|at| tree_path(format!("wide/{at:05}")))));
}
