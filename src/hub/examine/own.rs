//! The hub itself: its ssh, its limits, its state, its source, and who else ships that.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::add;
use crate::hub::goal::{guard_lint, guard_source_change, is_mount_root};
use crate::hub::later;
use crate::hub::options::RunOptions;
use crate::hub::outcome::Failure;
use crate::hub::state::{Decision, STATE_BYTES_MAX, Standing, read_lint, read_times};
use crate::model::target::Target;
use crate::model::untrusted::Untrusted;
use crate::node::examine::Findings;
use crate::node::examine::neighbours::{self, Side};
use crate::node::share::is_network;
use crate::os::child::Invocation;
use crate::os::dir::Dir;
use crate::os::root::{self, Missing};
use crate::os::{durable, host, lock, process};
use crate::scan::Progress;
use crate::scan::index::Index;
use crate::source;
use crate::source::lint::{self, Level};
use crate::wire::message::SourcePlace;

/// What helps against too few open files.
pub(super) const OPEN_FILES_HINT: &str =
    "raise the limit of open files (ulimit -n, LimitNOFILE=) to 64 and 8 for each node";
/// Files that a run opens, beside those for each node until the decision.
const FILES_OWN: u64 = 64;
const FILES_PER_NODE: u64 = 8;
/// What the state of a cluster may take, as far as it can be said before: manifests and an index.
const STATE_ROOM_BYTES: u64 = 64 * 1024 * 1024;
/// How long ssh may take to tell its version, and how much is read of that.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);
const VERSION_BYTES_MAX: u64 = 1024;
/// The oldest OpenSSH that can learn new host keys and nothing else.
const OPENSSH_MIN: (u32, u32) = (7, 6);
/// Targets named of one decision.
const TARGETS_SHOWN: usize = 3;

fn shown(path: &Path) -> String {
    Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string()
}

/// Looks at the ssh that nodes are reached by, if any are; false if there is none.
pub(super) async fn check_ssh(options: &RunOptions, found: &mut Findings) -> bool {
    if !options.targets.iter().any(|target| matches!(target, Target::Ssh(_))) {
        return true;
    }
    let invocation = Invocation {
        program: "ssh".into(),
        arguments: vec!["-V".into()],
        environment: vec![("LC_ALL", Some("C"))],
    };
    let mut told = Vec::new();
    if let Ok(mut piped) = invocation.spawn() {
        let mut stderr = (&mut piped.streams.stderr).take(VERSION_BYTES_MAX);
        if tokio::time::timeout(VERSION_TIMEOUT, stderr.read_to_end(&mut told)).await.is_err() {
            // It is there, and this machine is busy.
            return true;
        }
    }
    let told = String::from_utf8_lossy(&told).trim().to_owned();
    if told.is_empty() || told.starts_with("setsid:") {
        let message = "there is no ssh here, by which nodes are reached".to_owned();
        found.error("ssh-missing", message, "install OpenSSH's client, or mend PATH");
        return false;
    }
    if version(&told).is_none_or(|version| version < OPENSSH_MIN) {
        let words = Untrusted::new(told.as_bytes());
        let message = format!("ssh is none that depsync knows, but {words}");
        found.warning("ssh-version", message, "install OpenSSH 7.6 or newer");
    }
    true
}

/// `OpenSSH_9.6p1 Ubuntu-3` is 9 and 6.
fn version(told: &str) -> Option<(u32, u32)> {
    let numbers = told.split_once("OpenSSH_")?.1;
    let (major, rest) = numbers.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Looks at the limits of this process and at the hub's state, of which nothing is made or changed.
pub(super) fn machine(options: &RunOptions) -> Findings {
    let mut found = Findings::default();
    check_open_files(options.targets.len(), process::open_files_max(), &mut found);
    if let Some(state) = state_dir(options, &mut found) {
        check_lock(&state, &mut found);
        check_decisions(&state, &mut found);
    }
    found
}

fn check_open_files(nodes: usize, limit: Option<u64>, found: &mut Findings) {
    let nodes = u64::try_from(nodes).unwrap_or(u64::MAX);
    let needed = nodes.saturating_mul(FILES_PER_NODE).saturating_add(FILES_OWN);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        let message = format!(
            "{limit} files may be open at once, and a run to {nodes} nodes may need {needed}"
        );
        found.error("open-files", message, OPEN_FILES_HINT);
    }
}

