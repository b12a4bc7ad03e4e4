//! [`ReleaseFile`]: a whole release in one file, so that a host can be brought to it without a hub.
//!
//! ```text
//! magic · version · section* of the manifest · end · section* of the content · end · digest of all before it
//! section = packed length · raw length · bytes          end = two zeros
//! ```
//! Each distinct chunk stands in the content once, in the order in which the manifest first tells it, and whole within
//! one section, so that the manifest is all that is needed to find one. FORMAT: `docs/format.md` tells the bytes.
//!
//! Guarantees: a file is taken only if every byte of it is what was written; the same release written twice is the same
//! bytes; a chunk that is given out has its digest, whatever became of the file since.

mod write;

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::chunks::{ReadChunks, ReadError};
use crate::model::codec;
use crate::model::digest::{Digest, Domain, Hasher};
use crate::model::entry::{Chunk, Segment};
use crate::model::limits::{MANIFEST_BYTES_MAX, SECTION_BYTES_MAX};
use crate::model::manifest::{KindView, Manifest};
use crate::model::path::TreePath;
use crate::model::untrusted::Untrusted;
use crate::os::{file, operator_file};

pub use write::{WriteError, Written, write};

/// What every release file begins with.
const MAGIC: &[u8; 16] = b"depsync release\n";
/// The version of the bytes behind it.
const VERSION: u32 = 1;
/// Read at once while a file is looked through.
const STEP_BYTES: usize = 1 << 20;

/// Why a release file is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is none, or it is not to be trusted.
    #[error("read the release file {path}")]
    Refused {
        /// The file.
        path: String,
        /// Why.
        source: operator_file::Error,
    },
    /// The system does not give its bytes.
    #[error("read the release file {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("the release file {path} is damaged")]
    Damaged {
        /// The file.
        path: String,
        /// How.
        source: Damage,
    },
}

/// In what a file is not a whole release file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It begins otherwise.
    #[error("it is not a release file")]
    Magic,
    /// Another version wrote it.
    #[error("it is of version {0} of the format, and this program knows version {VERSION}")]
    Version(u32),
    /// It ends early.
    #[error("it is cut short")]
    Cut,
    /// The digest at its end is not that of its bytes.
    #[error("its bytes are not those that were written")]
    Digest,
    /// There is more behind its end.
    #[error("there is something behind its end")]
    Longer,
    /// A section is longer than any that is written.
    #[error("a section is longer than any may be")]
    Bounds,
    /// The manifest is none.
    #[error("its manifest is none")]
    Manifest(#[source] codec::Error),
    /// The content is not that of the manifest.
    #[error("its content is not that of its manifest")]
    Content,
    /// It could be read no further; only while it is looked through.
    #[error("it cannot be read")]
    Io(#[source] io::Error),
}

/// A stretch of content in the file.
#[derive(Debug, Clone, Copy)]
struct Section {
    at: u64,
    packed: u32,
    raw: u32,
}

/// Where a chunk stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    section: u32,
    offset: u32,
}

/// A release file that was looked through whole.
pub struct ReleaseFile {
    shown: String,
    file: OwnedFd,
    manifest: Arc<Manifest>,
    sections: Vec<Section>,
    places: HashMap<Digest, Place>,
}

impl std::fmt::Debug for ReleaseFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReleaseFile")
            .field("path", &self.shown)
            .field("release", &self.manifest.id())
            .finish_non_exhaustive()
    }
}

impl ReleaseFile {
    /// Opens the file at `path` and reads it to its end.
    ///
    /// Cost: one pass over the file, and some sixty bytes of memory for each distinct chunk.
    ///
    /// # Errors
    /// [`Error`]; one byte that is missing or another is [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let shown = Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
        let file = match operator_file::open_operator_file(path) {
            Ok(file) => file,
            Err(source) => return Err(Error::Refused { path: shown, source }),
        };
        let looked = look_through(&mut FileReader { file: &file, at: 0 });
        let found = looked.and_then(|(manifest, sections)| {
            let places = places(&manifest, &sections)?;
            Ok((manifest, sections, places))
        });
        match found {
            Ok((manifest, sections, places)) => {
                Ok(Self { shown, file, manifest: Arc::new(manifest), sections, places })
            }
            Err(Damage::Io(source)) => Err(Error::Unreadable { path: shown, source }),
            Err(source) => Err(Error::Damaged { path: shown, source }),
        }
    }

    /// What the release is.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// A reader of its chunks.
    pub(super) fn reader(self: &Arc<Self>) -> SectionReader {
        SectionReader { file: Arc::clone(self), open: None, packed: Vec::new() }
    }
}

