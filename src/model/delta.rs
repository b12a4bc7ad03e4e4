//! The way from one manifest to another, for the wire: paths that go and entries that come.
//!
//! `apply(base, encode(base, want)) == want`, and the receiver proves it: the result's digest must be the release id.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::cmp::Ordering;

use super::codec::{Error, Reader, Result, Writer};
use super::manifest::{Builder, Header, Manifest, ReleaseId};

const WHAT: &str = "manifest delta";

/// Encodes what leads from `base` to `want`: the header, the paths of `base` that are gone or different, and a small
/// manifest body of the entries of `want` that are new or different.
///
/// Cost: one pass over both; bytes grow with the difference alone.
pub fn encode(base: &Manifest, want: &Manifest) -> Vec<u8> {
    let mut gone = Vec::new();
    let mut come = Vec::new();
    let (mut old, mut new) = (base.entries().peekable(), want.entries().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(old), Some(new)) => old.path.cmp(&new.path),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        let removed = if order.is_le() { old.next() } else { None };
        let added = if order.is_ge() { new.next() } else { None };
        if order.is_eq() && removed == added {
            continue;
        }
        gone.extend(removed.map(|entry| entry.path));
        come.extend(added);
    }
    let mut writer = Writer::new();
    writer.digest(&base.id());
    want.header().encode(&mut writer);
    writer.list(&gone, Writer::path);
    let mut body = super::manifest::Body::default();
    for entry in &come {
        // A manifest holds no special file, which is the only entry that cannot be written.
        if body.push(entry).is_err() {
            debug_assert!(false, "a manifest held a special file");
        }
    }
    writer.raw(&body.finish());
    writer.finish()
}

/// Makes the manifest that `delta` leads to from `base`.
///
/// # Errors
/// [`Error::Digest`] if `delta` is for another base, or if the result is not `expected`; any error of decoding.
pub fn apply(base: &Manifest, delta: &[u8], expected: ReleaseId) -> Result<Manifest> {
    let mut reader = Reader::new(delta, WHAT);
    if reader.digest()? != base.id() {
        return Err(Error::Digest { what: WHAT });
    }
    let header = Header::decode(&mut reader)?;
    let limit = usize::try_from(super::limits::ENTRIES_MAX).unwrap_or(usize::MAX);
    let gone = reader.list(limit, Reader::path)?;
    let mut gone = gone.into_iter().peekable();
    let mut come = super::manifest::BodyReader::new(reader).peekable();
    let mut old = base.entries().peekable();
    let mut builder = Builder::new(header);
    loop {
        while gone.next_if(|path| old.peek().is_some_and(|old| old.path == *path)).is_some() {
            old.next();
        }
        let take_new = match (old.peek(), come.peek()) {
            (Some(old), Some(Ok(new))) => new.path < old.path,
            (_, Some(_)) => true,
            (Some(_), None) => false,
            (None, None) => break,
        };
        let entry = if take_new { come.next().transpose()? } else { old.next() };
        if let Some(entry) = entry {
            builder.push(&entry)?;
        }
    }
    let manifest = builder.finish()?;
    if gone.peek().is_some() || manifest.id() != expected {
        return Err(Error::Digest { what: WHAT });
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests;
