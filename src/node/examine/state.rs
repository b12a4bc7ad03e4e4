//! The state directory of a target: where it would lie, whose it is, who holds the lease, what the journal says.

use std::path::Path;

use super::target::may_write;
use super::{Findings, Look, shown};
use crate::model::codec;
use crate::model::digest::{Digest, Domain};
use crate::model::path::STATE_DIRECTORY;
use crate::node::error::{Error, io_error};
use crate::node::journal::{Journal, Phase};
use crate::node::{lease, share};
use crate::os::dir::Dir;
use crate::os::host;
use crate::os::root::Missing;
use crate::os::stat::FileKind;
use crate::wire::message::Part;

/// Looks at the state, if there is any, and at the place where it would be made.
///
/// # Errors
/// What keeps it from being looked at.
pub(super) fn check(look: &Look<'_>, found: &mut Findings) -> Result<(), Error> {
    let Some(state) = find(look, found)? else { return Ok(()) };
    let holder = lease::holder(&state).map_err(io_error("look at", "the lease"))?;
    if let Some(by) = &holder {
        let message = format!("another run holds this target: {by}");
        found.warning("busy", message, "wait for that run, and look again");
    }
    check_journal(&state, holder.is_some(), found);
    Ok(())
}

/// The state directory, if there is one.
pub(super) fn find(look: &Look<'_>, found: &mut Findings) -> Result<Option<Dir>, Error> {
    match &look.wanted.open.state_dir {
        Some(path) => find_elsewhere(look, Path::new(path), found),
        None => find_beside(look, found),
    }
}

/// Where nobody names another place: beside the root, or in it where it is mounted.
fn find_beside(look: &Look<'_>, found: &mut Findings) -> Result<Option<Dir>, Error> {
    let is_mount = look.is_mount_point()?;
    let inside = look.root.dir.as_ref().filter(|_| is_mount);
    let base = inside.unwrap_or(&look.root.parent);
    let mut path = look.root.real_path.clone();
    if inside.is_none() {
        path.pop();
    }
    let base_name = shown(path.as_os_str().as_encoded_bytes());
    let name = format!("{}/.depsync", base_name.trim_end_matches('/'));
    match private(base, STATE_DIRECTORY, &name, found)? {
        Kept::Own(all) => {
            let name = format!("{name}/{}", shown(&look.root.name));
            Ok(private(&all, &look.root.name, &name, found)?.own())
        }
        Kept::Missing => {
            may_write(base, &base_name, found);
            Ok(None)
        }
        Kept::Unusable => Ok(None),
    }
}

/// In a directory of the operator's choice.
fn find_elsewhere(
    look: &Look<'_>,
    path: &Path,
    found: &mut Findings,
) -> Result<Option<Dir>, Error> {
    let all = match look.allowed.open(path, Missing::Refuse) {
        Ok(all) => all,
        Err(Error::Root(crate::os::root::Error::ParentMissing { .. })) => {
            super::target::check_way(path, look.allowed, found);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let name = shown(all.real_path.as_os_str().as_encoded_bytes());
    let around = all.dir.as_ref().unwrap_or(&all.parent);
    let device =
        |dir: &Dir| dir.stat_self().map(|stat| stat.id.device).map_err(io_error("look at", &name));
    if device(around)? != device(look.around())? {
        let message =
            format!("the state directory {name} is on another file system than the target");
        let hint = "set [storage] state_dir to a directory on the target's own file system";
        found.error("state-elsewhere", message, hint);
        return Ok(None);
    }
    let kind = around.file_system_type().map_err(io_error("look at", &name))?;
    if look.wanted.open.mounted.part == Part::Own && share::is_network(kind) {
        let message = format!("the state directory {name} is on a network file system");
        found.error("network-file-system", message, "name a directory on the node's own disk");
    }
    if all.dir.is_none() {
        may_write(&all.parent, &name, found);
        return Ok(None);
    }
    let Kept::Own(dir) = private(&all.parent, &all.name, &name, found)? else { return Ok(None) };
    let real = look.root.real_path.as_os_str().as_encoded_bytes();
    let digest = Digest::of(Domain::State, real).short();
    let name = format!("{name}/{digest}");
    Ok(private(&dir, digest.as_bytes(), &name, found)?.own())
}

/// What stands in the place of a directory for state.
enum Kept {
    Missing,
    Own(Dir),
    Unusable,
}

impl Kept {
    fn own(self) -> Option<Dir> {
        if let Self::Own(dir) = self { Some(dir) } else { None }
    }
}

/// Opens a directory that must be this user's alone; what is not is found.
fn private(around: &Dir, name: &[u8], shown: &str, found: &mut Findings) -> Result<Kept, Error> {
    let look = |source| io_error("look at", shown)(source);
    let Some(stat) = around.find(name).map_err(look)? else { return Ok(Kept::Missing) };
    let own = host::user_id();
    let hint =
        "move it away if it is not depsync's; else chown it to the agent's user, and chmod 700";
    if stat.kind != FileKind::Directory {
        found.error("state-directory", format!("{shown} is not a directory"), hint);
        return Ok(Kept::Unusable);
    }
    if stat.owner.uid != own || stat.mode & 0o077 != 0 {
        let message = format!(
            "the state directory {shown} belongs to user {} with mode {:04o}, not to user {own} with mode 0700",
            stat.owner.uid, stat.mode
        );
        found.error("state-directory", message, hint);
        return Ok(Kept::Unusable);
    }
    around.open_dir(name).map(Kept::Own).map_err(look)
}

fn check_journal(state: &Dir, is_held: bool, found: &mut Findings) {
    let standing = match Journal::look(state) {
        Ok(standing) => standing,
        Err(Error::State { source: codec::Error::Unknown { value, .. }, .. }) => {
            let message =
                format!("the journal has version {value}, which this depsync does not know");
            let hint =
                "push with the version of depsync that wrote it; this one changes nothing there";
            return found.error("state-damaged", message, hint);
        }
        Err(Error::State { source, .. }) => {
            let message = format!("the journal is damaged: {source}");
            let hint = "keep a copy of the state directory; then move it away and push: the tree is adopted by its content";
            return found.error("state-damaged", message, hint);
        }
        Err(error) => return found.failed(None, &error),
    };
    // While a run is under way, what is in flight is its own; what was merely begun is dropped by the next.
    let Some(flight) = standing.flight.filter(|_| !is_held) else { return };
    let state = match flight.phase {
        Phase::Begun => return,
        Phase::Prepared(_) => "is prepared and waits for its hub's decision",
        Phase::Committing(_) => "was interrupted while it became live",
    };
    let message =
        format!("release {} {state} (transaction {})", flight.release.short(), flight.txid);
    found.warning("pending", message, "push again from the hub that began it, which ends it first");
}
