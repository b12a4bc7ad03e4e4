//! The list of steps that makes a staged release live: written before PREPARED, carried out after COMMITTING.
//!
//! Each step says what the tree must look like afterwards and finds out by itself whether it was done already, so
//! that the list can be carried out again from its start after any crash.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::model::codec::{Error, Reader, Result, Writer};
use crate::model::digest::{Digest, Domain};
use crate::model::entry::{Meta, Owner, Timestamp, Xattr};
use crate::model::limits;
use crate::model::manifest::{Capture, ReleaseId};
use crate::model::path::TreePath;

const WHAT: &str = "list of steps";
/// The name of the list in `stage/<txid>/`.
pub const NAME: &[u8] = b"steps";
/// The longest list read back.
pub const BYTES_MAX: u64 = 4 * limits::MANIFEST_BYTES_MAX;

/// What makes a staged release live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    /// The release that was live before, if any.
    pub before: Option<ReleaseId>,
    /// The release that is live afterwards.
    pub after: ReleaseId,
    /// What is kept of each entry of it.
    pub capture: Capture,
    /// The steps, in order.
    pub list: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A directory above a tree exists; it belongs to no release.
    MakeDir {
        /// The directory.
        path: TreePath,
    },
    /// What is staged under `number` stands at `path`; what stood there is kept under the same number.
    Install {
        /// Its name in the stage.
        number: u64,
        /// The inode staged, by which a second look knows whether the names were exchanged already.
        inode: u64,
        /// Where it goes.
        path: TreePath,
    },
    /// The file or directory `from` stands at `to`; what somebody else put there meanwhile stands at `from`.
    Move {
        /// Where it was.
        from: TreePath,
        /// Where it goes.
        to: TreePath,
        /// Its inode.
        inode: u64,
    },
    /// What stood at `path` is kept under `number`.
    Remove {
        /// Its name in the kept area.
        number: u64,
        /// Where it was.
        path: TreePath,
    },
    /// The file or directory at `path` has this metadata.
    SetMeta {
        /// The entry.
        path: TreePath,
        /// It is a directory.
        is_directory: bool,
        /// What it has.
        meta: Meta,
    },
}

impl Steps {
    /// The bytes of the list.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.option(self.before, |w, release| w.digest(&release));
        writer.digest(&self.after);
        self.capture.encode(&mut writer);
        writer.list(&self.list, |writer, step| step.encode(writer));
        writer.finish()
    }

    /// Reads the list whose digest the journal holds.
    ///
    /// # Errors
    /// [`Error::Digest`] if the bytes are not the ones that were prepared.
    pub fn decode(bytes: &[u8], expected: Digest) -> Result<Self> {
        if Self::digest(bytes) != expected {
            return Err(Error::Digest { what: WHAT });
        }
        let mut reader = Reader::new(bytes, WHAT);
        let before = reader.option(Reader::digest)?;
        let after = reader.digest()?;
        let capture = Capture::decode(&mut reader)?;
        let limit = usize::try_from(limits::ENTRIES_MAX).unwrap_or(usize::MAX).saturating_mul(2);
        let list = reader.list(limit, Step::decode)?;
        reader.finish()?;
        Ok(Self { before, after, capture, list })
    }

    /// The digest of a list's bytes.
    pub fn digest(bytes: &[u8]) -> Digest {
        Digest::of(Domain::State, bytes)
    }
}

impl Step {
    fn encode(&self, w: &mut Writer) {
        match self {
            Self::MakeDir { path } => {
                w.u8(0);
                w.path(path);
            }
            Self::Install { number, inode, path } => {
                w.u8(1);
                w.u64(*number);
                w.u64(*inode);
                w.path(path);
            }
            Self::Move { from, to, inode } => {
                w.u8(2);
                w.path(from);
                w.path(to);
                w.u64(*inode);
            }
            Self::Remove { number, path } => {
                w.u8(3);
                w.u64(*number);
                w.path(path);
            }
            Self::SetMeta { path, is_directory, meta } => {
                w.u8(4);
                w.path(path);
                w.bool(*is_directory);
                encode_meta(w, meta);
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(match r.u8()? {
            0 => Self::MakeDir { path: r.path()? },
            1 => Self::Install { number: r.u64()?, inode: r.u64()?, path: r.path()? },
            2 => Self::Move { from: r.path()?, to: r.path()?, inode: r.u64()? },
            3 => Self::Remove { number: r.u64()?, path: r.path()? },
            4 => Self::SetMeta { path: r.path()?, is_directory: r.bool()?, meta: decode_meta(r)? },
            tag => return Err(r.unknown(u64::from(tag))),
        })
    }
}

fn encode_meta(w: &mut Writer, meta: &Meta) {
    w.u64(u64::from(meta.mode));
    w.option(meta.owner, |w, owner| {
        w.u64(u64::from(owner.uid));
        w.u64(u64::from(owner.gid));
    });
    w.i64(meta.mtime.seconds);
    w.u64(u64::from(meta.mtime.nanos));
    w.list(&meta.xattrs, |w, xattr| {
        w.bytes(&xattr.name);
        w.bytes(&xattr.value);
    });
}

fn decode_meta(r: &mut Reader<'_>) -> Result<Meta> {
    let mode = r.u64_max(0o7777)?;
    Ok(Meta {
        mode: u16::try_from(mode).map_err(|_error| r.not_canonical())?,
        owner: r.option(|r| Ok(Owner { uid: r.u32()?, gid: r.u32()? }))?,
        mtime: Timestamp { seconds: r.i64()?, nanos: r.u32()? },
        xattrs: r.list(limits::XATTR_NAMES_BYTES_MAX, |r| {
            let name = r.bytes(limits::NAME_BYTES_MAX)?.into();
            Ok(Xattr { name, value: r.bytes(limits::XATTR_VALUE_BYTES_MAX)?.into() })
        })?,
    })
}

/// The name in stage and kept area of what has `number`.
pub fn name_of(number: u64) -> Vec<u8> {
    format!("n{number}").into_bytes()
}
