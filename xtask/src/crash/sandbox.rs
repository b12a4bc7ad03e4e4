//! A cluster in one directory: two sources, nodes, the hub's state, and the program between them.
//!
//! ```text
//! old/ new/          the sources
//! n0/tree n1/tree    the nodes; what depsync keeps of them lies beside, in n0/.depsync/tree
//! hub/               the hub's state
//! depsync.toml       the cluster
//! bin/ssh            runs the remote command on this machine
//! alive              locked by every agent that still runs
//! ```

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde_json::Value;

use super::scenario::{self, Release};
use super::snapshot::Snapshot;
use crate::failure::{Failure, Result, at};
use crate::{program, workspace};

/// No run of this scenario takes so long, whatever fails.
const RUN_TIME_MAX: Duration = Duration::from_mins(1);

/// Runs what follows the host here, under the words of `CRASH_WRAP` if the host is the one of `CRASH_HOST`.
const SSH: &str = r#"#!/bin/sh
cd /
while [ "$1" != -- ]; do shift; done
host=$2
shift 2
exec 9>>"$CRASH_ALIVE"
flock -s 9
if [ "$host" = "$CRASH_HOST" ]; then exec $CRASH_WRAP "$@"; fi
exec "$@"
"#;

/// How the hub reaches its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The agent is a thread of the hub.
    Local,
    /// Each agent is a process.
    Agents,
}

/// How nodes make a release live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// Name by name.
    InPlace,
    /// By one exchange of two directories.
    Swap,
}

/// What a sandbox is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// How many nodes there are.
    pub(crate) nodes: usize,
    /// How they are reached.
    pub(crate) form: Form,
    /// How they commit.
    pub(crate) commit: Commit,
}

/// What stands before a program: a tracer and its arguments. Empty words mean none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wrap {
    /// Before the hub.
    pub(crate) hub: Vec<String>,
    /// Before the agent of the first node, where agents are processes. No word may hold a blank.
    pub(crate) agent: Vec<String>,
}

/// A sandbox on disk.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    directory: PathBuf,
    setup: Setup,
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code; none if a signal ended the program, or the time was over.
    pub(crate) code: Option<i32>,
    /// The time was over: it hung.
    pub(crate) is_late: bool,
    /// The state that the report gives each node, in the order of the nodes; none if there was no report.
    pub(crate) states: Vec<Option<String>>,
    /// All that was printed.
    pub(crate) said: String,
}

/// The built program, which [`build`] has made.
pub(crate) fn depsync() -> PathBuf {
    workspace::target().join("debug/depsync")
}

/// Builds the program under test.
///
/// # Errors
/// It does not build.
pub(crate) fn build() -> Result {
    program::run(&[&workspace::cargo(), "build", "--bin", "depsync"])
}

impl Sandbox {
    /// A new sandbox below `directory`, which must not exist: all nodes have the old release, and the first was changed since.
    ///
    /// # Errors
    /// The file system refuses something, or the old release could not be pushed.
    pub(crate) fn create(directory: &Path, setup: Setup) -> Result<Self> {
        let sandbox = Self { directory: directory.to_path_buf(), setup };
        let make = |path: &Path| std::fs::create_dir_all(path).map_err(at("create", path));
        for release in [Release::Old, Release::New] {
            make(&sandbox.source(release))?;
            scenario::write_source(&sandbox.source(release), release, true)?;
        }
        for node in 0..setup.nodes {
            make(&sandbox.node(node))?;
        }
        sandbox.write_files()?;
        sandbox.push(Release::Old)?.expect("establish the old release", 0)?;
        scenario::drift(&sandbox.node(0))?;
        scenario::check(&sandbox.snapshot(0)?, &Snapshot::of(&sandbox.source(Release::New))?)?;
        Ok(sandbox)
    }

