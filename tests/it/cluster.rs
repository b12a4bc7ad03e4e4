//! A cluster in one temporary directory: a source, nodes that are directories, and the program between them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A source and its nodes.
pub(crate) struct Cluster {
    directory: tempfile::TempDir,
    /// Where each node's tree is.
    pub(crate) nodes: Vec<PathBuf>,
    /// What is put before the program, such as `setpriv` or `prlimit`.
    pub(crate) wrapper: Vec<String>,
    /// Options of every run.
    pub(crate) options: Vec<String>,
}

/// What a run said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<Value>,
    pub(crate) stderr: String,
}

/// One name of a tree, with everything that a release promises of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    pub(crate) content: Vec<u8>,
}

impl Cluster {
    /// A cluster of `count` nodes; all its directories exist and are empty.
    pub(crate) fn new(count: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        let nodes: Vec<_> =
            (0..count).map(|at| directory.path().join(format!("n{at}/tree"))).collect();
        for path in &nodes {
            fs::create_dir_all(path).expect("a node");
        }
        fs::create_dir(directory.path().join("source")).expect("a source");
        Self { directory, nodes, wrapper: Vec::new(), options: Vec::new() }
    }

    /// The directory that holds it all.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.path().join("source")
    }

    /// A path in the source.
    pub(crate) fn at(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.source().join(OsStr::from_bytes(name.as_ref()))
    }

    /// A path on a node.
    pub(crate) fn on(&self, node: usize, name: impl AsRef<[u8]>) -> PathBuf {
        self.nodes[node].join(OsStr::from_bytes(name.as_ref()))
    }

    /// The state directory of a node, as it lies beside its tree.
    pub(crate) fn state(&self, node: usize) -> PathBuf {
        let root = &self.nodes[node];
        root.parent().unwrap().join(".depsync").join(root.file_name().unwrap())
    }

    /// The state directory of the hub, once there is one.
    pub(crate) fn hub_state(&self) -> PathBuf {
        let mut clusters = fs::read_dir(self.path().join("state/depsync")).expect("a state");
        clusters.next().expect("a cluster").expect("an entry").path()
    }

    /// Writes a file of the source, with the directories above it.
    pub(crate) fn write(&self, name: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> PathBuf {
        write_at(&self.at(name), bytes)
    }

    /// Writes a file on a node.
    pub(crate) fn write_on(
        &self,
        node: usize,
        name: impl AsRef<[u8]>,
        bytes: impl AsRef<[u8]>,
    ) -> PathBuf {
        write_at(&self.on(node, name), bytes)
    }

    pub(crate) fn push(&self, more: &[&str]) -> Outcome {
        self.run("push", &self.source(), more)
    }

    pub(crate) fn plan(&self, more: &[&str]) -> Outcome {
        self.run("plan", &self.source(), more)
    }

    /// Pushes `source`, which must succeed.
    pub(crate) fn push_ok(&self, source: &Path, more: &[&str]) -> Outcome {
        let outcome = self.run("push", source, more);
        outcome.expect(0);
        outcome
    }

    /// Runs `what` from `source` to all nodes.
    pub(crate) fn run(&self, what: &str, source: &Path, more: &[&str]) -> Outcome {
        let mut command = self.command(what);
        command.arg("--source").arg(source);
        for node in &self.nodes {
            command.arg("--node").arg(node);
        }
        Outcome::of(command.args(more))
    }

    /// The program with `what`, `--json`, the options of all runs and a state of its own.
    pub(crate) fn command(&self, what: &str) -> Command {
        let program = env!("CARGO_BIN_EXE_depsync").to_owned();
        let line: Vec<&String> = self.wrapper.iter().chain([&program]).collect();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).arg(what).arg("--json").args(&self.options);
        command.env("XDG_STATE_HOME", self.path().join("state")).env("HOME", self.path());
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }

    /// Fails unless every node is what the source is, by rsync's word and by an own look.
    pub(crate) fn assert_same(&self) {
        self.assert_same_as(&self.source());
    }

    pub(crate) fn assert_same_as(&self, source: &Path) {
        for node in &self.nodes {
            assert_same(source, node);
            assert_rsync_agrees(source, node, &[]);
        }
    }

    /// What is in the stage of a node, which must be nothing after a run.
    pub(crate) fn staged(&self, node: usize) -> Vec<PathBuf> {
        match fs::read_dir(self.state(node).join("stage")) {
            Ok(names) => names.map(|name| name.expect("a name").path()).collect(),
            Err(_none) => Vec::new(),
        }
    }

    /// The bytes of every regular file in the kept area of a node.
    pub(crate) fn kept(&self, node: usize) -> Vec<Vec<u8>> {
        let all = names_below(&self.state(node).join("kept"));
        all.into_values().filter(|name| name.kind == '-').map(|name| name.content).collect()
    }

    /// Gives everything to the user `id`, as whom all runs are made from now on.
    pub(crate) fn run_as(&mut self, id: u32) {
        let owner = format!("{id}:{id}");
        run(Command::new("chown").arg("-hR").arg(&owner).arg(self.path()));
        self.wrapper = ["setpriv", "--reuid", &id.to_string(), "--regid", &id.to_string()]
            .into_iter()
            .chain(["--clear-groups", "--"])
            .map(String::from)
            .collect();
    }
}

