//! [`Index`]: what each directory of a tree looked like when it was last walked, so that an unchanged file is never read
//! twice, and an unchanged tree never compared name by name with anything but itself.
//!
//! ```text
//! record*  foot  length of the foot u64  digest of the foot
//! foot = version · device · inode of the root · kept attributes · whole? · slot*
//! slot = inode of the directory · bytes of its record · check · sums
//! ```
//! Records are read one by one as the walk comes to their directories. A directory is known by its inode, so one that was
//! renamed is known still. Always rebuildable: whatever does not check out is an error or unknown, and costs time.
//! FORMAT: the foot, and `record.rs`.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::{self, Write};

use super::overflow::Beside;
use super::record::{Record, Sums};
use crate::model::codec::{self, Reader, Writer};
use crate::model::digest::{Digest, Domain};
use crate::model::limits::ENTRIES_MAX;
use crate::os::dir::Dir;
use crate::os::meta::KeepXattrs;
use crate::os::stat::StatId;
use crate::os::{File, file};

const VERSION: u64 = 3;
const WHAT: &str = "index";
const TRAILER_BYTES: u64 = 8 + Digest::BYTES as u64;
/// No foot is longer: eight million directories.
const FOOT_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Why bytes are no index of a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The checksum does not match.
    #[error("the index is damaged")]
    Damaged,
    /// The bytes are not what they claim to be.
    #[error("decode the index")]
    Decode(#[from] codec::Error),
    /// It was made of another root.
    #[error("the index is of another directory")]
    OtherRoot,
}

/// The directory an index is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RootId {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Its file system is mounted on several hosts, and has another device on each: only inodes are compared.
    pub roams: bool,
}

impl RootId {
    /// The identity of the root that looks like `id`, on a file system of this host.
    pub fn of(id: &StatId) -> Self {
        Self { device: id.device, inode: id.inode, roams: false }
    }

    /// The device, as an index names it.
    fn device_named(self) -> u64 {
        if self.roams { 0 } else { self.device }
    }
}

/// What the whole tree was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Digest of what it was looked at under.
    pub under: Digest,
    /// The release.
    pub release: Digest,
}

/// Where one directory's record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    inode: u64,
    offset: u64,
    bytes: u64,
    check: u64,
    pub(super) sums: Sums,
}

impl Slot {
    /// That of `record`, which stands at `offset`.
    pub(super) fn new(inode: u64, offset: u64, record: &[u8], sums: Sums) -> Self {
        Self { inode, offset, bytes: record.len() as u64, check: check_of(record), sums }
    }
}

#[derive(Debug)]
enum Store {
    Memory(Vec<u8>),
    File(File),
}

/// What each directory of a tree looked like.
#[derive(Debug)]
pub struct Index {
    keep: KeepXattrs,
    whole: Option<Whole>,
    store: Store,
    slots: Vec<Slot>,
    /// Where a walk puts the records that it makes anew, if they are many.
    beside: Option<Beside>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            keep: KeepXattrs::default(),
            whole: None,
            store: Store::Memory(Vec::new()),
            slots: Vec::new(),
            beside: None,
        }
    }
}

fn check_of(record: &[u8]) -> u64 {
    let Digest(digest) = Digest::of(Domain::State, record);
    let (words, _) = digest.as_chunks::<8>();
    words.first().map_or(0, |word| u64::from_le_bytes(*word))
}

impl Index {
    /// An index that knows nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The same, and a walk with it puts records that it makes anew into an unnamed file in `directory` once they take
    /// `memory_bytes`.
    #[must_use]
    pub fn beside(self, directory: Dir, memory_bytes: usize) -> Self {
        Self { beside: Some(Beside { directory, memory_bytes }), ..self }
    }

    /// What [`Index::beside`] said.
    pub(super) fn room_beside(&self) -> Option<&Beside> {
        self.beside.as_ref()
    }

    /// Records in `file`, which are known by their slots alone.
    pub(super) fn of_records(file: File) -> Self {
        Self { store: Store::File(file), ..Self::default() }
    }

    /// The index in `file`, of the tree at `root`. Only its foot is read.
    ///
    /// # Errors
    /// [`Error::Damaged`] also where the file cannot be read.
    pub fn open(file: File, root: RootId) -> Result<Self, Error> {
        let bytes = crate::os::meta::stat(&file).map_err(|_error| Error::Damaged)?.id.size;
        Self::of_store(Store::File(file), bytes, root)
    }

