//! The target's directory and the way to it: owner, mode, mount, file system, room.

use std::path::Path;

use super::{Findings, Look, shown, user};
use crate::model::path::TreePath;
use crate::model::plan::CommitStyle;
use crate::node::error::{Error, io_error};
use crate::node::place::{Allowed, is_privileged};
use crate::node::share;
use crate::os::dir::Dir;
use crate::os::host;
use crate::os::root::{self, Missing};
use crate::wire::message::Part;

/// Free inodes that any push needs; fewer than one of a hundred are told before.
const INODES_MIN: u64 = 32;

/// What a handle is whose file the server does not know any more.
pub(super) const STALE: &str = "stale-handle";

/// The word for a root that cannot be opened, where it is more than the error's own.
pub(super) fn word(error: &Error) -> Option<&'static str> {
    match error {
        Error::Root(root::Error::ParentMissing { .. }) => Some("parent-missing"),
        Error::Root(root::Error::NotDirectory { .. }) => Some("not-a-directory"),
        Error::Root(root::Error::ForeignLink { .. }) => Some("foreign-link"),
        Error::Root(root::Error::OpenParent { .. }) => Some("open-parent"),
        Error::Root(root::Error::Open { source, .. }) if share::is_stale(source) => Some(STALE),
        _ => None,
    }
}

/// Where parents are to be made: whether the nearest directory that is there takes them.
pub(super) fn check_way(path: &Path, allowed: &Allowed, found: &mut Findings) {
    if let Err(error) = allowed.check(path) {
        return found.failed(None, &error);
    }
    for above in path.ancestors().skip(1) {
        match root::open(above, Missing::Refuse) {
            Ok(root::Root { dir: Some(dir), real_path, .. }) => {
                let name = shown(real_path.as_os_str().as_encoded_bytes());
                return may_write(&dir, &name, found);
            }
            Ok(_) | Err(root::Error::ParentMissing { .. }) => {}
            Err(error) => {
                let error = Error::Root(error);
                return found.failed(word(&error), &error);
            }
        }
    }
}

/// Names may be made in `dir`, which is called `name`.
pub(super) fn may_write(dir: &Dir, name: &str, found: &mut Findings) {
    match dir.is_writable() {
        Ok(true) => {}
        Ok(false) => {
            let is_read_only = dir.room().is_ok_and(|room| room.is_read_only);
            if !is_read_only {
                let message = format!("the agent may not write in {name}: {}", user());
                let hint = "give the target and the directory around it to the agent's user, or set [storage] state_dir";
                found.error("permission", message, hint);
            }
        }
        Err(error) => found.failed(None, &io_error("look at", name)(error)),
    }
}

/// Looks at the directory itself.
///
/// # Errors
/// What keeps it from being looked at.
pub(super) fn check(look: &Look<'_>, found: &mut Findings) -> Result<(), Error> {
    let is_swap = look.wanted.commit == CommitStyle::Swap;
    check_owner(look, found)?;
    for tree in &look.header.trees {
        check_tree(look, tree, found);
    }
    if look.root.dir.is_none() || is_swap {
        let parent = look.root.real_path.parent().unwrap_or(Path::new("/"));
        may_write(&look.root.parent, &shown(parent.as_os_str().as_encoded_bytes()), found);
    }
    if is_swap && look.is_mount_point()? {
        let message = format!("{} is a mount point, which no rename can exchange", look.shown());
        found.error("swap-mount-point", message, "set commit = \"in-place\" in [storage]");
    }
    check_file_system(look, found)?;
    check_room(look, found)
}

/// A tree, or the directory that it is to be made in, takes names; a directory above it is made only if that is wanted.
fn check_tree(look: &Look<'_>, tree: &TreePath, found: &mut Findings) {
    let Some(parent) = tree.parent() else {
        if let Some(dir) = &look.root.dir {
            may_write(dir, &look.shown(), found);
        }
        return;
    };
    let open = |path: &TreePath| look.root.dir.as_ref().and_then(|root| root.open_path(path).ok());
    let name = |path: &TreePath| format!("{}/{path}", look.shown());
    match (open(tree), open(&parent)) {
        (Some(dir), _) => may_write(&dir, &name(tree), found),
        (None, Some(dir)) => may_write(&dir, &name(&parent), found),
        (None, None) if !parent.is_root() && !look.wanted.open.make_path => {
            let message = format!("{parent} does not exist in {}", look.shown());
            found.error("parent-missing", message, "create it, or give --mkpath");
        }
        (None, None) => {}
    }
}

