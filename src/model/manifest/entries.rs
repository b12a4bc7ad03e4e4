//! Entries one behind the other, each leaning on the one before it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::WHAT;
use super::view::{ContentView, KindView, Stamp, View};
use crate::model::codec::{Error, Reader, Result, Writer};
use crate::model::digest::Digest;
use crate::model::entry::{Chunk, Content, Entry, Kind, Meta, Owner, Segment, Timestamp, Xattr};
use crate::model::limits;
use crate::model::path::{check_path, check_path_from, shared_prefix};

const TAG_DIRECTORY: u8 = 0;
const TAG_FILE: u8 = 1;
const TAG_SYMLINK: u8 = 2;
const TAG_HARD_LINK: u8 = 3;
const TAG_KIND: u8 = 0b11;
const TAG_SAME_MODE: u8 = 1 << 2;
const TAG_SAME_OWNER: u8 = 1 << 3;
const TAG_XATTRS: u8 = 1 << 4;

/// Entries without a header: the body of a delta, or a list of what was kept.
#[derive(Debug, Default)]
pub struct Body {
    writer: Writer,
    previous: Previous,
}

impl Body {
    /// Entries behind what `writer` holds already.
    pub(super) fn behind(writer: Writer) -> Self {
        Self { writer, previous: Previous::default() }
    }

    /// Appends `entry`.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] for a special file.
    pub fn push(&mut self, entry: &Entry) -> Result<()> {
        encode_entry(&mut self.writer, &mut self.previous, entry)
    }

    /// Appends what `view` shows, which must follow the entry before in the order of paths.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] for a special file.
    pub fn push_view(&mut self, view: &View<'_, '_>) -> Result<()> {
        encode_view(&mut self.writer, &mut self.previous, view)
    }

    /// The bytes so far.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.writer.as_bytes()
    }

    /// How many bytes so far.
    pub(super) fn len(&self) -> usize {
        self.writer.len()
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.writer.finish()
    }
}

/// Walks the entries of a [`Body`] from outside; ends after the first error.
#[derive(Debug)]
pub struct BodyReader<'a> {
    decoder: Option<Decoder<'a>>,
}

impl<'a> BodyReader<'a> {
    /// Reads entries from where `reader` stands to its end.
    pub fn new(reader: Reader<'a>) -> Self {
        Self { decoder: Some(Decoder::new(reader)) }
    }
}

impl Iterator for BodyReader<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let entry = self.decoder.as_mut()?.next_entry().transpose();
        if !matches!(entry, Some(Ok(_))) {
            self.decoder = None;
        }
        entry
    }
}

/// What the encoding of an entry leans on.
#[derive(Debug, Clone, Default)]
struct Previous {
    path: Vec<u8>,
    mode: [u16; 3],
    owner: Option<Owner>,
    seconds: i64,
}

fn tag_of(kind: &Kind) -> Option<u8> {
    match kind {
        Kind::Directory => Some(TAG_DIRECTORY),
        Kind::File(_) => Some(TAG_FILE),
        Kind::Symlink(_) => Some(TAG_SYMLINK),
        Kind::HardLink(_) => Some(TAG_HARD_LINK),
        Kind::Special => None,
    }
}

fn encode_entry(writer: &mut Writer, previous: &mut Previous, entry: &Entry) -> Result<()> {
    let kind = tag_of(&entry.kind).ok_or(Error::NotCanonical { what: WHAT })?;
    let Meta { mode, owner, mtime, xattrs } = &entry.meta;
    let stamp = Stamp { mode: *mode, owner: *owner, mtime: *mtime };
    let path = entry.path.as_bytes();
    encode_head(writer, previous, path, (kind, !xattrs.is_empty()), &stamp);
    if kind != TAG_HARD_LINK && !xattrs.is_empty() {
        encode_xattrs(writer, xattrs);
    }
    match &entry.kind {
        Kind::File(content) => encode_content(writer, content),
        Kind::Symlink(text) => writer.bytes(text),
        Kind::HardLink(first) => writer.path(first),
        Kind::Directory | Kind::Special => {}
    }
    Ok(())
}