/// Reads chunks of a release file. Keeps the last section unpacked, so chunks are best asked for in the order of the
/// manifest.
#[derive(Debug)]
pub(super) struct SectionReader {
    file: Arc<ReleaseFile>,
    open: Option<(u32, Vec<u8>)>,
    packed: Vec<u8>,
}

impl ReadChunks for SectionReader {
    fn read(
        &mut self,
        path: &TreePath,
        _offset: u64,
        chunk: Chunk,
        into: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let damaged = |file: &ReleaseFile| ReadError::Damaged {
            path: path.clone(),
            file: file.shown.clone(),
        };
        let place = self.file.places.get(&chunk.digest).copied();
        let place = place.ok_or_else(|| damaged(&self.file))?;
        if !matches!(self.open, Some((open, _)) if open == place.section) {
            let raw = self
                .unpack(place.section)
                .map_err(|source| ReadError::Unreadable { path: path.clone(), source })?;
            self.open = Some((place.section, raw.ok_or_else(|| damaged(&self.file))?));
        }
        let start = place.offset as usize;
        let found = self
            .open
            .as_ref()
            .and_then(|(_, raw)| raw.get(start..start.saturating_add(chunk.bytes as usize)));
        match found {
            Some(bytes) if Digest::of(Domain::Chunk, bytes) == chunk.digest => {
                into.extend_from_slice(bytes);
                Ok(())
            }
            _ => Err(damaged(&self.file)),
        }
    }
}

impl SectionReader {
    /// The content of a section; `None` if it is no longer what it was when the file was looked through.
    fn unpack(&mut self, section: u32) -> io::Result<Option<Vec<u8>>> {
        let Some(Section { at, packed, raw }) = self.file.sections.get(section as usize).copied()
        else {
            return Ok(None);
        };
        self.open = None;
        self.packed.resize(packed as usize, 0);
        let count = file::read_at(&self.file.file, at, &mut self.packed)?;
        Ok(unpacked(self.packed.get(..count).unwrap_or_default(), raw))
    }
}

/// The `raw` bytes that `packed` holds.
fn unpacked(packed: &[u8], raw: u32) -> Option<Vec<u8>> {
    let bytes = zstd::bulk::decompress(packed, raw as usize).ok()?;
    (bytes.len() == raw as usize).then_some(bytes)
}

struct FileReader<'a> {
    file: &'a OwnedFd,
    at: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = file::read_at(self.file, self.at, into)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

/// Reads whole stretches, and digests them.
struct Digested<R> {
    from: BufReader<R>,
    hasher: Hasher,
    at: u64,
}

