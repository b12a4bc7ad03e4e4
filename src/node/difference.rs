//! [`Difference`]: what of a tree is not as a release says, so that all that follows costs what changes, not what is there.

use super::error::Error;
use crate::model::bits::Bits;
use crate::model::entry::{Entry, Owner};
use crate::model::manifest::{Chunks, KindView, Manifest, Part, Picked, View};
use crate::model::path;
use crate::scan::Found;
use crate::scan::listing::{Item, Listing};

/// What of a tree is not as a release says.
#[derive(Debug, Default)]
pub struct Difference {
    /// Names that differ or that the release does not have, and all directories around each such name and each that
    /// is missing; sorted.
    pub found: Vec<Found>,
    /// The entries of the release at those names and directories; `None` where that is all of them.
    pub picked: Option<Picked>,
    /// The numbers of the release's other entries, which are as they should be.
    pub same: Bits,
    /// How many of those are no directories.
    pub same_files: u64,
}

/// Which owners are as they should be.
#[derive(Debug, Clone, Copy)]
pub struct Owners {
    /// They are compared.
    pub compared: bool,
    /// The owner of every entry, if it is one for all; else each entry's own.
    pub all: Option<Owner>,
}

impl Difference {
    /// Compares `listing` with `manifest`.
    ///
    /// Cost: one pass over both; memory for what differs, or for everything if `takes_all`: then all is taken to differ.
    ///
    /// # Errors
    /// [`Error::Scan`] if the listing cannot be walked.
    pub fn between(
        listing: &Listing,
        manifest: &Manifest,
        owners: Owners,
        takes_all: bool,
    ) -> Result<Self, Error> {
        let mut this = Self::default();
        let mut branch = Branch::default();
        let (mut cursor, mut placed) = (listing.cursor(), Part::from(manifest).placed());
        let (mut have, mut want) = (cursor.next().map_err(walked)?, placed.next());
        let mut number = 0u64;
        loop {
            let order = match (&have, &want) {
                (Some(have), Some((_, _, want))) => path::order(have.view.path, want.path),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return Ok(this),
            };
            let wanted = want.as_ref().filter(|_| order.is_ge());
            if let Some(at) = have.as_ref().filter(|_| order.is_le()) {
                branch.leave(at.view.path);
                let same = wanted
                    .filter(|(_, _, want)| !takes_all && is_same(at, want, owners))
                    .map(|(_, _, want)| want);
                if let Some(want) = same {
                    this.keep(number, manifest);
                    if matches!(at.view.kind, KindView::Directory) {
                        branch.enter(at, Some((number, want.to_entry())));
                    } else {
                        this.same_files = this.same_files.saturating_add(1);
                    }
                } else {
                    branch.tell(&mut this);
                    this.found.push(at.to_found());
                    this.pick(wanted);
                    if matches!(at.view.kind, KindView::Directory) {
                        branch.enter(at, None);
                    }
                }
            } else if let Some((_, _, want)) = wanted {
                branch.leave(want.path);
                branch.tell(&mut this);
                this.pick(wanted);
            }
            if order.is_le() {
                have = cursor.next().map_err(walked)?;
            }
            if order.is_ge() {
                want = placed.next();
                number = number.saturating_add(1);
            }
        }
    }

    /// The entry with this number is as it should be. PERF: until the first one that is, the manifest itself is what differs.
    fn keep(&mut self, number: u64, manifest: &Manifest) {
        self.same.insert(number);
        if self.picked.is_none() {
            self.picked = Some(Picked::first(manifest, number));
        }
    }

    fn pick(&mut self, wanted: Option<&(Chunks, Chunks, View<'_, '_>)>) {
        if let (Some(picked), Some((before, _, view))) = (&mut self.picked, wanted) {
            picked.push(view, *before);
        }
    }
}

fn walked(error: crate::scan::listing::Error) -> Error {
    Error::Scan(error.into())
}

fn is_same(have: &Item<'_>, want: &View<'_, '_>, owners: Owners) -> bool {
    let (old, new) = (&have.view.stamp, &want.stamp);
    let wanted = owners.all.or(new.owner);
    let same_owner = !owners.compared || wanted.is_none() || old.owner == wanted;
    let is_link = matches!(want.kind, KindView::Symlink(_));
    have.view.kind == want.kind
        && old.mtime == new.mtime
        && same_owner
        && (is_link || (old.mode == new.mode && have.view.xattrs == want.xattrs))
}

/// The directories that the node has on the way to a name, each with its number and entry in the release if it is as it
/// should be and was not told yet.
#[derive(Debug, Default)]
struct Branch {
    levels: Vec<(Found, Option<(u64, Entry)>)>,
}

impl Branch {
    fn leave(&mut self, path: &[u8]) {
        let is_around = |found: &Found| path::is_within(path, found.entry.path.as_bytes());
        while self.levels.last().is_some_and(|(found, _)| !is_around(found)) {
            self.levels.pop();
        }
    }

    fn enter(&mut self, item: &Item<'_>, untold: Option<(u64, Entry)>) {
        self.levels.push((item.to_found(), untold));
    }

    /// Tells the directories around a name, each once, from the top, so that what is told stays sorted.
    fn tell(&mut self, difference: &mut Difference) {
        for (directory, untold) in &mut self.levels {
            if let Some((number, entry)) = untold.take() {
                difference.found.push(directory.clone());
                difference.same.remove(number);
                if let Some(picked) = &mut difference.picked {
                    picked.push_directory(&entry);
                }
            }
        }
    }
}