fn encode_view(writer: &mut Writer, previous: &mut Previous, view: &View<'_, '_>) -> Result<()> {
    let kind = match view.kind {
        KindView::Directory => TAG_DIRECTORY,
        KindView::File(_) => TAG_FILE,
        KindView::Symlink(_) => TAG_SYMLINK,
        KindView::HardLink(_) => TAG_HARD_LINK,
        KindView::Special => return Err(Error::NotCanonical { what: WHAT }),
    };
    encode_head(writer, previous, view.path, (kind, view.xattrs.is_some()), &view.stamp);
    if let Some(xattrs) = view.xattrs.filter(|_| kind != TAG_HARD_LINK) {
        writer.raw(xattrs);
    }
    match view.kind {
        KindView::File(content) => writer.raw(content.as_bytes()),
        KindView::Symlink(text) | KindView::HardLink(text) => writer.bytes(text),
        KindView::Directory | KindView::Special => {}
    }
    Ok(())
}

/// Everything before the attributes and the content.
fn encode_head(
    writer: &mut Writer,
    previous: &mut Previous,
    path: &[u8],
    (kind, has_xattrs): (u8, bool),
    stamp: &Stamp,
) {
    let shared = shared_prefix(&previous.path, path);
    let mode_before = previous.mode.get(usize::from(kind)).copied();
    let mut tag = kind;
    if kind != TAG_HARD_LINK {
        tag |= if mode_before == Some(stamp.mode) { TAG_SAME_MODE } else { 0 };
        tag |= if previous.owner == stamp.owner { TAG_SAME_OWNER } else { 0 };
        tag |= if has_xattrs { TAG_XATTRS } else { 0 };
    }
    writer.u8(tag);
    writer.u64(shared as u64);
    writer.bytes(path.get(shared..).unwrap_or_default());
    if kind != TAG_HARD_LINK {
        if tag & TAG_SAME_MODE == 0 {
            writer.u64(u64::from(stamp.mode));
        }
        if tag & TAG_SAME_OWNER == 0 {
            writer.option(stamp.owner, |writer, owner| {
                writer.u64(u64::from(owner.uid));
                writer.u64(u64::from(owner.gid));
            });
        }
        writer.i64(stamp.mtime.seconds.wrapping_sub(previous.seconds));
        writer.u64(u64::from(stamp.mtime.nanos));
        if let Some(mode) = previous.mode.get_mut(usize::from(kind)) {
            *mode = stamp.mode;
        }
        previous.owner = stamp.owner;
        previous.seconds = stamp.mtime.seconds;
    }
    previous.path.truncate(shared);
    previous.path.extend_from_slice(path.get(shared..).unwrap_or_default());
}

/// Appends `xattrs`, which are sorted, to `writer`.
pub fn encode_xattrs(writer: &mut Writer, xattrs: &[Xattr]) {
    writer.list(xattrs, |writer, xattr| {
        writer.bytes(&xattr.name);
        writer.bytes(&xattr.value);
    });
}

/// Appends `content` to `writer`; shared by manifests and indexes.
pub fn encode_content(writer: &mut Writer, content: &Content) {
    writer.list(content.segments(), |writer, segment| match segment {
        Segment::Chunk(chunk) => {
            writer.u64(u64::from(chunk.bytes).wrapping_shl(1));
            writer.digest(&chunk.digest);
        }
        Segment::Hole { bytes } => writer.u64(bytes.wrapping_shl(1) | 1),
    });
}

/// Reads what [`encode_content`] wrote.
///
/// # Errors
/// [`Error::NotCanonical`] for a chunk out of bounds, a short hole, two holes in a row, or a file over 2^62 bytes.
pub fn decode_content(reader: &mut Reader<'_>) -> Result<Content> {
    let mut segments = Vec::new();
    each_segment(reader, |segment| segments.push(segment))?;
    Ok(Content::new(segments))
}

