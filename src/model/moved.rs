//! [`find`]: subtrees that moved as a whole. Something was removed under one name and is new, unchanged, under another.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::borrow::Borrow;
use std::collections::HashMap;
use std::ops::Range;

use super::codec::Writer;
use super::digest::{Digest, Domain, Hasher};
use super::entry::{Entry, Kind, Meta, Owner, Xattr};
use super::path::TreePath;

/// A subtree that moved: a directory with all that is below it, or a single entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its positions among what was removed; the first is its top.
    pub from: Range<usize>,
    /// Its positions among what is new, one for each of `from` in the same order.
    pub to: Range<usize>,
}

/// Finds what moved. `removed` and `new` are sorted by path, and whatever is below a directory of theirs is in them too.
/// Each comes with what it is apart from its path ([`identity`]); an entry without that moves with nothing, nor does
/// anything around it.
///
/// Guarantees: in the order of `new`, as large as possible, no entry in two of them. Each pair of entries has one
/// identity, and the same path below its top. Names of tops do not matter.
/// Cost: one pass over each list, and a digest for each entry; 64 bytes of memory for each. Nothing if nothing was removed.
pub fn find<R: Borrow<Entry>, N: Borrow<Entry>>(
    removed: impl IntoIterator<Item = (R, Option<Digest>)>,
    new: impl IntoIterator<Item = (N, Option<Digest>)>,
) -> Vec<Moved> {
    let removed = subtrees(removed);
    if removed.is_empty() {
        return Vec::new();
    }
    let mut candidates = Candidates::new(removed);
    let mut found = Vec::new();
    let mut below = 0;
    for (at, subtree) in subtrees(new).into_iter().enumerate() {
        if at < below {
            continue;
        }
        if let Some(from) = subtree.digest.and_then(|digest| candidates.take(&digest)) {
            below = subtree.end;
            found.push(Moved { from, to: at..subtree.end });
        }
    }
    found
}

/// What an entry is apart from its path: its kind with what it holds, and `meta`. A hard link has none: the name it leads
/// to may have moved as well.
pub fn identity(kind: &Kind, meta: &Meta) -> Option<Digest> {
    let mut writer = Writer::append_to(Vec::with_capacity(128));
    match kind {
        Kind::Directory => writer.u8(0),
        Kind::File(content) => {
            writer.u8(1);
            writer.digest(&content.digest());
        }
        Kind::Symlink(text) => {
            writer.u8(2);
            writer.bytes(text);
        }
        Kind::HardLink(_) | Kind::Special => return None,
    }
    let Meta { mode, owner, mtime, xattrs } = meta;
    writer.u64(u64::from(*mode));
    writer.option(*owner, |writer, Owner { uid, gid }| {
        writer.u64(u64::from(uid));
        writer.u64(u64::from(gid));
    });
    writer.i64(mtime.seconds);
    writer.u64(u64::from(mtime.nanos));
    writer.list(xattrs, |writer, Xattr { name, value }| {
        writer.bytes(name);
        writer.bytes(value);
    });
    Some(Digest::of(Domain::State, &writer.finish()))
}

/// An entry and all that is below it, up to the position `end`.
#[derive(Debug, Clone)]
struct Subtree {
    end: usize,
    /// Equal for equal subtrees, whatever their tops are called; none if something in it has no identity.
    digest: Option<Digest>,
    /// The position of the directory around it, if that is in the list.
    parent: Option<usize>,
}

/// What is removed and did not move yet.
struct Candidates {
    subtrees: Vec<Subtree>,
    /// The first of each digest, and for each the next of its digest.
    first: HashMap<Digest, usize>,
    next: Vec<Option<usize>>,
    /// It has moved, or something in it has.
    is_broken: Vec<bool>,
}

