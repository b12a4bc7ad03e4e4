//! The live tree, name by name, within bounds: what a commit could not replace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Findings, user};
use crate::model::manifest::Header;
use crate::model::path::{STATE_DIRECTORY, TreePath};
use crate::node::place::is_privileged;
use crate::os::dir::Dir;
use crate::os::stat::{FileKind, Stat};
use crate::os::{clock, host};
use crate::scan::matcher::{Layer, Matcher};

/// Most names looked at.
const NAMES_MAX: usize = 500_000;
/// The longest that it may take: far less than a hub waits for.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Paths that have one thing in common: the first, and how many.
#[derive(Debug, Default)]
struct Alike {
    first: Option<TreePath>,
    count: u64,
}

#[derive(Debug, Default)]
struct Seen {
    immutable: Alike,
    mounted: Alike,
    closed: Alike,
    foreign_directories: Alike,
    foreign_files: Alike,
}

impl Alike {
    fn add(&mut self, path: &TreePath) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert_with(|| path.clone());
    }

    /// `a/b`, or `a/b and 3 more`.
    fn shown(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(match self.count {
            0 | 1 => first.to_string(),
            count => format!("{first} and {} more", count.saturating_sub(1)),
        })
    }
}

/// Walks the trees below `root`, but for what the rules leave alone. More than the bounds is looked at in part.
pub(super) fn check(root: &Dir, header: &Header, is_gone: &AtomicBool, found: &mut Findings) {
    let mut seen = Seen::default();
    let started = clock::now();
    // Rules that no release could have are told of the source.
    let Ok(matcher) = Matcher::new(&header.rules) else { return };
    let mut todo: Vec<(TreePath, Option<Arc<Layer>>)> = Vec::new();
    for tree in header.trees.iter().rev() {
        let dir = if tree.is_root() { None } else { root.open_path(tree).ok() };
        if let Some(stat) = dir.and_then(|dir| dir.stat_self().ok()) {
            seen.look(&stat, tree);
        } else if !tree.is_root() {
            continue;
        }
        todo.push((tree.clone(), None));
    }
    let mut left = NAMES_MAX;
    while let Some((path, above)) = todo.pop() {
        if is_gone.load(Ordering::Relaxed) || started.elapsed() > TIME_MAX || left == 0 {
            break;
        }
        let Ok((dir, names)) =
            root.open_path(&path).and_then(|dir| dir.names().map(|all| (dir, all)))
        else {
            seen.closed.add(&path);
            continue;
        };
        let layer = Layer::found(above, &dir, &path);
        for (name, _) in names.into_iter().take(left) {
            left = left.saturating_sub(1);
            if path.is_root() && *name == *STATE_DIRECTORY {
                continue;
            }
            // A name that went meanwhile is no matter; one that no release can have is the inspection's.
            let (Ok(Some(stat)), Ok(below)) = (dir.find(&name), path.join(&name)) else { continue };
            let is_directory = stat.kind == FileKind::Directory;
            if matcher.leaves(layer.as_deref(), &below, is_directory) {
                continue;
            }
            if seen.look(&stat, &below) {
                todo.push((below, layer.clone()));
            }
        }
    }
    seen.tell(found);
}

impl Seen {
    /// Notes what is special about a name; true if there is more below it.
    fn look(&mut self, stat: &Stat, path: &TreePath) -> bool {
        let is_directory = stat.kind == FileKind::Directory;
        if stat.is_mount_root {
            self.mounted.add(path);
            return false;
        }
        if stat.is_immutable {
            self.immutable.add(path);
        }
        if !is_privileged() && stat.owner.uid != host::user_id() {
            let foreign =
                if is_directory { &mut self.foreign_directories } else { &mut self.foreign_files };
            foreign.add(path);
        }
        is_directory
    }

    fn tell(&self, found: &mut Findings) {
        if let Some(paths) = self.immutable.shown() {
            let message = format!("immutable or append-only: {paths}");
            found.error("immutable", message, "take the attribute away with chattr -R -i -a");
        }
        if let Some(paths) = self.closed.shown() {
            let message = format!("the agent cannot read the directory {paths}: {}", user());
            found.error(
                "unreadable",
                message,
                "give it to the agent's user, or log in as its owner",
            );
        }
        if let Some(paths) = self.foreign_directories.shown() {
            let message = format!("another user's directory: {paths}; {}", user());
            found.error("owner", message, "give the tree to the agent's user with chown -R");
        }
        if let Some(paths) = self.foreign_files.shown() {
            let message =
                format!("another user's file, of which mode and time cannot be set: {paths}");
            found.warning("owner", message, "give the tree to the agent's user with chown -R");
        }
        if let Some(paths) = self.mounted.shown() {
            let message = format!("something is mounted inside the target: {paths}");
            found.warning(
                "mount-point",
                message,
                "unmount it, or exclude it (--exclude, .depsyncignore)",
            );
        }
    }
}