    /// A copy of a sandbox in the place of whatever is at `directory`. Inodes are others: what was in flight cannot go
    /// on in a copy.
    ///
    /// # Errors
    /// It cannot be copied.
    pub(crate) fn copy_to(&self, directory: &Path) -> Result<Self> {
        let copy = Self { directory: directory.to_path_buf(), setup: self.setup };
        copy.remove()?;
        let (from, to) = (self.directory.join("."), directory.join(""));
        std::fs::create_dir_all(&to).map_err(at("create", &to))?;
        program::quiet(&[Path::new("cp"), Path::new("-a"), from.as_path(), to.as_path()])?;
        copy.write_files()?;
        Ok(copy)
    }

    /// Removes it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) fn remove(&self) -> Result {
        match std::fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(at("remove", &self.directory)(error))
            }
            _ => Ok(()),
        }
    }

    /// The directory that holds all of it.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it is like.
    pub(crate) fn setup(&self) -> Setup {
        self.setup
    }

    /// Where the source of `release` is.
    pub(crate) fn source(&self, release: Release) -> PathBuf {
        self.directory.join(release.name())
    }

    /// Where a node's tree is.
    pub(crate) fn node(&self, node: usize) -> PathBuf {
        self.directory.join(format!("n{node}/tree"))
    }

    /// Where depsync keeps its state of a node.
    pub(crate) fn state(&self, node: usize) -> PathBuf {
        self.directory.join(format!("n{node}/.depsync/tree"))
    }

    /// Where the hub keeps its state of the cluster.
    pub(crate) fn hub_state(&self) -> PathBuf {
        self.directory.join("hub/depsync/crash")
    }

    /// What a node's tree is now.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn snapshot(&self, node: usize) -> Result<Snapshot> {
        Snapshot::of(&self.node(node))
    }

    /// Pushes `release`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn push(&self, release: Release) -> Result<Outcome> {
        self.run("push", release, &Wrap::default())
    }

    /// Asks what a push of `release` would change; this recovers the nodes and settles what is pending there.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn plan(&self, release: Release) -> Result<Outcome> {
        self.run("plan", release, &Wrap::default())
    }

    /// Runs the program, and waits until no agent runs any more.
    ///
    /// # Errors
    /// Something cannot be started, or an agent does not end.
    pub(crate) fn run(&self, what: &str, release: Release, wrap: &Wrap) -> Result<Outcome> {
        let outcome = self.run_hub(what, release, wrap)?;
        self.await_agents()?;
        Ok(outcome)
    }

    fn run_hub(&self, what: &str, release: Release, wrap: &Wrap) -> Result<Outcome> {
        let depsync = depsync().display().to_string();
        let line: Vec<&str> =
            wrap.hub.iter().map(String::as_str).chain([depsync.as_str()]).collect();
        let mut command = program::command(&line);
        command.args([what, "--json", "--config"]).arg(self.directory.join("depsync.toml"));
        command.arg("--source").arg(self.source(release));
        command.env("CRASH_WRAP", wrap.agent.join(" "));
        self.finish(command)
    }

    /// Recovers all nodes without a hub, as when they boot; the program stands behind the words of `wrap`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn recover(&self, wrap: &[String]) -> Result<Outcome> {
        let depsync = depsync().display().to_string();
        let line: Vec<&str> = wrap.iter().map(String::as_str).chain([depsync.as_str()]).collect();
        let mut command = program::command(&line);
        command.arg("agent");
        for node in 0..self.setup.nodes {
            command.arg("--recover").arg(self.node(node));
        }
        self.finish(command)
    }

    /// Runs a command line to its end.
    fn finish(&self, mut command: Command) -> Result<Outcome> {
        self.environment(&mut command);
        let printed = self.directory.join("printed");
        let file = File::create(&printed).map_err(at("create", &printed))?;
        command.stdout(file.try_clone().map_err(at("share", &printed))?).stderr(file);
        command.process_group(0);
        let child = command.spawn().map_err(at("start", &depsync()))?;
        let (status, is_late) = wait(child).map_err(at("wait for", &depsync()))?;
        let bytes = std::fs::read(&printed).map_err(at("read", &printed))?;
        let said = String::from_utf8_lossy(&bytes).into_owned();
        // A tracer whose program was killed ends by the same signal, or says so as shells do.
        let code = status.code().filter(|_| status.signal().is_none() && !is_late);
        Ok(Outcome { code, is_late, states: states(&said, self.setup.nodes), said })
    }

    fn environment(&self, command: &mut Command) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut paths = vec![self.directory.join("bin")];
        paths.extend(std::env::split_paths(&path));
        if let Ok(paths) = std::env::join_paths(paths) {
            command.env("PATH", paths);
        }
        command.env("HOME", &self.directory).env("XDG_STATE_HOME", self.directory.join("hub"));
        command.env("CRASH_ALIVE", self.directory.join("alive")).env("CRASH_HOST", "n0");
        // Names that a tracer is given must not be found as files where it stands.
        command.stdin(Stdio::null()).current_dir("/");
    }

    /// Waits until nobody holds the lock that each agent shares: its hub may be dead while it still cleans up.
    fn await_agents(&self) -> Result {
        let path = self.directory.join("alive");
        let file = File::create(&path).map_err(at("open", &path))?;
        let deadline = Instant::now() + RUN_TIME_MAX;
        while file.try_lock().is_err() {
            if Instant::now() > deadline {
                return Err(Failure::new(format!("an agent hangs: {}", self.directory.display())));
            }
            std::thread::sleep(Duration::from_millis(2)); // poll: the lock itself decides
        }
        Ok(())
    }

    fn write_files(&self) -> Result {
        let targets = (0..self.setup.nodes).map(|node| {
            let host =
                if self.setup.form == Form::Agents { format!("n{node}:") } else { String::new() };
            format!("[[node]]\ntarget = \"{host}{}\"\n", self.node(node).display())
        });
        let commit = match self.setup.commit {
            Commit::InPlace => "",
            Commit::Swap => "[storage]\ncommit = \"swap\"\n",
        };
        let text = format!(
            "[cluster]\nname = \"crash\"\nsource = \"old\"\n{}[ssh]\nagent = \"{}\"\nreuse = \"0\"\n\
             [source]\nxattrs = true\nhard_links = true\n[guard]\nmin_free = \"0%\"\n\
             [run]\ntimeout = \"20s\"\n{commit}",
            targets.collect::<String>(),
            depsync().display()
        );
        let config = self.directory.join("depsync.toml");
        std::fs::write(&config, text).map_err(at("write", &config))?;
        let bin = self.directory.join("bin");
        std::fs::create_dir_all(&bin).map_err(at("create", &bin))?;
        let ssh = bin.join("ssh");
        std::fs::write(&ssh, SSH).map_err(at("write", &ssh))?;
        std::fs::set_permissions(&ssh, Permissions::from_mode(0o755)).map_err(at("chmod", &ssh))
    }
}

