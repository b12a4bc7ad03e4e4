//! [`Index`]: the content of files by their stat identity, so that an unchanged file is never read twice.
//!
//! ```text
//! digest of the rest · version · device · inode of the root · entry*        entry = stat identity · content
//! ```
//! Always rebuildable: whatever does not check out is an error, and the caller starts from [`Index::empty`].
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::time::Duration;

use super::Found;
use crate::model::codec::{self, Reader, Writer};
use crate::model::digest::{Digest, Domain};
use crate::model::entry::{Content, Kind, Timestamp};
use crate::model::limits::RACY_WINDOW_MS;
use crate::model::manifest::{decode_content, encode_content};
use crate::os::stat::{FileKind, StatId};

const VERSION: u64 = 1;
const WHAT: &str = "index";
/// Far more than any tree has files.
const ENTRIES_MAX: usize = 1 << 32;

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
}

impl RootId {
    /// The identity of the root that looks like `id`.
    pub fn of(id: &StatId) -> Self {
        Self { device: id.device, inode: id.inode }
    }
}

/// The content of files by their stat identity.
///
/// Guarantees: an entry is there only if every later write to its file must change the file's stat identity, so what
/// [`Index::lookup`] gives is the content of the file that looked like that.
/// Cost: about 130 bytes a file of one chunk.
/// Limits: a kernel stamps a write when it begins, so a single write call, or a change through a memory map, that goes on
/// for longer than the window after it was stamped can be taken half done, and is then known by that until the file
/// changes again. Without an index everything is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    root: RootId,
    /// Sorted by device and inode, each once.
    entries: Vec<(StatId, Content)>,
}

fn key(id: &StatId) -> (u64, u64) {
    (id.device, id.inode)
}

/// How old a change must be to be trusted on the file system whose `statfs.f_type` is `file_system_type`.
///
/// A time stamp is the kernel's clock at the last tick (4 or 10 ms) before the change. Of a change that came more than
/// two ticks before the look, it is sure that every change after the look gets a later stamp. File systems known to stamp
/// so have a window of 20 ms; any other may round to two seconds, or have a server's clock.
pub fn racy_window(file_system_type: u64) -> Duration {
    const EXT: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683e;
    const TMPFS: u64 = 0x0102_1994;
    const F2FS: u64 = 0xf2f5_2010;
    const OVERLAY: u64 = 0x794c_7630;
    match file_system_type {
        EXT | XFS | BTRFS | TMPFS | F2FS | OVERLAY => Duration::from_millis(20),
        _ => Duration::from_millis(RACY_WINDOW_MS),
    }
}

/// True if nobody can have changed the file after the look at `looked_at` without a change of `id`.
///
/// A stamp without nanoseconds is taken for that of a file system that stamps whole seconds (ext3, ext4 with small
/// inodes, which say the same type), whatever `window` is.
pub fn is_settled(id: &StatId, looked_at: Timestamp, window: Duration) -> bool {
    is_older(id.ctime, looked_at, window) && is_older(id.mtime, looked_at, window)
}

/// True if `time` lies more than `window` before `looked_at`; two seconds at least if it has no nanoseconds.
pub(super) fn is_older(time: Timestamp, looked_at: Timestamp, window: Duration) -> bool {
    let coarse = Duration::from_millis(RACY_WINDOW_MS);
    let window = if time.nanos == 0 { window.max(coarse) } else { window };
    time < before(looked_at, window)
}

fn before(time: Timestamp, by: Duration) -> Timestamp {
    let seconds = time.seconds.saturating_sub(i64::try_from(by.as_secs()).unwrap_or(i64::MAX));
    match time.nanos.checked_sub(by.subsec_nanos()) {
        Some(nanos) => Timestamp { seconds, nanos },
        None => Timestamp {
            seconds: seconds.saturating_sub(1),
            nanos: time.nanos.saturating_add(1_000_000_000).saturating_sub(by.subsec_nanos()),
        },
    }
}

impl Index {
    /// An index that knows nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// What `found` tells of the files below `root`, looked at when it was `recorded_at` or later. Whatever changed
    /// within `window` of that, or has a time in the future, is left out (see [`is_settled`]).
    pub fn of(root: RootId, found: &[Found], recorded_at: Timestamp, window: Duration) -> Self {
        let entries: Vec<(StatId, Content)> = found
            .iter()
            .filter(|one| one.stat.kind == FileKind::File)
            .filter(|one| is_settled(&one.stat.id, recorded_at, window))
            .filter_map(|one| match &one.entry.kind {
                Kind::File(content) => Some((one.stat.id, content.clone())),
                _ => None,
            })
            .collect();
        Self::of_pairs(root, entries)
    }

    /// What is known of files that the caller vouches for.
    pub(super) fn of_pairs(root: RootId, mut entries: Vec<(StatId, Content)>) -> Self {
        entries.sort_unstable_by_key(|(id, _)| key(id));
        entries.dedup_by_key(|(id, _)| key(id));
        Self { root, entries }
    }

    /// The content of the file that looks like `id`, if it is known.
    pub fn lookup(&self, id: &StatId) -> Option<&Content> {
        let at = self.entries.binary_search_by_key(&key(id), |(id, _)| key(id)).ok()?;
        self.entries.get(at).filter(|(known, _)| known == id).map(|(_, content)| content)
    }