/// The state directory, if it is there and usable.
fn state_dir(options: &RunOptions, found: &mut Findings) -> Option<Dir> {
    let hint = "XDG_STATE_HOME names the directory that holds it; it must be the user's alone";
    let path = root::absolute(&options.state_dir).ok()?;
    for above in path.ancestors() {
        let opened = match root::open(above, Missing::Refuse) {
            Ok(opened) => opened,
            Err(root::Error::ParentMissing { .. }) => continue,
            // The uppermost directory has no name, and is there.
            Err(root::Error::NotAbsolute { .. }) => return None,
            Err(error) => {
                add(&Failure::from(&crate::hub::state::Error::Root(error)), found);
                return None;
            }
        };
        let Some(dir) = opened.dir else { continue };
        check_place(&dir, &opened.real_path, found);
        if above != path {
            let is_read_only = dir.room().is_ok_and(|room| room.is_read_only);
            if !is_read_only && !dir.is_writable().unwrap_or(false) {
                let message =
                    format!("no state directory can be made in {}", shown(&opened.real_path));
                found.error("hub-state", message, hint);
            }
            return None;
        }
        let stat = dir.stat_self().ok()?;
        let others = stat.mode & 0o077;
        if stat.owner.uid == host::user_id() && others == 0 {
            return Some(dir);
        }
        let message = format!(
            "the state directory {} belongs to user {} with mode {:04o}, not to user {} with mode 0700",
            shown(&opened.real_path),
            stat.owner.uid,
            stat.mode,
            host::user_id()
        );
        found.error("hub-state", message, hint);
        return None;
    }
    None
}

/// Looks at the file system that the state lies on, or will.
fn check_place(dir: &Dir, path: &Path, found: &mut Findings) {
    let path = shown(path);
    if dir.file_system_type().is_ok_and(is_network) {
        let message = format!("the state of this hub lies in {path}, on a network file system");
        let hint = "set XDG_STATE_HOME to a directory on this host's own disk";
        found.warning("network-file-system", message, hint);
    }
    let Ok(room) = dir.room() else { return };
    if room.is_read_only {
        let message = format!("{path} is on a file system that is mounted read-only");
        found.error("read-only", message, "mount it writable, or set XDG_STATE_HOME");
    } else if room.bytes_total > 0 && room.bytes_free < STATE_ROOM_BYTES {
        let message =
            format!("{} bytes are free in {path}, where this hub keeps its state", room.bytes_free);
        found.warning("no-space", message, "free space there, or set XDG_STATE_HOME");
    } else if room.inodes_total > 0 && room.inodes_free < room.inodes_total / 100 {
        let message = format!(
            "{} inodes are free in {path}, where this hub keeps its state",
            room.inodes_free
        );
        found.warning("no-inodes", message, "remove files there, or set XDG_STATE_HOME");
    }
}

fn check_lock(state: &Dir, found: &mut Findings) {
    match lock::holder(state, b"lock") {
        Ok(None) => {}
        Ok(Some(by)) => {
            let message =
                format!("another run of this cluster is under way: {}", Untrusted::new(&by));
            found.warning("busy", message, "wait for it, and look again");
        }
        Err(error) => unreadable("lock", &error, found),
    }
}

fn unreadable(name: &str, error: &std::io::Error, found: &mut Findings) {
    let message = format!("read {name} in the state directory: {error}");
    found.error("hub-state", message, "it must be the user's alone");
}

/// Decisions that are not known to be carried out everywhere.
fn check_decisions(state: &Dir, found: &mut Findings) {
    let decisions = match state.open_dir(b"decision") {
        Ok(decisions) => decisions,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => return unreadable("decision", &error, found),
    };
    let names = match decisions.names() {
        Ok(names) => names,
        Err(error) => return unreadable("decision", &error, found),
    };
    for (name, _) in names.into_iter().filter(|(name, _)| !name.ends_with(b".new")) {
        let bytes = match durable::read(&decisions, &name, STATE_BYTES_MAX) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => {
                unreadable("a decision", &error, found);
                continue;
            }
        };
        match Decision::decode(&bytes) {
            Ok(decision) => tell_decision(&decision, found),
            Err(source) => {
                let name = Untrusted::new(&name).to_string();
                add(&Failure::from(&crate::hub::state::Error::Decision { name, source }), found);
            }
        }
    }
}

