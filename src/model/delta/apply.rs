//! Making the manifest that a delta leads to.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::Range;

use super::WHAT;
use super::contents::{Referred, Told};
use crate::model::codec::{Error, Reader, Result};
use crate::model::entry::{Content, Entry, Kind};
use crate::model::limits::DELTA_REFERENCES_MAX;
use crate::model::manifest::{
    BodyReader, Builder, Header, KindView, Manifest, ReleaseId, View, Views,
};
use crate::model::ordinals::Ordinals;
use crate::model::path::{self, TreePath};

/// Makes the manifest that `delta` leads to from `base`.
///
/// Cost: one pass over both, and one more over `base` if anything there is referred to. Memory is that of the result, of
/// the segments referred to, and of [`DELTA_REFERENCES_MAX`] positions in `base`, whatever `delta` says.
///
/// # Errors
/// [`Error::Digest`] if `delta` is for another base, or if the result is not `expected`; any error of decoding.
pub fn apply(base: &Manifest, delta: &[u8], expected: ReleaseId) -> Result<Manifest> {
    let mut reader = Reader::new(delta, WHAT);
    if reader.digest()? != base.id() {
        return Err(Error::Digest { what: WHAT });
    }
    let header = reader.option(Header::decode)?.unwrap_or_else(|| base.header().clone());
    let dropped = Ordinals::decode(&mut reader)?;
    let moves = decode_moves(&mut reader)?;
    let told = Told::new(Reader::new(reader.bytes(usize::MAX)?, WHAT), moves.len());
    let mut referred = Referred::new(told.clone())?;
    let moves = find_moves(base, moves, &mut referred)?;
    let come = ComeEntries { entries: BodyReader::new(reader), told, referred };
    let moved = MovedEntries { moves: moves.into_iter(), open: None };
    let mut coming = Coming { moved: moved.peekable(), come: come.peekable() };
    let mut kept =
        Kept { views: base.views(), ordinal: 0, dropped: dropped.ranges().iter().peekable() };
    let room = base.as_bytes().len().saturating_add(delta.len());
    let mut builder = Builder::with_room(header, room);
    let (mut old, mut new) = (kept.next(), coming.next().transpose()?);
    loop {
        let order = match (&old, &new) {
            (Some(old), Some(new)) => path::order(old.path, new.path.as_bytes()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        if let Some(view) = old.filter(|_| order.is_lt()) {
            builder.push_view(&view)?;
        }
        if order.is_le() {
            old = kept.next();
        }
        if order.is_ge()
            && let Some(entry) = new
        {
            builder.push(&entry)?;
            new = coming.next().transpose()?;
        }
    }
    let manifest = builder.finish()?;
    if manifest.id() == expected { Ok(manifest) } else { Err(Error::Digest { what: WHAT }) }
}

/// What the base keeps.
struct Kept<'a> {
    views: Views<'a>,
    ordinal: u64,
    dropped: Peekable<std::slice::Iter<'a, Range<u64>>>,
}

impl<'a> Kept<'a> {
    fn next(&mut self) -> Option<View<'_, 'a>> {
        loop {
            let ordinal = self.ordinal;
            self.ordinal = ordinal.saturating_add(1);
            while self.dropped.next_if(|range| range.end <= ordinal).is_some() {}
            if self.dropped.peek().is_none_or(|range| ordinal < range.start) {
                return self.views.next();
            }
            self.views.next()?;
        }
    }
}

fn decode_moves(reader: &mut Reader<'_>) -> Result<Vec<(u64, TreePath)>> {
    let mut from = 0u64;
    reader.list(DELTA_REFERENCES_MAX, |reader| {
        from = from.wrapping_add(reader.i64()?.cast_unsigned());
        let to = reader.path()?;
        if to.is_root() { Err(reader.not_canonical()) } else { Ok((from, to)) }
    })
}

/// A subtree of the base that comes under another name.
struct Move<'a> {
    /// Stands before its top.
    views: Views<'a>,
    to: TreePath,
}

