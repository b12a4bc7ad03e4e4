//! After a commit: the last check, and what is remembered for the next inspection.

use std::collections::{BTreeMap, HashMap};

use super::error::{Error, io_error};
use super::inspect;
use super::offer::Offered;
use super::place::Place;
use crate::model::entry::{Kind, Xattr};
use crate::model::manifest::{ContentView, KindView, View};
use crate::model::path::{self, TreePath};
use crate::os::dir::Dir;
use crate::os::durable::{self, Replacement};
use crate::os::stat::{FileKind, Stat};
use crate::os::{clock, meta};
use crate::scan::amend::{Amended, NewDirectory, Now};
use crate::scan::settled::racy_window;

/// Names of one directory with what stands there now.
type Names<'a> = BTreeMap<Box<[u8]>, Now<'a>>;

/// Looks once more at every name that the commit of `offered` touched.
///
/// Cost: one look at each of them.
///
/// # Errors
/// [`Error::Refused`] if one is not as it was committed: somebody else writes there.
pub fn check<'o>(place: &Place, offered: &'o Offered) -> Result<Amended<'o, Replacement>, Error> {
    let Some(root) = &place.root else { return Err(changed(b"")) };
    let window = racy_window(root.file_system_type().map_err(io_error("look at", place.shown()))?);
    let id = root.stat_self().map_err(io_error("look at", place.shown()))?.id;
    // The index that the next inspection starts from. A failure costs that inspection time, and no more.
    let out = inspect::new_index(place).ok().flatten().map(|(out, _root)| out);
    let listing = &offered.inspection.listing;
    let of = (place.root_id(&id), offered.options.keep_xattrs);
    let mut after = After {
        offered,
        look: Look { root, open: None },
        amended: Amended::new(listing, of, (clock::wall(), window), out),
        branch: Vec::new(),
        now: BTreeMap::new(),
        first_names: HashMap::new(),
    };
    after.look_at_names()?;
    after.note_gone();
    after.amend()?;
    Ok(after.amended)
}

/// Keeps the manifest for a later delta, and puts the new index in place of the old one. What cannot be written costs bytes
/// and time the next time.
pub fn remember(place: &Place, offered: &Offered, amended: Amended<'_, Replacement>) {
    if let Some(state) = &place.state {
        let name = offered.manifest.id().to_string();
        let bytes = offered.manifest.as_bytes();
        if durable::put(&state.manifests, name.as_bytes(), bytes).is_err() {}
    }
    // What is kept although the release does not have it makes the tree another one.
    let whole = Some(offered.whole).filter(|_| offered.plan.kept_extras.is_empty());
    if let Some(Err(_)) = amended.finish(whole).map(Replacement::finish) {}
}

fn changed(path: &[u8]) -> Error {
    let path = TreePath::of_checked(path);
    Error::refused(
        "changed-meanwhile",
        format!("{path} is not what was committed: somebody else writes there"),
        Some("push again; if a server writes there, exclude the path".into()),
    )
}

fn is_as_released(entry: &View<'_, '_>, stat: &Stat) -> bool {
    match entry.kind {
        KindView::Directory => stat.kind == FileKind::Directory,
        KindView::Symlink(_) => stat.kind == FileKind::Symlink,
        KindView::File(content) => {
            stat.kind == FileKind::File
                && stat.id.size == content.size()
                && stat.id.mtime == entry.stamp.mtime
                && stat.mode == entry.stamp.mode
        }
        KindView::HardLink(_) => stat.kind == FileKind::File,
        KindView::Special => false,
    }
}

struct After<'a, 'o> {
    offered: &'o Offered,
    look: Look<'a>,
    amended: Amended<'o, Replacement>,
    /// New directories on the way to the last name.
    branch: Vec<(TreePath, Stat, NewDirectory)>,
    /// Directories that were there before and changed, with the names in them that did.
    now: BTreeMap<TreePath, Names<'o>>,
    /// What files with several names hold, by their first.
    first_names: HashMap<Box<[u8]>, ContentView<'o>>,
}

