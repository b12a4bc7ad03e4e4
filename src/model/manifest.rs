//! [`Manifest`]: the sorted description of a tree in canonical bytes; its digest is the release id.
//!
//! The bytes are kept as they are and decoded while they are walked: a million entries cost about sixty
//! megabytes, not several hundred.
//!
//! ```text
//! version · trees · policies · rules · entry*
//! entry = tag · shared prefix · suffix · (mode · owner · mtime · xattrs) · content
//! ```
//! FORMAT: every line of the encoder and decoder below; `docs/format.md` tells the bytes.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod check;
mod entries;
mod part;
mod view;

pub use entries::{
    Body, BodyReader, decode_content, decode_xattrs, encode_content, encode_xattrs, skip_content,
};
pub use part::{Chunks, Part, Picked, Placed};
pub use view::{ContentView, KindView, Stamp, View, link_key};

use super::codec::{Error, Reader, Result, Writer};
use super::digest::{Digest, Domain};
use super::entry::Entry;
use super::limits;
use super::path::TreePath;
use super::rules::Rules;
use check::Checker;
use entries::Decoder;

/// The version of the manifest's bytes.
pub const VERSION: u64 = 1;
const WHAT: &str = "manifest";

/// The id of a release: the digest of its manifest.
pub type ReleaseId = Digest;

/// What stands before the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The roots of the trees that make up the release, sorted, none within another; `[root]` for a plain source.
    pub trees: Vec<TreePath>,
    /// What is kept beside mode, mtime and content.
    pub capture: Capture,
    /// Whom the entries belong to on a node.
    pub owner: OwnerPolicy,
    /// The rules that travel with the release.
    pub rules: Rules,
}

/// What is kept of each entry beside mode, mtime and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "three independent switches of the command line")]
pub struct Capture {
    /// Extended attributes (rsync's `-X`).
    pub xattrs: bool,
    /// POSIX access control lists (rsync's `-A`).
    pub acls: bool,
    /// Which names are one file (rsync's `-H`).
    pub hard_links: bool,
}

/// Whom the entries belong to on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OwnerPolicy {
    /// A root agent keeps numeric ids; any other agent owns what it writes.
    #[default]
    Numeric,
    /// The agent's own user and group, root or not.
    Agent,
    /// A user and a group by name or number, resolved on each node.
    Named {
        /// User.
        user: String,
        /// Group; the user's own if not given.
        group: Option<String>,
    },
}

/// A tree in canonical bytes, checked.
///
/// Guarantees: entries are strictly increasing; the root of each tree is among them; each other stands below a directory entry;
/// a hard link names an earlier file; `Manifest::from_bytes(m.as_bytes()) == m` and no other bytes decode to `m`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    header: Header,
    bytes: Vec<u8>,
    body_at: usize,
    id: ReleaseId,
}

impl Manifest {
    /// Checks `bytes` whole.
    ///
    /// Cost: one pass over the entries and one digest.
    ///
    /// # Errors
    /// The first rule broken. Memory stays within the bytes and the paths of one branch.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        check_size(bytes.len())?;
        let mut reader = Reader::new(&bytes, WHAT);
        let header = Header::decode(&mut reader)?;
        let body_at = bytes.len().saturating_sub(reader.rest().len());
        let mut checker = Checker::new(&header);
        let mut entries = Decoder::new(reader);
        while let Some(view) = entries.next_view()? {
            checker.check(&view)?;
        }
        checker.finish()?;
        let id = Digest::of(Domain::Tree, &bytes);
        Ok(Self { header, bytes, body_at, id })
    }

    /// Takes `bytes` that were a manifest's when they were stored: those that `id` is the digest of were checked then.
    ///
    /// Cost: one digest.
    ///
    /// # Errors
    /// [`Error::Digest`] for any other bytes.
    pub fn from_stored(bytes: Vec<u8>, id: ReleaseId) -> Result<Self> {
        if Digest::of(Domain::Tree, &bytes) != id {
            return Err(Error::Digest { what: WHAT });
        }
        let mut reader = Reader::new(&bytes, WHAT);
        let header = Header::decode(&mut reader)?;
        let body_at = bytes.len().saturating_sub(reader.rest().len());
        Ok(Self { header, bytes, body_at, id })
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What stands before the entries.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The release id.
    pub fn id(&self) -> ReleaseId {
        self.id
    }

    /// The entries in order, each with memory of its own.
    pub fn entries(&self) -> Entries<'_> {
        Entries(self.views())
    }

    /// The entries in order, each borrowed for as long as it is looked at.
    pub fn views(&self) -> Views<'_> {
        let body = self.bytes.get(self.body_at..).unwrap_or_default();
        Views { decoder: Decoder::of_checked(Reader::new(body, WHAT)) }
    }
}

/// Walks the entries of a checked manifest without allocating.
#[derive(Debug, Clone)]
pub struct Views<'a> {
    decoder: Decoder<'a>,
}