/// One segment as it stands in content, which the caller has checked or checks.
pub(super) fn decode_segment(reader: &mut Reader<'_>) -> Result<Segment> {
    let word = reader.u64()?;
    let (bytes, is_hole) = (word >> 1, word & 1 == 1);
    if is_hole {
        return Ok(Segment::Hole { bytes });
    }
    let chunk_bytes = bytes.min(u64::from(limits::CHUNK_BYTES_MAX).saturating_add(1));
    let bytes = u32::try_from(chunk_bytes).map_err(|_error| reader.not_canonical())?;
    Ok(Segment::Chunk(Chunk { digest: reader.digest()?, bytes }))
}

/// As [`skip_content`], for content that was checked before.
fn pass_content<'a>(reader: &mut Reader<'a>) -> Result<ContentView<'a>> {
    let all = reader.rest();
    for _ in 0..reader.u64()? {
        if reader.u64()? & 1 == 0 {
            reader.raw(Digest::BYTES)?;
        }
    }
    Ok(ContentView::of_checked(taken(all, reader.rest())))
}

fn each_segment(reader: &mut Reader<'_>, mut take: impl FnMut(Segment)) -> Result<()> {
    let limit = usize::try_from(limits::MANIFEST_BYTES_MAX).unwrap_or(usize::MAX);
    let mut size = 0u64;
    let mut after_hole = false;
    for _ in 0..reader.size(limit)? {
        let segment = decode_segment(reader)?;
        let bytes = segment.bytes();
        size = size.checked_add(bytes).ok_or(reader.not_canonical())?;
        let is_hole = matches!(segment, Segment::Hole { .. });
        let in_bounds = if is_hole {
            !after_hole && bytes >= u64::from(limits::HOLE_BLOCK_BYTES)
        } else {
            (1..=u64::from(limits::CHUNK_BYTES_MAX)).contains(&bytes)
        };
        if !in_bounds || size > i64::MAX.cast_unsigned() {
            return Err(reader.not_canonical());
        }
        after_hole = is_hole;
        take(segment);
    }
    Ok(())
}

/// The bytes of the content that `reader` stands at, checked.
///
/// # Errors
/// As [`decode_content`].
pub fn skip_content<'a>(reader: &mut Reader<'a>) -> Result<ContentView<'a>> {
    let all = reader.rest();
    each_segment(reader, drop)?;
    Ok(ContentView::of_checked(taken(all, reader.rest())))
}

/// Reads what [`encode_xattrs`] wrote.
///
/// # Errors
/// [`Error::NotCanonical`] if they are unsorted or empty, or a name is none.
pub fn decode_xattrs(reader: &mut Reader<'_>) -> Result<Vec<Xattr>> {
    let xattrs = reader.list(limits::XATTR_NAMES_BYTES_MAX, |reader| {
        let name = reader.bytes(limits::NAME_BYTES_MAX)?;
        if name.is_empty() || name.contains(&0) {
            return Err(reader.not_canonical());
        }
        let value = reader.bytes(limits::XATTR_VALUE_BYTES_MAX)?;
        Ok(Xattr { name: name.into(), value: value.into() })
    })?;
    let sorted = xattrs.is_sorted_by(|one, next| one.name < next.name);
    if xattrs.is_empty() || !sorted { Err(reader.not_canonical()) } else { Ok(xattrs) }
}

/// Where `all` and what is left of it part.
fn taken<'a>(all: &'a [u8], rest: &[u8]) -> &'a [u8] {
    all.get(..all.len().saturating_sub(rest.len())).unwrap_or_default()
}

