//! The way from one manifest to another, for the wire. Nothing is told again that the base tells already.
//!
//! ```text
//! base · header, if it differs · dropped entries of the base · moves (from, to)* · contents · entry*
//! content = runs: segments of the base by their ordinals · new chunks · holes
//! ```
//! The result is the merge by path of three sorted lists: what the base keeps, subtrees of the base under other names,
//! and the entries told here, of which one with the path of a kept one replaces it.
//! `apply(base, encode(base, want)) == want`, and the receiver proves it: the result's digest must be the release id.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod apply;
mod contents;

pub use apply::apply;

use std::cmp::Ordering;

use super::codec::Writer;
use super::digest::Digest;
use super::entry::{Content, Entry, Kind};
use super::limits::DELTA_REFERENCES_MAX;
use super::manifest::{Body, KindView, Manifest, View};
use super::moved;
use super::ordinals::Ordinals;
use super::path::{self, TreePath};
use contents::{Source, Teller};

const WHAT: &str = "manifest delta";

/// Encodes what leads from `base` to `want`.
///
/// A subtree that only moved costs its two names, an entry that changed its path and metadata, and content the chunks
/// that nothing changed or removed had.
///
/// Cost: one pass over both; memory and bytes grow with the difference alone.
pub fn encode(base: &Manifest, want: &Manifest) -> Vec<u8> {
    let Difference { removed, replaced, come } = Difference::between(base, want);
    let (moves, has_moved) = moves(&removed, &come);
    let mut dropped = Ordinals::default();
    for gone in &removed {
        dropped.push(gone.ordinal);
    }
    let sources = replaced.into_iter().chain(removed.iter().filter_map(Removed::source));
    let mut teller = Teller::new(sources, DELTA_REFERENCES_MAX.saturating_sub(moves.len()));
    let mut body = Body::default();
    let told = come.into_iter().zip(has_moved).filter(|(_, has_moved)| !has_moved);
    for (Come { mut entry, replaces }, _) in told {
        if let Kind::File(content) = &mut entry.kind {
            teller.tell(&std::mem::take(content), replaces);
        }
        // A manifest holds no special file, which is the only entry that cannot be written.
        if body.push(&entry).is_err() {
            debug_assert!(false, "a manifest held a special file");
        }
    }
    let mut writer = Writer::new();
    writer.digest(&base.id());
    let header = (want.header() != base.header()).then_some(want.header());
    writer.option(header, |writer, header| header.encode(writer));
    dropped.encode(&mut writer);
    let mut before = 0u64;
    writer.list(&moves, |writer, (from, to)| {
        writer.i64(from.wrapping_sub(before).cast_signed());
        writer.path(to);
        before = *from;
    });
    writer.bytes(&teller.finish());
    writer.raw(&body.finish());
    writer.finish()
}

/// An entry of the base at a path that is no more.
struct Removed {
    entry: Entry,
    /// Its position among the entries of the base.
    ordinal: u64,
    /// How many segments of the base stand before its own.
    segments_before: u64,
}

impl Removed {
    fn source(&self) -> Option<Source> {
        let Kind::File(content) = &self.entry.kind else { return None };
        Some(Source { start: self.segments_before, content: content.clone() })
    }
}

/// An entry that is new or different.
struct Come {
    entry: Entry,
    /// The entry at its path, if there is one, by its place among the replaced.
    replaces: Option<usize>,
}

/// Whatever differs.
#[derive(Default)]
struct Difference {
    removed: Vec<Removed>,
    /// The content of what was at the paths that both have.
    replaced: Vec<Source>,
    come: Vec<Come>,
}

impl Difference {
    fn between(base: &Manifest, want: &Manifest) -> Self {
        let mut difference = Self::default();
        let (mut old_at, mut new_at) = (base.views(), want.views());
        let (mut old, mut new) = (old_at.next(), new_at.next());
        let (mut ordinal, mut segments_before) = (0u64, 0u64);
        loop {
            let order = match (&old, &new) {
                (Some(old), Some(new)) => path::order(old.path, new.path),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let gone = old.filter(|_| order.is_le());
            let come = new.filter(|_| order.is_ge());
            if gone != come {
                difference.add(gone.as_ref(), come.as_ref(), (ordinal, segments_before));
            }
            if let Some(gone) = gone {
                ordinal = ordinal.saturating_add(1);
                segments_before = segments_before.saturating_add(segment_count(&gone));
                old = old_at.next();
            }
            if come.is_some() {
                new = new_at.next();
            }
        }
        difference
    }

    /// Adds what goes and what comes at one path; what goes stands at `place`, by entries and by segments.
    fn add(
        &mut self,
        gone: Option<&View<'_, '_>>,
        come: Option<&View<'_, '_>>,
        (ordinal, segments_before): (u64, u64),
    ) {
        let mut replaces = None;
        match (gone, come) {
            (Some(gone), Some(_)) => {
                replaces = Some(self.replaced.len());
                let content = match gone.kind {
                    KindView::File(content) => content.to_content(),
                    _ => Content::default(),
                };
                self.replaced.push(Source { start: segments_before, content });
            }
            (Some(gone), None) => {
                let entry = gone.to_entry();
                self.removed.push(Removed { entry, ordinal, segments_before });
            }
            (None, _) => {}
        }
        self.come.extend(come.map(|come| Come { entry: come.to_entry(), replaces }));
    }
}

fn segment_count(view: &View<'_, '_>) -> u64 {
    if let KindView::File(content) = view.kind { content.segment_count() } else { 0 }
}

/// The subtrees that moved, each as the ordinal of its top in the base and its new name; and which of `come` they cover.
fn moves(removed: &[Removed], come: &[Come]) -> (Vec<(u64, TreePath)>, Vec<bool>) {
    let new = come.iter().enumerate().filter(|(_, one)| one.replaces.is_none());
    let (places, new): (Vec<usize>, Vec<&Entry>) = new.map(|(at, one)| (at, &one.entry)).unzip();
    let old = removed.iter().map(|gone| known(&gone.entry));
    let mut has_moved = vec![false; come.len()];
    let mut moves = Vec::new();
    let found = moved::find(old, new.iter().copied().map(known));
    for found in found.into_iter().take(DELTA_REFERENCES_MAX) {
        let (Some(top), Some(to)) = (removed.get(found.from.start), new.get(found.to.start)) else {
            continue;
        };
        moves.push((top.ordinal, to.path.clone()));
        for at in places.get(found.to).unwrap_or_default() {
            if let Some(has_moved) = has_moved.get_mut(*at) {
                *has_moved = true;
            }
        }
    }
    (moves, has_moved)
}

fn known(entry: &Entry) -> (&Entry, Option<Digest>) {
    (entry, moved::identity(&entry.kind, &entry.meta))
}

#[cfg(test)]
mod tests;
