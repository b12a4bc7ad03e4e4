//! A source and nodes to push it to: local directories, and directories behind a real sshd with the real agent.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use depsync::node::journal::{Journal, Phase};
use depsync::os::root::{self, Missing};

use crate::cli_bench::{Bench, Ran};
use crate::ssh_server::{SshServer, eventually, signal};

/// A source `source` with some files, and a directory for nodes.
pub(crate) struct Cluster {
    pub(crate) bench: Bench,
}

/// A push that goes on.
pub(crate) struct Pushing(Child);

/// What a tree looks like: of each path its mode, its modification time and its content, or where it leads to.
pub(crate) type Tree = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

impl Cluster {
    /// A source of a few files, and the empty directories `nodes`.
    pub(crate) fn new(nodes: &[&str]) -> Self {
        let bench = Bench::new();
        fs::create_dir_all(bench.at("source/dir")).unwrap();
        bench.write("source/file", b"content");
        bench.write("source/dir/inner", b"more content");
        for node in nodes {
            fs::create_dir_all(bench.at(node)).unwrap();
        }
        Self { bench }
    }

    /// Changes the source, so that there is something to push.
    pub(crate) fn change(&self, text: &str) {
        self.bench.write("source/file", text.as_bytes());
    }

    /// Puts a file of so many random bytes into the source.
    pub(crate) fn add_big(&self, bytes: usize) {
        let mut content = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            let rest = content.get_mut(filled..).unwrap();
            filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()).unwrap();
        }
        self.bench.write("source/big", &content);
    }

    /// `depsync push source` to `targets`, with further options.
    pub(crate) fn command(&self, targets: &[&str], more: &[&str]) -> Command {
        let mut command = self.bench.command(&["push", "source"]);
        for target in targets {
            command.args(["--node", target]);
        }
        command.args(more);
        command
    }

    /// Pushes and waits.
    pub(crate) fn push(&self, targets: &[&str], more: &[&str]) -> Ran {
        Ran::of(self.command(targets, more).output().unwrap())
    }

    /// Asserts that the nodes are exactly the source.
    #[track_caller]
    pub(crate) fn assert_same(&self, nodes: &[&str]) {
        let source = tree(&self.bench.at("source"));
        for node in nodes {
            assert!(tree(&self.bench.at(node)) == source, "{node} is not the source");
        }
    }

    /// Asserts that nothing ever came to the nodes.
    #[track_caller]
    pub(crate) fn assert_empty(&self, nodes: &[&str]) {
        for node in nodes {
            let names = fs::read_dir(self.bench.at(node)).unwrap().count();
            assert_eq!(names, 0, "{node} is not empty");
        }
    }

    /// The state directory beside `node`.
    pub(crate) fn state_of(&self, node: &str) -> PathBuf {
        let path = self.bench.at(node);
        path.parent().unwrap().join(".depsync").join(path.file_name().unwrap())
    }

    /// How far the transaction in flight at `node` is.
    pub(crate) fn phase_of(&self, node: &str) -> Option<Phase> {
        let state = root::open(&self.state_of(node), Missing::Refuse).ok()?.dir?;
        Journal::look(&state).ok()?.flight.map(|flight| flight.phase)
    }

    /// Waits until `node` has something in its stage.
    pub(crate) fn await_stage(&self, node: &str) {
        eventually("the node stages", || {
            let stage = fs::read_dir(self.state_of(node).join("stage"));
            stage.is_ok_and(|mut stage| stage.next().is_some())
        });
    }

    /// Waits until `node` is prepared.
    pub(crate) fn await_prepared(&self, node: &str) {
        eventually("the node is prepared", || {
            matches!(self.phase_of(node), Some(Phase::Prepared(_)))
        });
    }

    /// Asserts that nothing is left of a transaction at `node`.
    #[track_caller]
    pub(crate) fn assert_no_stage(&self, node: &str) {
        assert_eq!(self.phase_of(node), None, "{node}");
        let stage = fs::read_dir(self.state_of(node).join("stage"));
        assert_eq!(stage.into_iter().flatten().count(), 0, "{node}");
    }

    /// The decisions that the hub remembers.
    pub(crate) fn decisions(&self) -> usize {
        let all = self.bench.at(".local/state/depsync");
        let Ok(clusters) = fs::read_dir(all) else { return 0 };
        let count = |cluster: fs::DirEntry| {
            let decisions = fs::read_dir(cluster.path().join("decision"));
            let names = decisions.into_iter().flatten().map(|name| name.unwrap().file_name());
            names.filter(|name| !name.to_string_lossy().ends_with(".new")).count()
        };
        clusters.map(|cluster| count(cluster.unwrap())).sum()
    }
}