fn tell_decision(decision: &Decision, found: &mut Findings) {
    let all = decision.pending.len();
    let first: Vec<String> = decision
        .pending
        .iter()
        .take(TARGETS_SHOWN)
        .map(|target| Untrusted::new(target.as_bytes()).to_string())
        .collect();
    let more = if all > TARGETS_SHOWN { ", …" } else { "" };
    let message = format!(
        "release {} was decided, and is not known to be live on {}{more}",
        decision.release.short(),
        first.join(", ")
    );
    found.warning("pending", message, "push again: what was decided is finished first");
}

/// Where the source is, as nodes are told it, and its options by its layout; nothing if it is not to be found.
pub(super) fn place(options: &RunOptions) -> (SourcePlace, Option<source::Options>) {
    let Ok((root, path, _)) = source::open(&options.source.root) else { return Default::default() };
    let placed = options.source.placed(&root).ok().map(|(placed, _note)| placed);
    let opened = root::open(&path, Missing::Refuse).ok();
    let place = opened.map_or_else(SourcePlace::default, |opened| SourcePlace {
        boot: host::boot_id(),
        ancestry: opened.ancestry,
    });
    (place, placed)
}

/// Reads the source as a plan does, behind the same guards; and looks for others that ship it.
pub(super) fn source(options: &RunOptions, stop: &AtomicBool) -> Findings {
    let mut found = Findings::default();
    let path = match source::open(&options.source.root) {
        Ok((_, path, identity)) => {
            if let Err(failure) = check_source(options, identity, stop) {
                add(&failure, &mut found);
            }
            path
        }
        Err(error) => {
            add(&Failure::from(&error), &mut found);
            return found;
        }
    };
    let hosts: Vec<String> = options.targets.iter().filter_map(host_of).collect();
    for neighbour in neighbours::find(&path, Side::Source { hosts: &hosts }) {
        let message = format!("{} ships the source too, by {}", neighbour.program, neighbour.place);
        let hint = "take that out: two that write the same nodes undo each other's work";
        found.warning("synchroniser", message, hint);
    }
    found
}

fn host_of(target: &Target) -> Option<String> {
    match target {
        Target::Ssh(target) => Some(target.host.as_str().to_owned()),
        Target::Local(_) => None,
    }
}

fn check_source(
    options: &RunOptions,
    identity: source::Identity,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let state = root::absolute(&options.state_dir)
        .ok()
        .and_then(|path| root::open(&path, Missing::Refuse).ok()?.dir);
    let index = state.as_ref().and_then(|state| state.open_file(b"index").ok());
    let index = index.and_then(|file| Index::open(file, identity.root).ok()).unwrap_or_default();
    let known = state.as_ref().map(read_lint).unwrap_or_default();
    let times = state.as_ref().filter(|_| options.source.gives_later_times()).map(read_times);
    let standing = state
        .and_then(|state| durable::read(&state, b"standing", STATE_BYTES_MAX).ok()?)
        .and_then(|bytes| Standing::decode(&bytes).ok())
        .unwrap_or_default();
    let read = source::read(&options.source, &Arc::new(index), &Progress::default(), stop)
        .map_err(|error| Failure::from(&error))?;
    let file_system = (read.identity.file_system_type, read.identity.file_system);
    guard_source_change(options, &standing, file_system, is_mount_root(&read)?)?;
    let close = later::close(times.is_some() && standing.release.is_some());
    let lint = lint::Options { close, ..options.source.lint };
    if lint.level == Level::Deny {
        let deployed = later::source_of(&standing, times.as_ref());
        let looked = lint::look(&read, lint, &known, deployed, stop)
            .map_err(|error| Failure::from(&error))?;
        guard_lint(options.source.lint.level, &looked.findings)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_ssh_are_understood() {
        assert_eq!(version("OpenSSH_9.6p1 Ubuntu-3ubuntu13.5, OpenSSL 3.0.13"), Some((9, 6)));
        assert_eq!(version("OpenSSH_10.0p2"), Some((10, 0)));
        assert_eq!(version("Dropbear v2022.83"), None);
    }

    #[test]
    fn open_files_are_counted_by_nodes() {
        let count = |limit| {
            let mut found = Findings::default();
            check_open_files(10, limit, &mut found);
            found.into_inner().len()
        };
        assert_eq!((count(None), count(Some(144)), count(Some(143))), (0, 0, 1));
    }
}