/// Finds where the moves start from, and fills in what is `referred` to.
fn find_moves<'a>(
    base: &'a Manifest,
    moves: Vec<(u64, TreePath)>,
    referred: &mut Referred,
) -> Result<Vec<Move<'a>>> {
    let mut starts: Vec<u64> = moves.iter().map(|(from, _)| *from).collect();
    starts.sort_unstable();
    starts.dedup();
    let mut wanted = starts.iter().copied().peekable();
    let mut found = Vec::with_capacity(starts.len());
    let mut views = base.views();
    let (mut ordinal, mut segments) = (0u64, 0u64);
    while wanted.peek().is_some() || !referred.is_full() {
        if wanted.next_if_eq(&ordinal).is_some() {
            found.push(views.clone());
        }
        let view = views.next().ok_or(Error::NotCanonical { what: WHAT })?;
        if let KindView::File(content) = view.kind {
            referred.fill(segments, content);
            segments = segments.saturating_add(content.segment_count());
        }
        ordinal = ordinal.saturating_add(1);
    }
    let subtree = |(from, to)| {
        let at = starts.binary_search(&from).ok()?;
        Some(Move { views: found.get(at)?.clone(), to })
    };
    moves.into_iter().map(subtree).collect::<Option<_>>().ok_or(Error::NotCanonical { what: WHAT })
}

/// The entries of subtrees of the base, under their new names.
struct MovedEntries<'a> {
    moves: std::vec::IntoIter<Move<'a>>,
    /// The path of the top of the one at hand.
    open: Option<(Box<[u8]>, Move<'a>)>,
}

impl Iterator for MovedEntries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if let Some((top, moved)) = &mut self.open
            && let Some(view) = moved.views.next().filter(|view| path::is_within(view.path, top))
        {
            return Some(rename(&view, top, &moved.to));
        }
        let mut moved = self.moves.next()?;
        let view = moved.views.next()?;
        let top: Box<[u8]> = view.path.into();
        let first = rename(&view, &top, &moved.to);
        self.open = Some((top, moved));
        Some(first)
    }
}

fn rename(view: &View<'_, '_>, top: &[u8], to: &TreePath) -> Result<Entry> {
    let below = view.path.get(top.len()..).unwrap_or_default();
    let path = TreePath::new(&[to.as_bytes(), below].concat());
    let path = path.map_err(|source| Error::Path { what: WHAT, source })?;
    Ok(Entry { path, ..view.to_entry() })
}

/// The entries told, with their contents.
struct ComeEntries<'a> {
    entries: BodyReader<'a>,
    told: Told<'a>,
    referred: Referred,
}

impl ComeEntries<'_> {
    fn fill(&mut self, entry: &mut Entry) -> Result<()> {
        let Kind::File(content) = &mut entry.kind else { return Ok(()) };
        let not_canonical = Error::NotCanonical { what: WHAT };
        let runs = self.told.next()?.ok_or(not_canonical.clone())?;
        let was = std::mem::replace(content, self.referred.content(runs)?);
        if was == Content::default() { Ok(()) } else { Err(not_canonical) }
    }
}

impl Iterator for ComeEntries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let Some(entry) = self.entries.next() else {
            // A content that belongs to no file.
            let not_canonical = Error::NotCanonical { what: WHAT };
            return (!self.told.is_at_end()).then_some(Err(not_canonical));
        };
        Some(entry.and_then(|mut entry| self.fill(&mut entry).map(|()| entry)))
    }
}

/// What moved and what was told, in order.
struct Coming<'a> {
    moved: Peekable<MovedEntries<'a>>,
    come: Peekable<ComeEntries<'a>>,
}

impl Iterator for Coming<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let is_moved = match (self.moved.peek(), self.come.peek()) {
            (Some(Ok(moved)), Some(Ok(come))) => moved.path < come.path,
            (_, Some(Err(_))) => false,
            (moved, _) => moved.is_some(),
        };
        if is_moved { self.moved.next() } else { self.come.next() }
    }
}
