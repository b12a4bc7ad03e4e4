//! [`Wanted`]: which chunks of a release a node lacks, and the batches in which both sides count them.
//!
//! A chunk is known by its *ordinal*: its position among all chunks of the manifest. Hub and node walk the same
//! manifest, so a batch on the wire is bytes alone: what it holds, and how long it must be, the node knows already.

use std::ops::Range;
use std::sync::Arc;

use super::entry::{Chunk, Entry, Kind, Segment};
use super::manifest::{Entries, Manifest};
pub use super::ordinals::Ordinals as Wanted;
use super::path::TreePath;

/// Batches never reach over a multiple of so many bytes of the release, so that nodes which lack nearly the same
/// chunks share nearly all batches.
const GRID_BYTES: u64 = 512 * 1024;

/// One chunk of a release, and where its bytes stand in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Position among all chunks of the manifest.
    pub ordinal: u64,
    /// The file.
    pub path: Arc<TreePath>,
    /// Where the chunk starts in the file.
    pub offset: u64,
    /// The chunk.
    pub chunk: Chunk,
}

/// Chunks that travel together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The chunks, by ordinal.
    pub sites: Vec<Site>,
    /// The sum of their lengths.
    pub raw_bytes: usize,
    /// The number of its cell: batches never reach over a multiple of so many bytes of the release.
    pub cell: u64,
}

impl Batch {
    /// Parts `raw`, the bytes of all its chunks, where one does not go on in its file where the one before ends.
    pub fn spans<'r>(&self, raw: &'r [u8]) -> Vec<&'r [u8]> {
        let mut rest = raw;
        let follows = |one: &Site, next: &Site| {
            one.path == next.path
                && one.offset.checked_add(one.chunk.bytes.into()) == Some(next.offset)
        };
        let spans = self.sites.chunk_by(follows).map(|sites| {
            let bytes = sites.iter().map(|site| site.chunk.bytes as usize).sum::<usize>();
            let (span, behind) = rest.split_at_checked(bytes).unwrap_or((rest, &[]));
            rest = behind;
            span
        });
        spans.collect()
    }
}

/// Walks the batches of `wanted` over `manifest`.
#[derive(Debug)]
pub struct Batches<'a> {
    sites: Sites<'a>,
    ranges: std::slice::Iter<'a, Range<u64>>,
    range: Range<u64>,
    peeked: Option<(u64, Site)>,
}

/// Walks all chunks of a manifest, each with the number of chunk bytes before it.
#[derive(Debug)]
struct Sites<'a> {
    entries: Entries<'a>,
    file: Option<(Arc<TreePath>, std::vec::IntoIter<Segment>, u64)>,
    ordinal: u64,
    bytes_before: u64,
}

impl Iterator for Sites<'_> {
    type Item = (u64, Site);

    fn next(&mut self) -> Option<(u64, Site)> {
        loop {
            if let Some((path, segments, offset)) = &mut self.file {
                for segment in segments.by_ref() {
                    let at = *offset;
                    *offset = offset.saturating_add(segment.bytes());
                    if let Segment::Chunk(chunk) = segment {
                        let (ordinal, before) = (self.ordinal, self.bytes_before);
                        self.ordinal = ordinal.saturating_add(1);
                        self.bytes_before = before.saturating_add(u64::from(chunk.bytes));
                        let path = Arc::clone(path);
                        return Some((before, Site { ordinal, path, offset: at, chunk }));
                    }
                }
            }
            let Entry { path, kind, .. } = self.entries.next()?;
            self.file = match kind {
                Kind::File(content) => {
                    Some((Arc::new(path), content.segments().to_vec().into_iter(), 0))
                }
                _ => None,
            };
        }
    }
}

impl<'a> Batches<'a> {
    /// Starts at the first wanted chunk.
    pub fn new(manifest: &'a Manifest, wanted: &'a Wanted) -> Self {
        let sites = Sites { entries: manifest.entries(), file: None, ordinal: 0, bytes_before: 0 };
        Self { sites, ranges: wanted.ranges().iter(), range: 0..0, peeked: None }
    }

    fn next_site(&mut self) -> Option<(u64, Site)> {
        if let Some(site) = self.peeked.take() {
            return Some(site);
        }
        loop {
            if self.range.is_empty() {
                self.range = self.ranges.next()?.clone();
            }
            let (before, site) = self.sites.next()?;
            if site.ordinal == self.range.start {
                self.range.start = self.range.start.saturating_add(1);
                return Some((before, site));
            }
        }
    }
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let (before, first) = self.next_site()?;
        let cell = before / GRID_BYTES;
        let mut batch = Batch { raw_bytes: first.chunk.bytes as usize, sites: vec![first], cell };
        while let Some((before, site)) = self.next_site() {
            if before / GRID_BYTES != cell {
                self.peeked = Some((before, site));
                break;
            }
            batch.raw_bytes = batch.raw_bytes.saturating_add(site.chunk.bytes as usize);
            batch.sites.push(site);
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests;
