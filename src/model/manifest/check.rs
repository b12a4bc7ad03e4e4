//! What no single entry tells: order, parents, roots, hard links.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::{Header, WHAT};
use crate::model::codec::{Error, Result};
use crate::model::digest::{Digest, Domain};
use crate::model::entry::{Entry, Kind};
use crate::model::limits;
use crate::model::path::TreePath;

/// Checks what no single entry tells: order, parents, hard links.
pub(super) struct Checker<'a> {
    header: &'a Header,
    last: Option<TreePath>,
    branch: Vec<TreePath>,
    files: std::collections::HashSet<Digest>,
    entry_count: u64,
    roots_seen: usize,
}

impl<'a> Checker<'a> {
    pub(super) fn new(header: &'a Header) -> Self {
        let files = std::collections::HashSet::new();
        Self { header, last: None, branch: Vec::new(), files, entry_count: 0, roots_seen: 0 }
    }

    pub(super) fn check(&mut self, entry: &Entry) -> Result<()> {
        let not_canonical = Error::NotCanonical { what: WHAT };
        self.entry_count = self.entry_count.saturating_add(1);
        let limit = limits::ENTRIES_MAX;
        if self.entry_count > limit {
            return Err(Error::TooLarge { what: "entry count", value: self.entry_count, limit });
        }
        if self.last.as_ref().is_some_and(|last| *last >= entry.path) {
            return Err(not_canonical);
        }
        while self.branch.last().is_some_and(|top| !entry.path.is_within(top)) {
            self.branch.pop();
        }
        let has_parent = match (self.branch.last(), entry.path.parent()) {
            (Some(top), Some(parent)) => *top == parent,
            _ => false,
        };
        let is_root = self.header.trees.contains(&entry.path);
        if !has_parent && !is_root {
            return Err(not_canonical);
        }
        self.roots_seen = self.roots_seen.saturating_add(usize::from(is_root));
        self.check_kind(entry)?;
        self.last = Some(entry.path.clone());
        Ok(())
    }

    fn check_kind(&mut self, entry: &Entry) -> Result<()> {
        let key = |path: &TreePath| Digest::of(Domain::State, path.as_bytes());
        match &entry.kind {
            Kind::Directory => self.branch.push(entry.path.clone()),
            Kind::File(_) if self.header.capture.hard_links => {
                self.files.insert(key(&entry.path));
            }
            Kind::HardLink(first) if !self.files.contains(&key(first)) => {
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
