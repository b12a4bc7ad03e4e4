//! The record of one directory: its own look, and each of its names with what was seen there, sorted by name.
//!
//! ```text
//! look · xattrs? · count · child*          child = name · look · xattrs? · (content | link text)
//! ```
//! A directory below is told by its name and inode alone; how it looks stands in its own record. Records are compared,
//! copied and walked without being decoded into objects.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::model::codec::{Error, Reader, Result, Writer};
use crate::model::entry::{Content, Owner, Timestamp, Xattr};
use crate::model::limits;
use crate::model::manifest::{
    KindView, decode_xattrs, encode_content, encode_xattrs, skip_content,
};
use crate::model::path::check_name;
use crate::os::stat::{FileKind, Stat, StatId};

const WHAT: &str = "record of a directory";

const KIND: u8 = 0b11;
const FILE: u8 = 0;
const SYMLINK: u8 = 1;
const SPECIAL: u8 = 2;
const DIRECTORY: u8 = 3;
const IMMUTABLE: u8 = 1 << 2;
const MOUNT_ROOT: u8 = 1 << 3;
/// Its time stamps were old enough when it was looked at that a later change would show in them.
const SETTLED: u8 = 1 << 4;
const XATTRS: u8 = 1 << 5;

/// What a directory's record says of one of its names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child<'r> {
    pub(super) name: &'r [u8],
    pub(super) seen: Seen<'r>,
    /// The whole child as it is encoded.
    pub(super) raw: &'r [u8],
}

/// What was seen under a name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seen<'r> {
    /// A directory, known by its inode.
    Directory { inode: u64 },
    /// Anything else.
    Other(Look<'r>),
}

/// How something looked, and what it held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'r> {
    pub(super) stat: Stat,
    pub(super) is_settled: bool,
    /// As they are encoded, if there are any.
    pub(super) xattrs: Option<&'r [u8]>,
    pub(super) kind: KindView<'r>,
}

/// What is recorded anew.
#[derive(Debug, Clone)]
pub(super) enum Held {
    /// A regular file.
    File(Content),
    /// A symbolic link with its text.
    Symlink(Box<[u8]>),
    /// What has no content that is kept.
    Special,
}

/// The record of a directory, read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'r> {
    pub(super) own: Look<'r>,
    pub(super) count: u64,
    children: &'r [u8],
    device: u64,
}

impl<'r> Record<'r> {
    /// Reads the head of `bytes`; `device` is that of the tree's root.
    ///
    /// # Errors
    /// Any error of the codec.
    pub(super) fn decode(bytes: &'r [u8], device: u64) -> Result<Self> {
        let mut reader = Reader::new(bytes, WHAT);
        let own = decode_look(&mut reader, device)?;
        let count = reader.u64_max(limits::ENTRIES_MAX)?;
        Ok(Self { own, count, children: reader.rest(), device })
    }

    /// Its names in order.
    pub(super) fn children(&self) -> Children<'r> {
        self.children_from(0)
    }

    /// Its names in order, from the one that begins at `offset` among the encoded children.
    pub(super) fn children_from(&self, offset: usize) -> Children<'r> {
        let rest = self.children.get(offset..).unwrap_or_default();
        Children { reader: Reader::new(rest, WHAT), device: self.device }
    }

    /// Where each `step`-th child begins, with its name.
    ///
    /// # Errors
    /// Any error of the codec.
    pub(super) fn starts(&self, step: usize) -> Result<Vec<(&'r [u8], usize)>> {
        let mut starts = Vec::new();
        let mut children = self.children();
        let mut number = 0usize;
        let mut at = 0usize;
        while let Some(child) = children.next()? {
            if number.checked_rem(step) == Some(0) {
                starts.push((child.name, at));
            }
            at = at.saturating_add(child.raw.len());
            number = number.saturating_add(1);
        }
        Ok(starts)
    }
}

/// Walks the children of a record.
#[derive(Debug, Clone)]
pub(super) struct Children<'r> {
    reader: Reader<'r>,
    device: u64,
}

impl<'r> Children<'r> {
    /// The children encoded in `rest`.
    pub(super) fn of(rest: &'r [u8], device: u64) -> Self {
        Self { reader: Reader::new(rest, WHAT), device }
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'r [u8] {
        self.reader.rest()
    }

