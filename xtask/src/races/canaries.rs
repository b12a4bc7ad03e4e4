//! Canaries: files and directories outside of the target, and everything that is known of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::failure::{Failure, Result, at};

/// Stands in every canary; nobody who follows no link ever reads it.
pub(super) const SECRET: &str = "canary-5f0c6e0e-must-not-be-read";

/// Names that the releases have too, so that whoever followed a link would change these.
const FILES: [&str; 12] = [
    "dir/f0",
    "dir/f1",
    "dir/m",
    "dir/secret",
    "dir/deep/f",
    "dir/deep/x/y/z",
    "node/tree/a/f0",
    "node/tree/gone/f",
    "node/.depsync/tree/lock",
    "state/tree/lock",
    "state/tree/journal",
    "state/tree/stage/n0",
];

/// What is known of every name outside.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Canaries(BTreeMap<PathBuf, Known>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    mode: u32,
    owner: (u32, u32),
    inode: u64,
    modified: (i64, i64),
    /// Change of the inode, names, and the last time that it was read. Not where the race itself makes further names.
    changed: Option<(i64, i64, u64, (i64, i64))>,
    xattr: Option<Vec<u8>>,
    content: Vec<u8>,
}

/// Makes canaries below `outside` that belong to `owner`.
///
/// # Errors
/// The system's.
pub(super) fn make(outside: &Path, owner: u32) -> Result {
    for name in FILES {
        let path = outside.join(name);
        let parent = path.parent().unwrap_or(outside);
        fs::create_dir_all(parent).map_err(at("create", parent))?;
        fs::write(&path, format!("{name} {SECRET}\n")).map_err(at("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604))
            .map_err(at("change", &path))?;
        let flags = rustix::fs::XattrFlags::empty();
        // Older tmpfs have none; then there is none to lose.
        let _kept = rustix::fs::lsetxattr(&path, "user.canary", b"alive", flags);
    }
    for path in below(outside)? {
        let is_state = ["state", "node/.depsync"].map(|name| path.starts_with(outside.join(name)));
        if is_state.contains(&true) && path.is_dir() {
            // As private as a state directory of this owner is: only that it is reached by a link speaks against it.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
                .map_err(at("change", &path))?;
        }
        chown(&path, Some(owner), Some(owner)).map_err(at("change", &path))?;
    }
    Ok(())
}

impl Canaries {
    /// Looks at everything below `outside`.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn look(outside: &Path, with_changed: bool) -> Result<Self> {
        let mut all = BTreeMap::new();
        for path in below(outside)? {
            let meta = fs::symlink_metadata(&path).map_err(at("look at", &path))?;
            let (content, read) = if meta.is_file() {
                (read_unseen(&path)?, (meta.atime(), meta.atime_nsec()))
            } else {
                (Vec::new(), (0, 0))
            };
            let mut value = [0; 64];
            let xattr = rustix::fs::lgetxattr(&path, "user.canary", &mut value[..]).ok();
            let known = Known {
                mode: meta.mode(),
                owner: (meta.uid(), meta.gid()),
                inode: meta.ino(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                changed: with_changed
                    .then(|| (meta.ctime(), meta.ctime_nsec(), meta.nlink(), read)),
                xattr: xattr.map(|length| value.into_iter().take(length).collect()),
                content,
            };
            all.insert(path, known);
        }
        Ok(Self(all))
    }

    /// Compares a later look.
    ///
    /// # Errors
    /// Something was created, changed or removed; the message names it.
    pub(super) fn check(&self, later: &Self) -> Result {
        for path in self.0.keys().chain(later.0.keys()) {
            let (one, other) = (self.0.get(path), later.0.get(path));
            if one != other {
                let path = path.display();
                return Err(Failure::new(format!(
                    "ESCAPE: {path} is not what it was:\n  {one:?}\n  {other:?}"
                )));
            }
        }
        Ok(())
    }
}

/// Reads a file without leaving a trace in its times.
fn read_unseen(path: &Path) -> Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOATIME | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(io::Error::from);
    let mut bytes = Vec::new();
    let read = file.and_then(|file| fs::File::from(file).read_to_end(&mut bytes));
    read.map(|_length| bytes).map_err(at("read", path))
}

/// `top` and all below it, no link followed.
fn below(top: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![top.to_path_buf()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            for entry in fs::read_dir(&path).map_err(at("list", &path))? {
                found.push(entry.map_err(at("list", &path))?.path());
            }
        }
    }
    Ok(found)
}

/// Finds a file at or below `top`, no link followed, that holds the secret.
///
/// # Errors
/// It is there.
pub(super) fn find_secret(top: &Path) -> Result {
    for path in below(top)? {
        let is_file = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file());
        let Some(bytes) = is_file.then(|| fs::read(&path).ok()).flatten() else { continue };
        if bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()) {
            return Err(Failure::new(format!("ESCAPE: a secret was read into {}", path.display())));
        }
    }
    Ok(())
}

/// Finds a directory of `stranger` directly in `top` that something was put into.
///
/// # Errors
/// There is one.
pub(super) fn find_gift(top: &Path, stranger: u32) -> Result {
    for entry in fs::read_dir(top).map_err(at("list", top))? {
        let path = entry.map_err(at("list", top))?.path();
        let meta = fs::symlink_metadata(&path).map_err(at("look at", &path))?;
        if meta.is_dir() && meta.uid() == stranger && below(&path)?.len() > 1 {
            let what = "ESCAPE: something was put into a stranger's directory";
            return Err(Failure::new(format!("{what}: {:?}", below(&path)?)));
        }
    }
    Ok(())
}