impl Candidates {
    fn new(subtrees: Vec<Subtree>) -> Self {
        let mut first = HashMap::with_capacity(subtrees.len());
        let mut next = vec![None; subtrees.len()];
        for ((at, subtree), next) in subtrees.iter().enumerate().zip(&mut next).rev() {
            *next = subtree.digest.and_then(|digest| first.insert(digest, at));
        }
        let is_broken = vec![false; subtrees.len()];
        Self { subtrees, first, next, is_broken }
    }

    /// Takes the first whole subtree of this digest.
    fn take(&mut self, digest: &Digest) -> Option<Range<usize>> {
        let at = loop {
            let at = self.first.remove(digest)?;
            if let Some(next) = *self.next.get(at)? {
                self.first.insert(*digest, next);
            }
            if self.is_broken.get(at) == Some(&false) {
                break at;
            }
        };
        let range = at..self.subtrees.get(at)?.end;
        self.is_broken.get_mut(range.clone())?.fill(true);
        let mut around = self.subtrees.get(at)?.parent;
        while let Some(at) = around {
            *self.is_broken.get_mut(at)? = true;
            around = self.subtrees.get(at)?.parent;
        }
        Some(range)
    }
}

/// A directory of which the entries are being taken.
struct Open {
    at: usize,
    path: TreePath,
    hasher: Option<Hasher>,
}

#[derive(Default)]
struct Taking {
    subtrees: Vec<Subtree>,
    open: Vec<Open>,
}

fn subtrees<E: Borrow<Entry>>(
    entries: impl IntoIterator<Item = (E, Option<Digest>)>,
) -> Vec<Subtree> {
    let mut taking = Taking::default();
    for (entry, digest) in entries {
        let entry = entry.borrow();
        while taking.open.last().is_some_and(|top| !entry.path.is_within(&top.path)) {
            taking.close();
        }
        let at = taking.subtrees.len();
        let parent = taking.open.last().map(|open| open.at);
        taking.subtrees.push(Subtree { end: at.saturating_add(1), digest, parent });
        if entry.kind.is_directory() {
            let hasher = digest.map(|digest| {
                let mut hasher = Hasher::new(Domain::State);
                hasher.update(&digest.0);
                hasher
            });
            taking.open.push(Open { at, path: entry.path.clone(), hasher });
        } else {
            taking.join(&entry.path, digest);
        }
    }
    while !taking.open.is_empty() {
        taking.close();
    }
    taking.subtrees
}

impl Taking {
    /// Ends the innermost directory and makes it part of the one around it.
    fn close(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let digest = open.hasher.map(|hasher| hasher.finish());
        let end = self.subtrees.len();
        if let Some(subtree) = self.subtrees.get_mut(open.at) {
            subtree.digest = digest;
            subtree.end = end;
        }
        self.join(&open.path, digest);
    }

