//! What stands here in the place of wanted chunks: named to the hub piece by piece, and copied where a patch says so.
//!
//! A wanted chunk's place is found between its neighbours that are here: what stood between the same two in the file of
//! that name, or, for a new name, in a file that they came from. It is only ever a hint: a piece that is copied is compared
//! with its id again, and what a patch makes with the digests of its chunks.

use std::collections::HashMap;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::content::changed;
use super::error::{Error, io_error};
use crate::model::codec;
use crate::model::digest::Digest;
use crate::model::entry::{Chunk, Content, Segment};
use crate::model::limits::{CHUNK_BYTES_MAX, NEAR_BYTES_MAX};
use crate::model::manifest::{KindView, Part};
use crate::model::patch::{self, Cutter, Near};
use crate::model::path::TreePath;
use crate::model::want::Wanted;
use crate::os::File;
use crate::os::dir::Dir;

/// Bytes cut at once.
const SPAN_BYTES_MAX: u64 = 512 * 1024;

/// The pieces that were named, and where they are.
#[derive(Debug)]
pub struct Pieces {
    /// As the hub is told of them.
    pub near: Near,
    cutter: Cutter,
    files: Vec<TreePath>,
    places: Vec<Place>,
    bytes_left: u64,
}

/// Where a piece is.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: usize,
    offset: u64,
    bytes: usize,
}

impl Place {
    fn is_followed_by(&self, next: &Self) -> bool {
        self.file == next.file && self.offset.saturating_add(self.bytes as u64) == next.offset
    }
}

impl Pieces {
    /// None, named for the run with the id `run`.
    pub fn new(run: &[u8]) -> Self {
        Self {
            near: Near::default(),
            cutter: Cutter::new(run),
            files: Vec::new(),
            places: Vec::new(),
            bytes_left: NEAR_BYTES_MAX,
        }
    }

    /// Names what stands below `root` in the place of the `wanted` chunks of `release`. `old` gives the file whose place one of
    /// this path and content takes, and the content it has. What cannot be read is left out.
    ///
    /// Cost: one pass over what differs, up to the last wanted chunk; reads about twice the bytes wanted at most, and never
    /// more than [`NEAR_BYTES_MAX`].
    pub fn name(
        &mut self,
        root: &Dir,
        release: Part<'_>,
        wanted: &Wanted,
        old: impl Fn(&TreePath, &Content) -> Option<(TreePath, Content)>,
    ) {
        let Some(end) = wanted.ranges().last().map(|range| range.end) else { return };
        let mut placed = release.placed();
        while let Some((before, own, view)) =
            placed.next().filter(|(before, ..)| before.count < end)
        {
            let KindView::File(content) = view.kind else { continue };
            let ordinals = before.count..before.plus(own).count;
            if !wanted.touches(&ordinals) {
                continue;
            }
            let content = content.to_content();
            if let Some((path, old)) = old(&TreePath::of_checked(view.path), &content) {
                let mut file = OldFile::new(root, path, &old);
                self.name_in(&mut file, &content, ordinals.start, wanted);
            }
        }
    }

    /// Names what stands in `file` in the place of wanted chunks of `content`, the first of which has the ordinal `first`.
    fn name_in(&mut self, file: &mut OldFile<'_>, content: &Content, first: u64, wanted: &Wanted) {
        let mut gap = Gap { after: 0, ordinals: first..first, bytes: 0 };
        for (ordinal, chunk) in (first..).zip(content.chunks()) {
            let behind = ordinal.saturating_add(1);
            if let Some(at) = file.find(&chunk, gap.after) {
                self.name_gap(file, &gap, at, wanted);
                gap = Gap { after: at.saturating_add(1), ordinals: behind..behind, bytes: 0 };
            } else {
                gap.ordinals.end = behind;
                gap.bytes = gap.bytes.saturating_add(u64::from(chunk.bytes));
            }
        }
        self.name_gap(file, &gap, file.chunks.len(), wanted);
    }

    /// Names the old chunks in the place of `gap`: from where it starts to the chunk at `end`. If that stands before, what
    /// follows was moved, and the gap's own size tells how far to look.
    fn name_gap(&mut self, file: &mut OldFile<'_>, gap: &Gap, end: usize, wanted: &Wanted) {
        if !wanted.touches(&gap.ordinals) {
            return;
        }
        let old = file.chunks.get(gap.after..end).or_else(|| file.chunks.get(gap.after..));
        let mut room = gap.bytes.saturating_mul(2).saturating_add(u64::from(CHUNK_BYTES_MAX));
        let mut spans: Vec<Range<u64>> = Vec::new();
        for (offset, chunk) in old.unwrap_or_default() {
            let end = offset.saturating_add(u64::from(chunk.bytes));
            let Some(left) = room.checked_sub(u64::from(chunk.bytes)) else { break };
            room = left;
            match spans.last_mut() {
                Some(span) if span.end == *offset && end - span.start <= SPAN_BYTES_MAX => {
                    span.end = end;
                }
                _ => spans.push(*offset..end),
            }
        }
        let count_before = self.places.len();
        for span in spans {
            self.name_span(file, span);
        }
        if self.places.len() > count_before {
            let ordinals = gap.ordinals.clone().filter(|ordinal| wanted.contains(*ordinal));
            ordinals.for_each(|ordinal| self.near.chunks.push(ordinal));
        }
    }

    fn name_span(&mut self, file: &mut OldFile<'_>, span: Range<u64>) {
        let bytes = span.end.saturating_sub(span.start);
        let Some(left) = self.bytes_left.checked_sub(bytes) else { return };
        let Some(read) = file.read(&span) else { return };
        self.bytes_left = left;
        if self.files.last() != Some(&file.path) {
            self.files.push(file.path.clone());
        }
        let mut offset = span.start;
        for piece in self.cutter.cut(&read) {
            if !self.near.pieces.push(self.cutter.id(piece)) {
                break;
            }
            let bytes = piece.len();
            self.places.push(Place { file: self.files.len().saturating_sub(1), offset, bytes });
            offset = offset.saturating_add(bytes as u64);
        }
    }
}

