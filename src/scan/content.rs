//! Content as a pure function of bytes: holes for aligned blocks of zeros, content-defined chunks for the rest.
//!
//! A file is looked at in blocks of [`HOLE_BLOCK_BYTES`]. Each run of whole blocks that are all zeros is a hole,
//! whether the file system stores them or not; each run of others, with a last block that is not whole, is cut
//! by `FastCDC` (Xia et al., 2020) on its own. So the holes that the file system tells of can be skipped unread.
//! FORMAT: the cut points decide which chunks nodes already have; a golden test holds them.

use std::io;
use std::os::fd::AsFd;

use crate::model::digest::{Digest, Domain};
use crate::model::entry::{Chunk, Content, Segment};
use crate::model::limits::{CHUNK_BYTES_AVG, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, HOLE_BLOCK_BYTES};
use crate::os::{file, meta};

const BLOCK: usize = HOLE_BLOCK_BYTES as usize;
const CHUNK_MAX: usize = CHUNK_BYTES_MAX as usize;
/// Bytes asked of the file system at once.
const READ_BYTES: usize = 8 * BLOCK;

/// What [`read_content_with`] tells after each read: the bytes read, and whether to go on.
pub(super) type Tell<'a> = &'a mut dyn FnMut(u64) -> io::Result<()>;

/// Reads an open file to its end. A file that grows past `size_hint` meanwhile is not chased: a little more than
/// `size_hint` is read, so that the content's own size tells that it grew.
///
/// Guarantees: equal to [`content_of`] the bytes, however the file system stores zeros.
/// Cost: one pass over what is stored, in a buffer of 640 KiB at most.
///
/// # Errors
/// As the operating system says.
pub fn read_content(file: impl AsFd, size_hint: u64) -> io::Result<Content> {
    read_content_with(file, size_hint, &mut |_bytes| Ok(()))
}

/// As [`read_content`], telling of each read; what `tell` refuses ends the reading.
pub(super) fn read_content_with(
    file: impl AsFd,
    size_hint: u64,
    tell: Tell<'_>,
) -> io::Result<Content> {
    thread_local! {
        static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    // One byte more than there should be, so that a small file takes one read to reach its end.
    let wanted = usize::try_from(size_hint.saturating_add(1)).unwrap_or(usize::MAX);
    let (carry_max, room) = if wanted <= BLOCK { (0, wanted) } else { (CHUNK_MAX, READ_BYTES) };
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < carry_max + room {
            buffer.resize(carry_max + room, 0);
        }
        read_in_parts(file.as_fd(), size_hint, room, buffer, tell)
    })
}

fn read_in_parts(
    file: impl AsFd,
    size_hint: u64,
    room: usize,
    buffer: &mut [u8],
    tell: Tell<'_>,
) -> io::Result<Content> {
    let file = file.as_fd();
    let mut cutter = Cutter::new();
    let is_sparse = size_hint > BLOCK as u64 && meta::stat(file)?.allocated_bytes < size_hint;
    let mut at = 0u64;
    let mut stored_to = if is_sparse { 0 } else { u64::MAX };
    let mut carried = 0;
    while at <= size_hint {
        if at >= stored_to {
            // Only whole blocks are skipped; the block that the stored bytes begin in, or a last one, is read.
            let (start, end) = file::next_stored(file, at)?.unwrap_or((size_hint, u64::MAX));
            let hole = start.min(size_hint).saturating_sub(at) / BLOCK as u64 * BLOCK as u64;
            if hole > 0 {
                cutter.end_region(&buffer[..carried]);
                carried = 0;
                cutter.hole(hole);
                at = at.saturating_add(hole);
            }
            stored_to = end.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX);
        }
        let space =
            usize::try_from(stored_to.saturating_sub(at)).map_or(room, |more| more.min(room));
        let count = file::read_at(file, at, &mut buffer[carried..carried + space])?;
        tell(count as u64)?;
        at = at.saturating_add(count as u64);
        let is_end = count < space;
        let filled = carried + count;
        let rest = cutter.take(&buffer[..filled], carried, is_end);
        buffer.copy_within(rest..filled, 0);
        carried = filled - rest;
        if is_end {
            break;
        }
    }
    cutter.end_region(&buffer[..carried]);
    Ok(Content::new(cutter.segments))
}

/// The content of `bytes`.
pub fn content_of(bytes: &[u8]) -> Content {
    let mut cutter = Cutter::new();
    let rest = cutter.take(bytes, 0, true);
    cutter.end_region(&bytes[rest..]);
    Content::new(cutter.segments)
}

fn is_zero(block: &[u8]) -> bool {
    // Lanes without an early way out, which the compiler turns into vector instructions.
    block.chunks(256).all(|lane| lane.iter().fold(0, |any, byte| any | byte) == 0)
}

