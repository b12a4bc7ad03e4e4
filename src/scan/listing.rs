//! [`Listing`]: what a walk has found, directory by directory, and the walk through it in the order of trees.
//!
//! A directory that is as the index knows it takes a few numbers; its record is read from there when it is come to. So a
//! listing costs memory for what changed, and not for what is there.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::Found;
use super::index::{Index, IndexWriter, RootId, Slot, Whole};
use super::record::{Children, Held, Look, Record, Seen, Sums};
use crate::model::codec;
use crate::model::manifest::{KindView, Stamp, View};
use crate::model::path::{self, TreePath};
use crate::os::meta::KeepXattrs;
use crate::os::stat::Stat;

/// Why a listing cannot be walked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The index that holds its records is no longer what it was.
    #[error("the index changed while it was in use")]
    Index,
    /// A record is not what it claims to be.
    #[error("decode the record of a directory")]
    Record(#[from] codec::Error),
}

/// One directory's record.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// As the index has it.
    Recorded(Slot),
    /// New.
    Fresh(Box<[u8]>, Sums),
    /// New, in the listing's own file.
    Overflown(Slot),
}

/// A tree's root.
#[derive(Debug, Clone)]
pub(super) enum Root {
    Directory { path: TreePath, inode: u64 },
    Other { path: TreePath, stat: Stat, held: Held },
}

/// What a walk has found.
#[derive(Debug, Default)]
pub struct Listing {
    pub(super) index: Arc<Index>,
    /// What did not stay in memory.
    pub(super) overflow: Index,
    /// By the directory's inode.
    pub(super) parts: HashMap<u64, Part>,
    pub(super) roots: Vec<Root>,
    pub(super) device: u64,
    pub(super) keep: KeepXattrs,
    /// Owners are told.
    pub(super) owner: bool,
    /// Which names are one file is told.
    pub(super) hard_links: bool,
}

/// One name of a listing.
#[derive(Debug, Clone, Copy)]
pub struct Item<'c> {
    /// The entry.
    pub view: View<'c, 'c>,
    /// How it looked.
    pub stat: Stat,
}

impl Item<'_> {
    /// With memory of its own.
    pub fn to_found(&self) -> Found {
        Found { entry: self.view.to_entry(), stat: self.stat }
    }
}

impl Listing {
    /// All names together.
    pub fn sums(&self) -> Sums {
        let parts = self.parts.values().map(|part| match part {
            Part::Recorded(slot) | Part::Overflown(slot) => slot.sums,
            Part::Fresh(_, sums) => *sums,
        });
        let mut sums = parts.fold(Sums::default(), Sums::plus);
        for root in &self.roots {
            sums.names = sums.names.saturating_add(1);
            if matches!(root, Root::Other { .. }) {
                sums.files = sums.files.saturating_add(1);
            }
        }
        sums
    }

    /// True if further names of a file are told as links to its first.
    pub fn tells_hard_links(&self) -> bool {
        self.hard_links
    }

