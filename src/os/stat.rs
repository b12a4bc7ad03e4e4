//! [`Stat`]: what the kernel says of a file, and the part of it by which an unchanged file is known.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, StatxAttributes, StatxFlags};

use crate::model::entry::{Owner, Timestamp};

/// What the kernel says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Type of file.
    pub kind: FileKind,
    /// Permission bits, `0o7777`.
    pub mode: u16,
    /// Owner.
    pub owner: Owner,
    /// Names of the inode.
    pub link_count: u32,
    /// Identity and times.
    pub id: StatId,
    /// Bytes allocated on the disk.
    pub allocated_bytes: u64,
    /// The inode may not be changed (`chattr +i` or `+a`).
    pub is_immutable: bool,
    /// Another file system is mounted here, as far as the kernel tells.
    pub is_mount_root: bool,
}

/// The identity of unchanged content: if two looks at a file agree in all of this, nobody wrote to it between them,
/// unless both fell into one tick of the file system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatId {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last modification of the content.
    pub mtime: Timestamp,
    /// Last change of content or inode; no program can set it.
    pub ctime: Timestamp,
}

/// Type of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Directory.
    Directory,
    /// Regular file.
    File,
    /// Symbolic link.
    Symlink,
    /// FIFO, socket or device.
    Special,
}

impl FileKind {
    pub(super) fn of(kind: FileType) -> Self {
        match kind {
            FileType::Directory => Self::Directory,
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Symlink,
            _ => Self::Special,
        }
    }
}

/// Looks at `name` in `directory`, never following a link; an empty name is the handle itself.
pub(super) fn stat_at(directory: impl AsFd, name: &[u8]) -> io::Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    match rustix::fs::statx(&directory, name, flags, StatxFlags::BASIC_STATS) {
        Ok(stat) => Ok(from_statx(&stat)),
        // Before Linux 4.11, or under a filter of system calls: without attributes.
        Err(rustix::io::Errno::NOSYS) => {
            rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)
                .map(|stat| from_stat(&stat))
                .map_err(io::Error::from)
        }
        Err(error) => Err(error.into()),
    }
}

fn from_statx(stat: &rustix::fs::Statx) -> Stat {
    let time =
        |time: rustix::fs::StatxTimestamp| Timestamp { seconds: time.tv_sec, nanos: time.tv_nsec };
    let attributes = stat.stx_attributes;
    Stat {
        kind: FileKind::of(FileType::from_raw_mode(u32::from(stat.stx_mode))),
        mode: stat.stx_mode & 0o7777,
        owner: Owner { uid: stat.stx_uid, gid: stat.stx_gid },
        link_count: stat.stx_nlink,
        id: StatId {
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            size: stat.stx_size,
            mtime: time(stat.stx_mtime),
            ctime: time(stat.stx_ctime),
        },
        allocated_bytes: stat.stx_blocks.saturating_mul(512),
        is_immutable: attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND),
        is_mount_root: attributes.contains(StatxAttributes::MOUNT_ROOT),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the kernel's own fields, masked or never negative"
)]
fn from_stat(stat: &rustix::fs::Stat) -> Stat {
    let time = |seconds: i64, nanos: u64| Timestamp { seconds, nanos: nanos as u32 };
    Stat {
        kind: FileKind::of(FileType::from_raw_mode(stat.st_mode)),
        mode: (stat.st_mode & 0o7777) as u16,
        owner: Owner { uid: stat.st_uid, gid: stat.st_gid },
        link_count: stat.st_nlink as u32,
        id: StatId {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size as u64,
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        },
        allocated_bytes: (stat.st_blocks as u64).saturating_mul(512),
        is_immutable: false,
        is_mount_root: false,
    }
}
