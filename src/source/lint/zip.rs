//! The central directory of a zip archive, read from a file that may be damaged or made to do harm.
//!
//! Never: inflates more than it was told to, or allocates by what a length in the file claims.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io;

use super::ReadAt;
use crate::model::untrusted::Untrusted;

/// Longest central directory that is read: some 150,000 members.
pub(super) const DIRECTORY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest member that is taken out, inflated or not.
pub(super) const MEMBER_BYTES_MAX: u64 = 1024 * 1024;

const END: [u8; 4] = *b"PK\x05\x06";
const END_BYTES: usize = 22;
const COMMENT_BYTES_MAX: usize = 65_535;
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const LOCATOR_64_BYTES: u64 = 20;
const END_64: [u8; 4] = *b"PK\x06\x06";
const MEMBER: [u8; 4] = *b"PK\x01\x02";
const MEMBER_BYTES: usize = 46;
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const LOCAL_BYTES: u64 = 30;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Fault {
    /// It could not be read, which says nothing of what is in it.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// There is no end of a central directory.
    #[error("is cut off, or is no zip archive: it has no central directory")]
    NoEnd,
    /// What the end says of the directory cannot be.
    #[error("is damaged: its central directory does not lie where its end says")]
    Directory,
    /// The directory is longer than what is read.
    #[error("has a central directory of over {} MiB, which is not looked into", DIRECTORY_BYTES_MAX >> 20)]
    TooLarge,
    /// The directory does not have the members that its end says.
    #[error("is damaged: its central directory breaks off at member {number}")]
    Member {
        /// Counted from 1.
        number: u64,
    },
    /// A member does not lie in the file.
    #[error("is damaged: its member {name} lies beyond its content")]
    Beyond {
        /// Escaped.
        name: String,
    },
    /// A member has two places.
    #[error("has {name} twice")]
    Twice {
        /// Escaped.
        name: String,
    },
    /// A member cannot be taken out.
    #[error("has a damaged {name}: {why}")]
    Content {
        /// Escaped.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// Looks through the central directory of an archive of `size` bytes, and takes out the member `wanted`, if there is one.
///
/// Guarantees: ends, whatever the bytes are, and holds at most the bounds above in memory.
///
/// # Errors
/// [`Fault`]; all but [`Fault::Io`] are a property of the bytes.
pub(super) fn look(
    read: ReadAt<'_>,
    size: u64,
    wanted: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, Fault> {
    let end = find_end(read, size)?;
    if end.bytes > DIRECTORY_BYTES_MAX {
        return Err(Fault::TooLarge);
    }
    let start = end.at.checked_sub(end.bytes).ok_or(Fault::Directory)?;
    // What stands before the archive, such as a program that unpacks it, shifts all that lies in it.
    let shift = start.checked_sub(end.offset).ok_or(Fault::Directory)?;
    let directory = exactly(read, start, usize::try_from(end.bytes).unwrap_or(usize::MAX))?;
    let mut rest = directory.as_slice();
    let (mut number, mut found) = (0u64, None);
    while !rest.is_empty() {
        number = number.saturating_add(1);
        let broken = || Fault::Member { number };
        let (member, behind) = Member::take(rest).ok_or_else(broken)?;
        rest = behind;
        let ends =
            member.offset.checked_add(LOCAL_BYTES).and_then(|at| at.checked_add(member.packed));
        if ends.is_none_or(|ends| ends > end.offset) {
            return Err(Fault::Beyond { name: shown(member.name) });
        }
        if Some(member.name) == wanted && found.replace(member).is_some() {
            return Err(Fault::Twice { name: wanted.map(shown).unwrap_or_default() });
        }
    }
    // The short form counts in 16 bits.
    if number != end.members && (end.is_64 || number & 0xffff != end.members) {
        return Err(Fault::Member { number: number.saturating_add(1) });
    }
    found.map(|member| member.content(read, shift)).transpose()
}

fn shown(name: &[u8]) -> String {
    Untrusted::new(name.get(..name.len().min(200)).unwrap_or_default()).to_string()
}

/// What the end of an archive says of its central directory.
struct End {
    /// Where what stands behind the directory begins.
    at: u64,
    members: u64,
    bytes: u64,
    offset: u64,
    is_64: bool,
}

fn find_end(read: ReadAt<'_>, size: u64) -> Result<End, Fault> {
    let tail = size.min((END_BYTES.saturating_add(COMMENT_BYTES_MAX)) as u64);
    let tail_at = size.saturating_sub(tail);
    let bytes =
        exactly(read, tail_at, usize::try_from(tail).unwrap_or(0)).map_err(
            |fault| match fault {
                Fault::Directory => Fault::NoEnd,
                fault => fault,
            },
        )?;
    let is_end = |window: &&[u8]| {
        // The comment ends with the file.
        window.starts_with(&END)
            && short(window, 20).and_then(|length| usize::from(length).checked_add(END_BYTES))
                == Some(window.len())
    };
    let starts = 0..bytes.len().saturating_sub(END_BYTES.saturating_sub(1));
    let found = starts.rev().filter_map(|at| bytes.get(at..)).find(is_end).ok_or(Fault::NoEnd)?;
    let at = size.saturating_sub(found.len() as u64);
    let (Some(members), Some(length), Some(offset)) =
        (short(found, 10), long(found, 12), long(found, 16))
    else {
        return Err(Fault::NoEnd);
    };
    let end = End {
        at,
        members: members.into(),
        bytes: length.into(),
        offset: offset.into(),
        is_64: false,
    };
    if members != u16::MAX && length != u32::MAX && offset != u32::MAX {
        return Ok(end);
    }
    // Without a locator these are numbers like any others.
    let Some(locator_at) = at.checked_sub(LOCATOR_64_BYTES) else { return Ok(end) };
    let locator = exactly(read, locator_at, 20)?;
    if !locator.starts_with(&LOCATOR_64) {
        return Ok(end);
    }
    let at = wide(&locator, 8).filter(|at| *at < locator_at).ok_or(Fault::Directory)?;
    let record = exactly(read, at, 56)?;
    let (Some(members), Some(bytes), Some(offset)) =
        (wide(&record, 32), wide(&record, 40), wide(&record, 48))
    else {
        return Err(Fault::Directory);
    };
    if !record.starts_with(&END_64) {
        return Err(Fault::Directory);
    }
    Ok(End { at, members, bytes, offset, is_64: true })
}

/// One member as the central directory tells of it.
struct Member<'a> {
    name: &'a [u8],
    flags: u16,
    method: u16,
    check: u32,
    packed: u64,
    bytes: u64,
    offset: u64,
}

impl<'a> Member<'a> {
    /// The first member of `directory`, and what stands behind it.
    fn take(directory: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = directory.split_at_checked(MEMBER_BYTES)?;
        if !head.starts_with(&MEMBER) {
            return None;
        }
        let (name, rest) = rest.split_at_checked(short(head, 28)?.into())?;
        let (extra, rest) = rest.split_at_checked(short(head, 30)?.into())?;
        let (_comment, rest) = rest.split_at_checked(short(head, 32)?.into())?;
        let mut wides = wides_of(extra);
        // Those that do not fit stand in the extra field, in this order.
        let mut number = |at| match long(head, at)? {
            u32::MAX => wides.next(),
            number => Some(number.into()),
        };
        let (bytes, packed, offset) = (number(24)?, number(20)?, number(42)?);
        let (flags, method, check) = (short(head, 8)?, short(head, 10)?, long(head, 16)?);
        Some((Self { name, flags, method, check, packed, bytes, offset }, rest))
    }

    fn content(&self, read: ReadAt<'_>, shift: u64) -> Result<Vec<u8>, Fault> {
        let damaged = |why| Fault::Content { name: shown(self.name), why };
        if self.flags & 1 != 0 {
            return Err(damaged("it is encrypted"));
        }
        if self.bytes > MEMBER_BYTES_MAX || self.packed > MEMBER_BYTES_MAX {
            return Err(damaged("it is over 1 MiB long"));
        }
        let at = self.offset.checked_add(shift).ok_or(Fault::Directory)?;
        let head = exactly(read, at, 30)?;
        let lengths = short(&head, 26).zip(short(&head, 28));
        let Some((name, extra)) = lengths.filter(|_| head.starts_with(&LOCAL)) else {
            return Err(damaged("there is no member where it should be"));
        };
        let at = [LOCAL_BYTES, name.into(), extra.into()].into_iter().fold(at, u64::saturating_add);
        let packed = exactly(read, at, usize::try_from(self.packed).unwrap_or(usize::MAX))?;
        let bytes_max = usize::try_from(self.bytes).unwrap_or(0);
        let content = match self.method {
            0 => packed,
            8 => miniz_oxide::inflate::decompress_to_vec_with_limit(&packed, bytes_max)
                .map_err(|_error| damaged("it cannot be inflated"))?,
            _ => return Err(damaged("it is packed in a way that is not known")),
        };
        if content.len() != bytes_max || crc32(&content) != self.check {
            return Err(damaged("its check does not match"));
        }
        Ok(content)
    }
}

/// The 64-bit numbers of an extra field.
fn wides_of(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut numbers: &[u8] = &[];
    while let Some((head, rest)) = extra.split_at_checked(4) {
        let Some((kind, length)) = short(head, 0).zip(short(head, 2)) else { break };
        let Some((field, behind)) = rest.split_at_checked(length.into()) else { break };
        if kind == 1 {
            numbers = field;
            break;
        }
        extra = behind;
    }
    numbers.chunks_exact(8).filter_map(|number| wide(number, 0))
}

/// `count` bytes from `at` on. Whoever asks has bounded `count`.
fn exactly(read: ReadAt<'_>, at: u64, count: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; count];
    if read(at, &mut bytes)? == count { Ok(bytes) } else { Err(Fault::Directory) }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn wide(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The check of a member, bit by bit: one small member of an archive is checked.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
