//! Server, clients, hub and source of a scenario.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::{depsync, ground, write};
use super::told::Told;
use super::{PATIENCE, READER, SERVER, WRITER, disks, gluster, nfs};
use crate::failure::{Failure, Result, at};
use crate::lab::Lab;
use crate::program;

/// What a client has mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nfs,
    Gluster,
}

/// The lab with its shares; gone with this value.
pub(super) struct Rig {
    pub(super) lab: Lab,
    kind: Kind,
    ground: PathBuf,
    program: PathBuf,
    targets: Vec<String>,
    figures: Mutex<Vec<String>>,
}

/// The longest that a script on a node may take.
const SCRIPT_SECONDS: &str = "90";

/// What is in a tree: names, kinds, modes, sizes and contents.
const CONTENTS: &str = r"find . -name .depsync -prune -o -printf '%P %y %m %l\n' | LC_ALL=C sort
find . -name .depsync -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum";

impl Rig {
    pub(super) fn up(kind: Kind) -> Result<Self> {
        let lab = Lab::for_approaches()?;
        lab.down()?;
        let ground = ground("shared")?;
        // Without what a debugger needs, so that it is copied in a moment.
        let program = ground.join("depsync");
        program::run(&[
            "strip".as_ref(),
            "-o".as_ref(),
            program.as_os_str(),
            depsync().as_os_str(),
        ])?;
        // From here on, it goes if anything fails.
        let mut rig =
            Self { lab, kind, ground, program, targets: Vec::new(), figures: Mutex::default() };
        match kind {
            Kind::Nfs => rig.lab.up_with_guests(READER, None, &[WRITER, READER])?,
            Kind::Gluster => rig.lab.up(READER, None)?,
        }
        rig.targets = rig.lab.targets()?;
        rig.on(SERVER, disks::MAKE)?;
        match kind {
            Kind::Nfs => nfs::start(&rig)?,
            Kind::Gluster => gluster::start(&rig)?,
        }
        Ok(rig)
    }

    pub(super) fn down(self) -> Result {
        self.lab.down()
    }

    /// An empty share on both clients, a hub that knows of nothing, and the first release in the source.
    ///
    /// # Errors
    /// The clients or the server do not do what they are told.
    pub(super) fn begin(&self, name: &str) -> Result {
        self.configure(&[WRITER, READER], "shared", "")?;
        for part in ["state", "source"] {
            let path = self.ground.join(part);
            if path.exists() {
                std::fs::remove_dir_all(&path).map_err(at("remove", &path))?;
            }
        }
        self.lab.limit(WRITER, 0)?;
        for client in [WRITER, READER] {
            // A scenario may have killed it.
            self.lab.start(client)?;
            self.unmount(client)?;
        }
        if self.is_nfs() {
            nfs::start(self)?;
        }
        self.on(SERVER, "rm -f /opt/disk/filler")?;
        // By a client: what the server has open goes with its name only where the server itself removes that.
        for share in ["other", "share"] {
            self.mount(WRITER, share, "")?;
            self.on(WRITER, "find /opt/server -mindepth 1 -delete")?;
        }
        for client in [WRITER, READER] {
            self.mount(client, "share", "")?;
        }
        self.make_first().map_err(|failure| Failure::new(format!("{name}: {failure}")))
    }

    /// Some configuration, some archives, empty directories and modes that are not the usual.
    fn make_first(&self) -> Result {
        for number in 0..200 {
            let name = format!("synapse-configs/default/api/Orders {number}.xml");
            self.edit(&name, format!("<api name='{number}'/>").repeat(100))?;
        }
        for number in 0..6 {
            self.edit(&format!("carbonapps/app-{number}.car"), noise(number, 2 << 20))?;
        }
        self.edit("axis2services/echo.sh", "#!/bin/sh\n")?;
        let [script, empty] =
            ["axis2services/echo.sh", "webapps/empty"].map(|name| self.source().join(name));
        program::quiet(&["chmod".as_ref(), "750".as_ref(), script.as_os_str()])?;
        std::fs::create_dir_all(&empty).map_err(at("create", &empty))
    }

