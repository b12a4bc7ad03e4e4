//! Nodes that are hosts of their own, made of name spaces.

use super::process::{Identity, wait_until};
use super::settings::{Settings, State};
use super::{guest, link, sshd};
use crate::failure::{Failure, Result, at};
use crate::program;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

/// The directories that are a node's own, and the modes of those that are not the usual.
const OWN: [(&str, &str, u32); 5] = [
    ("opt", "/opt", 0o755),
    ("root", "/root", 0o700),
    ("tmp", "/tmp", 0o1777),
    ("var_lib", "/var/lib", 0o755),
    ("run", "/run", 0o755),
];

/// A node is dead or alive within this time, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// What process 1 of a node does before it becomes [`SSHD`] or [`guest::KERNEL`]. Arguments: the node's directory, its
/// name, the size of `/opt` or nothing, and its address.
///
/// The node's directories are first all seen through one mount, since the lab may itself lie below one of
/// those they hide. The super-user's password is `*` on the node, as a locked one would keep `sshd` from
/// accepting keys.
const BOOT: &str = r#"set -e
cd /
mount --make-rprivate /
mount -t proc proc /proc
hostname "$2"
mount --bind "$1" /mnt
mkdir -p /mnt/run/sshd /mnt/run/lab
cp -p /mnt/hostkey /mnt/sshd_config /mnt/run/lab/
if [ -e /mnt/guest-init ]; then cp -p /mnt/guest-init /mnt/run/lab/init; fi
sed 's/^root:[^:]*:/root:*:/' /etc/shadow >/mnt/run/lab/shadow
chmod 600 /mnt/run/lab/shadow
for pair in opt:/opt root:/root tmp:/tmp var_lib:/var/lib run:/run; do
    mount --bind "/mnt/${pair%%:*}" "${pair#*:}"
done
umount /mnt
mount --bind /run/lab/shadow /etc/shadow
if [ -n "$3" ]; then mount -t tmpfs -o "size=$3" tmpfs /opt; fi
"#;

const SSHD: &str =
    r#"exec "$(PATH=$PATH:/usr/sbin:/sbin command -v sshd)" -D -e -f /run/lab/sshd_config"#;

const SSHD_CONFIG: &str = "Port 22
HostKey /run/lab/hostkey
PermitRootLogin yes
StrictModes no
PasswordAuthentication no
UsePAM no
PidFile none
MaxStartups 200
MaxSessions 200
UseDNS no
SetEnv SHLVL=1
Subsystem sftp internal-sftp
";

/// Brings the nodes 1 to `nodes` up and removes any above.
///
/// # Errors
/// A part cannot be made, or a name is taken by something that is not this lab's.
pub(super) fn up(settings: &Settings, state: &mut State, nodes: u8) -> Result {
    let bridge = settings.bridge();
    refuse_taken_network(settings, &bridge)?;
    if claim(settings, state, &bridge, link::exists(&bridge))? {
        let hardware = settings.hardware(254);
        program::quiet(&["ip", "link", "add", &bridge, "address", &hardware, "type", "bridge"])?;
    }
    let address = format!("{}/24", settings.address(254));
    program::quiet(&["ip", "addr", "replace", &address, "dev", &bridge])?;
    program::quiet(&["ip", "link", "set", &bridge, "up"])?;
    for node in 1..=nodes {
        state.nodes = state.nodes.max(node);
        state.save(&settings.folder)?;
        make_files(settings, node)?;
        if state.guests.contains(&node) {
            guest::make_files(settings, node)?;
        }
        make_network(settings, state, node)?;
        start(settings, state, node)?;
    }
    while state.nodes > nodes {
        remove(settings, state, state.nodes)?;
        let folder = settings.node(state.nodes, "");
        std::fs::remove_dir_all(&folder).map_err(at("remove", &folder))?;
        state.nodes -= 1;
        state.save(&settings.folder)?;
    }
    Ok(())
}

/// Removes all nodes and the bridge, but none of their files.
///
/// # Errors
/// A node does not die.
pub(super) fn stop(settings: &Settings, state: &State) -> Result {
    for node in 1..=state.nodes {
        remove(settings, state, node)?;
    }
    if state.owned.contains(&settings.bridge()) {
        program::succeeds(&["ip", "link", "del", &settings.bridge()]);
    }
    Ok(())
}

/// Starts a node unless it runs.
///
/// # Errors
/// It does not start.
pub(super) fn start(settings: &Settings, state: &State, node: u8) -> Result {
    if inner(settings, node).is_some() {
        return Ok(());
    }
    let log_path = settings.node(node, "boot.log");
    let log = std::fs::File::options().create(true).append(true).open(&log_path);
    let log = log.map_err(at("open", &log_path))?;
    let error_log = log.try_clone().map_err(at("open", &log_path))?;
    let (folder, name) = (settings.node(node, "").display().to_string(), format!("n{node}"));
    let (namespace, address) = (settings.namespace(node), settings.address(node));
    let last = if state.guests.contains(&node) { guest::KERNEL } else { SSHD };
    let script = format!("{BOOT}{last}");
    // setsid keeps the number of the process, as do ip and unshare: it is unshare that has it in the end.
    let argv = ["setsid", "ip", "netns", "exec", &namespace]
        .into_iter()
        .chain(["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"])
        .chain(["sh", "-c", &script, "boot", &folder, &name])
        .chain([state.opt_size.as_deref().unwrap_or(""), &address]);
    let child = program::command(&argv.collect::<Vec<_>>())
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(error_log)
        .spawn()
        .map_err(|error| Failure::new(format!("start node {node}: {error}")))?;
    let pid = i32::try_from(child.id()).expect("invariant: process numbers are small");
    let dead = || Failure::new(format!("node {node} died at once: see {}", log_path.display()));
    let outer = Identity::of(pid).ok_or_else(dead)?;
    outer.write(&settings.node(node, "pid"))?;
    wait_until(&format!("process 1 of node {node}"), PATIENCE, || {
        outer.first_child().is_some() || !outer.is_alive()
    })?;
    if outer.is_alive() { Ok(()) } else { Err(dead()) }
}

