//! `commit = "swap"`: the whole tree is staged and exchanged with the live one by one rename, so that no mix ever shows.
//!
//! All else is what it is for a commit in place: the tree is one install, which replaces a directory. What did not
//! change is copied, and checked like all that is copied: nothing in the new tree shares an inode with the old one.

use super::error::Error;
use super::place::{Place, is_mount_point};
use crate::model::manifest::Manifest;
use crate::model::path::TreePath;
use crate::model::plan::{Plan, Policy};

/// The tree that is exchanged.
pub fn tree_of(manifest: &Manifest) -> TreePath {
    manifest.header().trees.first().cloned().unwrap_or_default()
}

/// Whether the tree can be exchanged as a whole without losing what must stay.
///
/// # Errors
/// [`Error::Refused`], saying what stands against it.
pub fn check(
    place: &Place,
    manifest: &Manifest,
    policy: &Policy,
    plan: &Plan,
) -> Result<(), Error> {
    if manifest.header().trees.len() > 1 {
        return Err(refused(
            "swap-trees",
            "several trees cannot be exchanged by one rename".into(),
        ));
    }
    let stays = [&plan.kept_extras, &policy.ignored, &policy.protected]
        .into_iter()
        .find_map(|paths| paths.first());
    if let Some(path) = stays {
        return Err(refused(
            "swap-keeps",
            format!("{path} is to stay, and would go with the tree that is exchanged"),
        ));
    }
    let Some(root) = &place.root else { return Ok(()) };
    if tree_of(manifest).is_root() && is_mount_point(root, &place.parent)? {
        return Err(refused(
            "swap-mount-point",
            format!("{} is a mount point, which cannot be renamed", place.shown()),
        ));
    }
    Ok(())
}

fn refused(kind: &'static str, message: String) -> Error {
    Error::refused(kind, message, Some("use [storage] commit = \"in-place\"".into()))
}
