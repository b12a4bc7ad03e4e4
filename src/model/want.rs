//! [`Wanted`]: which chunks of a release a node lacks, and the batches in which both sides count them.
//!
//! A chunk is known by its *ordinal*: its position among all chunks of the manifest. Hub and node walk the same
//! manifest, so a batch on the wire is bytes alone: what it holds, and how long it must be, the node knows already.

use std::ops::Range;
use std::sync::Arc;

use super::entry::{Chunk, Segment};
use super::manifest::{Chunks, KindView, Part, Placed};
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

/// Walks the batches of wanted chunks over a release.
#[derive(Debug)]
pub struct Batches<'a> {
    sites: Sites<'a>,
    ranges: std::slice::Iter<'a, Range<u64>>,
    range: Range<u64>,
    peeked: Option<(u64, Site)>,
}

/// Walks the chunks of a manifest, each with the number of chunk bytes before it.
#[derive(Debug)]
struct Sites<'a> {
    placed: Placed<'a>,
    file: Option<File>,
}

/// The file that holds what was asked for last; its segments are walked on.
#[derive(Debug)]
struct File {
    path: Arc<TreePath>,
    segments: std::vec::IntoIter<Segment>,
    offset: u64,
    /// The manifest's chunks before the next segment.
    before: Chunks,
}

impl Sites<'_> {
    /// The chunk with `ordinal`. Ordinals are asked for in order; a file that holds none of them is passed without
    /// allocating.
    fn seek(&mut self, ordinal: u64) -> Option<(u64, Site)> {
        loop {
            if let Some(found) = self.seek_in_file(ordinal) {
                return Some(found);
            }
            let (before, own, view) = self.placed.next()?;
            let KindView::File(content) = view.kind else { continue };
            if ordinal < before.plus(own).count {
                let path = Arc::new(TreePath::of_checked(view.path));
                let segments = content.segments().collect::<Vec<_>>().into_iter();
                self.file = Some(File { path, segments, offset: 0, before });
            }
        }
    }

    fn seek_in_file(&mut self, wanted: u64) -> Option<(u64, Site)> {
        let file = self.file.as_mut()?;
        for segment in file.segments.by_ref() {
            let offset = file.offset;
            file.offset = offset.saturating_add(segment.bytes());
            let Segment::Chunk(chunk) = segment else { continue };
            let Chunks { count: ordinal, bytes } = file.before;
            file.before = file.before.plus(Chunks { count: 1, bytes: u64::from(chunk.bytes) });
            if ordinal == wanted {
                return Some((
                    bytes,
                    Site { ordinal, path: Arc::clone(&file.path), offset, chunk },
                ));
            }
        }
        self.file = None;
        None
    }
}

impl<'a> Batches<'a> {
    /// Starts at the first of the `wanted` chunks of `release`, all of which a part of it holds.
    pub fn new(release: impl Into<Part<'a>>, wanted: &'a Wanted) -> Self {
        let sites = Sites { placed: release.into().placed(), file: None };
        Self { sites, ranges: wanted.ranges().iter(), range: 0..0, peeked: None }
    }

    fn next_site(&mut self) -> Option<(u64, Site)> {
        if let Some(site) = self.peeked.take() {
            return Some(site);
        }
        while self.range.is_empty() {
            self.range = self.ranges.next()?.clone();
        }
        let site = self.sites.seek(self.range.start)?;
        self.range.start = self.range.start.saturating_add(1);
        Some(site)
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