/// Chunks in a row that the old file does not have.
struct Gap {
    /// The place among the old chunks behind the one before.
    after: usize,
    ordinals: Range<u64>,
    bytes: u64,
}

/// A file as it is here.
struct OldFile<'a> {
    root: &'a Dir,
    path: TreePath,
    /// Its chunks with their offsets.
    chunks: Vec<(u64, Chunk)>,
    /// The first of each digest.
    places: HashMap<Digest, usize>,
    open: Option<File>,
}

impl<'a> OldFile<'a> {
    fn new(root: &'a Dir, path: TreePath, content: &Content) -> Self {
        let mut chunks = Vec::new();
        let mut places = HashMap::new();
        let mut offset = 0u64;
        for segment in content.segments() {
            if let Segment::Chunk(chunk) = segment {
                places.entry(chunk.digest).or_insert(chunks.len());
                chunks.push((offset, *chunk));
            }
            offset = offset.saturating_add(segment.bytes());
        }
        Self { root, path, chunks, places, open: None }
    }

    /// Where `chunk` stands: at `next` if it does.
    fn find(&self, chunk: &Chunk, next: usize) -> Option<usize> {
        let is_next = self.chunks.get(next).is_some_and(|(_, old)| old.digest == chunk.digest);
        if is_next { Some(next) } else { self.places.get(&chunk.digest).copied() }
    }

    fn read(&mut self, span: &Range<u64>) -> Option<Vec<u8>> {
        if self.open.is_none() {
            self.open = Some(open(self.root, &self.path).ok()?);
        }
        let mut bytes = vec![0; usize::try_from(span.end.checked_sub(span.start)?).ok()?];
        self.open.as_ref()?.read_exact_at(&mut bytes, span.start).ok()?;
        Some(bytes)
    }
}

fn open(root: &Dir, path: &TreePath) -> std::io::Result<File> {
    let (parent, name) = path.split_last().ok_or(std::io::ErrorKind::IsADirectory)?;
    root.open_path(&parent)?.open_file(name)
}

/// Makes wanted bytes of patches and of pieces below the root.
#[derive(Debug)]
pub struct Patcher<'a> {
    root: Option<&'a Dir>,
    pieces: &'a Pieces,
    open: Option<(usize, File)>,
}

/// Why a patch cannot be applied.
enum Broken {
    Patch(codec::Error),
    Old(Error),
}

impl From<codec::Error> for Broken {
    fn from(error: codec::Error) -> Self {
        Self::Patch(error)
    }
}

impl<'a> Patcher<'a> {
    /// Copies `pieces` from below `root`.
    pub fn new(root: Option<&'a Dir>, pieces: &'a Pieces) -> Self {
        Self { root, pieces, open: None }
    }

    /// Makes the `length` bytes that `patch` tells, in `into`.
    ///
    /// # Errors
    /// [`Error::Protocol`] for a patch that is none; [`Error::Refused`] if a piece is no longer what was named;
    /// [`Error::Io`].
    pub fn apply(&mut self, patch: &[u8], length: usize, into: &mut Vec<u8>) -> Result<(), Error> {
        let copy = |numbers, room, into: &mut Vec<u8>| self.copy(numbers, room, into);
        patch::apply(patch, length, copy, into).map_err(|broken| match broken {
            Broken::Patch(error) => Error::Protocol { what: format!("a patch is none: {error}") },
            Broken::Old(error) => error,
        })
    }

    fn copy(
        &mut self,
        numbers: Range<usize>,
        room: usize,
        into: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        let what = "patch";
        let mut number = numbers.start;
        let places = self.pieces.places.get(numbers).ok_or(codec::Error::Truncated { what })?;
        if bytes_of(places) > room {
            return Err(Broken::Patch(codec::Error::NotCanonical { what }));
        }
        for run in places.chunk_by(Place::is_followed_by) {
            self.copy_run(number, run, into).map_err(Broken::Old)?;
            number = number.saturating_add(run.len());
        }
        Ok(())
    }

    /// Appends the pieces from the number `first` on that stand at `places`, which lie behind each other in one file.
    fn copy_run(
        &mut self,
        first: usize,
        places: &[Place],
        into: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let gone = || Error::Protocol { what: "a piece of no file".into() };
        let place = places.first().ok_or_else(gone)?;
        let path = self.pieces.files.get(place.file).ok_or_else(gone)?;
        if self.open.as_ref().is_none_or(|(file, _)| *file != place.file) {
            let root = self.root.ok_or_else(gone)?;
            let file = open(root, path).map_err(io_error("open", path.as_bytes()))?;
            self.open = Some((place.file, file));
        }
        let Some((_, file)) = &self.open else { return Err(gone()) };
        let start = into.len();
        into.resize(start.saturating_add(bytes_of(places)), 0);
        let mut read = into.get_mut(start..).unwrap_or_default();
        file.read_exact_at(read, place.offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => changed(path),
            _ => io_error("read", path.as_bytes())(error),
        })?;
        for (number, place) in (first..).zip(places) {
            let (piece, rest) = read.split_at_mut(place.bytes);
            if self.pieces.near.pieces.get(number) != Some(self.pieces.cutter.id(piece)) {
                return Err(changed(path));
            }
            read = rest;
        }
        Ok(())
    }
}

fn bytes_of(places: &[Place]) -> usize {
    places.iter().fold(0, |sum: usize, place| sum.saturating_add(place.bytes))
}