    /// Walks all names in the order of trees.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor {
            listing: self,
            roots: self.roots.iter(),
            levels: Vec::new(),
            path: Vec::new(),
            first_names: HashMap::new(),
            joined: Vec::new(),
        }
    }

    /// All names in the order of trees, each with memory of its own.
    pub fn found(&self) -> impl Iterator<Item = Result<Found, Error>> + '_ {
        let mut cursor = self.cursor();
        let mut is_over = false;
        std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let next = cursor.next().map(|item| item.map(|item| item.to_found())).transpose();
            is_over = !matches!(next, Some(Ok(_)));
            next
        })
    }

    /// The record of the directory `inode`.
    pub(super) fn record(&self, inode: u64) -> Result<Box<[u8]>, Error> {
        match self.parts.get(&inode) {
            Some(Part::Fresh(bytes, _)) => Ok(bytes.clone()),
            Some(Part::Recorded(slot)) => stored(&self.index, slot),
            Some(Part::Overflown(slot)) => stored(&self.overflow, slot),
            None => Err(Error::Index),
        }
    }

    /// Writes all but the directories that `is_out` names, to be an index with what else is put there.
    ///
    /// # Errors
    /// As the operating system says; a record that is no longer what it was is left out.
    pub fn write_but<W: io::Write>(
        &self,
        writer: &mut IndexWriter<W>,
        is_out: impl Fn(u64) -> bool,
    ) -> io::Result<()> {
        let mut inodes: Vec<u64> = self.parts.keys().copied().filter(|one| !is_out(*one)).collect();
        inodes.sort_unstable();
        for inode in inodes {
            match self.parts.get(&inode) {
                Some(Part::Fresh(bytes, _)) => writer.put(inode, bytes)?,
                Some(Part::Recorded(slot)) => copy(writer, &self.index, slot)?,
                Some(Part::Overflown(slot)) => copy(writer, &self.overflow, slot)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Writes an index of the tree at `root`, which is `whole`.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn write<W: io::Write>(&self, out: W, root: RootId, whole: Option<Whole>) -> io::Result<W> {
        let mut writer = IndexWriter::new(out, root.device);
        self.write_but(&mut writer, |_inode| false)?;
        writer.finish(root, self.keep, whole)
    }
}

fn stored(index: &Index, slot: &Slot) -> Result<Box<[u8]>, Error> {
    index.record(slot).map(Vec::into_boxed_slice).ok_or(Error::Index)
}

fn copy<W: io::Write>(writer: &mut IndexWriter<W>, index: &Index, slot: &Slot) -> io::Result<()> {
    index.record(slot).map_or(Ok(()), |bytes| writer.copy(slot, &bytes))
}

/// A directory on the way.
#[derive(Debug)]
struct Level {
    record: Box<[u8]>,
    /// How many bytes of the record are still to come.
    left: usize,
    /// How long its path is.
    path_bytes: usize,
}

impl Level {
    fn rest(&self) -> &[u8] {
        self.record.get(self.record.len().saturating_sub(self.left)..).unwrap_or_default()
    }
}

/// Walks a listing; each name is borrowed for as long as it is looked at.
#[derive(Debug)]
pub struct Cursor<'l> {
    listing: &'l Listing,
    roots: std::slice::Iter<'l, Root>,
    levels: Vec<Level>,
    path: Vec<u8>,
    first_names: HashMap<u64, Box<[u8]>>,
    joined: Vec<u8>,
}

impl<'l> Cursor<'l> {
    /// The next name.
    ///
    /// # Errors
    /// [`Error`]; the walk is over.
    #[expect(clippy::should_implement_trait, reason = "what it gives is borrowed from itself")]
    pub fn next(&mut self) -> Result<Option<Item<'_>>, Error> {
        match self.step()? {
            None => Ok(None),
            Some(Step::Root(stat, held)) => Ok(Some(self.root_item(*stat, held))),
            Some(Step::Own) => self.own_item().map(Some),
            Some(Step::Child) => self.child_item().map(Some),
        }
    }

    /// Goes on to the next name, and says where it is to be read.
    fn step(&mut self) -> Result<Option<Step<'l>>, Error> {
        loop {
            let Some(level) = self.levels.last_mut() else {
                return match self.roots.next() {
                    None => Ok(None),
                    Some(Root::Directory { path, inode }) => {
                        self.path = path.as_bytes().to_vec();
                        self.enter(*inode)?;
                        Ok(Some(Step::Own))
                    }
                    Some(Root::Other { path, stat, held }) => {
                        self.path = path.as_bytes().to_vec();
                        Ok(Some(Step::Root(stat, held)))
                    }
                };
            };
            if level.left == 0 {
                self.levels.pop();
                continue;
            }
            let mut children = Children::of(level.rest(), self.listing.device);
            let Some((name, inode)) = children.next_directory()? else {
                return Ok(Some(Step::Child));
            };
            go_to(&mut self.path, level.path_bytes, name);
            level.left = children.rest().len();
            self.enter(inode)?;
            return Ok(Some(Step::Own));
        }
    }

    fn enter(&mut self, inode: u64) -> Result<(), Error> {
        path::check_path(&self.path).map_err(|_error| Error::Index)?;
        let record = self.listing.record(inode)?;
        let left = Record::decode(&record, self.listing.device)?.children().rest().len();
        self.levels.push(Level { record, left, path_bytes: self.path.len() });
        Ok(())
    }

    fn own_item(&self) -> Result<Item<'_>, Error> {
        let level = self.levels.last().ok_or(Error::Index)?;
        let own = Record::decode(&level.record, self.listing.device)?.own;
        Ok(item(self.listing, &self.path, &own, KindView::Directory))
    }

    fn child_item(&mut self) -> Result<Item<'_>, Error> {
        let Level { record, left, path_bytes } = self.levels.last_mut().ok_or(Error::Index)?;
        let rest = record.get(record.len().saturating_sub(*left)..).unwrap_or_default();
        let mut children = Children::of(rest, self.listing.device);
        let child = children.next()?.ok_or(Error::Index)?;
        *left = children.rest().len();
        go_to(&mut self.path, *path_bytes, child.name);
        let Seen::Other(look) = child.seen else { return Err(Error::Index) };
        let is_shared = look.stat.link_count > 1 && matches!(look.kind, KindView::File(_));
        if self.listing.hard_links && is_shared {
            if let Some(first) = self.first_names.get(&look.stat.id.inode) {
                self.joined.clear();
                self.joined.extend_from_slice(first);
                let kind = KindView::HardLink(&self.joined);
                let view = View { path: &self.path, kind, stamp: Stamp::default(), xattrs: None };
                return Ok(Item { view, stat: look.stat });
            }
            self.first_names.insert(look.stat.id.inode, self.path.clone().into());
        }
        Ok(item(self.listing, &self.path, &look, look.kind))
    }

    fn root_item<'c>(&'c self, stat: Stat, held: &'c Held) -> Item<'c> {
        let kind = match held {
            Held::Symlink(text) => KindView::Symlink(text),
            Held::File(_) | Held::Special => KindView::Special,
        };
        let look = Look { stat, is_settled: false, xattrs: None, kind };
        item(self.listing, &self.path, &look, kind)
    }
}

fn item<'c>(listing: &Listing, path: &'c [u8], look: &Look<'c>, kind: KindView<'c>) -> Item<'c> {
    let stat = look.stat;
    let stamp = Stamp {
        mode: if matches!(kind, KindView::Symlink(_)) { 0 } else { stat.mode },
        owner: listing.owner.then_some(stat.owner),
        mtime: stat.id.mtime,
    };
    Item { view: View { path, kind, stamp, xattrs: look.xattrs }, stat }
}

/// Makes of `path`, within a directory whose own takes `parent` bytes, that of `name` there.
fn go_to(path: &mut Vec<u8>, parent: usize, name: &[u8]) {
    path.truncate(parent);
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// Where the next name is to be read.
enum Step<'l> {
    /// The root of a tree that is no directory.
    Root(&'l Stat, &'l Held),
    /// The directory just entered.
    Own,
    /// The next child of the directory last entered, which is no directory.
    Child,
}
