//! [`Ordinals`]: a set of positions among the chunks or the entries of a manifest.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::codec::{Error, Reader, Result, Writer};

/// A set of ordinals, as increasing ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ordinals {
    ranges: Vec<Range<u64>>,
}

impl Ordinals {
    /// Adds `ordinal`, which must be above all before it.
    pub fn push(&mut self, ordinal: u64) {
        match self.ranges.last_mut() {
            Some(last) if last.end == ordinal => last.end = ordinal.saturating_add(1),
            _ => self.ranges.push(ordinal..ordinal.saturating_add(1)),
        }
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// True if `ordinal` is one of them.
    pub fn contains(&self, ordinal: u64) -> bool {
        self.touches(&(ordinal..ordinal.saturating_add(1)))
    }

    /// True if one of them lies in `range`.
    pub fn touches(&self, range: &Range<u64>) -> bool {
        let at = self.ranges.partition_point(|one| one.end <= range.start);
        !range.is_empty() && self.ranges.get(at).is_some_and(|one| one.start < range.end)
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

    /// Reads what [`Ordinals::encode`] wrote.
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