    /// The index in `bytes`, of the tree at `root`.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn from_bytes(bytes: Vec<u8>, root: RootId) -> Result<Self, Error> {
        let length = bytes.len() as u64;
        Self::of_store(Store::Memory(bytes), length, root)
    }

    fn of_store(store: Store, length: u64, root: RootId) -> Result<Self, Error> {
        let trailer_at = length.checked_sub(TRAILER_BYTES).ok_or(Error::Damaged)?;
        let trailer = store.read(trailer_at, TRAILER_BYTES).ok_or(Error::Damaged)?;
        let (foot_bytes, digest) = trailer.split_first_chunk().ok_or(Error::Damaged)?;
        let foot_bytes = u64::from_le_bytes(*foot_bytes);
        if foot_bytes > FOOT_BYTES_MAX {
            return Err(Error::Damaged);
        }
        let foot_at = trailer_at.checked_sub(foot_bytes).ok_or(Error::Damaged)?;
        let foot = store.read(foot_at, foot_bytes).ok_or(Error::Damaged)?;
        if Digest::of(Domain::State, &foot).0 != *digest {
            return Err(Error::Damaged);
        }
        let mut reader = Reader::new(&foot, WHAT);
        let version = reader.u64()?;
        if version != VERSION {
            return Err(reader.unknown(version).into());
        }
        if (reader.u64()?, reader.u64()?) != (root.device_named(), root.inode) {
            return Err(Error::OtherRoot);
        }
        let keep =
            KeepXattrs { user: reader.bool()?, privileged: reader.bool()?, acls: reader.bool()? };
        let whole = reader
            .option(|reader| Ok(Whole { under: reader.digest()?, release: reader.digest()? }))?;
        let slots = decode_slots(&mut reader, foot_at)?;
        reader.finish()?;
        Ok(Self { keep, whole, store, slots, beside: None })
    }

    /// What the whole tree was found to be, if it was found to be anything.
    pub fn whole(&self) -> Option<Whole> {
        self.whole
    }

    /// How many directories it knows.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True if it knows nothing.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Walks all records that are still what was written, of a tree on `device`; gives how many there are, and what they add up to.
    ///
    /// # Errors
    /// The first that is no record: nothing but damage that a checksum misses leads there.
    pub fn walk(&self, device: u64) -> codec::Result<(usize, Sums)> {
        let mut walked = (0usize, Sums::default());
        for bytes in self.slots.iter().filter_map(|slot| self.record(slot)) {
            Record::decode(&bytes, device)?.starts(1)?;
            let (count, sums) = walked;
            walked = (count.saturating_add(1), sums.plus(Sums::of(&bytes, device)?));
        }
        Ok(walked)
    }

    /// Where the record of the directory `inode` stands, if attributes were kept as `keep` says.
    pub(super) fn slot(&self, inode: u64, keep: KeepXattrs) -> Option<Slot> {
        let at = self.slots.binary_search_by_key(&inode, |slot| slot.inode).ok()?;
        self.slots.get(at).filter(|_| self.keep == keep).copied()
    }

    /// The record at `slot`; `None` if it is no longer what was written.
    pub(super) fn record(&self, slot: &Slot) -> Option<Vec<u8>> {
        self.store.read(slot.offset, slot.bytes).filter(|bytes| check_of(bytes) == slot.check)
    }
}

fn decode_slots(reader: &mut Reader<'_>, records_end: u64) -> Result<Vec<Slot>, Error> {
    let limit = usize::try_from(ENTRIES_MAX).unwrap_or(usize::MAX);
    let mut offset = 0u64;
    let mut slots = reader.list(limit, |reader| {
        let (inode, bytes) = (reader.u64()?, reader.u64()?);
        let check = reader.u64()?;
        let sums = Sums {
            names: reader.u64()?,
            files: reader.u64()?,
            bytes: reader.u64()?,
            symlinks: reader.u64()?,
        };
        let slot = Slot { inode, offset, bytes, check, sums };
        offset = offset.checked_add(bytes).ok_or(reader.not_canonical())?;
        Ok(slot)
    })?;
    slots.sort_unstable_by_key(|slot| slot.inode);
    let is_strict = slots.is_sorted_by(|one, next| one.inode < next.inode);
    if offset == records_end && is_strict { Ok(slots) } else { Err(Error::Damaged) }
}

impl Store {
    fn read(&self, offset: u64, bytes: u64) -> Option<Vec<u8>> {
        let length = usize::try_from(bytes).ok()?;
        match self {
            Self::Memory(all) => {
                let start = usize::try_from(offset).ok()?;
                all.get(start..start.checked_add(length)?).map(<[u8]>::to_vec)
            }
            Self::File(file) => {
                let end = offset.checked_add(bytes)?;
                // A length that the file does not have is not allocated.
                if end > crate::os::meta::stat(file).ok()?.id.size {
                    return None;
                }
                let mut into = vec![0; length];
                (file::read_at(file, offset, &mut into).ok()? == length).then_some(into)
            }
        }
    }
}

/// Writes an index, record by record.
#[derive(Debug)]
pub struct IndexWriter<W> {
    out: W,
    device: u64,
    slots: Vec<Slot>,
    offset: u64,
}

impl<W: Write> IndexWriter<W> {
    /// Starts an index of a tree whose root is on `device`.
    pub fn new(out: W, device: u64) -> Self {
        Self { out, device, slots: Vec::new(), offset: 0 }
    }

