//! Mode, owner, times and extended attributes of an open file, never of a path (rule S2).

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::LazyLock;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::stat::{Stat, stat_at};
use crate::model::entry::{Meta, Owner, Timestamp, Xattr};
use crate::model::path::check_name;

fn times(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) },
    }
}

/// Whose what this process creates is, where nothing about the place says otherwise.
static OWN: LazyLock<Owner> = LazyLock::new(|| Owner {
    uid: rustix::process::geteuid().as_raw(),
    gid: rustix::process::getegid().as_raw(),
});

/// Looks at an open file.
///
/// # Errors
/// Whatever the file system says.
pub fn stat(file: impl AsFd) -> io::Result<Stat> {
    stat_at(file, b"")
}

/// Makes an open file or directory have `meta`: owner, extended attributes, mode, times, in the order in which none
/// undoes another (a change of owner clears setuid). What already is as it should be is not touched.
///
/// # Errors
/// The first that cannot be set, as the operating system says it.
pub fn apply(file: impl AsFd, meta: &Meta, keep_xattrs: KeepXattrs) -> io::Result<()> {
    let file = file.as_fd();
    let before = stat_at(file, b"")?;
    if let Some(owner) = meta.owner
        && owner != before.owner
    {
        rustix::fs::fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    }
    if keep_xattrs.any() {
        apply_xattrs(file, &meta.xattrs, keep_xattrs)?;
    }
    // Read again: a change of owner clears bits, an access list sets them.
    if stat_at(file, b"")?.mode != meta.mode {
        rustix::fs::fchmod(file, Mode::from_raw_mode(u32::from(meta.mode)))?;
    }
    if before.id.mtime != meta.mtime || stat_at(file, b"")?.id.mtime != meta.mtime {
        rustix::fs::futimens(file, &times(meta.mtime))?;
    }
    Ok(())
}

/// Makes an open file or directory that this process has created have `meta`, and looks at it once, at the end.
///
/// PERF: nothing is looked at before, as [`apply`] does; of 100,000 files that is three system calls less each.
///
/// # Errors
/// The first that cannot be set, as the operating system says it.
pub fn apply_to_new(file: impl AsFd, meta: &Meta, keep_xattrs: KeepXattrs) -> io::Result<Stat> {
    let file = file.as_fd();
    if let Some(owner) = meta.owner
        && owner != *OWN
    {
        rustix::fs::fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    }
    if keep_xattrs.any() {
        apply_xattrs(file, &meta.xattrs, keep_xattrs)?;
    }
    set_mode(file, meta.mode)?;
    rustix::fs::futimens(file, &times(meta.mtime))?;
    let stat = stat(file)?;
    if meta.owner.is_none_or(|owner| owner == stat.owner) {
        return Ok(stat);
    }
    // A directory with the setgid bit, or a mapped user: what is created here belongs to another.
    apply(file, meta, keep_xattrs)?;
    self::stat(file)
}

/// Sets owner and time of the symbolic link `name`, which has no handle that could be asked to.
///
/// # Errors
/// As the operating system says.
pub fn apply_to_symlink(directory: &Dir, name: &[u8], meta: &Meta) -> io::Result<()> {
    check_name(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    if let Some(Owner { uid, gid }) = meta.owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(rustix::fs::utimensat(directory, name, &times(meta.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the mode of an open file or directory.
///
/// # Errors
/// As the operating system says.
pub fn set_mode(file: impl AsFd, mode: u16) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(u32::from(mode)))?)
}

/// Sets the mode behind an `O_PATH` handle, which `fchmod` refuses: through the handle's own name in `/proc`.
pub(super) fn chmod_path_handle(handle: impl AsFd, mode: u16) -> io::Result<()> {
    let name = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
    Ok(rustix::fs::chmod(name, Mode::from_raw_mode(u32::from(mode)))?)
}

/// Removes both access control lists of an open directory, if it has any.
pub(super) fn drop_acls(directory: impl AsFd) -> io::Result<()> {
    let directory = directory.as_fd();
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        // Asked for first: a file system that is mounted read-only refuses to remove even what is not there.
        match rustix::fs::fgetxattr(directory, name, &mut [0u8; 0][..]) {
            Ok(_length) => rustix::fs::fremovexattr(directory, name)?,
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Which extended attributes belong to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "three independent namespaces")]
pub struct KeepXattrs {
    /// `user.*`.
    pub user: bool,
    /// `security.*` and `trusted.*`, which only root may set (rule S5).
    pub privileged: bool,
    /// POSIX access control lists.
    pub acls: bool,
}

impl KeepXattrs {
    /// True if any do.
    pub fn any(self) -> bool {
        self.user || self.privileged || self.acls
    }

    fn keeps(self, name: &[u8]) -> bool {
        if name.starts_with(b"system.posix_acl_") {
            return self.acls;
        }
        (self.user && name.starts_with(b"user."))
            || (self.privileged
                && (name.starts_with(b"security.") || name.starts_with(b"trusted.")))
    }
}

/// The extended attributes of an open file that `keep` keeps, sorted by name. A file system without any has none.
///
/// # Errors
/// As the operating system says.
pub fn xattrs(file: impl AsFd, keep: KeepXattrs) -> io::Result<Vec<Xattr>> {
    let file = file.as_fd();
    let mut found = Vec::new();
    for name in xattr_names(file)? {
        if !keep.keeps(&name) {
            continue;
        }
        let mut value = vec![0u8; crate::model::limits::XATTR_VALUE_BYTES_MAX];
        match rustix::fs::fgetxattr(file, &*name, &mut value[..]) {
            Ok(length) => value.truncate(length),
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error.into()),
        }
        found.push(Xattr { name, value: value.into() });
    }
    found.sort();
    Ok(found)
}

fn xattr_names(file: impl AsFd) -> io::Result<Vec<Box<[u8]>>> {
    let mut list = vec![0u8; crate::model::limits::XATTR_NAMES_BYTES_MAX];
    let length = match rustix::fs::flistxattr(file, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    list.truncate(length);
    Ok(list.split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(Box::from).collect())
}

fn apply_xattrs(file: impl AsFd, wanted: &[Xattr], keep: KeepXattrs) -> io::Result<()> {
    let file = file.as_fd();
    let present = xattrs(file, keep)?;
    for old in &present {
        if !wanted.iter().any(|new| new.name == old.name) {
            rustix::fs::fremovexattr(file, &*old.name)?;
        }
    }
    for new in wanted {
        if keep.keeps(&new.name) && !present.contains(new) {
            rustix::fs::fsetxattr(file, &*new.name, &new.value, XattrFlags::empty())?;
        }
    }
    Ok(())
}
