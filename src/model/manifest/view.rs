//! [`View`]: an entry as it stands in a manifest's bytes, borrowed, so that a pass over a million entries allocates nothing.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::entries::{decode_content, decode_segment, decode_xattrs};
use crate::model::codec::Reader;
use crate::model::digest::{Digest, Domain, Hasher};
use crate::model::entry::{Content, Entry, Kind, Meta, Owner, Segment, Timestamp};
use crate::model::path::TreePath;

/// An entry of a manifest that was checked. `'p` is as long as the path stands, `'a` as long as the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View<'p, 'a> {
    /// The bytes of its path.
    pub path: &'p [u8],
    /// What it is.
    pub kind: KindView<'a>,
    /// Mode, owner and time; nothing of a hard link's.
    pub stamp: Stamp,
    /// Extended attributes as they are encoded, if there are any.
    pub xattrs: Option<&'a [u8]>,
}

/// What of an entry's metadata has a fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// As [`Meta::mode`].
    pub mode: u16,
    /// As [`Meta::owner`].
    pub owner: Option<Owner>,
    /// As [`Meta::mtime`].
    pub mtime: Timestamp,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindView<'a> {
    /// A directory.
    Directory,
    /// A regular file.
    File(ContentView<'a>),
    /// A symbolic link with its text.
    Symlink(&'a [u8]),
    /// A further name of the file with this path.
    HardLink(&'a [u8]),
    /// A FIFO, socket or device, which is in no manifest.
    Special,
}

/// Content as `encode_content` wrote it. Equal bytes are equal content, since each content has one encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentView<'a>(&'a [u8]);

const CHECKED: &str = "invariant: these bytes were checked when they were taken in";

impl<'a> ContentView<'a> {
    /// `bytes`, which decode to content.
    pub(crate) fn of_checked(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The encoded bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// How many runs there are.
    pub fn segment_count(self) -> u64 {
        Reader::new(self.0, super::WHAT).u64().unwrap_or_default()
    }

    /// The runs in order.
    ///
    /// # Panics
    /// Never: the bytes were checked when the view was made.
    pub fn segments(self) -> impl Iterator<Item = Segment> + 'a {
        let mut reader = Reader::new(self.0, super::WHAT);
        let count = reader.u64().expect(CHECKED);
        (0..count).map(move |_| decode_segment(&mut reader).expect(CHECKED))
    }

    /// As [`Content::size`].
    pub fn size(self) -> u64 {
        self.segments().fold(0, |sum, segment| sum.saturating_add(segment.bytes()))
    }

    /// As [`Content::digest`].
    pub fn digest(self) -> Digest {
        let mut segments = self.segments();
        match (segments.next(), segments.next()) {
            (Some(Segment::Chunk(chunk)), None) => chunk.digest,
            _ => self.to_content().digest(),
        }
    }

    /// The content.
    ///
    /// # Panics
    /// As [`ContentView::segments`].
    pub fn to_content(self) -> Content {
        decode_content(&mut Reader::new(self.0, super::WHAT)).expect(CHECKED)
    }
}

impl View<'_, '_> {
    /// The entry, with memory of its own.
    ///
    /// # Panics
    /// As [`ContentView::segments`].
    pub fn to_entry(&self) -> Entry {
        let Stamp { mode, owner, mtime } = self.stamp;
        let xattrs = self
            .xattrs
            .map(|bytes| decode_xattrs(&mut Reader::new(bytes, super::WHAT)).expect(CHECKED));
        let kind = match self.kind {
            KindView::Directory => Kind::Directory,
            KindView::File(content) => Kind::File(content.to_content()),
            KindView::Symlink(text) => Kind::Symlink(text.into()),
            KindView::HardLink(first) => Kind::HardLink(TreePath::of_checked(first)),
            KindView::Special => Kind::Special,
        };
        let meta = Meta { mode, owner, mtime, xattrs: xattrs.unwrap_or_default() };
        Entry { path: TreePath::of_checked(self.path), kind, meta }
    }

    /// Equal for equal content of the same type of file or link.
    pub fn content_key(&self) -> Option<Digest> {
        match self.kind {
            KindView::File(content) => Some(content.digest()),
            KindView::Symlink(text) => Some(link_key(text)),
            KindView::Directory | KindView::HardLink(_) | KindView::Special => None,
        }
    }
}

/// The key of a symbolic link's text; see [`View::content_key`].
pub fn link_key(text: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Domain::State);
    hasher.update(text);
    hasher.finish()
}