    /// Writes a file of the source.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn edit(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result {
        write(&self.source().join(name), bytes)
    }

    pub(super) fn source(&self) -> PathBuf {
        self.ground.join("source")
    }

    /// Writes the configuration; `more` are further lines of `[storage]`.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn configure(&self, nodes: &[u8], approach: &str, more: &str) -> Result {
        let tables: Vec<String> = nodes
            .iter()
            .map(|node| format!("[[node]]\ntarget = \"{}\"\n", self.target(*node)))
            .collect();
        let tables = tables.concat();
        let config = format!(
            "[cluster]\nname = \"shop\"\nsource = \"source\"\n{tables}\n[ssh]\nidentity = [\"{}\"]\nknown_hosts = \"{}\"\nreuse = \"20s\"\n\
             \n[storage]\napproach = \"{approach}\"\n{more}",
            self.lab.hub("id").display(),
            self.lab.hub("known_hosts").display(),
        );
        write(&self.ground.join("depsync.toml"), config)
    }

    fn target(&self, node: u8) -> &str {
        self.targets.get(usize::from(node) - 1).map_or("", String::as_str)
    }

    pub(super) fn address(&self, node: u8) -> String {
        let target = self.target(node);
        let host = target.split_once(':').map_or(target, |(host, _)| host);
        host.trim_start_matches("root@").to_owned()
    }

    pub(super) fn is_nfs(&self) -> bool {
        self.kind == Kind::Nfs
    }

    /// Mounts `share`, `other` or `readonly` on a client in the place of what it has; options begin with a comma.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub(super) fn mount(&self, node: u8, export: &str, options: &str) -> Result {
        match self.kind {
            Kind::Nfs => nfs::mount(self, node, export, options),
            Kind::Gluster => gluster::mount(self, node, export),
        }
    }

    /// # Errors
    /// It cannot be unmounted.
    pub(super) fn unmount(&self, node: u8) -> Result {
        nfs::unmount(self, node)
    }

    /// Runs a script on a node, and gives what it prints.
    ///
    /// # Errors
    /// It fails, or takes longer than [`SCRIPT_SECONDS`].
    pub(super) fn on(&self, node: u8, script: &str) -> Result<String> {
        let mut words = ["timeout", "-k", "5", SCRIPT_SECONDS].map(str::to_owned).to_vec();
        words.extend(self.lab.ssh(node)?);
        words.push(script.to_owned());
        program::output(&words)
            .map_err(|failure| Failure::new(format!("on node {node}: {failure}")))
    }

    /// Writes a file of the server, below `/opt`.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn put(&self, name: &str, text: &str) -> Result {
        write(&self.lab.node_folder(SERVER, "opt").join(name), text)
    }

    /// The program, to be run with these words.
    fn command(&self, words: &[&str]) -> Command {
        let limit = PATIENCE.as_secs().to_string();
        let mut command = Command::new("timeout");
        command.args(["-k", "5", &limit]).arg(&self.program).args(words);
        command.arg("-c").arg(self.ground.join("depsync.toml"));
        command.env("XDG_STATE_HOME", self.ground.join("state")).stdin(Stdio::null());
        command
    }

    /// Runs depsync to its end.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn depsync(&self, words: &[&str]) -> Result<Told> {
        self.start(words)?.end()
    }

    /// Runs depsync, with `--json`, while something else is done.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(&self, words: &[&str]) -> Result<Running> {
        let words = [words, &["--json"]].concat();
        let log = self.ground.join("told");
        let open = |path: &Path| std::fs::File::create(path).map_err(at("create", path));
        let (out, errors) = (open(&log)?, open(&log.with_extension("errors"))?);
        let child = self.command(&words).stdout(out).stderr(errors).spawn();
        let child = child.map_err(|error| Failure::new(format!("start depsync: {error}")))?;
        Ok(Running { child, what: words.join(" "), log, started: Instant::now() })
    }

    /// A push that ends with `code`.
    ///
    /// # Errors
    /// It ends otherwise.
    pub(super) fn push(&self, code: i32) -> Result<Told> {
        let told = self.depsync(&["push"])?;
        told.exit(code)?;
        Ok(told)
    }

    /// The share as the hub sees it: on the server's own disk, or through the writer's mount.
    ///
    /// # Errors
    /// The node does not run.
    pub(super) fn share(&self) -> Result<PathBuf> {
        let (node, path) = match self.kind {
            Kind::Nfs => (SERVER, "opt/disk/share"),
            Kind::Gluster => (WRITER, "opt/server"),
        };
        self.below(node, path)
    }

    /// A path of a node that shares the hub's kernel.
    ///
    /// # Errors
    /// The node does not run.
    pub(super) fn below(&self, node: u8, path: &str) -> Result<PathBuf> {
        let process = self.lab.first_process(node)?;
        Ok(PathBuf::from(format!("/proc/{process}/root")).join(path))
    }

    /// Everything in the share with its time stamps; `is_all` with depsync's own state.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn stamps(&self, is_all: bool) -> Result<String> {
        let skip = if is_all { "" } else { "-name .depsync -prune -o" };
        let stamp = if is_all { "%m %s %i %T@ %C@" } else { "%m %T@" };
        // The root's own stamps are those of `.depsync` too.
        let script = format!(
            "cd \"$0\" && find . -mindepth 1 {skip} -printf '%P %y {stamp}\\n' | LC_ALL=C sort"
        );
        program::output(&["sh", "-c", &script, &self.share()?.display().to_string()])
    }

    /// # Errors
    /// The share is not as the source, seen by the server or by a client.
    pub(super) fn expect_source(&self) -> Result {
        let wanted = contents(&self.source())?;
        let told = contents(&self.share()?)?;
        expect_same("the share", &wanted, &told)?;
        for client in [WRITER, READER] {
            let told = self.on(client, &format!("cd /opt/server\n{CONTENTS}"))?;
            expect_same(&format!("what node {client} sees"), &wanted, &told)?;
        }
        Ok(())
    }

    /// Bytes that a node has received so far.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn received(&self, node: u8) -> Result<u64> {
        let counters = self.lab.counters()?;
        Ok(counters.get(&node).map_or(0, |counters| counters.to_node))
    }

    /// Notes a part of the figures.
    pub(super) fn note(&self, figure: String) {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).push(figure);
    }

    pub(super) fn figures(&self) -> String {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let parts: Vec<&str> = figures.iter().flat_map(|figure| [figure.as_str(), "; "]).collect();
        parts.concat()
    }
}