    /// Makes what stands at `path` part of the innermost directory.
    fn join(&mut self, path: &TreePath, digest: Option<Digest>) {
        let Some(around) = self.open.last_mut() else { return };
        let below = path.as_bytes().get(around.path.as_bytes().len()..).unwrap_or_default();
        match (&mut around.hasher, digest) {
            (Some(hasher), Some(digest)) => {
                hasher.update(&(below.len() as u64).to_le_bytes());
                hasher.update(below);
                hasher.update(&digest.0);
            }
            (hasher, _) => *hasher = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{entries, entry, random};
    use super::*;

    fn known(entries: &[Entry]) -> impl Iterator<Item = (&Entry, Option<Digest>)> {
        entries.iter().map(|entry| (entry, identity(&entry.kind, &entry.meta)))
    }

    fn tree(lines: &str) -> Vec<Entry> {
        let mut all = entries(lines);
        all.retain(|entry| !entry.path.is_root());
        all
    }

    /// What moved, as `from>to` of the tops with the number of entries.
    fn moved(removed: &str, new: &str) -> String {
        let (removed, new) = (tree(removed), tree(new));
        let found = find(known(&removed), known(&new));
        let shown = found.iter().map(|moved| {
            assert_eq!(moved.from.len(), moved.to.len());
            let (from, to) = (&removed[moved.from.start].path, &new[moved.to.start].path);
            format!("{from}>{to}:{}", moved.from.len())
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_directory_that_moved_is_one() {
        for (removed, new, expected) in [
            ("", "a f x", ""),
            ("a f x", "b f x", "a>b:1"),
            ("a f x", "b f y", ""),
            ("a@1 f x", "b@2 f x", ""),
            ("a d; a/b f x; a/c d; a/c/d f y", "z d; z/b f x; z/c d; z/c/d f y", "a>z:4"),
            // Into another depth, and past others in the order.
            ("m d; m/f f x", "a d; a/b d; a/b/f f x", "m>a/b:2"),
            // What is below must be the same under the same names, and all of it.
            ("a d; a/b f x", "z d; z/c f x", "a/b>z/c:1"),
            ("a d; a/b f x; a/c f y", "z d; z/b f x", "a/b>z/b:1"),
            ("a d; a/b f x", "z d; z/b f x; z/c f y", "a/b>z/b:1"),
            ("a d; a/b f x; a/s d; a/s/f f y", "z d; z/b f w; z/s d; z/s/f f y", "a/s>z/s:2"),
            // A name that only starts alike is not below.
            ("a d; a-b f x", "c d; c-b f x", "a>c:1 a-b>c-b:1"),
        ] {
            assert_eq!(moved(removed, new), expected, "{removed} | {new}");
        }
    }

    #[test]
    fn nothing_moves_twice() {
        assert_eq!(moved("a f x", "b f x; c f x"), "a>b:1");
        assert_eq!(moved("a f x; b f x", "c f x; d f x"), "a>c:1 b>d:1");
        // Part of it went elsewhere before the whole was asked for, and the whole before a part.
        assert_eq!(moved("a d; a/b d; a/b/f f x", "b f x; c d; c/b d; c/b/f f x"), "a/b/f>b:1");
        assert_eq!(moved("a d; a/f f x", "b d; b/f f x; c f x"), "a>b:2");
    }

    #[test]
    fn what_has_no_identity_holds_what_is_around_it() {
        let lines = ["a d; a/l h q; a/s d; a/s/f f x", "z d; z/l h q; z/s d; z/s/f f x"];
        assert_eq!(moved(lines[0], lines[1]), "a/s>z/s:2");
    }

    #[test]
    fn whatever_moved_is_the_same_entry_by_entry() {
        for start in 0..1_000 {
            let mut seed = start;
            let mut make = || {
                let mut all = vec![entry("t d")];
                let mut directories = vec![TreePath::new(b"t").expect("a path")];
                for _ in 0..random(&mut seed, 14) {
                    let at = usize::try_from(random(&mut seed, directories.len() as u64)).unwrap();
                    let name = [b'a' + u8::try_from(random(&mut seed, 3)).unwrap()];
                    let path = directories[at].join(&name).expect("short");
                    if all.iter().any(|entry: &Entry| entry.path == path) {
                        continue;
                    }
                    let kind = if random(&mut seed, 2) == 0 { "t d" } else { "t f x" };
                    let made = Entry { path: path.clone(), ..entry(kind) };
                    directories.extend(made.kind.is_directory().then_some(path));
                    all.push(made);
                }
                all.sort_by(|one, other| one.path.cmp(&other.path));
                all
            };
            let (removed, new) = (make(), make());
            let mut taken = vec![false; removed.len()];
            for Moved { from, to } in find(known(&removed), known(&new)) {
                let (top, new_top) = (&removed[from.start].path, &new[to.start].path);
                for (old, new) in removed[from.clone()].iter().zip(&new[to]) {
                    let below = |path: &TreePath, top| path.strip_prefix(top).expect("below");
                    assert_eq!(below(&old.path, top), below(&new.path, new_top), "seed {start}");
                    assert_eq!((&old.kind, &old.meta), (&new.kind, &new.meta), "seed {start}");
                }
                for at in from {
                    assert!(!std::mem::replace(&mut taken[at], true), "seed {start}");
                }
            }
        }
    }
}
