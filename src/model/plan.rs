//! [`plan`]: what turns the tree a node has into the tree it should have. Pure; a merge of two sorted lists.
//!
//! ```text
//! have ──┐                 ┌─ installs  topmost new or replaced paths, staged whole, entered by one rename each
//!        ├─ merge by path ─┼─ removes   topmost paths that go, moved away by one rename each
//! want ──┘                 ├─ moves     files that only change their name
//!                          ├─ metas     entries of which only mode, owner, times or attributes change
//!                          └─ dirs      directories whose names change, so that their times must be set again
//! ```
//! A plan lists tops, not every path below them: a first push of a million files into an empty root is one install.

mod change;
mod moves;

pub use change::{Change, ChangeKind, CommitStyle, Counts, Deletes, MaxDelete};

use std::collections::{BTreeSet, HashMap, HashSet};

use super::entry::{Entry, Kind, Meta, Owner, Xattr};
use super::manifest::Part;
use super::path::{self, TreePath};
use moves::Gone;

/// One entry that a node has.
#[derive(Debug, Clone, Copy)]
pub struct Have<'a> {
    /// The entry, its content known.
    pub entry: &'a Entry,
    /// It has no other name, so that changing it in place, or moving it, changes nothing else.
    pub is_sole_name: bool,
}

/// What a plan must respect.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Keep what the release does not have.
    pub no_delete: bool,
    /// Topmost ignored paths that exist and are not among what the node has, sorted; directories around them stay.
    pub ignored: Vec<TreePath>,
    /// Topmost protected paths, sorted; what lies there and is not in the release stays, with the directories around it.
    pub protected: Vec<TreePath>,
    /// Compare and set numeric owners.
    pub owners: bool,
    /// The owner of every entry, if it is one for all; else each entry's own.
    pub owner: Option<Owner>,
}

impl Policy {
    fn same_owner(&self, old: &Entry, want: &Entry) -> bool {
        let wanted = self.owner.or(want.meta.owner);
        !self.owners || wanted.is_none() || old.meta.owner == wanted
    }
}

/// What must be done, by tops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Topmost paths to be staged and put in place; sorted.
    pub installs: Vec<TreePath>,
    /// Topmost paths to be moved away; sorted; none within an install.
    pub removes: Vec<TreePath>,
    /// Files, and directories with all that is in them, that only change their name; sorted by their new names, which lie
    /// within installs or stand among them.
    pub moves: Vec<Move>,
    /// Files, links and directories of which only metadata changes; sorted.
    pub metas: Vec<TreePath>,
    /// Directories whose names change, those of installs only by what moves into them, or that move; sorted.
    pub dirs: Vec<TreePath>,
    /// Entries that go although they block nothing: extras kept by `no_delete` or by a protected path below them.
    pub kept_extras: Vec<TreePath>,
    /// Paths that cannot become what the release says, because what must be kept is in the way.
    pub conflicts: Vec<TreePath>,
    /// Entries touched.
    pub counts: Counts,
    /// What the deletion guard looks at.
    pub deletes: Deletes,
}

impl Plan {
    /// The same change as one install of all of `tree`; what it counts stays what it was.
    #[must_use]
    pub fn as_swap(self, tree: &TreePath) -> Self {
        Self {
            installs: vec![tree.clone()],
            removes: Vec::new(),
            moves: Vec::new(),
            metas: Vec::new(),
            dirs: tree.parent().into_iter().collect(),
            ..self
        }
    }

    /// The former names of what moves; sorted. None lies within another.
    pub fn moved_from(&self) -> Vec<TreePath> {
        let mut from: Vec<_> = self.moves.iter().map(|moved| moved.from.clone()).collect();
        from.sort_unstable();
        from
    }
}

/// A file, or a directory with all that is in it, that only changes its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Where it is.
    pub from: TreePath,
    /// Where it should be.
    pub to: TreePath,
}

/// What a tree should be, and how much of it is there.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// The tree, of which those entries matter that are not as they should be in all that a plan looks at; what the node
    /// has at the others is not among what is given to the plan.
    pub release: Part<'a>,
    /// How many of those others are no directories.
    pub same_files: u64,
}

