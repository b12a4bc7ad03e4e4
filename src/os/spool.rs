//! [`Spool`]: where bytes lie that are made once and sent to many, each at its own pace.
//!
//! The first of them stay in memory. What is beyond that lies in files without a name, of which the system keeps in memory
//! what it has room for: a receiver that is far behind costs disk space, and not memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::bulk::Bulk;
use super::dir::Dir;
use super::unnamed;

/// What a file is called until it is open.
const NAME: &[u8] = b"spool";
/// So long a file becomes; one that a receiver still reads anything of takes so much of the disk.
const FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Of the room that is free on the file system, one part of so many may be taken.
const FREE_PARTS: u64 = 8;

/// Where bytes are put that are sent to many.
#[derive(Debug)]
pub struct Spool {
    in_memory: Arc<AtomicUsize>,
    memory_bytes_max: usize,
    disk: Mutex<Option<Disk>>,
}

#[derive(Debug)]
struct Disk {
    directory: Dir,
    bytes_max: usize,
    /// Begun with the first bytes that memory has no room for.
    file: Option<Arc<File>>,
    /// Where the next bytes go in the file.
    end: u64,
}

/// Bytes of the memory that may be taken; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Spool {
    /// Puts everything into memory, of which so many bytes are worth keeping.
    pub fn in_memory(bytes_max: usize) -> Self {
        Self { in_memory: Arc::default(), memory_bytes_max: bytes_max, disk: Mutex::default() }
    }

    /// Puts what does not fit into so many bytes of memory into files in `directory`, of which `disk_bytes_max` are worth
    /// keeping, or an eighth of what is free there.
    pub fn beside(directory: Dir, memory_bytes: usize, disk_bytes_max: usize) -> Self {
        let free = directory.room().map_or(0, |room| room.bytes_free) / FREE_PARTS;
        let bytes_max = disk_bytes_max.min(usize::try_from(free).unwrap_or(usize::MAX));
        let disk = Mutex::new(Some(Disk { directory, bytes_max, file: None, end: 0 }));
        Self { disk, ..Self::in_memory(memory_bytes) }
    }

    /// How many bytes are worth keeping for others: fewer once the disk has failed.
    pub fn bytes_max(&self) -> usize {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        self.memory_bytes_max.saturating_add(disk.as_ref().map_or(0, |disk| disk.bytes_max))
    }

    /// Takes a copy of `bytes`. If the disk refuses it, and from then on, memory takes all.
    pub fn put(&self, bytes: &[u8]) -> Bulk {
        let before = self.in_memory.load(Ordering::Relaxed);
        if before.saturating_add(bytes.len()) > self.memory_bytes_max
            && let Some(bulk) = self.put_on_disk(bytes)
        {
            return bulk;
        }
        self.in_memory.fetch_add(bytes.len(), Ordering::Relaxed);
        Bulk::claiming(bytes, Some(Claim { of: Arc::clone(&self.in_memory), bytes: bytes.len() }))
    }

    fn put_on_disk(&self, bytes: &[u8]) -> Option<Bulk> {
        let disk = || self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let place = disk().as_mut()?.reserve(bytes.len());
        let written = place.and_then(|(file, at)| {
            file.write_all_at(bytes, at)?;
            Ok(Bulk::of_file(file, at, bytes.len()))
        });
        if written.is_err() {
            *disk() = None;
        }
        written.ok()
    }
}

impl Disk {
    /// A place for so many bytes that nobody else writes to.
    fn reserve(&mut self, bytes: usize) -> io::Result<(Arc<File>, u64)> {
        if self.end >= FILE_BYTES {
            (self.file, self.end) = (None, 0);
        }
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::new(unnamed::create(&self.directory, NAME)?),
        };
        self.file = Some(Arc::clone(&file));
        let at = self.end;
        self.end = at.saturating_add(bytes as u64);
        Ok((file, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::root::{self, Missing};

    const BYTES: usize = 300_000;

    fn bytes_of(number: u8) -> Vec<u8> {
        vec![number; BYTES]
    }

    fn spool(path: &std::path::Path, disk_bytes_max: usize) -> Spool {
        let opened = root::open(path, Missing::Refuse).expect("opened");
        Spool::beside(opened.dir.expect("a directory"), 2 * BYTES, disk_bytes_max)
    }

    fn is_on_disk(spool: &Spool) -> bool {
        spool.disk.lock().expect("whole").as_ref().is_some_and(|disk| disk.file.is_some())
    }

    #[test]
    fn what_memory_has_no_room_for_lies_in_files_that_nobody_sees() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("spool"), "left by one that died").expect("written");
        let spool = spool(directory.path(), 1 << 30);
        let bulks: Vec<Bulk> = (0..2).map(|number| spool.put(&bytes_of(number))).collect();
        assert!(!is_on_disk(&spool), "small pushes do not touch the disk");
        let more: Vec<Bulk> = (2..40).map(|number| spool.put(&bytes_of(number))).collect();
        assert!(is_on_disk(&spool) && spool.in_memory.load(Ordering::Relaxed) == 2 * BYTES);
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 0);
        for (number, bulk) in (0..).zip(bulks.iter().chain(&more)) {
            assert!(bulk.to_vec().expect("read") == bytes_of(number), "{number}");
        }
        drop((bulks, more));
        assert_eq!(spool.in_memory.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_disk_that_refuses_leaves_all_to_memory() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = spool(directory.path(), 10 * BYTES);
        assert_eq!(spool.bytes_max(), 12 * BYTES);
        directory.close().expect("removed");
        let bulks: Vec<Bulk> = (0..5).map(|number| spool.put(&bytes_of(number))).collect();
        for (number, bulk) in (0..).zip(&bulks) {
            assert!(bulk.to_vec().expect("read") == bytes_of(number), "{number}");
        }
        assert_eq!(spool.bytes_max(), 2 * BYTES);
    }

    #[test]
    fn no_more_is_worth_keeping_than_an_eighth_of_the_free_disk() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = spool(directory.path(), usize::MAX);
        let room = rustix::fs::statvfs(directory.path()).expect("told");
        let free = usize::try_from(room.f_bavail * room.f_frsize).expect("small");
        assert!(spool.bytes_max() <= free / 7 && spool.bytes_max() >= free / 9);
    }
}
