//! [`dates()`]: when each name of a source was changed last, by its stat alone.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::matcher::{Layer, Matcher, RULE_FILE, Verdict, read_rule_file};
use super::walk::directory_refused;
use super::{Error, Problem, Progress, Side};
use crate::model::path::TreePath;
use crate::os::dir::Dir;
use crate::os::stat::{FileKind, Stat};

/// What a look at the dates of a source found.
#[derive(Debug, Default)]
pub struct Dates {
    /// Of every directory, file and link that is not ignored; the roots of trees are not among them.
    pub stamps: Vec<Stamp>,
    /// Some name exists and is ignored.
    pub has_ignored: bool,
    /// Directories that cannot be looked into.
    pub problems: Vec<Problem>,
}

/// One name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its last modification, in seconds since 1970.
    pub seconds: i64,
    /// The size of a file; of anything else 0.
    pub bytes: u64,
    /// It holds ignore rules.
    pub is_rule_file: bool,
}

/// Looks at the dates of all names of the `trees` below `root`, but for those that `matcher` and the rule files leave out.
///
/// Guarantee: no file is opened but `.depsyncignore`. Cost: one `statx` a name, in one thread; 24 bytes of memory a name.
///
/// # Errors
/// As [`scan`](super::scan()) of a source.
pub fn dates(
    root: &Dir,
    trees: &[TreePath],
    matcher: &Matcher,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Dates, Error> {
    let mut found = Dates::default();
    let mut todo: Vec<(TreePath, Option<Arc<Layer>>)> = Vec::new();
    for tree in trees {
        check_tree(root, tree)?;
        todo.push((tree.clone(), None));
    }
    while let Some((path, above)) = todo.pop() {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let listed = root.open_path(&path).and_then(|dir| dir.names().map(|names| (dir, names)));
        let (dir, names) = match listed {
            Ok(listed) => listed,
            // It went meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => {
                found.problems.push(Problem { path, what: directory_refused(source) });
                continue;
            }
        };
        let layer = match read_rule_file(&dir, &path)? {
            Some((text, _)) => Some(Arc::new(Layer::new(above, &path, &text)?)),
            None => above,
        };
        progress.entries.fetch_add(names.len() as u64, Ordering::Relaxed);
        for (name, _) in names {
            // A name that went meanwhile is no matter; one that no release can have is told by a plan.
            let (Ok(Some(stat)), Ok(below)) = (dir.find(&name), path.join(&name)) else { continue };
            let is_directory = stat.kind == FileKind::Directory;
            let verdict = matcher.verdict(layer.as_deref(), &below, is_directory, Side::Source);
            if verdict != Verdict::None {
                found.has_ignored = true;
                continue;
            }
            found.stamps.extend(Stamp::of(&stat, &name));
            if is_directory {
                todo.push((below, layer.clone()));
            }
        }
    }
    found.problems.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

impl Stamp {
    /// Nothing of what no release has.
    fn of(stat: &Stat, name: &[u8]) -> Option<Self> {
        let bytes = match stat.kind {
            FileKind::File => stat.id.size,
            FileKind::Directory | FileKind::Symlink => 0,
            FileKind::Special => return None,
        };
        Some(Self { seconds: stat.id.mtime.seconds, bytes, is_rule_file: *name == *RULE_FILE })
    }
}

fn check_tree(root: &Dir, tree: &TreePath) -> Result<(), Error> {
    let Some((parent, name)) = tree.split_last() else { return Ok(()) };
    let missing = || Error::TreeMissing { tree: tree.clone() };
    let looked = root.open_path(&parent).and_then(|dir| dir.find(name));
    match looked {
        Ok(Some(stat)) if stat.kind == FileKind::Directory => Ok(()),
        Ok(Some(_)) => Err(Error::TreeNotDirectory { tree: tree.clone() }),
        Ok(None) => Err(missing()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(Error::TreeNotDirectory { tree: tree.clone() })
        }
        Err(source) => Err(Error::Tree { tree: tree.clone(), source }),
    }
}
