//! What no single entry tells: order, parents, roots, hard links.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::cmp::Ordering;

use super::view::{KindView, View};
use super::{Header, WHAT};
use crate::model::codec::{Error, Result};
use crate::model::digest::{Digest, Domain};
use crate::model::limits;
use crate::model::path;

/// Takes entries in order and refuses the first that cannot follow.
pub(super) struct Checker<'a> {
    header: &'a Header,
    last: Vec<u8>,
    /// The directories on the way to the last entry: how much of its path each takes.
    branch: Vec<usize>,
    files: std::collections::HashSet<Digest>,
    entry_count: u64,
    roots_seen: usize,
}

impl<'a> Checker<'a> {
    pub(super) fn new(header: &'a Header) -> Self {
        let files = std::collections::HashSet::new();
        Self { header, last: Vec::new(), branch: Vec::new(), files, entry_count: 0, roots_seen: 0 }
    }

    pub(super) fn check(&mut self, entry: &View<'_, '_>) -> Result<()> {
        let not_canonical = Error::NotCanonical { what: WHAT };
        let is_first = self.entry_count == 0;
        self.entry_count = self.entry_count.saturating_add(1);
        let limit = limits::ENTRIES_MAX;
        if self.entry_count > limit {
            return Err(Error::TooLarge { what: "entry count", value: self.entry_count, limit });
        }
        if !is_first && path::order(&self.last, entry.path) != Ordering::Less {
            return Err(not_canonical);
        }
        let (last, at) = (&self.last, entry.path);
        while let Some(end) = self.branch.pop() {
            if path::is_within(at, last.get(..end).unwrap_or_default()) {
                self.branch.push(end);
                break;
            }
        }
        let parent = path::parent(at).map(<[u8]>::len);
        let has_parent = parent.is_some() && parent == self.branch.last().copied();
        let is_root = self.header.trees.iter().any(|tree| tree.as_bytes() == at);
        if !has_parent && !is_root {
            return Err(not_canonical);
        }
        self.roots_seen = self.roots_seen.saturating_add(usize::from(is_root));
        self.check_kind(entry)?;
        self.last.clear();
        self.last.extend_from_slice(at);
        Ok(())
    }

    fn check_kind(&mut self, entry: &View<'_, '_>) -> Result<()> {
        let key = |path: &[u8]| Digest::of(Domain::State, path);
        match &entry.kind {
            KindView::Directory => self.branch.push(entry.path.len()),
            KindView::File(_) if self.header.capture.hard_links => {
                self.files.insert(key(entry.path));
            }
            KindView::HardLink(first) if !self.files.contains(&key(first)) => {
                return Err(Error::NotCanonical { what: WHAT });
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<()> {
        let all_rooted = self.roots_seen == self.header.trees.len();
        if all_rooted { Ok(()) } else { Err(Error::NotCanonical { what: WHAT }) }
    }
}