fn check_owner(look: &Look<'_>, found: &mut Findings) -> Result<(), Error> {
    // With trees below it, the root is only on the way.
    let is_tree = look.header.trees.iter().any(TreePath::is_root);
    let Some(dir) = look.root.dir.as_ref().filter(|_| is_tree) else { return Ok(()) };
    let stat = dir.stat_self().map_err(io_error("look at", look.shown()))?;
    if !is_privileged() && stat.owner.uid != host::user_id() {
        let message =
            format!("{} belongs to user {}, and {}", look.shown(), stat.owner.uid, user());
        found.error("owner", message, "give it to the agent's user, or log in as its owner");
    }
    if stat.is_immutable {
        let message = format!("{} is immutable or append-only", look.shown());
        found.error("immutable", message, "take the attribute away with chattr -i -a");
    }
    if stat.mode & 0o002 != 0 {
        let message = format!("everyone may write in {} (mode {:04o})", look.shown(), stat.mode);
        found.warning("open-target", message, "take the permission away with chmod o-w");
    }
    Ok(())
}

fn check_file_system(look: &Look<'_>, found: &mut Findings) -> Result<(), Error> {
    let failed = |error| io_error("look at", look.shown())(error);
    let kind = look.around().file_system_type().map_err(failed)?;
    if look.wanted.open.mounted.part == Part::Own && share::is_network(kind) {
        let message = format!("{} is on a network file system", look.shown());
        let hint = "name a directory on the node's own disk, or, if all nodes mount this one, set approach = \"shared\" in [storage]";
        found.error("network-file-system", message, hint);
    }
    if look.around().folds_names().map_err(failed)? {
        let message = format!("in {} names that differ only in case are one name", look.shown());
        let hint = "put the target on a file system that tells them apart, such as ext4 or xfs";
        found.warning("case-folding", message, hint);
    }
    if let Some(name) = made_for_others(kind) {
        let message = format!("{} is on {name}, which keeps no modes and owners", look.shown());
        found.error("file-system", message, "put the target on ext4, xfs or btrfs");
    }
    Ok(())
}

/// The name of a file system that is made for others than Unix.
fn made_for_others(kind: u64) -> Option<&'static str> {
    Some(match kind {
        0x4d44 => "vfat",
        0x2011_bab0 => "exfat",
        0x5346_544e | 0x7366_746e => "ntfs",
        _ => return None,
    })
}

fn check_room(look: &Look<'_>, found: &mut Findings) -> Result<(), Error> {
    let room = look.around().room().map_err(io_error("look at", look.shown()))?;
    // Of a share only the node that writes needs more.
    if room.is_read_only && look.writes() {
        let message = format!("{} is on a file system that is mounted read-only", look.shown());
        found.error("read-only", message, "mount it writable");
    }
    let percent = look.wanted.min_free_percent;
    let reserve = room.bytes_total / 100 * u64::from(percent);
    // A file system that states no size at all, such as ramfs, has no bound to check against.
    if room.bytes_total > 0 && (room.bytes_free < reserve || room.bytes_free == 0) {
        let message = format!(
            "{} bytes are free on the file system of {}, and {percent} % must stay free, which are {reserve}",
            room.bytes_free,
            look.shown()
        );
        let hint = "free space there, or lower [keep] releases or [guard] min_free";
        found.error("no-space", message, hint);
    }
    let message = || {
        format!(
            "{} of {} inodes are free on the file system of {}",
            room.inodes_free,
            room.inodes_total,
            look.shown()
        )
    };
    let hint = "remove files there, or lower [keep] releases";
    if room.inodes_total > 0 && room.inodes_free < INODES_MIN {
        found.error("no-inodes", message(), hint);
    } else if room.inodes_free < room.inodes_total / 100 {
        found.warning("no-inodes", message(), hint);
    }
    Ok(())
}
