//! What goes under one name and comes under another: it moves where all of it is the same, and is not lost where its content is.

use std::collections::HashSet;

use super::super::digest::Digest;
use super::super::entry::{Entry, Kind, Meta, Owner};
use super::super::manifest::{Part, link_key};
use super::super::moved::{self, Moved};
use super::super::path::{self, TreePath};
use super::{Merge, Move};

/// Something that goes.
#[derive(Clone, Copy)]
pub(super) struct Gone<'h> {
    pub(super) entry: &'h Entry,
    /// The entry that tells its content: for a further name of a file, the first one's.
    pub(super) content: &'h Entry,
    /// It stands where it does until everything that is new is in place, and nothing else changes with it.
    pub(super) can_move: bool,
}

impl Gone<'_> {
    /// Equal for equal content of the same type.
    fn key(&self) -> Option<Digest> {
        content_key(self.content)
    }
}

fn content_key(entry: &Entry) -> Option<Digest> {
    match &entry.kind {
        Kind::File(content) => Some(content.digest()),
        Kind::Symlink(text) => Some(link_key(text)),
        _ => None,
    }
}

impl Merge<'_, '_> {
    /// Pairs what goes with what is new and the same in all but its name: it moves, a directory with all that is in it as
    /// one. What does not move is not lost where its content is somewhere in the release.
    pub(super) fn pair_gone_with_new(&mut self, want: Part<'_>) {
        if self.gone.is_empty() {
            return;
        }
        let mut rest = std::mem::take(&mut self.gone);
        self.find_moves(&mut rest, want);
        let missing: HashSet<Digest> = rest.iter().filter_map(Gone::key).collect();
        let mut back = HashSet::new();
        let mut views = want.manifest().views();
        while back.len() < missing.len()
            && let Some(view) = views.next()
        {
            back.extend(view.content_key().filter(|key| missing.contains(key)));
        }
        let is_back = |gone: &&Gone<'_>| gone.key().is_some_and(|key| back.contains(&key));
        self.found_again(rest.iter().filter(is_back).count());
    }

    fn found_again(&mut self, count: usize) {
        self.plan.deletes.lost = self.plan.deletes.lost.saturating_sub(count as u64);
    }

    /// Takes what moves out of `gone`.
    fn find_moves(&mut self, gone: &mut Vec<Gone<'_>>, want: Part<'_>) {
        let contents: HashSet<Digest> = gone.iter().filter_map(Gone::key).collect();
        let removed = gone.iter().map(|gone| {
            let identity = || self.identity(gone.entry, gone.entry.meta.owner);
            (gone.entry, gone.can_move.then(identity).flatten())
        });
        let come = || want.entries().filter(|entry| self.is_new(&entry.path));
        let firsts = first_names(want);
        let known = |entry: Entry| {
            // PERF: most of a large release can be content that is nowhere here, and need not be known by a digest.
            let is_here = content_key(&entry).is_none_or(|key| contents.contains(&key));
            let identity = || self.identity(&entry, self.policy.owner.or(entry.meta.owner));
            let can_move = is_here && !firsts.contains(&entry.path);
            let identity = can_move.then(identity).flatten();
            (entry, identity)
        };
        let mut found = moved::find(removed, come().map(known));
        found.retain(|moved| gone.get(moved.from.start).is_some_and(|top| is_worth_it(top, moved)));
        if found.is_empty() {
            return;
        }
        let mut left = found.iter().peekable();
        let tops = (0..).zip(come()).filter_map(|(at, entry)| {
            let moved = left.next_if(|moved| moved.to.start == at)?;
            Some((gone.get(moved.from.start)?.entry.path.clone(), entry))
        });
        for (from, Entry { path: to, kind, .. }) in tops.collect::<Vec<_>>() {
            self.dirs.extend(to.parent());
            self.dirs.extend(kind.is_directory().then(|| to.clone()));
            self.plan.moves.push(Move { from, to });
        }
        let mut has_moved = vec![false; gone.len()];
        for moved in found {
            if let Some(range) = has_moved.get_mut(moved.from) {
                range.fill(true);
            }
        }
        let mut has_moved = has_moved.into_iter();
        let mut files = 0;
        gone.retain(|gone| {
            let has_moved = has_moved.next() == Some(true);
            files += usize::from(has_moved && gone.key().is_some());
            !has_moved
        });
        self.found_again(files);
    }

    /// What an entry is here apart from its path: equal for two that need no change to be the same.
    fn identity(&self, entry: &Entry, owner: Option<Owner>) -> Option<Digest> {
        let owner = owner.filter(|_| self.policy.owners);
        let meta = match &entry.kind {
            // Nothing else of a link is compared.
            Kind::Symlink(_) => Meta { owner, mtime: entry.meta.mtime, ..Meta::default() },
            _ => Meta { owner, ..entry.meta.clone() },
        };
        moved::identity(&entry.kind, &meta)
    }

    /// True if `path` lies within an install that replaces nothing.
    fn is_new(&self, path: &TreePath) -> bool {
        let top = path::covering(&self.plan.installs, path);
        top.is_some_and(|top| !self.replaced.contains(top))
    }
}

/// The names that other names of the release are links to: of a file that moves all names would have to be made anew.
fn first_names(want: Part<'_>) -> HashSet<TreePath> {
    if !want.manifest().header().capture.hard_links {
        return HashSet::new();
    }
    let first = |entry: Entry| match entry.kind {
        Kind::HardLink(first) => Some(first),
        _ => None,
    };
    want.entries().filter_map(first).collect()
}

/// False for what is made anew as quickly.
fn is_worth_it(top: &Gone<'_>, moved: &Moved) -> bool {
    match &top.entry.kind {
        Kind::Directory => moved.from.len() > 1,
        Kind::File(content) => content.size() > 0,
        _ => false,
    }
}