impl<'a> Views<'a> {
    /// The next entry.
    ///
    /// # Panics
    /// Never: a manifest was checked when it was made.
    #[expect(clippy::should_implement_trait, reason = "what it gives is borrowed from itself")]
    pub fn next(&mut self) -> Option<View<'_, 'a>> {
        self.decoder.next_view().expect("invariant: a manifest was checked when it was made")
    }

    /// The next entry that `is_wanted` accepts.
    pub fn find(&mut self, mut is_wanted: impl FnMut(&View<'_, 'a>) -> bool) -> Option<Entry> {
        loop {
            let view = self.next()?;
            if is_wanted(&view) {
                return Some(view.to_entry());
            }
        }
    }
}

fn check_size(bytes: usize) -> Result<()> {
    let (value, limit) = (bytes as u64, limits::MANIFEST_BYTES_MAX);
    if value > limit { Err(Error::TooLarge { what: WHAT, value, limit }) } else { Ok(()) }
}

/// Walks the entries of a checked manifest.
#[derive(Debug)]
pub struct Entries<'a>(Views<'a>);

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        Some(self.0.next()?.to_entry())
    }
}

/// Collects entries in order and ends in a [`Manifest`].
#[derive(Debug)]
pub struct Builder {
    header: Header,
    body: Body,
    body_at: usize,
}

impl Builder {
    /// Starts a manifest with `header`.
    pub fn new(header: Header) -> Self {
        Self::with_room(header, 0)
    }

    /// Starts a manifest with `header`, and room for about so many bytes: one that has to grow is in memory twice for a
    /// moment.
    pub fn with_room(header: Header, bytes: usize) -> Self {
        let room = usize::try_from(limits::MANIFEST_BYTES_MAX).map_or(bytes, |max| bytes.min(max));
        let mut writer = Writer::append_to(Vec::with_capacity(room));
        header.encode(&mut writer);
        let body_at = writer.len();
        Self { header, body: Body::behind(writer), body_at }
    }

    /// Appends `entry`, which must follow the one before in the order of paths.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] for a special file; [`Error::TooLarge`] for a manifest that is too large by now.
    pub fn push(&mut self, entry: &Entry) -> Result<()> {
        self.body.push(entry)?;
        check_size(self.body.len())
    }

    /// Appends what `view` shows, in the same order.
    ///
    /// # Errors
    /// As [`Builder::push`].
    pub fn push_view(&mut self, view: &View<'_, '_>) -> Result<()> {
        self.body.push_view(view)
    }

    /// Ends the manifest and checks it whole.
    ///
    /// # Errors
    /// As [`Manifest::from_bytes`]: an order or a parent that does not hold.
    pub fn finish(self) -> Result<Manifest> {
        let manifest = Manifest::from_bytes(self.body.finish())?;
        debug_assert_eq!((manifest.body_at, &manifest.header), (self.body_at, &self.header));
        Ok(manifest)
    }
}

impl Capture {
    /// Appends the switches to `writer`.
    pub fn encode(self, writer: &mut Writer) {
        writer.bool(self.xattrs);
        writer.bool(self.acls);
        writer.bool(self.hard_links);
    }

    /// Reads what [`Capture::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] for a switch that is neither on nor off.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { xattrs: reader.bool()?, acls: reader.bool()?, hard_links: reader.bool()? })
    }
}

impl Header {
    /// The header of a plain source: one tree, nothing beside mode, mtime, owner and content.
    pub fn plain() -> Self {
        Self {
            trees: vec![TreePath::root()],
            capture: Capture::default(),
            owner: OwnerPolicy::default(),
            rules: Rules::default(),
        }
    }

    /// Appends the header to `writer`.
    pub fn encode(&self, writer: &mut Writer) {
        writer.u64(VERSION);
        writer.list(&self.trees, Writer::path);
        self.capture.encode(writer);
        match &self.owner {
            OwnerPolicy::Numeric => writer.u8(0),
            OwnerPolicy::Agent => writer.u8(1),
            OwnerPolicy::Named { user, group } => {
                writer.u8(2);
                writer.text(user);
                writer.option(group.as_deref(), Writer::text);
            }
        }
        self.rules.encode(writer);
    }

    /// Reads what [`Header::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::Unknown`] for another version; trees that are unsorted or within one another.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let version = reader.u64()?;
        if version != VERSION {
            return Err(reader.unknown(version));
        }
        let trees = reader.list(limits::TREES_MAX, Reader::path)?;
        let apart = trees.is_sorted_by(|one, next| one < next && !next.is_within(one));
        if trees.is_empty() || !apart {
            return Err(reader.not_canonical());
        }
        let capture = Capture::decode(reader)?;
        let owner = match reader.u8()? {
            0 => OwnerPolicy::Numeric,
            1 => OwnerPolicy::Agent,
            2 => OwnerPolicy::Named {
                user: reader.text(limits::NAME_BYTES_MAX)?,
                group: reader.option(|reader| reader.text(limits::NAME_BYTES_MAX))?,
            },
            tag => return Err(reader.unknown(u64::from(tag))),
        };
        Ok(Self { trees, capture, owner, rules: Rules::decode(reader)? })
    }
}

#[cfg(test)]
mod tests;