impl Outcome {
    /// Fails unless the exit code is `code`.
    ///
    /// # Errors
    /// It is another; the message holds all that was printed.
    pub(crate) fn expect(&self, what: &str, code: i32) -> Result<&Self> {
        if self.code == Some(code) {
            return Ok(self);
        }
        Err(Failure::new(format!(
            "{what}: exit code {:?} instead of {code}\n{}",
            self.code, self.said
        )))
    }
}

/// Waits for `child`, and kills its whole group when the time is over; true in that case.
fn wait(mut child: Child) -> std::io::Result<(ExitStatus, bool)> {
    let pid = Pid::from_child(&child);
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec {
        tv_sec: RUN_TIME_MAX.as_secs().try_into().map_err(std::io::Error::other)?,
        tv_nsec: 0,
    };
    let ended = rustix::event::poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit))?;
    if ended == 0 {
        rustix::process::kill_process_group(pid, Signal::KILL)?;
    }
    Ok((child.wait()?, ended == 0))
}

/// The state of each node in a report of JSON lines.
fn states(said: &str, nodes: usize) -> Vec<Option<String>> {
    let lines: Vec<Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |node: usize| {
        let ending = format!("/n{node}/tree");
        let line = lines.iter().find(|line| {
            line["type"] == "node"
                && line["target"].as_str().is_some_and(|it| it.ends_with(&ending))
        });
        line.and_then(|line| line["state"].as_str()).map(ToOwned::to_owned)
    };
    (0..nodes).map(of).collect()
}
