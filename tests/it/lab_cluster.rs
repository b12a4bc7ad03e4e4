//! A cluster of real hosts with links of their own, made by the lab of the development tasks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cli_bench::Ran;
use crate::hub_cluster::{Cluster, Tree, tree};
use crate::prerequisite::{require, skip};

/// Where the nodes have their trees: the example of WSO2's page.
const TARGET: &str = "/opt/wso2mi/repository/deployment/server";
/// Nodes in the lab.
pub(crate) const NODES: [u8; 3] = [1, 2, 3];
/// Short waits, so that a link that is down costs little.
const SHORT: &[&str] = &["--connect-timeout", "2s", "--timeout", "4s"];

/// One lab at a time: it is of this machine, not of a test.
static ONE: Mutex<()> = Mutex::new(());

/// A lab with a source of some hundred files; taken down however the test ends.
pub(crate) struct Lab {
    pub(crate) cluster: Cluster,
    xtask: PathBuf,
    folder: PathBuf,
    _one: MutexGuard<'static, ()>,
}

impl Lab {
    /// Brings it up, or records why `test` cannot run here.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if !require(test, &["root", "ssh", "sshd", "ip", "nft", "tc", "rsync"]) {
            return None;
        }
        let Some(xtask) = xtask() else {
            skip(test, "needs the development tasks: cargo build -p xtask");
            return None;
        };
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lab");
        let lab = Self { cluster: Cluster::new(&[]), xtask, folder, _one: one };
        // What a test run that was killed has left.
        lab.act(&["down"]);
        lab.act(&["up", "3"]);
        let list: String = NODES.map(|node| target(node) + "\n").concat();
        lab.cluster.bench.write("nodes-list.txt", list.as_bytes());
        fs::set_permissions(
            lab.cluster.bench.at(""),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        for kind in ["api", "sequences", "proxy-services"] {
            fs::create_dir_all(lab.cluster.bench.at(&format!("source/synapse/{kind}"))).unwrap();
            for file in 0..100 {
                let name = format!("source/synapse/{kind}/artifact {file}.xml");
                lab.cluster
                    .bench
                    .write(&name, format!("<{kind} name='{file}'/>").repeat(20).as_bytes());
            }
        }
        Some(lab)
    }

    /// Does one act of the lab.
    #[track_caller]
    pub(crate) fn act(&self, arguments: &[&str]) -> String {
        let output = self.try_act(arguments);
        assert!(output.status.success(), "lab {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn try_act(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.xtask);
        command.arg("lab").args(arguments).env("DEPSYNC_LAB", &self.folder);
        command.env("DEPSYNC_LAB_NET", "10.79.7").env("DEPSYNC_LAB_TAG", "it").output().unwrap()
    }

    /// The tree of `node`, seen from outside.
    pub(crate) fn tree_of(&self, node: u8) -> PathBuf {
        self.folder.join(format!("n{node}{TARGET}"))
    }

    /// What `node` has.
    pub(crate) fn seen(&self, node: u8) -> Tree {
        tree(&self.tree_of(node))
    }

    /// `depsync push source --nodes nodes-list.txt`, over connections that stay for half a minute.
    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let mut command = self.cluster.command(&[], &["--nodes", "nodes-list.txt"]);
        command.arg("--identity").arg(self.folder.join("hub/id"));
        command.arg("--known-hosts").arg(self.folder.join("hub/known_hosts"));
        command.args(["--ssh-option", "IdentityAgent=none", "--ssh-reuse", "30s"]);
        command.args(SHORT).args(more);
        command
    }

    /// Pushes, and expects this exit code.
    #[track_caller]
    pub(crate) fn push(&self, code: i32, more: &[&str]) -> Ran {
        let ran = Ran::of(self.command(more).output().unwrap());
        assert_eq!(ran.code, code, "{}", ran.stderr);
        ran
    }

    /// Asserts that rsync finds no difference on any of `nodes`: no content, mode, owner or time.
    #[track_caller]
    pub(crate) fn assert_same(&self, nodes: &[u8]) {
        for node in nodes {
            let mut rsync = Command::new("rsync");
            rsync.args(["-niac", "--checksum", "--delete"]);
            rsync.arg(self.cluster.bench.at("source/")).arg(self.tree_of(*node));
            let output = rsync.arg("--").output().unwrap();
            let differences = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && differences.is_empty(), "{node}: {differences}");
            assert!(self.seen(*node) == tree(&self.cluster.bench.at("source")), "{node}");
        }
    }

    /// Bytes on the wire to and from `node` so far.
    pub(crate) fn wire_bytes(&self, node: u8) -> u64 {
        let counted: serde_json::Value = serde_json::from_str(&self.act(&["rx"])).unwrap();
        let of = |way: &str| counted[node.to_string()][way].as_u64().unwrap();
        of("to_node") + of("from_node")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.try_act(&["down"]));
        drop(fs::remove_file(self.folder.with_added_extension("lock")));
    }
}

/// The target of `node`, as in WSO2's nodes-list.txt.
pub(crate) fn target(node: u8) -> String {
    format!("root@10.79.7.{node}:{TARGET}")
}

/// The program of the development tasks: named by them when they run the tests, or beside the program under test.
fn xtask() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_BIN_EXE_depsync")).with_file_name("xtask");
    let path = std::env::var_os("DEPSYNC_XTASK").map_or_else(beside, PathBuf::from);
    path.is_file().then_some(path)
}