#[derive(Debug, Clone)]
pub(super) struct Decoder<'a> {
    reader: Reader<'a>,
    previous: Previous,
    /// These bytes passed once: what was checked then is only read.
    was_checked: bool,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(reader: Reader<'a>) -> Self {
        Self { reader, previous: Previous::default(), was_checked: false }
    }

    /// Decodes again what a decoder has passed before.
    pub(super) fn of_checked(reader: Reader<'a>) -> Self {
        Self { was_checked: true, ..Self::new(reader) }
    }

    /// The next entry with memory of its own, or `None` at the end.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>> {
        Ok(self.next_view()?.map(|view| view.to_entry()))
    }

    /// The next entry, or `None` at the end.
    pub(super) fn next_view(&mut self) -> Result<Option<View<'_, 'a>>> {
        if self.reader.rest().is_empty() {
            return Ok(None);
        }
        let tag = self.reader.u8()?;
        let kind = tag & TAG_KIND;
        if tag > TAG_KIND | TAG_SAME_MODE | TAG_SAME_OWNER | TAG_XATTRS
            || (kind == TAG_HARD_LINK && tag != kind)
        {
            return Err(self.reader.unknown(u64::from(tag)));
        }
        self.path()?;
        let is_link = kind == TAG_HARD_LINK;
        let stamp = if is_link { Stamp::default() } else { self.stamp(tag, kind)? };
        let xattrs = if tag & TAG_XATTRS == 0 {
            None
        } else {
            let all = self.reader.rest();
            decode_xattrs(&mut self.reader)?;
            Some(taken(all, self.reader.rest()))
        };
        let kind = match kind {
            TAG_DIRECTORY => KindView::Directory,
            TAG_FILE if self.was_checked => KindView::File(pass_content(&mut self.reader)?),
            TAG_FILE => KindView::File(skip_content(&mut self.reader)?),
            TAG_SYMLINK => {
                let text = self.reader.bytes(limits::LINK_TEXT_BYTES_MAX)?;
                if text.is_empty() || text.contains(&0) {
                    return Err(self.reader.not_canonical());
                }
                KindView::Symlink(text)
            }
            _ => {
                let first = self.reader.bytes(limits::PATH_BYTES_MAX)?;
                check_path(first).map_err(|source| Error::Path { what: WHAT, source })?;
                KindView::HardLink(first)
            }
        };
        Ok(Some(View { path: &self.previous.path, kind, stamp, xattrs }))
    }

    fn path(&mut self) -> Result<()> {
        let shared = self.reader.size(self.previous.path.len())?;
        let suffix = self.reader.bytes(limits::PATH_BYTES_MAX)?;
        if self.was_checked {
            self.previous.path.truncate(shared);
            self.previous.path.extend_from_slice(suffix);
            return Ok(());
        }
        let next_before = self.previous.path.get(shared);
        if next_before.is_some() && next_before == suffix.first() {
            return Err(self.reader.not_canonical());
        }
        self.previous.path.truncate(shared);
        self.previous.path.extend_from_slice(suffix);
        check_path_from(&self.previous.path, shared)
            .map_err(|source| Error::Path { what: WHAT, source })
    }

    fn stamp(&mut self, tag: u8, kind: u8) -> Result<Stamp> {
        let not_canonical = self.reader.not_canonical();
        let before = self.previous.mode.get_mut(usize::from(kind)).ok_or(not_canonical.clone())?;
        if tag & TAG_SAME_MODE == 0 {
            let mode = self.reader.u64_max(0o7777)?;
            let mode = u16::try_from(mode).map_err(|_error| not_canonical.clone())?;
            if *before == mode {
                return Err(not_canonical);
            }
            *before = mode;
        }
        let mode = *before;
        if tag & TAG_SAME_OWNER == 0 {
            let owner = self
                .reader
                .option(|reader| Ok(Owner { uid: reader.u32()?, gid: reader.u32()? }))?;
            if owner == self.previous.owner {
                return Err(not_canonical);
            }
            self.previous.owner = owner;
        }
        let seconds = self.previous.seconds.wrapping_add(self.reader.i64()?);
        self.previous.seconds = seconds;
        let nanos = self.reader.u64_max(999_999_999)?;
        let nanos = u32::try_from(nanos).map_err(|_error| not_canonical.clone())?;
        Ok(Stamp { mode, owner: self.previous.owner, mtime: Timestamp { seconds, nanos } })
    }
}