impl Pushing {
    /// Starts a push.
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.0.id().to_string(), name);
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> Ran {
        Ran::of(self.0.wait_with_output().unwrap())
    }

    /// Waits for its end, by a signal as well, which counts as code -1.
    pub(crate) fn end_however(self) -> Ran {
        let output = self.0.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Kills it.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// True if it has not ended.
    pub(crate) fn goes_on(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

/// Reads a tree, without what depsync keeps for itself.
pub(crate) fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let at = root.join(&path);
        let stat = fs::symlink_metadata(&at).unwrap();
        let content = if stat.is_symlink() {
            fs::read_link(&at).unwrap().into_os_string().into_encoded_bytes()
        } else if stat.is_file() {
            fs::read(&at).unwrap()
        } else {
            Vec::new()
        };
        if stat.is_dir() {
            let names = fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name());
            todo.extend(names.filter(|name| name != ".depsync").map(|name| path.join(name)));
        }
        tree.insert(path, (stat.mode(), stat.mtime(), stat.mtime_nsec(), content));
    }
    tree
}

/// Of each path what changes with every write: inode and time of change.
pub(crate) fn stamps(root: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let stamp = |path: PathBuf| {
        let stat = fs::symlink_metadata(root.join(&path)).unwrap();
        (path, (stat.ino(), stat.ctime(), stat.ctime_nsec()))
    };
    tree(root).into_keys().map(stamp).collect()
}

/// Directories behind one sshd, whose agents are the program under test.
pub(crate) struct SshCluster {
    pub(crate) server: SshServer,
    pub(crate) cluster: Cluster,
}

impl SshCluster {
    /// Starts an sshd with `settings` added to its configuration.
    pub(crate) fn start(settings: &str, nodes: &[&str]) -> Self {
        // One place for uploaded agents: the program is large when it is built for tests.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agents");
        let server = SshServer::start(&format!(
            "{settings}\nSetEnv XDG_CACHE_HOME={} SHLVL=1",
            cache.display()
        ));
        Self { server, cluster: Cluster::new(nodes) }
    }

    /// The target of the directory `node`, reached as `host`.
    pub(crate) fn target_at(&self, host: &str, node: &str) -> String {
        format!("ssh://{host}:{}{}", self.server.port, self.cluster.bench.at(node).display())
    }

    /// The target of the directory `node`.
    pub(crate) fn target(&self, node: &str) -> String {
        self.target_at("127.0.0.1", node)
    }

    /// `depsync push source` to `targets`, with what logs in there, and further options.
    pub(crate) fn command(&self, targets: &[&str], more: &[&str]) -> Command {
        let mut command = self.cluster.command(targets, &["--ssh-option", "IdentityAgent=none"]);
        command.arg("--identity").arg(self.server.path("user"));
        command.arg("--known-hosts").arg(self.server.path("known"));
        command.args(["--ssh-reuse", "0"]).args(more);
        command
    }

    /// Pushes and waits.
    pub(crate) fn push(&self, targets: &[&str], more: &[&str]) -> Ran {
        Ran::of(self.command(targets, more).output().unwrap())
    }

    /// The process of the agent that holds the lease of `node`.
    pub(crate) fn agent_of(&self, node: &str) -> String {
        let lease = self.cluster.state_of(node).join("lock");
        let holds = |process: &String| {
            let handles = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
            let mut paths = handles.filter_map(|handle| fs::read_link(handle.ok()?.path()).ok());
            paths.any(|path| path == lease)
        };
        self.server.sessions().into_iter().rfind(holds).expect("an agent of that node")
    }
}