    /// Name and inode of the next child if that is a directory; else that child is still the next.
    ///
    /// # Errors
    /// Any error of the codec.
    pub(super) fn next_directory(&mut self) -> Result<Option<(&'r [u8], u64)>> {
        let mut reader = self.reader.clone();
        let name = reader.bytes(limits::NAME_BYTES_MAX)?;
        if reader.u8()? & KIND != DIRECTORY {
            return Ok(None);
        }
        check_name(name).map_err(|_error| Error::NotCanonical { what: WHAT })?;
        let inode = reader.u64()?;
        self.reader = reader;
        Ok(Some((name, inode)))
    }

    /// The next child.
    ///
    /// # Errors
    /// Any error of the codec.
    pub(super) fn next(&mut self) -> Result<Option<Child<'r>>> {
        let all = self.reader.rest();
        if all.is_empty() {
            return Ok(None);
        }
        let name = self.reader.bytes(limits::NAME_BYTES_MAX)?;
        check_name(name).map_err(|_error| Error::NotCanonical { what: WHAT })?;
        let is_directory =
            self.reader.rest().first().is_some_and(|flags| flags & KIND == DIRECTORY);
        let seen = if is_directory {
            self.reader.u8()?;
            Seen::Directory { inode: self.reader.u64()? }
        } else {
            Seen::Other(decode_look(&mut self.reader, self.device)?)
        };
        let length = all.len().saturating_sub(self.reader.rest().len());
        Ok(Some(Child { name, seen, raw: all.get(..length).unwrap_or_default() }))
    }
}

fn decode_look<'r>(reader: &mut Reader<'r>, device: u64) -> Result<Look<'r>> {
    let flags = reader.u8()?;
    let stat = decode_stat(reader, flags, device)?;
    let xattrs = if flags & XATTRS == 0 {
        None
    } else {
        let all = reader.rest();
        decode_xattrs(reader)?;
        all.get(..all.len().saturating_sub(reader.rest().len()))
    };
    let kind = match flags & KIND {
        FILE => KindView::File(skip_content(reader)?),
        SYMLINK => KindView::Symlink(reader.bytes(limits::LINK_TEXT_BYTES_MAX)?),
        DIRECTORY => KindView::Directory,
        _ => KindView::Special,
    };
    Ok(Look { stat, is_settled: flags & SETTLED != 0, xattrs, kind })
}

fn decode_stat(reader: &mut Reader<'_>, flags: u8, device: u64) -> Result<Stat> {
    let kind = match flags & KIND {
        FILE => FileKind::File,
        SYMLINK => FileKind::Symlink,
        DIRECTORY => FileKind::Directory,
        _ => FileKind::Special,
    };
    let inode = reader.u64()?;
    let device = reader.u64()? ^ device;
    let mode = u16::try_from(reader.u64_max(0o7777)?).unwrap_or_default();
    let owner = Owner { uid: reader.u32()?, gid: reader.u32()? };
    let link_count = reader.u32()?;
    let size = reader.u64()?;
    let allocated_bytes = reader.u64()?.saturating_mul(512);
    let mtime = decode_time(reader, 0)?;
    let ctime = decode_time(reader, mtime.seconds)?;
    Ok(Stat {
        kind,
        mode,
        owner,
        link_count,
        id: StatId { device, inode, size, mtime, ctime },
        allocated_bytes,
        is_immutable: flags & IMMUTABLE != 0,
        is_mount_root: flags & MOUNT_ROOT != 0,
    })
}

