//! Keys, host keys and the `sshd` of a node.

use super::process::wait_until;
use super::settings::{Kind, Settings, State};
use crate::failure::{Result, at};
use crate::program;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes the hub's key unless it is there.
///
/// # Errors
/// `ssh-keygen` fails.
pub(super) fn make_hub_key(settings: &Settings) -> Result {
    make_key(&settings.hub("id"), "depsync lab hub")
}

/// Makes a key unless it is there.
///
/// # Errors
/// `ssh-keygen` fails.
pub(super) fn make_key(path: &Path, comment: &str) -> Result {
    if path.exists() {
        return Ok(());
    }
    let path = path.to_string_lossy();
    program::quiet(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", &path])
}

/// Writes the host keys of all nodes to the hub's `known_hosts`.
///
/// # Errors
/// A host key cannot be read or the file not be written.
pub(super) fn write_known_hosts(settings: &Settings, state: &State) -> Result {
    let mut lines = String::new();
    for node in 1..=state.nodes {
        let path = settings.node(node, "hostkey.pub");
        let key = std::fs::read_to_string(&path).map_err(at("read", &path))?;
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        let name = match state.kind {
            Kind::Namespaces => settings.address(node),
            Kind::Loopback => format!("[127.0.0.1]:{}", port(state, node)),
        };
        writeln!(lines, "{name} {}", key.join(" "))
            .expect("invariant: writing to a string succeeds");
    }
    let path = settings.hub("known_hosts");
    std::fs::write(&path, lines).map_err(at("write", &path))
}

/// The command line that reaches a node from the hub.
pub(super) fn ssh(settings: &Settings, state: &State, node: u8) -> Vec<String> {
    let known = format!("UserKnownHostsFile={}", settings.hub("known_hosts").display());
    let key = settings.hub("id").display().to_string();
    let (port, host) = match state.kind {
        Kind::Namespaces => (22, format!("root@{}", settings.address(node))),
        Kind::Loopback => (port(state, node), format!("{}@127.0.0.1", user())),
    };
    let port = port.to_string();
    ["ssh", "-F", "none", "-i", &key, "-p", &port, "-o", &known]
        .into_iter()
        .chain(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"])
        .chain(["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", &host])
        .map(str::to_owned)
        .collect()
}

/// The node as depsync names it.
pub(super) fn target(settings: &Settings, state: &State, node: u8) -> String {
    match state.kind {
        Kind::Namespaces => format!("root@{}:/opt/server", settings.address(node)),
        Kind::Loopback => {
            let folder = settings.node(node, "opt/server");
            format!("ssh://{}@127.0.0.1:{}{}", user(), port(state, node), folder.display())
        }
    }
}

/// Waits until a node answers over ssh.
///
/// # Errors
/// It does not.
pub(super) fn wait_for(settings: &Settings, state: &State, node: u8) -> Result {
    let mut argv = ssh(settings, state, node);
    argv.push("true".to_owned());
    let logs = settings.node(node, "").display().to_string();
    let what = format!("the sshd of node {node} (its logs are below {logs})");
    wait_until(&what, START_TIMEOUT, || program::succeeds(&argv))
}

/// The port of a loopback node.
pub(super) fn port(state: &State, node: u8) -> u16 {
    state.ports.get(usize::from(node) - 1).copied().unwrap_or_default()
}

/// The calling user's name.
pub(super) fn user() -> String {
    program::output(&["id", "-un"])
        .map_or_else(|_unknown| "root".to_owned(), |name| name.trim().to_owned())
}