impl<R: Read> Digested<R> {
    fn exactly(&mut self, into: &mut [u8]) -> Result<(), Damage> {
        self.from.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Damage::Cut,
            _ => Damage::Io(error),
        })?;
        self.at = self.at.saturating_add(into.len() as u64);
        Ok(())
    }

    fn take(&mut self, into: &mut [u8]) -> Result<(), Damage> {
        self.exactly(into)?;
        self.hasher.update(into);
        Ok(())
    }

    fn number(&mut self) -> Result<u32, Damage> {
        let mut bytes = [0; 4];
        self.take(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The next section, whose packed bytes are put into `into`; `None` at the end of such sections.
    fn section(&mut self, into: &mut Vec<u8>) -> Result<Option<Section>, Damage> {
        let (packed, raw) = (self.number()?, self.number()?);
        if (packed, raw) == (0, 0) {
            return Ok(None);
        }
        let raw_max = SECTION_BYTES_MAX;
        let packed_max = zstd::zstd_safe::compress_bound(raw_max);
        if raw == 0 || packed == 0 || raw as usize > raw_max || packed as usize > packed_max {
            return Err(Damage::Bounds);
        }
        let section = Section { at: self.at, packed, raw };
        into.resize(packed as usize, 0);
        self.take(into)?;
        Ok(Some(section))
    }
}

/// Reads a release file to its end: what it tells, and where its content is. Memory stays within the manifest, one
/// section, and a few bytes for each section.
fn look_through(from: &mut impl Read) -> Result<(Manifest, Vec<Section>), Damage> {
    let from = BufReader::with_capacity(STEP_BYTES, from);
    let mut from = Digested { from, hasher: Hasher::new(Domain::State), at: 0 };
    let mut magic = [0; MAGIC.len()];
    from.take(&mut magic)?;
    if &magic != MAGIC {
        return Err(Damage::Magic);
    }
    let version = from.number()?;
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let (mut manifest, mut packed) = (Vec::new(), Vec::new());
    while let Some(section) = from.section(&mut packed)? {
        // Damage of these bytes shows here before it shows in the digest.
        let raw = unpacked(&packed, section.raw).ok_or(Damage::Digest)?;
        if manifest.len() as u64 + u64::from(section.raw) > MANIFEST_BYTES_MAX {
            return Err(Damage::Bounds);
        }
        manifest.extend_from_slice(&raw);
    }
    let mut sections = Vec::new();
    while let Some(section) = from.section(&mut packed)? {
        sections.push(section);
    }
    let digest = std::mem::replace(&mut from.hasher, Hasher::new(Domain::State)).finish();
    let mut told = [0; 32];
    from.exactly(&mut told)?;
    if told != digest.0 {
        return Err(Damage::Digest);
    }
    match from.exactly(&mut [0]) {
        Err(Damage::Cut) => {}
        Err(error) => return Err(error),
        Ok(()) => return Err(Damage::Longer),
    }
    Ok((Manifest::from_bytes(manifest).map_err(Damage::Manifest)?, sections))
}

/// Where each chunk of `manifest` stands in `sections`, which must hold them and nothing else.
fn places(manifest: &Manifest, sections: &[Section]) -> Result<HashMap<Digest, Place>, Damage> {
    let mut places = HashMap::new();
    let (mut section, mut offset) = (0usize, 0u32);
    let mut views = manifest.views();
    while let Some(view) = views.next() {
        let KindView::File(content) = view.kind else { continue };
        for segment in content.segments() {
            let Segment::Chunk(chunk) = segment else { continue };
            if places.contains_key(&chunk.digest) {
                continue;
            }
            if sections.get(section).is_some_and(|current| current.raw == offset) {
                (section, offset) = (section.saturating_add(1), 0);
            }
            let end = offset.saturating_add(chunk.bytes);
            let fits = sections.get(section).is_some_and(|current| end <= current.raw);
            let at = u32::try_from(section).map_err(|_error| Damage::Content)?;
            if !fits {
                return Err(Damage::Content);
            }
            places.insert(chunk.digest, Place { section: at, offset });
            offset = end;
        }
    }
    let is_end = match sections.get(section) {
        Some(last) => last.raw == offset && section.saturating_add(1) == sections.len(),
        None => sections.is_empty() && offset == 0,
    };
    if is_end { Ok(places) } else { Err(Damage::Content) }
}

/// True if the file at `path` begins as a release file does.
pub fn is_one(path: &Path) -> bool {
    let mut magic = [0; MAGIC.len()];
    let read = operator_file::open_operator_file(path).ok();
    let read = read.and_then(|file| file::read_at(&file, 0, &mut magic).ok());
    read == Some(MAGIC.len()) && &magic == MAGIC
}

/// Takes `bytes` for a release file, as [`ReleaseFile::open`] does; gives its manifest.
///
/// # Errors
/// [`Damage`].
pub fn decode(mut bytes: &[u8]) -> Result<Manifest, Damage> {
    let (manifest, sections) = look_through(&mut bytes)?;
    places(&manifest, &sections).map(|_places| manifest)
}

#[cfg(test)]
mod tests;