impl Outcome {
    /// Runs `command` to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the program starts");
        let text = String::from_utf8(output.stdout).expect("the report is ASCII");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), lines, stderr }
    }

    #[track_caller]
    pub(crate) fn expect(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The line of the node whose target ends in `/n<at>/tree`, or of the only one.
    pub(crate) fn node(&self, at: usize) -> &Value {
        let nodes: Vec<_> = self.lines.iter().filter(|line| line["type"] == "node").collect();
        let ending = format!("/n{at}/tree");
        let named = nodes.iter().find(|line| line["target"].as_str().unwrap().ends_with(&ending));
        named.or(nodes.first()).unwrap_or_else(|| panic!("no line of node {at}: {self:#?}"))
    }

    pub(crate) fn state(&self, at: usize) -> &str {
        self.node(at)["state"].as_str().expect("a state")
    }

    /// Kind, message, causes and hint of a node's error.
    pub(crate) fn error(&self, at: usize) -> String {
        self.node(at)["error"].to_string()
    }

    pub(crate) fn count(&self, at: usize, what: &str) -> u64 {
        self.node(at)["counts"][what].as_u64().expect("a count")
    }

    pub(crate) fn summary(&self) -> &Value {
        self.lines.iter().find(|line| line["type"] == "summary").expect("a summary")
    }

    /// Path and change of each change line.
    pub(crate) fn changes(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lines = self.lines.iter().filter(|line| line["type"] == "change");
        lines.map(|line| (text(&line["path"]), text(&line["change"]))).collect()
    }
}

fn write_at(path: &Path, bytes: impl AsRef<[u8]>) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).expect("parents");
    fs::write(path, bytes).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    path.into()
}

/// Runs a tool, which must succeed; gives what it printed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Sets the modification time of `path` itself.
pub(crate) fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).expect("times");
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
}

/// Everything at and below `root`, but for a state directory in it; the root itself is the empty path.
pub(crate) fn names_below(root: &Path) -> BTreeMap<PathBuf, Name> {
    let mut names = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let kind = meta.file_type();
        let (letter, content) = if kind.is_dir() {
            let below = fs::read_dir(&path).expect("a listing");
            open.extend(below.map(|name| name.expect("a name").path()));
            ('d', Vec::new())
        } else if kind.is_symlink() {
            ('l', fs::read_link(&path).expect("a link").as_os_str().as_bytes().to_vec())
        } else if kind.is_file() {
            ('-', fs::read(&path).expect("a file"))
        } else {
            (if kind.is_fifo() { 'p' } else { 's' }, Vec::new())
        };
        let below = path.strip_prefix(root).unwrap();
        if below.starts_with(".depsync") {
            continue;
        }
        let mode = if letter == 'l' { 0 } else { meta.mode() & 0o7777 };
        let (owner, mtime) = ((meta.uid(), meta.gid()), (meta.mtime(), meta.mtime_nsec()));
        names.insert(below.to_path_buf(), Name { kind: letter, mode, owner, mtime, content });
    }
    names
}

/// Fails, naming the first difference, unless both trees are the same.
#[track_caller]
pub(crate) fn assert_same(source: &Path, node: &Path) {
    assert_names(&names_below(source), &names_below(node));
}

#[track_caller]
pub(crate) fn assert_names(wanted: &BTreeMap<PathBuf, Name>, got: &BTreeMap<PathBuf, Name>) {
    let short = |name: Option<&Name>| {
        name.map(|name| {
            let start = &name.content[..name.content.len().min(32)];
            let content = format!("{} bytes, {}", name.content.len(), start.escape_ascii());
            (name.kind, format!("{:04o}", name.mode), name.owner, name.mtime, content)
        })
    };
    for path in wanted.keys().chain(got.keys()) {
        let (one, other) = (wanted.get(path), got.get(path));
        let path = path.display();
        assert!(one == other, "{path}: wanted {:?}, got {:?}", short(one), short(other));
    }
}

/// Fails unless `rsync` finds nothing to do between the two trees; `more` stands in the place of `--delete`.
#[track_caller]
pub(crate) fn assert_rsync_agrees(source: &Path, node: &Path, more: &[&str]) {
    let slash = |path: &Path| format!("{}/", path.display());
    let mut command = Command::new("rsync");
    command.args(["-niacHAX", "--numeric-ids", "--exclude=/.depsync"]);
    command.args(if more.is_empty() { &["--delete"] } else { more });
    let said = run(command.arg(slash(source)).arg(slash(node)));
    assert_eq!(said, "", "rsync would change this");
}

/// Device, inode, size, modes and both times of every name, by which any touch is seen.
pub(crate) fn stamps(root: &Path) -> BTreeMap<PathBuf, [i64; 8]> {
    let stamp = |path: &Path| {
        let meta = fs::symlink_metadata(path).expect("stat");
        let wide = |value: u64| i64::try_from(value).expect("small");
        [
            wide(meta.ino()),
            wide(meta.size()),
            i64::from(meta.mode()),
            wide(meta.nlink()),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ]
    };
    let paths = names_below(root).into_keys();
    paths.map(|path| (path.clone(), stamp(&root.join(path)))).collect()
}

/// A file system mounted for one test; unmounted at its end.
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts with the arguments of `mount(8)`; `None` where the kernel does not know it.
    pub(crate) fn new(arguments: &[&str], at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("a mount point");
        let mut command = Command::new("mount");
        let done = command.args(arguments).arg(at).stderr(Stdio::null()).status().expect("mount");
        done.success().then(|| Self { at: at.to_path_buf() })
    }

    /// A file system of `kind` in an image of `mebibytes` beside the mount point.
    pub(crate) fn image(kind: &str, mebibytes: u64, more: &[&str], at: &Path) -> Option<Self> {
        let image = at.with_extension("image");
        let file = fs::File::create(&image).expect("an image");
        file.set_len(mebibytes << 20).expect("a length");
        let mut make = Command::new(format!("mkfs.{kind}"));
        let made = make.args(more).arg(&image).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        Self::new(&["-o", "loop", &image.display().to_string()], at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.at).status();
        debug_assert!(status.is_ok_and(|status| status.success()), "unmounted");
    }
}
