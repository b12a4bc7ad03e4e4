//! [`Dir`]: the confined directory handle. Whatever is done below a root is done through one (rules S1, S9).
//!
//! A directory is opened from the root by `openat2` with `BENEATH`, `NO_SYMLINKS`, `NO_MAGICLINKS` and `NO_XDEV`, or,
//! where the kernel lacks it or a filter forbids it, one component at a time with `O_NOFOLLOW`. A leaf is a single
//! name, never followed. There is no third way.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Access, AtFlags, Mode, OFlags, RawDir, RenameFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

use super::stat::{FileKind, Stat, stat_at};
use crate::model::path::{TreePath, check_name};

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);

/// The largest block that a file system gives room in.
const BLOCK_BYTES_MAX: u64 = 64 * 1024;
/// Set once `openat2` has answered that it is not there.
static OPENAT2_IS_MISSING: AtomicBool = AtomicBool::new(false);

/// An open directory, through which alone its names are reached.
///
/// Every `name` is one component: slashes, NUL, `.` and `..` are refused with `InvalidInput` before any system call.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

/// A name in a directory, with its type of file where the file system tells it.
pub type Named = (Box<[u8]>, Option<FileKind>);

/// What a rename does when the new name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rename {
    /// It fails with `AlreadyExists`.
    KeepExisting,
    /// Both names trade places, atomically.
    Exchange,
    /// The new name is replaced, as `rename(2)` does.
    Replace,
}

