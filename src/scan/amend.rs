//! What a listing becomes by a commit, so that nothing that was just written is read again.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::io;
use std::time::Duration;

use super::index::{IndexWriter, RootId, Whole};
use super::listing::{Error, Listing};
use super::record::{Record, RecordBuilder};
use super::settled::is_settled;
use crate::model::entry::{Timestamp, Xattr};
use crate::model::manifest::KindView;
use crate::os::meta::KeepXattrs;
use crate::os::stat::Stat;

/// What stands under a name after a commit.
#[derive(Debug, Clone, Copy)]
pub enum Now<'a> {
    /// Nothing.
    Gone,
    /// A directory with this inode.
    Directory(u64),
    /// A file or link that looks so.
    Other {
        /// Its look.
        stat: Stat,
        /// What it holds; no hard link.
        kind: KindView<'a>,
    },
}

/// A directory that is not in the listing, as far as its names were told.
#[derive(Debug)]
pub struct NewDirectory(RecordBuilder);

/// A listing with what a commit changed, written as an index while it comes to be known: a tree that is all new takes no
/// memory.
#[derive(Debug)]
pub struct Amended<'l, W> {
    listing: &'l Listing,
    root: RootId,
    keep: KeepXattrs,
    /// `None` once it cannot be written.
    out: Option<IndexWriter<W>>,
    /// The directories that were written.
    written: HashSet<u64>,
    gone: HashSet<u64>,
    looked_at: Timestamp,
    window: Duration,
}

impl<'l, W: io::Write> Amended<'l, W> {
    /// `listing` of the tree at `root`, which may not have been there before, with attributes kept as `keep` says, to be
    /// written to `out`, if to anything. A part of it is looked at again at `looked_at`; `window` is how old a time stamp
    /// must be to be trusted.
    pub fn new(
        listing: &'l Listing,
        (root, keep): (RootId, KeepXattrs),
        (looked_at, window): (Timestamp, Duration),
        out: Option<W>,
    ) -> Self {
        let out = out.map(|out| IndexWriter::new(out, root.device));
        let (written, gone) = (HashSet::new(), HashSet::new());
        Self { listing, root, keep, out, written, gone, looked_at, window }
    }

    /// The directory that was `inode` is no longer part of the tree.
    pub fn gone(&mut self, inode: u64) {
        self.gone.insert(inode);
    }

    /// The directory that looks like `own` now: as the listing has it, but for `names`, which are sorted.
    ///
    /// # Errors
    /// [`Error::Record`] if the listing's own record of it is damaged.
    pub fn directory(
        &mut self,
        own: &Stat,
        xattrs: &[Xattr],
        names: &[(&[u8], Now<'_>)],
    ) -> Result<(), Error> {
        let device = self.root.device;
        let before = self.listing.record(own.id.inode).ok();
        let mut builder = RecordBuilder::new(device);
        let mut names = names.iter().peekable();
        if let Some(before) = before {
            let mut children = Record::decode(&before, device)?.children();
            while let Some(child) = children.next()? {
                let order = |(name, _): &&(&[u8], Now<'_>)| (*name).cmp(child.name);
                while let Some(next) = names.next_if(|next| order(next) == Ordering::Less) {
                    self.put(&mut builder, next);
                }
                match names.next_if(|next| order(next) == Ordering::Equal) {
                    Some(next) => self.put(&mut builder, next),
                    None => builder.raw(child.raw),
                }
            }
        }
        for next in names {
            self.put(&mut builder, next);
        }
        self.write(own.id.inode, &builder.finish(own, xattrs));
        Ok(())
    }

    /// Starts a directory that the listing does not have.
    pub fn start(&self) -> NewDirectory {
        NewDirectory(RecordBuilder::new(self.root.device))
    }

    /// Puts the next name, in order, into a directory that was started.
    pub fn add(&self, directory: &mut NewDirectory, name: &[u8], now: Now<'_>) {
        self.put(&mut directory.0, &(name, now));
    }

    /// Ends a directory that was started, and looks like `own`.
    pub fn end(&mut self, directory: NewDirectory, own: &Stat, xattrs: &[Xattr]) {
        self.write(own.id.inode, &directory.0.finish(own, xattrs));
    }

    fn write(&mut self, inode: u64, record: &[u8]) {
        let is_first = self.written.insert(inode);
        self.out = self.out.take().and_then(|mut out| {
            let is_put = is_first && out.put(inode, record).is_ok();
            is_put.then_some(out)
        });
    }

    fn put(&self, builder: &mut RecordBuilder, (name, now): &(&[u8], Now<'_>)) {
        match now {
            Now::Gone => {}
            Now::Directory(inode) => builder.directory(name, *inode),
            Now::Other { stat, kind } => {
                // Which attributes the file system made of those that were set is not known here.
                let is_known = !self.keep.any();
                let is_settled = is_known && is_settled(&stat.id, self.looked_at, self.window);
                builder.like(name, stat, is_settled, *kind);
            }
        }
    }

    /// Ends the index of the tree, which is `whole`; `None` if it cannot be written.
    pub fn finish(self, whole: Option<Whole>) -> Option<W> {
        let mut out = self.out?;
        let is_out = |inode| self.gone.contains(&inode) || self.written.contains(&inode);
        self.listing.write_but(&mut out, is_out).ok()?;
        out.finish(self.root, self.keep, whole).ok()
    }
}