/// Turns regions of bytes into segments.
#[derive(Debug)]
struct Cutter {
    segments: Vec<Segment>,
    masks: (u64, u64),
}

impl Cutter {
    fn new() -> Self {
        let level = fastcdc::v2020::Normalization::Level1;
        let masks = fastcdc::v2020::select_masks(CHUNK_BYTES_AVG as usize, level);
        Self { segments: Vec::new(), masks }
    }

    fn hole(&mut self, more: u64) {
        if let Some(Segment::Hole { bytes }) = self.segments.last_mut() {
            *bytes = bytes.saturating_add(more);
        } else {
            self.segments.push(Segment::Hole { bytes: more });
        }
    }

    /// Takes bytes of which the first `carried` continue the region before and the rest start at a block's start. Gives
    /// how many are done with; what is left continues the region.
    fn take(&mut self, bytes: &[u8], carried: usize, is_end: bool) -> usize {
        let mut region = 0;
        let mut at = carried;
        while at < bytes.len() {
            let block = &bytes[at..bytes.len().min(at + BLOCK)];
            if block.len() == BLOCK && is_zero(block) {
                self.end_region(&bytes[region..at]);
                self.hole(BLOCK as u64);
                region = at + BLOCK;
            }
            at += block.len();
        }
        // A cut depends on no more than the next CHUNK_MAX bytes.
        while bytes.len() - region >= CHUNK_MAX || (is_end && region < bytes.len()) {
            region += self.chunk(&bytes[region..]);
        }
        region
    }

    fn end_region(&mut self, mut region: &[u8]) {
        while !region.is_empty() {
            let count = self.chunk(region);
            region = &region[count..];
        }
    }

    /// Cuts the first chunk off `bytes`, which are not empty.
    fn chunk(&mut self, bytes: &[u8]) -> usize {
        let (short, long) = self.masks;
        let (_, cut) = fastcdc::v2020::cut(
            bytes,
            CHUNK_BYTES_MIN as usize,
            CHUNK_BYTES_AVG as usize,
            CHUNK_MAX,
            short,
            long,
            short << 1,
            long << 1,
        );
        let chunk = &bytes[..cut];
        let digest = Digest::of(Domain::Chunk, chunk);
        let bytes = u32::try_from(cut).expect("invariant: no chunk is over CHUNK_BYTES_MAX");
        self.segments.push(Segment::Chunk(Chunk { digest, bytes }));
        cut
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    use proptest::prelude::*;

    use super::*;

    /// Bytes that look random and are the same everywhere (`SplitMix64`).
    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let mut state = seed;
        let mut out = Vec::with_capacity(bytes + 8);
        while out.len() < bytes {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            out.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
        }
        out.truncate(bytes);
        out
    }

    fn lengths(content: &Content) -> Vec<u64> {
        content.segments().iter().map(Segment::bytes).collect()
    }

    fn stored(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    #[test]
    fn cut_points_are_those_of_every_release_before() {
        let content = content_of(&noise(1, 1024 * 1024));
        assert_eq!(lengths(&content), GOLDEN);
        assert_eq!(content.digest().short(), GOLDEN_DIGEST);
    }

    #[test]
    fn chunks_are_within_their_bounds_and_have_their_digests() {
        let bytes = noise(2, 3_000_001);
        let mut rest = bytes.as_slice();
        let content = content_of(&bytes);
        for (at, chunk) in content.chunks().enumerate() {
            let (this, after) = rest.split_at(chunk.bytes as usize);
            assert_eq!(Digest::of(Domain::Chunk, this), chunk.digest, "chunk {at}");
            assert!(chunk.bytes <= CHUNK_BYTES_MAX);
            assert!(after.is_empty() || chunk.bytes >= CHUNK_BYTES_MIN);
            rest = after;
        }
        assert_eq!(rest, b"");
    }

    #[test]
    fn small_content_is_one_chunk_and_none_is_none() {
        assert_eq!(content_of(b"").segments(), []);
        assert_eq!(lengths(&content_of(&noise(3, CHUNK_BYTES_MIN as usize))), [8192]);
        assert_eq!(lengths(&content_of(&[0; 5000])), [5000]);
    }

    #[test]
    fn fault_022_zeros_are_holes_in_whole_aligned_blocks_only() {
        let block = u64::from(HOLE_BLOCK_BYTES);
        let mut bytes = vec![0; 5 * BLOCK + 10];
        assert_eq!(lengths(&content_of(&bytes)), [5 * block, 10]);
        bytes[2 * BLOCK + 7] = 1;
        let content = content_of(&bytes);
        assert_eq!(content.segments().first(), Some(&Segment::Hole { bytes: 2 * block }));
        assert_eq!(content.data_bytes(), block + 10);
        assert_eq!(content.size(), bytes.len() as u64);
    }

    #[test]
    fn fault_022_a_sparse_tebibyte_is_read_without_its_holes() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let size = 1u64 << 40;
        if file.as_file().set_len(size).is_err() {
            // The file system of temporary files cannot have such a file.
            return;
        }
        let at = (1u64 << 39) + 12_345;
        file.as_file().write_all_at(&noise(4, 4096), at).expect("written");
        let mut bytes_read = 0;
        let content = read_content_with(file.as_file(), size, &mut |bytes| {
            bytes_read += bytes;
            Ok(())
        })
        .expect("read");
        assert_eq!(content.size(), size);
        assert!(content.data_bytes() <= 2 * BLOCK as u64, "{}", content.data_bytes());
        assert!(bytes_read <= 4 * BLOCK as u64, "{bytes_read}");
        let first = content.segments().first().expect("a hole").bytes();
        assert_eq!(first, at / BLOCK as u64 * BLOCK as u64);
    }