/// Plans the way from `have`, sorted by path, to `want`.
///
/// Guarantees: the plan is a function of its inputs alone; carrying it out gives `want` (but for what `policy` keeps);
/// a plan from a tree to itself is empty; `on_change` hears of every path that changes, in order.
/// Cost: one pass over both lists, and one over the whole release if files go that could be moved; memory for the tops.
pub fn plan<'h>(
    have: &'h [Have<'h>],
    want: Want<'_>,
    policy: &Policy,
    on_change: &mut dyn FnMut(Change),
) -> Plan {
    let mut merge = Merge {
        policy,
        have,
        dirty_links: dirty_links(have, want.release, policy),
        plan: Plan { deletes: Deletes { lost: 0, of: want.same_files }, ..Plan::default() },
        dirs: BTreeSet::new(),
        replaced: HashSet::new(),
        install_top: None,
        remove_top: None,
        gone: Vec::new(),
        on_change,
    };
    let mut have_at = have.iter().peekable();
    let mut want_at = want.release.entries().peekable();
    loop {
        let order = match (have_at.peek(), want_at.peek()) {
            (Some(have), Some(want)) => have.entry.path.cmp(&want.path),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => break,
        };
        let have = if order.is_le() { have_at.next() } else { None };
        let want = if order.is_ge() { want_at.next() } else { None };
        if let Some(have) = have {
            merge.tally(have.entry);
        }
        match (have, want) {
            (Some(have), Some(want)) => merge.both(have, &want),
            (Some(have), None) => merge.extra(have),
            (None, Some(want)) => merge.missing(&want),
            (None, None) => break,
        }
    }
    merge.finish(want.release)
}

/// Size of what an entry holds.
fn size_of(entry: &Entry) -> u64 {
    match &entry.kind {
        Kind::File(content) => content.size(),
        Kind::Symlink(text) => text.len() as u64,
        _ => 0,
    }
}

struct Merge<'a, 'h> {
    policy: &'a Policy,
    have: &'h [Have<'h>],
    dirty_links: HashSet<TreePath>,
    plan: Plan,
    dirs: BTreeSet<TreePath>,
    /// Installs of which the path is taken now.
    replaced: HashSet<TreePath>,
    /// The install that following entries may lie within.
    install_top: Option<TreePath>,
    /// The remove that following entries may lie within.
    remove_top: Option<TreePath>,
    /// What goes, in order.
    gone: Vec<Gone<'h>>,
    on_change: &'a mut dyn FnMut(Change),
}

impl<'h> Merge<'_, 'h> {
    fn tally(&mut self, have: &Entry) {
        if !have.kind.is_directory() {
            self.plan.deletes.of = self.plan.deletes.of.saturating_add(1);
        }
    }

    fn change(&mut self, entry: &Entry, kind: ChangeKind) {
        self.plan.counts.add(kind);
        (self.on_change)(Change { path: entry.path.clone(), kind, bytes: size_of(entry) });
    }

    fn is_within(top: Option<&TreePath>, path: &TreePath) -> bool {
        top.is_some_and(|top| path.is_within(top))
    }

    /// A path whose names change touches the directory around it.
    fn touch_parent(&mut self, path: &TreePath) {
        if let Some(parent) = path.parent() {
            self.dirs.insert(parent);
        }
    }

    fn install(&mut self, path: &TreePath) {
        if !Self::is_within(self.install_top.as_ref(), path) {
            self.plan.installs.push(path.clone());
            self.install_top = Some(path.clone());
            self.touch_parent(path);
        }
    }

    fn replace(&mut self, path: &TreePath) {
        self.install(path);
        self.replaced.insert(path.clone());
    }

    fn missing(&mut self, want: &Entry) {
        if path::covering(&self.policy.ignored, &want.path).is_some() {
            self.plan.conflicts.push(want.path.clone());
        }
        self.change(want, ChangeKind::Create);
        self.install(&want.path);
    }

    fn extra(&mut self, have: &Have<'h>) {
        let path = &have.entry.path;
        let replaced = Self::is_within(self.install_top.as_ref(), path);
        if replaced {
            if self.policy.no_delete || path::covering(&self.policy.protected, path).is_some() {
                let top = self.install_top.clone().filter(|top| !self.plan.conflicts.contains(top));
                self.plan.conflicts.extend(top);
            }
            self.goes(have, false);
        } else if Self::is_within(self.remove_top.as_ref(), path) {
            self.goes(have, true);
        } else if self.policy.no_delete || self.is_kept(path) {
            self.plan.kept_extras.push(path.clone());
        } else {
            self.plan.removes.push(path.clone());
            self.remove_top = Some(path.clone());
            self.touch_parent(path);
            self.goes(have, true);
        }
    }

    fn goes(&mut self, have: &Have<'h>, can_move: bool) {
        self.change(have.entry, ChangeKind::Delete);
        let is_directory = have.entry.kind.is_directory();
        if !is_directory {
            self.plan.deletes.lost = self.plan.deletes.lost.saturating_add(1);
        }
        // What is below a directory that another type replaces is no longer there when moves are carried out.
        let can_move = can_move && (is_directory || have.is_sole_name);
        let (entry, content) = (have.entry, self.content_of(have.entry));
        self.gone.push(Gone { entry, content, can_move });
    }

    /// The entry that tells the content of `entry`: for a further name of a file, the first one's.
    fn content_of(&self, entry: &'h Entry) -> &'h Entry {
        let Kind::HardLink(first) = &entry.kind else { return entry };
        find(self.have, first).map_or(entry, |first| first.entry)
    }

    /// True if `path` must be kept, for itself, for what is below it, or for what it lies within.
    fn is_kept(&self, path: &TreePath) -> bool {
        let Policy { ignored, protected, .. } = self.policy;
        holds(ignored, path) || holds(protected, path) || path::covering(protected, path).is_some()
    }

    fn both(&mut self, have: &Have<'h>, want: &Entry) {
        let (old, path) = (have.entry, &want.path);
        if !old.kind.same_type(&want.kind) {
            if old.kind.is_directory() && holds(&self.policy.ignored, path) {
                self.plan.conflicts.push(path.clone());
            }
            self.change(want, ChangeKind::Type);
            self.replace(path);
            if !old.kind.is_directory() {
                self.plan.deletes.lost = self.plan.deletes.lost.saturating_add(1);
                let content = self.content_of(old);
                self.gone.push(Gone { entry: old, content, can_move: false });
            }
            return;
        }
        let same_content = old.kind == want.kind && !self.dirty_links.contains(first_name(want));
        let same_meta = matches!(want.kind, Kind::HardLink(_)) || self.same_meta(old, want);
        match (same_content, same_meta) {
            (true, true) => {}
            (true, false) => {
                self.change(want, ChangeKind::Metadata);
                let in_place = match want.kind {
                    Kind::Directory => true,
                    Kind::File(_) => have.is_sole_name && !gives_rights(&want.meta),
                    _ => false,
                };
                if in_place { self.plan.metas.push(path.clone()) } else { self.replace(path) }
            }
            (false, _) => {
                self.change(want, ChangeKind::Update);
                self.replace(path);
            }
        }
    }

    fn same_meta(&self, old: &Entry, want: &Entry) -> bool {
        let (old_meta, new_meta) = (&old.meta, &want.meta);
        let is_link = matches!(want.kind, Kind::Symlink(_));
        (is_link || old_meta.mode == new_meta.mode)
            && old_meta.mtime == new_meta.mtime
            && (is_link || old_meta.xattrs == new_meta.xattrs)
            && self.policy.same_owner(old, want)
    }

    fn finish(mut self, want: Part<'_>) -> Plan {
        self.pair_gone_with_new(want);
        self.plan.dirs = self.dirs.into_iter().collect();
        self.plan
    }
}

