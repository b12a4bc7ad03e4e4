//! After a commit: the last check, and what is remembered for the next inspection.

use std::collections::HashSet;

use super::error::{Error, io_error};
use super::inspect;
use super::offer::Offered;
use super::place::Place;
use crate::model::entry::{Entry, Kind};
use crate::model::path::TreePath;
use crate::os::clock;
use crate::os::dir::Dir;
use crate::os::stat::{FileKind, Stat};
use crate::scan::Found;
use crate::scan::index::{Index, RootId, racy_window};

/// Looks at every name that the commit touched, and gives the index of the tree as it is now.
///
/// # Errors
/// [`Error::Refused`] naming the first that is not as the release says: somebody else wrote there meanwhile.
pub fn check(place: &Place, offered: &Offered) -> Result<Index, Error> {
    let Some(root) = &place.root else { return Err(changed(&TreePath::root())) };
    let plan = &offered.plan;
    let moved: HashSet<&TreePath> = plan.moves.iter().map(|moved| &moved.to).collect();
    let metas: HashSet<&TreePath> = plan.metas.iter().collect();
    let mut installs = plan.installs.iter().peekable();
    let mut top: Option<&TreePath> = None;
    let mut old = offered.inspection.found.iter().peekable();
    let mut look = Look { root, open: None };
    let mut found = Vec::new();
    for entry in offered.manifest.entries() {
        while let Some(next) = installs.next_if(|next| **next <= entry.path) {
            top = Some(next);
        }
        while old.next_if(|one| one.entry.path < entry.path).is_some() {}
        let is_touched = top.is_some_and(|top| entry.path.is_within(top))
            || moved.contains(&entry.path)
            || metas.contains(&entry.path);
        let known = old.peek().filter(|one| one.entry.path == entry.path && !is_touched);
        let stat = match known {
            Some(one) => one.stat,
            None => look
                .at(&entry.path)?
                .filter(|stat| is_as_released(&entry, stat))
                .ok_or_else(|| changed(&entry.path))?,
        };
        if matches!(entry.kind, Kind::File(_)) {
            found.push(Found { entry, stat });
        }
    }
    let id = root.stat_self().map_err(io_error("look at", place.shown()))?.id;
    let window = racy_window(root.file_system_type().map_err(io_error("look at", place.shown()))?);
    Ok(Index::of(RootId::of(&id), &found, clock::wall(), window))
}

/// Saves the index. That it could not be saved costs the next inspection time, and nothing else.
pub fn remember(place: &Place, index: &Index) {
    if inspect::save_index(place, index).is_err() {}
}

fn changed(path: &TreePath) -> Error {
    Error::refused(
        "changed-meanwhile",
        format!("{path} is not what was committed: somebody else writes there"),
        Some("push again; if a server writes there, exclude the path".into()),
    )
}

fn is_as_released(entry: &Entry, stat: &Stat) -> bool {
    match &entry.kind {
        Kind::Directory => stat.kind == FileKind::Directory,
        Kind::Symlink(_) => stat.kind == FileKind::Symlink,
        Kind::File(content) => {
            stat.kind == FileKind::File
                && stat.id.size == content.size()
                && stat.id.mtime == entry.meta.mtime
                && stat.mode == entry.meta.mode
        }
        Kind::HardLink(_) => stat.kind == FileKind::File,
        Kind::Special => false,
    }
}

/// Looks at names in the order of paths; neighbours share an open directory.
struct Look<'a> {
    root: &'a Dir,
    open: Option<(TreePath, Dir)>,
}

impl Look<'_> {
    fn at(&mut self, path: &TreePath) -> Result<Option<Stat>, Error> {
        let io = |source| Error::Io { act: "look at", what: path.to_string(), source };
        let Some((parent, name)) = path.split_last() else {
            return self.root.stat_self().map(Some).map_err(io);
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != parent) {
            match self.root.open_path(&parent) {
                Ok(dir) => self.open = Some((parent, dir)),
                Err(_) => return Ok(None),
            }
        }
        let Some((_, dir)) = &self.open else { return Ok(None) };
        dir.find(name).map_err(io)
    }
}