fn decode_time(reader: &mut Reader<'_>, since: i64) -> Result<Timestamp> {
    let seconds = since.wrapping_add(reader.i64()?);
    let nanos = match reader.raw(4)? {
        [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => return Err(Error::Truncated { what: WHAT }),
    };
    Ok(Timestamp { seconds, nanos })
}

fn encode_stat(writer: &mut Writer, stat: &Stat, device: u64, extra: u8) {
    let kind = match stat.kind {
        FileKind::File => FILE,
        FileKind::Symlink => SYMLINK,
        FileKind::Special => SPECIAL,
        FileKind::Directory => DIRECTORY,
    };
    let immutable = if stat.is_immutable { IMMUTABLE } else { 0 };
    let mount_root = if stat.is_mount_root { MOUNT_ROOT } else { 0 };
    writer.u8(kind | immutable | mount_root | extra);
    writer.u64(stat.id.inode);
    writer.u64(stat.id.device ^ device);
    writer.u64(u64::from(stat.mode));
    writer.u64(u64::from(stat.owner.uid));
    writer.u64(u64::from(stat.owner.gid));
    writer.u64(u64::from(stat.link_count));
    writer.u64(stat.id.size);
    writer.u64(stat.allocated_bytes / 512);
    let StatId { mtime, ctime, .. } = stat.id;
    // The one is mostly as old as the other.
    for (time, since) in [(mtime, 0), (ctime, mtime.seconds)] {
        writer.i64(time.seconds.wrapping_sub(since));
        writer.raw(&time.nanos.to_le_bytes());
    }
}

fn encode_look(writer: &mut Writer, stat: &Stat, device: u64, is_settled: bool, xattrs: &[Xattr]) {
    let settled = if is_settled { SETTLED } else { 0 };
    let has_xattrs = if xattrs.is_empty() { 0 } else { XATTRS };
    encode_stat(writer, stat, device, settled | has_xattrs);
    if !xattrs.is_empty() {
        encode_xattrs(writer, xattrs);
    }
}

/// Puts the record of a directory together, name by name in order.
#[derive(Debug)]
pub(super) struct RecordBuilder {
    children: Writer,
    count: u64,
    device: u64,
}

impl RecordBuilder {
    /// Of a directory in the tree whose root is on `device`.
    pub(super) fn new(device: u64) -> Self {
        Self { children: Writer::new(), count: 0, device }
    }

    /// A child as another record has it.
    pub(super) fn raw(&mut self, child: &[u8]) {
        self.children.raw(child);
        self.count = self.count.saturating_add(1);
    }

    /// A directory.
    pub(super) fn directory(&mut self, name: &[u8], inode: u64) {
        self.children.bytes(name);
        self.children.u8(DIRECTORY);
        self.children.u64(inode);
        self.count = self.count.saturating_add(1);
    }

    /// Anything else.
    pub(super) fn other(
        &mut self,
        name: &[u8],
        (stat, is_settled): (&Stat, bool),
        xattrs: &[Xattr],
        held: &Held,
    ) {
        self.children.bytes(name);
        // What cannot be read is recorded as special, whatever it is, and so never taken for known.
        let stat = match held {
            Held::Special => Stat { kind: FileKind::Special, ..*stat },
            Held::File(_) | Held::Symlink(_) => *stat,
        };
        encode_look(&mut self.children, &stat, self.device, is_settled, xattrs);
        match held {
            Held::File(content) => encode_content(&mut self.children, content),
            Held::Symlink(text) => self.children.bytes(text),
            Held::Special => {}
        }
        self.count = self.count.saturating_add(1);
    }

    /// A file or link that holds what `kind` shows.
    pub(super) fn like(&mut self, name: &[u8], stat: &Stat, is_settled: bool, kind: KindView<'_>) {
        self.children.bytes(name);
        encode_look(&mut self.children, stat, self.device, is_settled, &[]);
        match kind {
            KindView::File(content) => self.children.raw(content.as_bytes()),
            KindView::Symlink(text) => self.children.bytes(text),
            KindView::Directory | KindView::HardLink(_) | KindView::Special => {}
        }
        self.count = self.count.saturating_add(1);
    }

    /// The record, with how the directory itself looks.
    pub(super) fn finish(self, own: &Stat, xattrs: &[Xattr]) -> Vec<u8> {
        let mut writer = Writer::new();
        encode_look(&mut writer, own, self.device, true, xattrs);
        writer.u64(self.count);
        writer.raw(&self.children.finish());
        writer.finish()
    }
}

/// What a record adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Names, the directory itself not counted.
    pub names: u64,
    /// Names of what is no directory.
    pub files: u64,
    /// Bytes of regular files.
    pub bytes: u64,
    /// Symbolic links.
    pub symlinks: u64,
}

impl Sums {
    /// Of the record `bytes`.
    ///
    /// # Errors
    /// Any error of the codec.
    pub(super) fn of(bytes: &[u8], device: u64) -> Result<Self> {
        let mut sums = Self::default();
        let mut children = Record::decode(bytes, device)?.children();
        while let Some(child) = children.next()? {
            sums.names = sums.names.saturating_add(1);
            let Seen::Other(look) = child.seen else { continue };
            sums.files = sums.files.saturating_add(1);
            match look.kind {
                KindView::File(_) => sums.bytes = sums.bytes.saturating_add(look.stat.id.size),
                KindView::Symlink(_) => sums.symlinks = sums.symlinks.saturating_add(1),
                _ => {}
            }
        }
        Ok(sums)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            names: self.names.saturating_add(other.names),
            files: self.files.saturating_add(other.files),
            bytes: self.bytes.saturating_add(other.bytes),
            symlinks: self.symlinks.saturating_add(other.symlinks),
        }
    }
}