    /// Appends the record of the directory `inode`.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn put(&mut self, inode: u64, record: &[u8]) -> io::Result<()> {
        let sums = Sums::of(record, self.device).map_err(io::Error::other)?;
        self.copy(&Slot::new(inode, 0, record, sums), record)
    }

    /// Appends a record of another index.
    pub(super) fn copy(&mut self, slot: &Slot, record: &[u8]) -> io::Result<()> {
        self.out.write_all(record)?;
        self.slots.push(Slot { offset: self.offset, ..*slot });
        self.offset = self.offset.saturating_add(slot.bytes);
        Ok(())
    }

    /// Ends the index of the tree at `root`, in which attributes were kept as `keep` says, and which is `whole`.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn finish(mut self, root: RootId, keep: KeepXattrs, whole: Option<Whole>) -> io::Result<W> {
        let mut writer = Writer::new();
        writer.u64(VERSION);
        writer.u64(root.device_named());
        writer.u64(root.inode);
        writer.bool(keep.user);
        writer.bool(keep.privileged);
        writer.bool(keep.acls);
        writer.option(whole, |writer, whole| {
            writer.digest(&whole.under);
            writer.digest(&whole.release);
        });
        writer.list(&self.slots, |writer, slot| {
            let Sums { names, files, bytes, symlinks } = slot.sums;
            let numbers = [slot.inode, slot.bytes, slot.check, names, files, bytes, symlinks];
            for number in numbers {
                writer.u64(number);
            }
        });
        let foot = writer.finish();
        self.out.write_all(&foot)?;
        self.out.write_all(&(foot.len() as u64).to_le_bytes())?;
        self.out.write_all(&Digest::of(Domain::State, &foot).0)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::entry::{Owner, Timestamp};
    use crate::os::stat::{FileKind, Stat, StatId};
    use crate::scan::record::{Held, Record, RecordBuilder};

    const ROOT: RootId = RootId { device: 7, inode: 2, roams: false };

    fn stat(inode: u64, kind: FileKind) -> Stat {
        let (mtime, ctime) =
            (Timestamp { seconds: -5, nanos: 1 }, Timestamp { seconds: 9, nanos: 7 });
        Stat {
            kind,
            mode: 0o640,
            owner: Owner { uid: 3, gid: 4 },
            link_count: 1,
            id: StatId { device: 7, inode, size: 0, mtime, ctime },
            allocated_bytes: 4096,
            is_immutable: false,
            is_mount_root: false,
        }
    }

    fn record(inode: u64) -> Vec<u8> {
        let mut builder = RecordBuilder::new(ROOT.device);
        builder.directory(b"below", inode.wrapping_add(1));
        let link = Held::Symlink(Box::from(&b"text"[..]));
        let look = stat(inode.wrapping_add(2), FileKind::Symlink);
        builder.other(b"link", (&look, true), &[], &link);
        builder.finish(&stat(inode, FileKind::Directory), &[])
    }

    fn bytes() -> Vec<u8> {
        let mut writer = IndexWriter::new(Vec::new(), ROOT.device);
        for inode in [30, 10, 20] {
            writer.put(inode, &record(inode)).expect("in memory");
        }
        let whole = Whole { under: Digest([1; 32]), release: Digest([2; 32]) };
        writer.finish(ROOT, KeepXattrs::default(), Some(whole)).expect("in memory")
    }

    #[test]
    fn an_index_survives_its_bytes() {
        let index = Index::from_bytes(bytes(), ROOT).expect("own bytes");
        assert_eq!(
            (index.len(), index.whole().map(|whole| whole.release)),
            (3, Some(Digest([2; 32])))
        );
        for inode in [10, 20, 30] {
            let slot = index.slot(inode, KeepXattrs::default()).expect("a record");
            assert_eq!(index.record(&slot), Some(record(inode)));
            assert_eq!(slot.sums, Sums { names: 2, files: 1, bytes: 0, symlinks: 1 });
        }
        assert!(index.slot(11, KeepXattrs::default()).is_none());
        let acls = KeepXattrs { acls: true, ..KeepXattrs::default() };
        assert!(index.slot(10, acls).is_none(), "it was made without attributes");
    }

    #[test]
    fn fault_086_a_damaged_index_or_one_of_another_root_is_refused() {
        let whole = bytes();
        let other = RootId { inode: 3, ..ROOT };
        assert!(matches!(Index::from_bytes(whole.clone(), other), Err(Error::OtherRoot)));
        for at in 0..whole.len() {
            assert!(Index::from_bytes(whole[..at].to_vec(), ROOT).is_err(), "cut at {at}");
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            // Damage shows at once in the foot, and in a record when it is read.
            let Ok(index) = Index::from_bytes(damaged, ROOT) else { continue };
            let slots = [10, 20, 30].map(|inode| index.slot(inode, KeepXattrs::default()));
            let read = slots.iter().flatten().filter(|slot| index.record(slot).is_some()).count();
            assert_eq!(read, 2, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn fault_086_no_bytes_make_a_record_that_cannot_be_walked(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(record) = Record::decode(&bytes, ROOT.device) {
                let mut children = record.children();
                while let Ok(Some(child)) = children.next() {
                    prop_assert!(!child.raw.is_empty());
                }
            }
        }
    }
}
