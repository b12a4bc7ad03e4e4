//! A file system with exactly as much room as a test wants to leave on it.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfs;

use super::image::{Disk, Kind};
use crate::failure::{Failure, Result, at};
use crate::program;

/// What runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Blocks of a tmpfs.
    TmpfsBytes,
    /// Inodes of a tmpfs.
    TmpfsInodes,
    /// Blocks of an ext4, of 1 KiB.
    Ext4Bytes,
    /// Inodes of an ext4.
    Ext4Inodes,
    /// What a quota of btrfs allows, which the file system does not tell.
    Quota,
}

/// A mounted file system with a limit.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    limit: Limit,
    place: PathBuf,
    /// Holds the image, if there is one, for as long as this lives.
    disk: Option<Disk>,
}

/// Blocks that an ext4 has to give, at first.
const EXT4_BYTES: u64 = 12 << 20;
const EXT4_BLOCK_BYTES: u64 = 1024;
const EXT4_INODES: &str = "512";
const PAGE_BYTES: u64 = 4096;
/// More than any test needs.
const PLENTY: u64 = 4096;
/// A filler that is not right by then never will be.
const TRIES: usize = 12;

impl Limit {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::TmpfsBytes, Self::TmpfsInodes, Self::Ext4Bytes, Self::Ext4Inodes, Self::Quota];

    /// Its name, in words of the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TmpfsBytes => "tmpfs-bytes",
            Self::TmpfsInodes => "tmpfs-inodes",
            Self::Ext4Bytes => "ext4-bytes",
            Self::Ext4Inodes => "ext4-inodes",
            Self::Quota => "quota",
        }
    }

    /// What a refused node says is missing.
    pub(crate) fn unit(self) -> &'static str {
        if matches!(self, Self::TmpfsInodes | Self::Ext4Inodes) { "inodes" } else { "bytes" }
    }

    /// Whether a file system can have so little room, and not say so before a commit is under way: a quota is no part of
    /// what it tells of itself.
    pub(crate) fn is_hidden(self) -> bool {
        self == Self::Quota
    }

    /// So many steps are more than the scenario needs.
    pub(crate) fn enough(self) -> u64 {
        match self {
            Self::TmpfsBytes | Self::Quota => 1024,
            Self::Ext4Bytes => 2048,
            Self::TmpfsInodes | Self::Ext4Inodes => 256,
        }
    }

    /// The smallest amount by which room differs, in the unit.
    pub(crate) fn step(self) -> u64 {
        match self {
            Self::TmpfsBytes | Self::Quota => PAGE_BYTES,
            Self::Ext4Bytes => EXT4_BLOCK_BYTES,
            Self::TmpfsInodes | Self::Ext4Inodes => 1,
        }
    }
}

impl SmallDisk {
    /// A new one at `place`, with plenty of room; `image` is for its image.
    ///
    /// # Errors
    /// It cannot be made or mounted.
    pub(crate) fn create(limit: Limit, image: &Path, place: &Path) -> Result<Self> {
        std::fs::create_dir_all(place).map_err(at("create", place))?;
        let shown = place.display().to_string();
        let disk = match limit {
            Limit::TmpfsBytes | Limit::TmpfsInodes => {
                program::quiet(&["mount", "-t", "tmpfs", "tmpfs", &shown])?;
                None
            }
            Limit::Ext4Bytes | Limit::Ext4Inodes => {
                let file = File::create(image).map_err(at("create", image))?;
                file.set_len(EXT4_BYTES).map_err(at("extend", image))?;
                let image_word = image.display().to_string();
                let make = ["mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", "-N", EXT4_INODES];
                program::quiet(&[&make[..], &[&image_word]].concat())?;
                Some(Disk::mount(Kind::Ext4, image, place)?)
            }
            Limit::Quota => {
                let disk = Disk::create(Kind::Btrfs, image, place)?;
                program::quiet(&["btrfs", "quota", "enable", &shown])?;
                Some(disk)
            }
        };
        Ok(Self { limit, place: place.to_path_buf(), disk })
    }

    /// Leaves plenty of room.
    ///
    /// # Errors
    /// As [`leave`](Self::leave).
    pub(crate) fn leave_plenty(&self) -> Result {
        match self.limit {
            Limit::Ext4Bytes | Limit::Ext4Inodes => self.remove_fillers(),
            _ => self.leave(PLENTY),
        }
    }