/// Kills a node's process 1, and with it all its processes, and waits until they are gone.
///
/// # Errors
/// It does not die.
pub(super) fn kill(settings: &Settings, node: u8) -> Result {
    let Some(outer) = Identity::read(&settings.node(node, "pid")) else { return Ok(()) };
    match outer.first_child() {
        Some(inner) => inner.kill(),
        None => outer.kill(),
    }
    // The process outside ends only when process 1 has, which ends only after all others in its space.
    wait_until(&format!("the death of node {node}"), PATIENCE, || !outer.is_alive())
}

/// The words before a command that let it run on a node.
///
/// # Errors
/// The node does not run.
pub(super) fn enter(settings: &Settings, node: u8) -> Result<Vec<String>> {
    let pid = first_process(settings, node)?;
    let words = ["nsenter", "-t", &pid.to_string(), "-m", "-u", "-n", "-p", "-r", "-w"];
    Ok(words.map(str::to_owned).to_vec())
}

/// The number, outside of the node, of its process 1.
///
/// # Errors
/// The node does not run.
pub(super) fn first_process(settings: &Settings, node: u8) -> Result<i32> {
    let pid = inner(settings, node).and_then(|inner| inner.live_pid());
    pid.ok_or_else(|| Failure::new(format!("node {node} does not run")))
}

fn inner(settings: &Settings, node: u8) -> Option<Identity> {
    Identity::read(&settings.node(node, "pid"))?.first_child()
}

fn remove(settings: &Settings, state: &State, node: u8) -> Result {
    kill(settings, node)?;
    let (link, namespace) = (settings.link(node), settings.namespace(node));
    if state.owned.contains(&link) {
        program::succeeds(&["ip", "link", "del", &link]);
    }
    if state.owned.contains(&namespace) {
        program::succeeds(&["ip", "netns", "del", &namespace]);
    }
    Ok(())
}

fn make_files(settings: &Settings, node: u8) -> Result {
    for (name, _, mode) in OWN {
        let path = settings.node(node, name);
        if !path.exists() {
            std::fs::create_dir_all(&path).map_err(at("create", &path))?;
            std::fs::set_permissions(&path, Permissions::from_mode(mode))
                .map_err(at("chmod", &path))?;
        }
    }
    sshd::make_key(&settings.node(node, "hostkey"), "depsync lab node")?;
    let path = settings.node(node, "sshd_config");
    std::fs::write(&path, SSHD_CONFIG).map_err(at("write", &path))?;
    let path = settings.node(node, "root/.ssh");
    if !path.exists() {
        std::fs::create_dir(&path).map_err(at("create", &path))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o700))
            .map_err(at("chmod", &path))?;
        let keys = path.join("authorized_keys");
        std::fs::copy(settings.hub("id.pub"), &keys).map_err(at("write", &keys))?;
    }
    Ok(())
}

fn make_network(settings: &Settings, state: &mut State, node: u8) -> Result {
    let (link, space) = (settings.link(node), settings.namespace(node));
    let made = std::path::Path::new("/run/netns").join(&space).exists();
    if claim(settings, state, &space, made)? {
        program::quiet(&["ip", "netns", "add", &space])?;
        program::quiet(&["ip", "-n", &space, "link", "set", "lo", "up"])?;
    }
    if claim(settings, state, &link, link::exists(&link))? {
        let hardware = settings.hardware(node);
        program::quiet(&[
            "ip", "link", "add", &link, "type", "veth", "peer", "name", "eth0", "address",
            &hardware, "netns", &space,
        ])?;
        program::quiet(&["ip", "link", "set", &link, "master", &settings.bridge(), "up"])?;
    }
    if !state.guests.contains(&node) {
        let address = format!("{}/24", settings.address(node));
        program::quiet(&["ip", "-n", &space, "addr", "replace", &address, "dev", "eth0"])?;
    }
    program::quiet(&["ip", "-n", &space, "link", "set", "eth0", "up"])
}

/// Two interfaces in one network would each get the packets of the other.
fn refuse_taken_network(settings: &Settings, bridge: &str) -> Result {
    let network = format!("{}.0/24", settings.net);
    let shown = program::output(&["ip", "-o", "-4", "addr", "show", "to", &network])?;
    let mut users = shown.lines().filter_map(|line| line.split_whitespace().nth(1));
    match users.find(|user| *user != bridge) {
        None => Ok(()),
        Some(user) => Err(Failure::new(format!(
            "{user} has an address in {network} already: set DEPSYNC_LAB_NET to another network"
        ))),
    }
}

/// Notes that a name is this lab's before the thing is made; true if it is still to be made.
fn claim(settings: &Settings, state: &mut State, name: &str, exists: bool) -> Result<bool> {
    let ours = state.owned.iter().any(|owned| owned == name);
    if exists && !ours {
        return Err(Failure::new(format!(
            "{name} exists and is not this lab's: set DEPSYNC_LAB_TAG, DEPSYNC_LAB_NET and DEPSYNC_LAB"
        )));
    }
    if !ours {
        state.owned.push(name.to_owned());
        state.save(&settings.folder)?;
    }
    Ok(!exists)
}
