//! The content of files that changed, as runs of what the base has and of what is new.
//!
//! ```text
//! content = list(run)
//! run     = count × 4 · start           segments of the base, by ordinal; start as the difference to the end of the run before
//!         | length × 4 + 1 · digest     a new chunk
//!         | length × 4 + 2              a hole
//! ```
//! The ordinal of a segment is its position among the segments of all files of the base.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashMap;
use std::ops::Range;

use super::WHAT;
use crate::model::codec::{Error, Reader, Result, Writer};
use crate::model::digest::Digest;
use crate::model::entry::{Chunk, Content, Segment};
use crate::model::limits::{DELTA_REFERENCES_MAX, MANIFEST_BYTES_MAX};
use crate::model::manifest::ContentView;

const RUN_BASE: u64 = 0;
const RUN_CHUNK: u64 = 1;
const RUN_HOLE: u64 = 2;

/// As many segments as a manifest has room for.
const SEGMENTS_MAX: u64 = MANIFEST_BYTES_MAX / 32;

/// Segments of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Run {
    /// Those of the base with these ordinals.
    Base(Range<u64>),
    /// One that the base does not have.
    New(Segment),
}

/// A content of the base, and the ordinal of its first segment.
pub(super) struct Source {
    pub(super) start: u64,
    pub(super) content: Content,
}

/// Where a segment is: the place of its source, and its own in there.
type Place = (usize, usize);

/// Tells contents by what `sources` have.
pub(super) struct Teller {
    sources: Vec<Source>,
    /// The first place of each chunk; made when a content is not simply what it was.
    places: Option<HashMap<Digest, Place>>,
    references_left: usize,
    /// The end of the last run of the base.
    base_end: u64,
    writer: Writer,
}

impl Teller {
    pub(super) fn new(sources: impl Iterator<Item = Source>, references_left: usize) -> Self {
        let sources = sources.collect();
        Self { sources, places: None, references_left, base_end: 0, writer: Writer::new() }
    }

    /// Tells `content`, which may be like that of the source at `near`.
    pub(super) fn tell(&mut self, content: &Content, near: Option<usize>) {
        let mut runs: Vec<Run> = Vec::new();
        let mut next = near.map(|source| (source, 0));
        for segment in content.segments() {
            let place = next.filter(|place| self.at(*place) == Some(segment));
            let found = place.or_else(|| self.find(segment));
            let ordinal = found.and_then(|place| self.ordinal(place));
            match (ordinal, runs.last_mut()) {
                (Some(at), Some(Run::Base(range))) if range.end == at => {
                    range.end = at.saturating_add(1);
                }
                (Some(at), _) if self.references_left > 0 => {
                    self.references_left = self.references_left.saturating_sub(1);
                    runs.push(Run::Base(at..at.saturating_add(1)));
                }
                _ => runs.push(Run::New(*segment)),
            }
            // What stands behind a segment that changed is often what stood behind the old one.
            next = found.or(next).map(|(source, at)| (source, at.saturating_add(1)));
        }
        self.write(&runs);
    }

    fn at(&self, (source, at): Place) -> Option<&Segment> {
        self.sources.get(source)?.content.segments().get(at)
    }

    fn ordinal(&self, (source, at): Place) -> Option<u64> {
        Some(self.sources.get(source)?.start.saturating_add(at as u64))
    }

    fn find(&mut self, segment: &Segment) -> Option<Place> {
        let Segment::Chunk(chunk) = segment else { return None };
        let sources = &self.sources;
        let places = self.places.get_or_insert_with(|| {
            let mut places = HashMap::new();
            for (source, one) in sources.iter().enumerate() {
                for (at, segment) in one.content.segments().iter().enumerate() {
                    if let Segment::Chunk(chunk) = segment {
                        places.entry(chunk.digest).or_insert((source, at));
                    }
                }
            }
            places
        });
        places.get(&chunk.digest).copied()
    }

    fn write(&mut self, runs: &[Run]) {
        let base_end = &mut self.base_end;
        self.writer.list(runs, |writer, run| match run {
            Run::Base(range) => {
                writer.u64(range.end.wrapping_sub(range.start).wrapping_shl(2) | RUN_BASE);
                writer.i64(range.start.wrapping_sub(*base_end).cast_signed());
                *base_end = range.end;
            }
            Run::New(Segment::Chunk(chunk)) => {
                writer.u64(u64::from(chunk.bytes).wrapping_shl(2) | RUN_CHUNK);
                writer.digest(&chunk.digest);
            }
            Run::New(Segment::Hole { bytes }) => {
                writer.u64(bytes.wrapping_shl(2) | RUN_HOLE);
            }
        });
    }

    /// The contents told, one behind the other.
    pub(super) fn finish(self) -> Vec<u8> {
        self.writer.finish()
    }
}

/// Walks contents as they were told.
#[derive(Debug, Clone)]
pub(super) struct Told<'a> {
    reader: Reader<'a>,
    references_left: usize,
    base_end: u64,
}

