//! The mount that a target lies on: whether it is there, and options that hurt where nodes share it.

use super::{Findings, Look, state};
use crate::model::digest::{Digest, Domain};
use crate::node::error::{Error, io_error};
use crate::node::{journal, share};
use crate::os::durable;
use crate::os::mounts::{self, Mount};
use crate::wire::message::Part;

/// Linux caches attributes for no longer unless it is told to (nfs(5), acregmax and acdirmax).
const CACHE_SECONDS_MAX: u64 = 60;

/// Looks at the mount.
///
/// # Errors
/// What is to be mounted is not, or what is mounted is not known.
pub(super) fn check(look: &Look<'_>, found: &mut Findings) -> Result<(), Error> {
    let path = &look.root.real_path;
    if look.wanted.open.mounted.part == Part::Own {
        return share::unmounted(path)?.map_or(Ok(()), Err);
    }
    share::check(&look.root, look.wanted.open.mounted)?;
    let over = mounts::over(path).map_err(io_error("look at", "what is mounted"))?;
    if let Some(mount) = over {
        check_options(&mount, found);
    }
    Ok(())
}

fn check_options(mount: &Mount, found: &mut Findings) {
    if mount.kind == "fuse.sshfs" {
        let message = "locks on sshfs reach no other host".to_owned();
        found.warning("mount-locks", message, "push to this share from one hub alone");
    }
    if !mount.kind.starts_with("nfs") {
        return;
    }
    if mount.has("soft") || mount.has("softerr") {
        let message = "it is mounted soft: where the server is slow, a write fails half-way".into();
        found.warning("mount-soft", message, "mount it hard, which is the default");
    }
    let is_local =
        |option: &String| option.starts_with("local_lock=") && option != "local_lock=none";
    if mount.has("nolock") || mount.options.iter().any(is_local) {
        let message = "it is mounted so that locks reach no other host".to_owned();
        found.warning(
            "mount-locks",
            message,
            "mount it with NFS 4.1, or without nolock and local_lock",
        );
    }
    let cached = ["acregmax", "acdirmax"].iter().filter_map(|name| mount.number(name)).max();
    if let Some(seconds) = cached.filter(|seconds| *seconds > CACHE_SECONDS_MAX) {
        let message =
            format!("attributes are cached for {seconds} s: it sees a release so much later");
        found.warning("mount-cache", message, "mount it with actimeo=3, and at most 60");
    }
    if mount.has("noac") {
        let message =
            "it is mounted noac: each look at a file, and each write, waits for the server";
        found.warning("mount-noac", message.into(), "mount it with actimeo=3 in its place");
    }
}

/// What the journal on the share is known by: nodes that show another have another share. `None` for a target of its node's
/// own, and where nothing was pushed yet.
pub(super) fn journal_of(look: &Look<'_>) -> Option<Digest> {
    if look.wanted.open.mounted.part == Part::Own {
        return None;
    }
    // What is wrong with it was told already.
    let state = state::find(look, &mut Findings::default()).ok()??;
    let bytes = durable::read(&state, journal::NAME, journal::FILE_BYTES_MAX).ok()??;
    Some(Digest::of(Domain::State, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_hurt_are_found_and_the_usual_ones_are_not() {
        let found = |kind: &str, options: &str| {
            let options = options.split(',').map(str::to_owned).collect();
            let mount =
                Mount { point: "/m".into(), kind: kind.into(), source: "h:/x".into(), options };
            let mut found = Findings::default();
            check_options(&mount, &mut found);
            found.into_inner().into_iter().map(|one| one.check).collect::<Vec<_>>()
        };
        assert_eq!(
            found("nfs4", "rw,relatime,vers=4.1,hard,local_lock=none"),
            Vec::<String>::new()
        );
        assert_eq!(found("nfs4", "rw,soft"), ["mount-soft"]);
        assert_eq!(found("nfs", "rw,nolock,local_lock=all"), ["mount-locks"]);
        assert_eq!(found("nfs4", "rw,acregmin=600,acregmax=600,acdirmax=600"), ["mount-cache"]);
        assert_eq!(found("nfs4", "rw,acregmax=60"), Vec::<String>::new());
        assert_eq!(found("nfs4", "rw,sync,noac"), ["mount-noac"]);
        assert_eq!(found("fuse.sshfs", "rw,soft"), ["mount-locks"]);
        assert_eq!(found("fuse.glusterfs", "rw"), Vec::<String>::new());
    }
}