/// True if a file with `meta` gives rights to whoever runs it. RACE: it is made anew, from bytes that were verified: the one
/// that stands there may be open for writing, or be another by the time its mode is set.
fn gives_rights(meta: &Meta) -> bool {
    let is_privileged =
        |xattr: &Xattr| xattr.name.starts_with(b"security.") || xattr.name.starts_with(b"trusted.");
    meta.mode & 0o6000 != 0 || meta.xattrs.iter().any(is_privileged)
}

/// True if one of the sorted `paths` is `path` or lies below it.
fn holds(paths: &[TreePath], path: &TreePath) -> bool {
    let at = paths.partition_point(|one| one < path);
    paths.get(at).is_some_and(|one| one.is_within(path))
}

fn find<'a, 'h>(have: &'a [Have<'h>], path: &TreePath) -> Option<&'a Have<'h>> {
    have.binary_search_by(|have| have.entry.path.cmp(path)).ok().and_then(|at| have.get(at))
}

/// The name under which a group of hard links is known.
fn first_name(entry: &Entry) -> &TreePath {
    if let Kind::HardLink(first) = &entry.kind { first } else { &entry.path }
}

/// First names of the groups of hard links that must be made anew: a member is new, or was not linked so, or the
/// content or metadata of the group changes.
fn dirty_links(have: &[Have<'_>], want: Part<'_>, policy: &Policy) -> HashSet<TreePath> {
    let mut dirty = HashSet::new();
    if !want.manifest().header().capture.hard_links {
        return dirty;
    }
    let find = |path: &TreePath| find(have, path);
    let mut group_sizes: HashMap<TreePath, u64> = HashMap::new();
    for entry in want.entries() {
        let Kind::HardLink(first) = &entry.kind else { continue };
        *group_sizes.entry(first.clone()).or_insert(1) += 1;
        if find(&entry.path).is_none_or(|have| have.entry.kind != entry.kind) {
            dirty.insert(first.clone());
        }
    }
    for entry in want.entries().filter(|entry| group_sizes.contains_key(&entry.path)) {
        let same = find(&entry.path).is_some_and(|have| {
            have.entry.kind == entry.kind
                && have.entry.meta.mode == entry.meta.mode
                && have.entry.meta.mtime == entry.meta.mtime
                && have.entry.meta.xattrs == entry.meta.xattrs
                && policy.same_owner(have.entry, &entry)
        });
        if !same {
            dirty.insert(entry.path.clone());
        }
    }
    dirty
}

#[cfg(test)]
mod tests;