    /// Leaves room for `count` more steps, and not one more.
    ///
    /// # Errors
    /// The file system cannot be brought there.
    pub(crate) fn leave(&self, count: u64) -> Result {
        match self.limit {
            Limit::TmpfsBytes => {
                let room = self.room()?;
                let used = (room.f_blocks - room.f_bfree) * room.f_frsize;
                self.remount(&format!("size={}", used + count * PAGE_BYTES))
            }
            Limit::TmpfsInodes => {
                let room = self.room()?;
                self.remount(&format!("nr_inodes={}", room.f_files - room.f_ffree + count))
            }
            Limit::Ext4Bytes => self.fill_bytes(count),
            Limit::Ext4Inodes => self.fill_inodes(count),
            Limit::Quota => self.set_quota(count),
        }
    }

    fn room(&self) -> Result<StatVfs> {
        rustix::fs::statvfs(&self.place).map_err(|error| at("look at", &self.place)(error.into()))
    }

    /// What is free once all that was removed is.
    fn room_after_sync(&self) -> Result<StatVfs> {
        let root = File::open(&self.place).map_err(at("open", &self.place))?;
        rustix::fs::syncfs(&root).map_err(|error| at("sync", &self.place)(error.into()))?;
        self.room()
    }

    fn remount(&self, option: &str) -> Result {
        let place = self.place.display().to_string();
        program::quiet(&["mount", "-o", &format!("remount,{option}"), &place])
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }

    fn fillers(&self) -> PathBuf {
        self.place.join("fillers")
    }

    fn remove_fillers(&self) -> Result {
        for path in [self.filler(), self.fillers()] {
            let removed = match std::fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&path),
                Ok(_) => std::fs::remove_file(&path),
                Err(_absent) => Ok(()),
            };
            removed.map_err(at("remove", &path))?;
        }
        self.room_after_sync().map(drop)
    }

    fn fill_bytes(&self, count: u64) -> Result {
        let path = self.filler();
        let options = File::options().create(true).truncate(false).write(true).open(&path);
        let file = options.map_err(at("open", &path))?;
        for _ in 0..TRIES {
            let free = self.room_after_sync()?.f_bavail;
            let length = file.metadata().map_err(at("look at", &path))?.len();
            if free == count {
                return Ok(());
            }
            if free > count {
                let more = (free - count) * EXT4_BLOCK_BYTES;
                let flags = rustix::fs::FallocateFlags::empty();
                // A block of its own map may make it too much: the next round sees that.
                if rustix::fs::fallocate(&file, flags, length, more).is_err() {}
            } else {
                let less = (count - free) * EXT4_BLOCK_BYTES;
                file.set_len(length.saturating_sub(less)).map_err(at("cut", &path))?;
            }
        }
        Err(Failure::new(format!("{}: cannot leave {count} blocks", self.place.display())))
    }

    fn fill_inodes(&self, count: u64) -> Result {
        let fillers = self.fillers();
        std::fs::create_dir_all(&fillers).map_err(at("create", &fillers))?;
        let mut number = 0_u64;
        loop {
            let free = self.room()?.f_ffree;
            if free == count {
                return Ok(());
            }
            let path = fillers.join(number.to_string());
            if free > count {
                File::create(&path).map_err(at("create", &path))?;
                number += 1;
            } else {
                // From an earlier call: whatever is there is as good as another.
                let entry = std::fs::read_dir(&fillers).map_err(at("list", &fillers))?.next();
                // There never were so many.
                let Some(entry) = entry else { return Ok(()) };
                let path = entry.map_err(at("list", &fillers))?.path();
                std::fs::remove_file(&path).map_err(at("remove", &path))?;
                self.room_after_sync()?;
            }
        }
    }

    fn set_quota(&self, count: u64) -> Result {
        let place = self.place.display().to_string();
        self.room_after_sync()?;
        // A limit that was reached stands in the way of its own change; to count anew ends it.
        program::quiet(&["btrfs", "quota", "disable", &place])?;
        program::quiet(&["btrfs", "quota", "enable", &place])?;
        program::quiet(&["btrfs", "quota", "rescan", "-w", &place])?;
        let said = program::output(&["btrfs", "qgroup", "show", "--raw", "--sync", &place])?;
        let line = said.lines().find_map(|line| line.strip_prefix("0/5"));
        let used = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        let used = used.ok_or_else(|| Failure::new(format!("no quota group: {said}")))?;
        let limit = (used + count * PAGE_BYTES).to_string();
        program::quiet(&["btrfs", "qgroup", "limit", &limit, &place])
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.disk.is_none()
            && let Err(failure) =
                program::quiet(&["umount", "-l", &self.place.display().to_string()])
        {
            println!("left behind: {failure}");
        }
    }
}