/// The contents of a tree of the hub's.
///
/// # Errors
/// They cannot be read.
pub(super) fn contents(tree: &Path) -> Result<String> {
    let script = format!("cd \"$0\"\n{CONTENTS}");
    program::output(&["sh", "-c", &script, &tree.display().to_string()])
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.lab.down());
    }
}

/// A run that is under way; killed with this value.
pub(super) struct Running {
    child: Child,
    what: String,
    log: PathBuf,
    started: Instant,
}

impl Running {
    /// Waits until it ends; it does, by its own limit.
    ///
    /// # Errors
    /// What it said cannot be read.
    pub(super) fn end(mut self) -> Result<Told> {
        let status = self
            .child
            .wait()
            .map_err(|error| Failure::new(format!("wait for {}: {error}", self.what)))?;
        let took = self.started.elapsed();
        let mut text = std::fs::read_to_string(&self.log).map_err(at("read", &self.log))?;
        let errors = self.log.with_extension("errors");
        text += &std::fs::read_to_string(&errors).map_err(at("read", &errors))?;
        Ok(Told { what: self.what.clone(), code: status.code(), text, took })
    }

    /// # Errors
    /// It has ended.
    pub(super) fn expect_running(&mut self) -> Result {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ended => Err(Failure::new(format!("{} ended before it was disturbed", self.what))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // timeout passes it on, and waits.
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = rustix::process::Pid::from_child(&self.child);
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            drop(self.child.wait());
        }
    }
}

/// # Errors
/// They differ; the first line that does is told.
pub(super) fn expect_same(what: &str, wanted: &str, told: &str) -> Result {
    if wanted == told {
        return Ok(());
    }
    let only = |these: &str, those: &str| {
        these.lines().find(|line| !those.lines().any(|other| other == *line)).map(str::to_owned)
    };
    Err(Failure::new(format!(
        "{what} is not as it should be: missing {:?}, too much {:?}",
        only(wanted, told),
        only(told, wanted)
    )))
}

/// Waits until `done`.
///
/// # Errors
/// It is not within a minute, or cannot be found out.
pub(super) fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done()? {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("waited a minute for {what}")));
        }
        std::thread::sleep(Duration::from_millis(20)); // poll: the condition itself decides
    }
    Ok(())
}

/// Bytes that no compression makes fewer of, others for each seed.
pub(super) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes / 8).flat_map(|_word| next()).collect()
}

/// The state that a node is told to be in.
pub(super) fn state(told: &Value) -> &str {
    told["state"].as_str().unwrap_or("nothing")
}