impl<'o> After<'_, 'o> {
    /// Every name within an install, of what moved the top, and every file of which the metadata was set.
    fn look_at_names(&mut self) -> Result<(), Error> {
        let plan = &self.offered.plan;
        let mut touched: Vec<&TreePath> = plan.installs.iter().chain(&plan.metas).collect();
        touched.sort_unstable();
        let mut tops = touched.into_iter().peekable();
        let mut top: Option<(&TreePath, bool)> = None;
        let mut moves = plan.moves.iter().peekable();
        let mut views = self.offered.part().views();
        while let Some(view) = views.next() {
            let at = view.path;
            while let Some(next) = tops.next_if(|next| path::order(next.as_bytes(), at).is_le()) {
                top = Some((next, plan.metas.binary_search(next).is_err()));
            }
            let Some((top, is_install)) = top else { continue };
            if top.as_bytes() != at && !(is_install && path::is_within(at, top.as_bytes())) {
                continue;
            }
            let is_moved = |to: &TreePath| path::is_within(at, to.as_bytes());
            let is_before = |to: &TreePath| path::order(to.as_bytes(), at).is_lt() && !is_moved(to);
            while moves.next_if(|moved| is_before(&moved.to)).is_some() {}
            let moved = moves.peek().filter(|moved| is_moved(&moved.to));
            if moved.is_some_and(|moved| moved.to.as_bytes() != at) {
                // It came with the directory that moved.
                continue;
            }
            let stat = self.look.at(at)?.filter(|stat| is_as_released(&view, stat));
            let stat = stat.ok_or_else(|| changed(at))?;
            self.note(&view, stat, is_install && moved.is_none())?;
        }
        self.leave_all_but(None)
    }

    /// Notes what stands at a name; `is_new` if it was staged.
    fn note(&mut self, view: &View<'_, 'o>, stat: Stat, is_new: bool) -> Result<(), Error> {
        self.leave_all_but(Some(view.path))?;
        let now = match view.kind {
            KindView::Directory => Now::Directory(stat.id.inode),
            KindView::HardLink(first) => {
                let content = self.first_names.get(first).ok_or_else(|| changed(view.path))?;
                Now::Other { stat, kind: KindView::File(*content) }
            }
            kind => Now::Other { stat, kind },
        };
        if let KindView::File(content) = view.kind
            && stat.link_count > 1
        {
            self.first_names.insert(view.path.into(), content);
        }
        let path = TreePath::of_checked(view.path);
        match (self.branch.last_mut(), path.split_last()) {
            (Some((_, _, directory)), Some((_, name))) => self.amended.add(directory, name, now),
            (None, Some((parent, name))) => {
                self.now.entry(parent).or_default().insert(name.into(), now);
            }
            (_, None) => {}
        }
        match view.kind {
            KindView::Directory if is_new => {
                self.branch.push((path, stat, self.amended.start()));
            }
            KindView::Directory => drop(self.now.entry(path).or_default()),
            _ => {}
        }
        Ok(())
    }

    /// Ends the new directories that `path` is not in.
    fn leave_all_but(&mut self, at: Option<&[u8]>) -> Result<(), Error> {
        let is_around = |top: &TreePath| at.is_some_and(|at| path::is_within(at, top.as_bytes()));
        while let Some((path, own, directory)) = self.branch.pop_if(|(top, ..)| !is_around(top)) {
            let xattrs = self.xattrs(&path)?;
            self.amended.end(directory, &own, &xattrs);
        }
        Ok(())
    }

    fn xattrs(&self, path: &TreePath) -> Result<Vec<Xattr>, Error> {
        let keep = self.offered.options.keep_xattrs;
        if !keep.any() {
            return Ok(Vec::new());
        }
        let dir = self.look.root.open_path(path);
        dir.and_then(|dir| meta::xattrs(&dir, keep)).map_err(|_error| changed(path.as_bytes()))
    }

    /// Names that are no more, and directories that were there before and look different now.
    fn note_gone(&mut self) {
        let plan = &self.offered.plan;
        let moved = plan.moves.iter().map(|moved| &moved.from);
        for path in plan.removes.iter().chain(moved) {
            let Some((parent, name)) = path.split_last() else { continue };
            self.now.entry(parent).or_default().entry(name.into()).or_insert(Now::Gone);
        }
        for path in &plan.dirs {
            if path::covering(&plan.installs, path).is_none() {
                self.now.entry(path.clone()).or_default();
            }
        }
    }

    fn amend(&mut self) -> Result<(), Error> {
        let plan = &self.offered.plan;
        let found = &self.offered.inspection.found;
        let moved_from = plan.moved_from();
        for one in found.iter().filter(|one| one.entry.kind == Kind::Directory) {
            let is_within = |tops: &[TreePath]| path::covering(tops, &one.entry.path).is_some();
            let goes = is_within(&plan.removes) || is_within(&plan.installs);
            if goes && !is_within(&moved_from) {
                self.amended.gone(one.stat.id.inode);
            }
        }
        for (path, names) in std::mem::take(&mut self.now) {
            // One that was moved away as a whole is not part of the tree.
            let Ok(dir) = self.look.root.open_path(&path) else { continue };
            let own = dir.stat_self().map_err(io_error("look at", path.as_bytes()))?;
            let xattrs = self.xattrs(&path)?;
            let names: Vec<(&[u8], Now<'_>)> =
                names.iter().map(|(name, now)| (&**name, *now)).collect();
            let amended = self.amended.directory(&own, &xattrs, &names);
            amended.map_err(|error| Error::Scan(error.into()))?;
        }
        Ok(())
    }
}

struct Look<'a> {
    root: &'a Dir,
    open: Option<(Box<[u8]>, Dir)>,
}

impl Look<'_> {
    fn at(&mut self, at: &[u8]) -> Result<Option<Stat>, Error> {
        let io = |source| Error::Io {
            act: "look at",
            what: TreePath::of_checked(at).to_string(),
            source,
        };
        let Some(parent) = path::parent(at) else {
            return self.root.stat_self().map(Some).map_err(io);
        };
        let name = at.get(parent.len()..).unwrap_or_default();
        let name = name.strip_prefix(b"/").unwrap_or(name);
        if self.open.as_ref().is_none_or(|(open, _)| **open != *parent) {
            match self.root.open_path(&TreePath::of_checked(parent)) {
                Ok(dir) => self.open = Some((parent.into(), dir)),
                Err(_) => return Ok(None),
            }
        }
        let Some((_, dir)) = &self.open else { return Ok(None) };
        dir.find(name).map_err(io)
    }
}
