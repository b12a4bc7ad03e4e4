//! [`Wanted`]: which chunks of a release a node lacks, and the batches in which both sides count them.
//!
//! A chunk is known by its *ordinal*: its position among all chunks of the manifest. Hub and node walk the same
//! manifest, so a batch on the wire is bytes alone: what it holds, and how long it must be, the node knows already.

use std::ops::Range;
use std::sync::Arc;

use super::codec::{Error, Reader, Result, Writer};
use super::entry::{Chunk, Entry, Kind, Segment};
use super::manifest::{Entries, Manifest};
use super::path::TreePath;

/// Batches never reach over a multiple of so many bytes of the release, so that nodes which lack nearly the same
/// chunks share nearly all batches.
const GRID_BYTES: u64 = 512 * 1024;

/// A set of ordinals, as increasing ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    ranges: Vec<Range<u64>>,
}

impl Wanted {
    /// Adds `ordinal`, which must be above all before it.
    pub fn push(&mut self, ordinal: u64) {
        match self.ranges.last_mut() {
            Some(last) if last.end == ordinal => last.end = ordinal.saturating_add(1),
            _ => self.ranges.push(ordinal..ordinal.saturating_add(1)),
        }
    }

    /// True if nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges in order.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Appends the set to `writer`, as gaps and lengths.
    pub fn encode(&self, writer: &mut Writer) {
        let mut end = 0;
        writer.list(&self.ranges, |writer, range| {
            writer.u64(range.start.saturating_sub(end));
            writer.u64(range.end.saturating_sub(range.start));
            end = range.end;
        });
    }

    /// Reads what [`Wanted::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] for an empty or touching range, or an overflow.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut end: Option<u64> = None;
        let ranges = reader.list(super::limits::FRAME_BYTES_MAX, |reader| {
            let bad = Error::NotCanonical { what: reader.what() };
            let (gap, length) = (reader.u64()?, reader.u64()?);
            if length == 0 || (gap == 0 && end.is_some()) {
                return Err(bad);
            }
            let start = end.unwrap_or(0).checked_add(gap).ok_or_else(|| bad.clone())?;
            let stop = start.checked_add(length).ok_or(bad)?;
            end = Some(stop);
            Ok(start..stop)
        })?;
        Ok(Self { ranges })
    }
}

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
        Self { sites, ranges: wanted.ranges.iter(), range: 0..0, peeked: None }
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