fn leaf(name: &[u8]) -> io::Result<&[u8]> {
    check_name(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Ok(name)
}

impl Dir {
    pub(super) fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// A second handle on the same directory.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Opens the directory `name`.
    ///
    /// # Errors
    /// `NotADirectory` for anything else, a link included; other file systems are refused with `CrossesDevices`.
    pub fn open_dir(&self, name: &[u8]) -> io::Result<Self> {
        self.open_beneath(leaf(name)?)
    }

    /// Opens the directory at `path` below this one; the empty path is this one.
    ///
    /// # Errors
    /// As [`Dir::open_dir`], for any component.
    pub fn open_path(&self, path: &TreePath) -> io::Result<Self> {
        if path.is_root() { self.try_clone() } else { self.open_beneath(path.as_bytes()) }
    }

    fn open_beneath(&self, path: &[u8]) -> io::Result<Self> {
        if !OPENAT2_IS_MISSING.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH
                | ResolveFlags::NO_SYMLINKS
                | ResolveFlags::NO_MAGICLINKS
                | ResolveFlags::NO_XDEV;
            loop {
                match rustix::fs::openat2(&self.fd, path, OPEN_DIRECTORY, Mode::empty(), resolve) {
                    Ok(fd) => return Ok(Self { fd }),
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(Errno::LOOP) => return Err(Errno::NOTDIR.into()),
                    // Longer than the kernel takes at once, behind depsync's own directories.
                    Err(Errno::NAMETOOLONG) => return self.open_by_component(path),
                    Err(Errno::NOSYS | Errno::PERM) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            OPENAT2_IS_MISSING.store(true, Ordering::Relaxed);
        }
        self.open_by_component(path)
    }

    fn open_by_component(&self, path: &[u8]) -> io::Result<Self> {
        let device = self.stat_self()?.id.device;
        let mut directory = self.try_clone()?;
        for name in path.split(|&byte| byte == b'/') {
            let fd = rustix::fs::openat(&directory.fd, leaf(name)?, OPEN_DIRECTORY, Mode::empty());
            directory = Self {
                fd: fd.map_err(|error| if error == Errno::LOOP { Errno::NOTDIR } else { error })?,
            };
            let stat = directory.stat_self()?;
            if stat.id.device != device || stat.is_mount_root {
                return Err(Errno::XDEV.into());
            }
        }
        Ok(directory)
    }

    /// Looks at `name` itself, never at what a link names.
    ///
    /// # Errors
    /// `NotFound` and whatever the file system says.
    pub fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        stat_at(&self.fd, leaf(name)?)
    }

    /// Looks at `name`; `None` if there is none.
    ///
    /// # Errors
    /// As [`Dir::stat`], but for a missing name.
    pub fn find(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match self.stat(name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks at this directory.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn stat_self(&self) -> io::Result<Stat> {
        stat_at(&self.fd, b"")
    }

    /// All names with the type of file where the file system tells it, in no order.
    ///
    /// # Errors
    /// Whatever the file system says, at any name.
    pub fn names(&self) -> io::Result<Vec<Named>> {
        // An own open file description: the position of a shared one would be another reader's.
        let fd = rustix::fs::openat(&self.fd, c".", OPEN_DIRECTORY, Mode::empty())?;
        let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
        let mut listing = RawDir::new(&fd, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = listing.next() {
            let entry = match entry {
                Err(Errno::INTR) => continue,
                entry => entry?,
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                rustix::fs::FileType::Unknown => None,
                kind => Some(FileKind::of(kind)),
            };
            names.push((name.into(), kind));
        }
        Ok(names)
    }

    /// The text of the symbolic link `name`.
    ///
    /// # Errors
    /// `InvalidInput` for anything else.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Box<[u8]>> {
        let text = rustix::fs::readlinkat(&self.fd, leaf(name)?, Vec::new())?;
        Ok(text.into_bytes().into())
    }

    /// Opens the regular file `name` for reading. Never blocks on a FIFO, never follows a link.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a regular file.
    pub fn open_file(&self, name: &[u8]) -> io::Result<File> {
        self.open_regular(name, OFlags::RDONLY)
    }

    /// Opens the own regular file `name` for reading and writing, without changing it.
    ///
    /// # Errors
    /// As [`Dir::open_file`]; `PermissionDenied` if it belongs to another user or has another name: what is written to it
    /// would show elsewhere.
    pub fn open_file_for_writing(&self, name: &[u8]) -> io::Result<File> {
        let file = self.open_regular(name, OFlags::RDWR)?;
        let stat = stat_at(&file, b"")?;
        if stat.owner.uid != rustix::process::geteuid().as_raw() || stat.link_count > 1 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("it belongs to user {} and has {} names", stat.owner.uid, stat.link_count),
            ));
        }
        Ok(file)
    }

    fn open_regular(&self, name: &[u8], access: OFlags) -> io::Result<File> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        let name = leaf(name)?;
        let open = || rustix::fs::openat(&self.fd, name, flags, Mode::empty());
        let fd = match retry_on_intr(open) {
            // A link; a socket.
            Err(Errno::LOOP | Errno::NXIO) => return Err(no_file()),
            opened => opened?,
        };
        if stat_at(&fd, b"")?.kind == FileKind::File { Ok(File::from(fd)) } else { Err(no_file()) }
    }

    /// Creates the file `name`, open for reading and writing, with `mode` (less nothing: the umask is 077 and
    /// modes wider than that are set on the handle later).
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything of that name.
    pub fn create_file(&self, name: &[u8], mode: u16) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (name, mode) = (leaf(name)?, Mode::from_raw_mode(u32::from(mode)));
        let fd = retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, mode))?;
        Ok(File::from(fd))
    }

    /// Opens or creates the own file `name`, mode 0600, for reading and appending.
    ///
    /// # Errors
    /// `InvalidInput` if it is not a regular file.
    pub fn open_or_create_file(&self, name: &[u8]) -> io::Result<File> {
        match self.create_file(name, 0o600) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.open_file_for_writing(name)
            }
            created => created,
        }
    }

    /// Creates the directory `name` with `mode`.
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything of that name.
    pub fn create_dir(&self, name: &[u8], mode: u16) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.fd, leaf(name)?, Mode::from_raw_mode(u32::from(mode)))?)
    }

    /// Creates the symbolic link `name`.
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything of that name.
    pub fn create_symlink(&self, name: &[u8], text: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(text, &self.fd, leaf(name)?)?)
    }

    /// Gives the file `name` the further name `to_name` in `to`.
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything of that name.
    pub fn hard_link(&self, name: &[u8], to: &Self, to_name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.fd, leaf(name)?, &to.fd, leaf(to_name)?, AtFlags::empty())?)
    }

    /// Moves `name` to `to_name` in `to`.
    ///
    /// # Errors
    /// As [`Rename`] says; `InvalidInput` for an exchange where the file system knows none.
    pub fn rename(&self, name: &[u8], to: &Self, to_name: &[u8], rename: Rename) -> io::Result<()> {
        let flags = match rename {
            Rename::KeepExisting => RenameFlags::NOREPLACE,
            Rename::Exchange => RenameFlags::EXCHANGE,
            Rename::Replace => RenameFlags::empty(),
        };
        match rustix::fs::renameat_with(&self.fd, leaf(name)?, &to.fd, leaf(to_name)?, flags) {
            Err(Errno::INVAL) if rename == Rename::KeepExisting => {
                self.rename_beside(name, to, to_name)
            }
            renamed => Ok(renamed?),
        }
    }

    /// [`Rename::KeepExisting`] where the file system has no such rename (NFS, many by FUSE): a file gets its new name by a
    /// link, which replaces nothing, and loses its old one.
    ///
    /// CRASH: between the two it has both names; the next call for them ends that.
    /// RACE: a directory, and a file where there are no links, is renamed once nothing was seen at the new name. Over what
    /// somebody puts there in that moment a directory is not renamed, unless it is an empty directory; a file is.
    fn rename_beside(&self, name: &[u8], to: &Self, to_name: &[u8]) -> io::Result<()> {
        let stat = self.stat(name)?;
        if stat.kind != FileKind::Directory {
            match self.hard_link(name, to, to_name) {
                Ok(()) => return self.remove_file(name),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let is_same =
                        to.find(to_name)?.is_some_and(|there| there.id.inode == stat.id.inode);
                    return if is_same { self.remove_file(name) } else { Err(error) };
                }
                // No links here, or none of a file that belongs to somebody else.
                Err(_) => {}
            }
        }
        if to.find(to_name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(rustix::fs::renameat(&self.fd, leaf(name)?, &to.fd, leaf(to_name)?)?)
    }

    /// Removes the name of anything but a directory.
    ///
    /// # Errors
    /// `IsADirectory`.
    pub fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, leaf(name)?, AtFlags::empty())?)
    }

    /// Removes the empty directory `name`.
    ///
    /// # Errors
    /// `DirectoryNotEmpty`.
    pub fn remove_dir(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, leaf(name)?, AtFlags::REMOVEDIR)?)
    }

    /// Removes `name` and, if it is a directory, all below it. A name that is not there is no error.
    ///
    /// Cost: one handle for each level of depth; directories without owner access are opened up first.
    ///
    /// # Errors
    /// The first name that cannot be removed.
    pub fn remove_all(&self, name: &[u8]) -> io::Result<()> {
        let Some(stat) = self.find(name)? else { return Ok(()) };
        if stat.kind != FileKind::Directory {
            return self.remove_file(name);
        }
        let mut branch = vec![(self.try_clone()?, Box::<[u8]>::from(name))];
        let mut levels = vec![self.open_for_removal(name)?];
        while let Some(level) = levels.last() {
            let mut descended = None;
            for (child, kind) in level.names()? {
                let is_directory = match kind {
                    Some(kind) => kind == FileKind::Directory,
                    None => level.stat(&child)?.kind == FileKind::Directory,
                };
                if is_directory {
                    descended = Some((level.try_clone()?, child));
                    break;
                }
                level.remove_file(&child)?;
            }
            if let Some((parent, child)) = descended {
                levels.push(parent.open_for_removal(&child)?);
                branch.push((parent, child));
            } else {
                levels.pop();
                if let Some((parent, child)) = branch.pop() {
                    parent.remove_dir(&child)?;
                }
            }
        }
        Ok(())
    }

    fn open_for_removal(&self, name: &[u8]) -> io::Result<Self> {
        if let Ok(directory) = self.open_dir(name)
            && directory.stat_self()?.mode & 0o700 == 0o700
        {
            return Ok(directory);
        }
        // Only the owner gets here with a directory closed to itself; the link check stands in open_dir.
        let handle = rustix::fs::openat(
            &self.fd,
            leaf(name)?,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        super::meta::chmod_path_handle(&handle, 0o700)?;
        self.open_dir(name)
    }

    /// Makes the names of this directory durable.
    ///
    /// # Errors
    /// After one, the state of what was to be written is unknown; do not try again on this handle.
    pub fn sync(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::fsync(&self.fd))?)
    }

    /// Makes all that was written to this file system durable.
    ///
    /// # Errors
    /// As [`Dir::sync`].
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::syncfs(&self.fd))?)
    }

    /// Room on the file system.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn room(&self) -> io::Result<Room> {
        let stat = rustix::fs::fstatvfs(&self.fd)?;
        let unit = stat.f_frsize.max(1);
        Ok(Room {
            bytes_total: stat.f_blocks.saturating_mul(unit),
            bytes_free: stat.f_bavail.saturating_mul(unit),
            inodes_total: stat.f_files,
            inodes_free: stat.f_favail,
            // NFS tells how much is best written at once, 1 MiB; that is not what a file takes.
            block_bytes: if stat.f_bsize > BLOCK_BYTES_MAX { 4096 } else { stat.f_bsize.max(512) },
            file_system: stat.f_fsid,
            is_read_only: stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        })
    }

    /// True if this process may make and remove names here.
    ///
    /// # Errors
    /// Whatever the file system says, but for a refusal.
    pub fn is_writable(&self) -> io::Result<bool> {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        match rustix::fs::accessat(&self.fd, c".", access, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// True if two names that differ only in case, or in how an accent is written, are one name here.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn folds_names(&self) -> io::Result<bool> {
        const FS_CASEFOLD_FL: u32 = 0x4000_0000;
        const VFAT: u64 = 0x4d44;
        const EXFAT: u64 = 0x2011_bab0;
        const NTFS: u64 = 0x5346_544e;
        const NTFS3: u64 = 0x7366_746e;
        if [VFAT, EXFAT, NTFS, NTFS3].contains(&self.file_system_type()?) {
            return Ok(true);
        }
        match rustix::fs::ioctl_getflags(&self.fd) {
            Ok(flags) => Ok(flags.bits() & FS_CASEFOLD_FL != 0),
            // The file system has no such flags.
            Err(Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The kernel's number for the type of file system (`statfs.f_type`).
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn file_system_type(&self) -> io::Result<u64> {
        #[expect(clippy::cast_sign_loss, reason = "its width differs between machines")]
        Ok(rustix::fs::fstatfs(&self.fd)?.f_type as u64)
    }
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Size.
    pub bytes_total: u64,
    /// Free for this user.
    pub bytes_free: u64,
    /// Inodes; 0 where the file system makes them as needed.
    pub inodes_total: u64,
    /// Free inodes for this user.
    pub inodes_free: u64,
    /// Bytes that even the smallest file takes.
    pub block_bytes: u64,
    /// The file system's id.
    pub file_system: u64,
    /// Mounted read-only.
    pub is_read_only: bool,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests;