impl<'a> Told<'a> {
    pub(super) fn new(reader: Reader<'a>, moves: usize) -> Self {
        let references_left = DELTA_REFERENCES_MAX.saturating_sub(moves);
        Self { reader, references_left, base_end: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.reader.rest().is_empty()
    }

    /// The next content; none at the end.
    ///
    /// Memory: that of the bytes read, and of [`DELTA_REFERENCES_MAX`] runs in all.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Run>>> {
        if self.is_at_end() {
            return Ok(None);
        }
        let limit = usize::try_from(MANIFEST_BYTES_MAX).unwrap_or(usize::MAX);
        let (left, base_end) = (&mut self.references_left, &mut self.base_end);
        let mut after_hole = false;
        let runs = self.reader.list(limit, |reader| {
            let refused = reader.not_canonical();
            let word = reader.u64()?;
            let (count, tag) = (word >> 2, word & 3);
            let was_hole = std::mem::replace(&mut after_hole, tag == RUN_HOLE);
            match tag {
                RUN_BASE => {
                    *left = left.checked_sub(1).ok_or(refused.clone())?;
                    let start = base_end.wrapping_add(reader.i64()?.cast_unsigned());
                    let end = start.checked_add(count).filter(|end| *end > start);
                    *base_end = end.ok_or(refused)?;
                    Ok(Run::Base(start..*base_end))
                }
                RUN_CHUNK => {
                    let bytes = u32::try_from(count).map_err(|_error| refused)?;
                    Ok(Run::New(Segment::Chunk(Chunk { digest: reader.digest()?, bytes })))
                }
                RUN_HOLE if !was_hole => Ok(Run::New(Segment::Hole { bytes: count })),
                _ => Err(refused),
            }
        })?;
        Ok(Some(runs))
    }
}

/// The segments of the base that are referred to.
#[derive(Debug, Default)]
pub(super) struct Referred {
    /// By their first ordinals; sorted, none touching another.
    runs: Vec<(Range<u64>, Vec<Segment>)>,
    /// The run that is being filled.
    at: usize,
}

impl Referred {
    /// Makes room for all that `told` refers to.
    pub(super) fn new(mut told: Told<'_>) -> Result<Self> {
        let mut ranges = Vec::new();
        while let Some(runs) = told.next()? {
            ranges.extend(runs.into_iter().filter_map(|run| match run {
                Run::Base(range) => Some(range),
                Run::New(_) => None,
            }));
        }
        ranges.sort_unstable_by_key(|range: &Range<u64>| range.start);
        let mut runs: Vec<(Range<u64>, Vec<Segment>)> = Vec::new();
        for range in ranges {
            match runs.last_mut() {
                Some((last, _)) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => runs.push((range, Vec::new())),
            }
        }
        Ok(Self { runs, at: 0 })
    }

    /// True if nothing is missing.
    pub(super) fn is_full(&self) -> bool {
        self.at == self.runs.len()
    }

    /// Takes what is referred to of `content`, the first segment of which has the ordinal `start`. Each follows the one before.
    pub(super) fn fill(&mut self, start: u64, content: ContentView<'_>) {
        let end = start.saturating_add(content.segment_count());
        if self.runs.get(self.at).is_none_or(|(range, _)| range.start >= end) {
            return;
        }
        for (ordinal, segment) in (start..end).zip(content.segments()) {
            let Some((range, run)) = self.runs.get_mut(self.at) else { break };
            if range.contains(&ordinal) {
                run.push(segment);
                let is_last = ordinal.saturating_add(1) == range.end;
                self.at = self.at.saturating_add(usize::from(is_last));
            }
        }
    }

    /// The content that `runs` tell.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] for segments that the base does not have, [`Error::TooLarge`] for more than a manifest can
    /// hold.
    pub(super) fn content(&self, runs: Vec<Run>) -> Result<Content> {
        let limit = SEGMENTS_MAX;
        let mut segments = Vec::new();
        for run in runs {
            match run {
                Run::New(segment) => segments.push(segment),
                Run::Base(range) => {
                    let found = self.find(&range).ok_or(Error::NotCanonical { what: WHAT })?;
                    let value = (segments.len() as u64).saturating_add(found.len() as u64);
                    if value > limit {
                        return Err(Error::TooLarge { what: WHAT, value, limit });
                    }
                    segments.extend_from_slice(found);
                }
            }
        }
        Ok(Content::new(segments))
    }

    fn find(&self, range: &Range<u64>) -> Option<&[Segment]> {
        let at = self.runs.partition_point(|(run, _)| run.start <= range.start);
        let (run, segments) = self.runs.get(at.checked_sub(1)?)?;
        let place = |ordinal: u64| usize::try_from(ordinal.checked_sub(run.start)?).ok();
        segments.get(place(range.start)?..place(range.end)?)
    }
}