    #[test]
    fn fault_002_a_file_that_grew_tells_so_by_its_size() {
        for (size, hint) in [(100usize, 60), (2_000_000, 70_000), (BLOCK, BLOCK as u64 - 1)] {
            let file = stored(&noise(5, size));
            let content = read_content(file.as_file(), hint).expect("read");
            assert!(content.size() > hint, "{size} {hint}");
        }
        let file = stored(b"short");
        assert_eq!(read_content(file.as_file(), 1000).expect("read").size(), 5);
    }

    /// Runs of noise and of zeros, some of them aligned.
    fn runs() -> impl Strategy<Value = Vec<u8>> {
        let run = (any::<u64>(), 0usize..200_000, any::<bool>(), any::<bool>());
        proptest::collection::vec(run, 0..8).prop_map(|runs| {
            let mut bytes = Vec::new();
            for (seed, length, is_zero, is_aligned) in runs {
                let length = if is_aligned { length.next_multiple_of(BLOCK) } else { length };
                bytes.extend(if is_zero { vec![0; length] } else { noise(seed, length) });
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn segments_cover_the_bytes(bytes in runs()) {
            let content = content_of(&bytes);
            prop_assert_eq!(content.size(), bytes.len() as u64);
            let mut at = 0;
            for segment in content.segments() {
                let end = at + usize::try_from(segment.bytes()).expect("in memory");
                match segment {
                    Segment::Hole { bytes: count } => {
                        prop_assert!(bytes[at..end].iter().all(|byte| *byte == 0));
                        prop_assert_eq!((at % BLOCK, count % BLOCK as u64), (0, 0));
                    }
                    Segment::Chunk(chunk) => {
                        prop_assert_eq!(Digest::of(Domain::Chunk, &bytes[at..end]), chunk.digest);
                    }
                }
                at = end;
            }
        }

        #[test]
        fn a_file_has_the_content_of_its_bytes_stored_or_not(bytes in runs()) {
            let wanted = content_of(&bytes);
            let size = bytes.len() as u64;
            let dense = stored(&bytes);
            prop_assert_eq!(&read_content(dense.as_file(), size).expect("read"), &wanted);
            let sparse = tempfile::NamedTempFile::new().expect("a file");
            sparse.as_file().set_len(size).expect("set length");
            for (at, page) in bytes.chunks(4096).enumerate() {
                if page.iter().any(|byte| *byte != 0) {
                    sparse.as_file().write_all_at(page, at as u64 * 4096).expect("written");
                }
            }
            prop_assert_eq!(&read_content(sparse.as_file(), size).expect("read"), &wanted);
        }

        #[test]
        fn an_edit_changes_few_chunks(seed in any::<u64>(), at in 0usize..1_900_000, more in 1usize..50) {
            let before = noise(seed, 2_000_000);
            let mut after = before.clone();
            after.splice(at..at + 10, noise(seed ^ 1, more));
            let old: std::collections::HashSet<_> = content_of(&before).chunks().collect();
            let new = content_of(&after);
            let fresh = new.chunks().filter(|chunk| !old.contains(chunk)).count();
            prop_assert!(fresh <= 6, "{} of {} chunks are new", fresh, new.chunks().count());
        }
    }

    const GOLDEN: &[u64] = &[
        28128, 82036, 41896, 28543, 84194, 13958, 38180, 60483, 11346, 40219, 36535, 48151, 44182,
        27009, 38128, 75754, 28980, 51262, 33292, 19198, 17610, 33142, 19437, 34360, 56268, 56285,
    ];
    const GOLDEN_DIGEST: &str = "35615ef2a71a";
}