    /// The files known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if no file is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::append_to(vec![0; Digest::BYTES]);
        writer.u64(VERSION);
        writer.u64(self.root.device);
        writer.u64(self.root.inode);
        writer.list(&self.entries, |writer, (id, content)| {
            writer.u64(id.device);
            writer.u64(id.inode);
            for time in [id.mtime, id.ctime] {
                writer.i64(time.seconds);
                writer.u64(u64::from(time.nanos));
            }
            encode_content(writer, content);
        });
        let mut bytes = writer.finish();
        if let Some((head, rest)) = bytes.split_at_mut_checked(Digest::BYTES) {
            head.copy_from_slice(&Digest::of(Domain::State, rest).0);
        }
        bytes
    }

    /// Reads what [`Index::to_bytes`] wrote of the same `root`.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::OtherRoot`], or a rule of the encoding that the bytes break.
    pub fn from_bytes(bytes: &[u8], root: RootId) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, WHAT);
        let digest = reader.digest()?;
        if Digest::of(Domain::State, reader.rest()) != digest {
            return Err(Error::Damaged);
        }
        let version = reader.u64()?;
        if version != VERSION {
            return Err(reader.unknown(version).into());
        }
        if (RootId { device: reader.u64()?, inode: reader.u64()? }) != root {
            return Err(Error::OtherRoot);
        }
        let entries = reader.list(ENTRIES_MAX, |reader| {
            let (device, inode) = (reader.u64()?, reader.u64()?);
            let mut time = || {
                let seconds = reader.i64()?;
                let nanos = reader.u64_max(999_999_999)?;
                let nanos = u32::try_from(nanos).map_err(|_error| reader.not_canonical())?;
                Ok::<_, codec::Error>(Timestamp { seconds, nanos })
            };
            let (mtime, ctime) = (time()?, time()?);
            let content = decode_content(reader)?;
            Ok((StatId { device, inode, size: content.size(), mtime, ctime }, content))
        })?;
        if !entries.is_sorted_by(|(one, _), (next, _)| key(one) < key(next)) {
            return Err(reader.not_canonical().into());
        }
        reader.finish()?;
        Ok(Self { root, entries })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scan::content::content_of;

    const ROOT: RootId = RootId { device: 7, inode: 2 };

    fn time(seconds: i64, nanos: u32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    fn id(inode: u64, bytes: &[u8]) -> StatId {
        let (mtime, ctime) = (time(-5, 1), time(1000, 5));
        StatId { device: 7, inode, size: bytes.len() as u64, mtime, ctime }
    }

    fn index(count: u8) -> Index {
        let pairs = (0..count).rev().map(|at| {
            let bytes = vec![at; usize::from(at) * 3000];
            (id(u64::from(at), &bytes), content_of(&bytes))
        });
        Index::of_pairs(ROOT, pairs.collect())
    }

    #[test]
    fn an_index_survives_its_bytes() {
        let before = index(60);
        let after = Index::from_bytes(&before.to_bytes(), ROOT).expect("own bytes");
        assert_eq!(after, before);
        let bytes = vec![9; 27_000];
        assert_eq!(after.lookup(&id(9, &bytes)), Some(&content_of(&bytes)));
    }

    #[test]
    fn fault_026_a_file_that_looks_different_in_anything_is_unknown() {
        let index = index(10);
        let known = id(3, &[3; 9000]);
        assert!(index.lookup(&known).is_some());
        let changes: [fn(&mut StatId); 5] = [
            |id| id.device += 1,
            |id| id.inode += 100,
            |id| id.size += 1,
            |id| id.mtime.nanos += 1,
            |id| id.ctime.nanos += 1,
        ];
        for change in changes {
            let mut other = known;
            change(&mut other);
            assert_eq!(index.lookup(&other), None, "{other:?}");
        }
    }

    #[test]
    fn fault_086_a_damaged_index_or_one_of_another_root_is_refused() {
        let bytes = index(5).to_bytes();
        let other = RootId { inode: 3, ..ROOT };
        assert_eq!(Index::from_bytes(&bytes, other), Err(Error::OtherRoot));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Index::from_bytes(&damaged, ROOT), Err(Error::Damaged), "byte {at}");
            assert!(Index::from_bytes(&bytes[..at], ROOT).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn fault_026_and_027_young_future_and_coarse_stamps_are_not_trusted() {
        let looked_at = time(1000, 500_000_000);
        let fine = Duration::from_millis(20);
        let settled = |mtime, ctime, window| {
            is_settled(&StatId { mtime, ctime, ..id(1, b"") }, looked_at, window)
        };
        let old = time(900, 1);
        assert!(settled(old, old, fine));
        assert!(settled(time(-1, 5), time(1000, 479_999_999), fine));
        assert!(!settled(old, time(1000, 480_000_000), fine), "changed 20 ms before");
        assert!(!settled(time(4_000_000_000, 1), old, fine), "modified in the future");
        assert!(!settled(old, time(999, 0), fine), "stamped in whole seconds");
        assert!(settled(old, time(998, 0), fine));
        let coarse = racy_window(0x6969);
        assert!(!settled(old, time(998, 500_000_000), coarse), "2 s on a network");
        assert!(settled(old, time(998, 499_999_999), coarse));
    }

    proptest! {
        #[test]
        fn no_bytes_make_an_index_that_has_others(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let sealed = [Digest::of(Domain::State, &bytes).0.as_slice(), &bytes].concat();
            if let Ok(index) = Index::from_bytes(&sealed, ROOT) {
                prop_assert_eq!(index.to_bytes(), sealed);
            }
        }
    }
}
