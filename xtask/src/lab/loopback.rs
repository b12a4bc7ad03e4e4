//! Nodes that are `sshd` processes of the calling user, each on a port of the loopback address.

use super::process::{Identity, wait_until};
use super::settings::{Settings, State};
use super::sshd;
use crate::failure::{Failure, Result, at};
use crate::program;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

/// Names, in the environment of every process of a node, the node's directory: so all can be found again.
const MARK: &str = "DEPSYNC_LAB_NODE";

const PATIENCE: Duration = Duration::from_secs(10);

/// Brings the nodes 1 to `nodes` up and removes any above.
///
/// # Errors
/// A part cannot be made.
pub(super) fn up(settings: &Settings, state: &mut State, nodes: u8) -> Result {
    for node in 1..=nodes {
        if state.ports.len() < usize::from(node) {
            state.ports.push(free_port()?);
        }
        state.nodes = state.nodes.max(node);
        state.save(&settings.folder)?;
        make_files(settings, state, node)?;
        start(settings, node)?;
    }
    while state.nodes > nodes {
        remove(settings, state.nodes)?;
        state.nodes -= 1;
        state.ports.truncate(usize::from(state.nodes));
        state.save(&settings.folder)?;
    }
    Ok(())
}

/// Kills all nodes; their files stay.
///
/// # Errors
/// A node does not die.
pub(super) fn stop(settings: &Settings, state: &State) -> Result {
    (1..=state.nodes).try_for_each(|node| kill(settings, node))
}

/// Starts a node unless it runs.
///
/// # Errors
/// It does not start.
pub(super) fn start(settings: &Settings, node: u8) -> Result {
    let record = settings.node(node, "pid");
    if Identity::read(&record).is_some_and(|sshd| sshd.is_alive()) {
        return Ok(());
    }
    if program::is_root() {
        // Started by the super-user, sshd wants this directory, which the system makes only for its own.
        std::fs::create_dir_all("/run/sshd").map_err(at("create", Path::new("/run/sshd")))?;
    }
    let log_path = settings.node(node, "sshd.log");
    let log = std::fs::File::options().create(true).append(true).open(&log_path);
    let log = log.map_err(at("open", &log_path))?;
    let config = settings.node(node, "sshd_config").display().to_string();
    let child = program::command(&["setsid", &sshd_path()?, "-D", "-e", "-f", &config])
        .env(MARK, settings.node(node, ""))
        .stdout(std::process::Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| Failure::new(format!("start node {node}: {error}")))?;
    let pid = i32::try_from(child.id()).expect("invariant: process numbers are small");
    let sshd = Identity::of(pid);
    let dead = || Failure::new(format!("node {node} died at once: see {}", log_path.display()));
    sshd.ok_or_else(dead)?.write(&record)
}

/// Kills all processes of a node, those that have left their session too, and waits until they are gone.
///
/// # Errors
/// They do not die.
pub(super) fn kill(settings: &Settings, node: u8) -> Result {
    if let Some(sshd) = Identity::read(&settings.node(node, "pid")) {
        sshd.kill();
    }
    let mark = format!("{MARK}={}", settings.node(node, "").display());
    wait_until(&format!("the death of node {node}"), PATIENCE, || {
        let marked = marked(&mark);
        marked.iter().for_each(Identity::kill);
        marked.is_empty()
    })
}

/// The live processes of the calling user with this entry in their environment.
fn marked(mark: &str) -> Vec<Identity> {
    let Ok(listing) = std::fs::read_dir("/proc") else { return Vec::new() };
    let carries = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    };
    listing
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(carries)
        .filter_map(Identity::of)
        .collect()
}

fn remove(settings: &Settings, node: u8) -> Result {
    kill(settings, node)?;
    let folder = settings.node(node, "");
    std::fs::remove_dir_all(&folder).map_err(at("remove", &folder))
}

fn make_files(settings: &Settings, state: &State, node: u8) -> Result {
    let folder = settings.node(node, "opt");
    std::fs::create_dir_all(&folder).map_err(at("create", &folder))?;
    sshd::make_key(&settings.node(node, "hostkey"), "depsync lab node")?;
    let path = settings.node(node, "sshd_config");
    let text = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey \"{hostkey}\"\nAuthorizedKeysFile \"{keys}\"\n\
         StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         UsePAM no\nPidFile none\nMaxStartups 200\nMaxSessions 200\nUseDNS no\n\
         SetEnv \"{MARK}={mark}\" SHLVL=1\nSubsystem sftp internal-sftp\n",
        port = sshd::port(state, node),
        hostkey = settings.node(node, "hostkey").display(),
        keys = settings.hub("id.pub").display(),
        mark = settings.node(node, "").display(),
    );
    std::fs::write(&path, text).map_err(at("write", &path))
}

fn free_port() -> Result<u16> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound
        .map(|address| address.port())
        .map_err(|error| Failure::new(format!("find a free port: {error}")))
}

/// `sshd` starts only by its absolute path, as it starts itself again for each connection.
fn sshd_path() -> Result<String> {
    let places = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd", "/usr/bin/sshd"];
    let found = places.into_iter().find(|place| Path::new(place).exists());
    found
        .map(str::to_owned)
        .ok_or_else(|| Failure::unavailable("sshd is not installed: openssh-server"))
}
