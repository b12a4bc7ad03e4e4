//! One directory of a walk: what is asked for, what is held while it is visited, what comes of it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::listing;
use super::matcher::{self, Layer};
use super::record::{Child, Children, Held, Record};
use super::{Problem, What};
use crate::model::entry::{Content, Xattr};
use crate::model::path::TreePath;
use crate::os::dir::Dir;
use crate::os::stat::{FileKind, Stat, StatId};

/// A name of a listing, with the type of file where the file system tells it.
pub(super) type Name = (Box<[u8]>, Option<FileKind>);

/// How far apart the names are at which a record is entered.
const STEP: usize = 256;

/// What a walk has come by.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) parts: Vec<(u64, listing::Part)>,
    pub(super) ignored: Vec<TreePath>,
    pub(super) protected: Vec<TreePath>,
    pub(super) problems: Vec<Problem>,
    pub(super) rule_files: Vec<(TreePath, String)>,
    pub(super) skipped_specials: Vec<TreePath>,
    pub(super) bad_rules: Vec<(TreePath, matcher::Error)>,
    /// Something is not what the index says, in what a release tells.
    pub(super) is_different: bool,
    /// Something does not look as the index says.
    pub(super) is_news: bool,
}

impl Gathered {
    pub(super) fn append(&mut self, mut other: Self) {
        self.parts.append(&mut other.parts);
        self.ignored.append(&mut other.ignored);
        self.protected.append(&mut other.protected);
        self.problems.append(&mut other.problems);
        self.rule_files.append(&mut other.rule_files);
        self.skipped_specials.append(&mut other.skipped_specials);
        self.bad_rules.append(&mut other.bad_rules);
        self.is_different |= other.is_different;
        self.is_news |= other.is_news;
    }

    pub(super) fn problem(&mut self, path: &TreePath, what: What) {
        self.problems.push(Problem { path: path.clone(), what });
    }
}

/// A directory to be visited.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) path: TreePath,
    /// What its parent saw.
    pub(super) expected: Option<Stat>,
    /// The rules that hold in it, but for its own.
    pub(super) layer: Option<Arc<Layer>>,
    pub(super) revisit: u32,
    /// What an earlier visit read.
    pub(super) reuse: HashMap<u64, (StatId, Content)>,
    /// The directories that an earlier visit has sent others to.
    pub(super) children: Option<Vec<(TreePath, u64)>>,
}

impl Order {
    pub(super) fn new(path: TreePath, expected: Option<Stat>, layer: Option<Arc<Layer>>) -> Self {
        Self { path, expected, layer, revisit: 0, reuse: HashMap::new(), children: None }
    }
}

/// What the index knows of a directory.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) slot: super::index::Slot,
    bytes: Vec<u8>,
    pub(super) count: u64,
    device: u64,
    /// Where every [`STEP`]th name begins, if there are many.
    starts: Vec<(Box<[u8]>, usize)>,
}

impl Known {
    /// `bytes` as a record; nothing if they are none.
    pub(super) fn new(slot: super::index::Slot, bytes: Vec<u8>, device: u64) -> Option<Self> {
        let record = Record::decode(&bytes, device).ok()?;
        let count = record.count;
        let starts = if count > STEP as u64 { record.starts(STEP).ok()? } else { Vec::new() };
        let starts = starts.into_iter().map(|(name, at)| (name.into(), at)).collect();
        Some(Self { slot, bytes, count, device, starts })
    }

    /// The record.
    pub(super) fn record(&self) -> Option<Record<'_>> {
        Record::decode(&self.bytes, self.device).ok()
    }

    /// Its names from a little before `name` on.
    pub(super) fn children_from(&self, name: &[u8]) -> Option<Children<'_>> {
        let at = self.starts.partition_point(|(start, _)| **start <= *name);
        let offset = at.checked_sub(1).and_then(|at| self.starts.get(at)).map_or(0, |(_, at)| *at);
        Some(self.record()?.children_from(offset))
    }

    /// Where `child` stands.
    pub(super) fn place_of(&self, child: &Child<'_>, rest: &[u8]) -> Range<usize> {
        let end = self.bytes.len().saturating_sub(rest.len());
        end.saturating_sub(child.raw.len())..end
    }

    /// The encoded child at `place`.
    pub(super) fn raw(&self, place: &Range<usize>) -> &[u8] {
        self.bytes.get(place.clone()).unwrap_or_default()
    }
}

/// A directory that is being visited.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) order: Order,
    pub(super) dir: Dir,
    pub(super) before: Stat,
    pub(super) layer: Option<Arc<Layer>>,
    pub(super) rule_file: Option<StatId>,
    pub(super) known: Option<Known>,
    pub(super) part: Mutex<Part>,
    pub(super) pending: AtomicUsize,
}

/// What became of one name.
#[derive(Debug)]
pub(super) enum Row {
    /// It is as recorded there.
    Known(Range<usize>),
    /// It is new, or looks different.
    Fresh(Box<Fresh>),
    /// It is not part of the tree, or not yet known.
    Absent,
}

/// A name with what was seen there.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) name: Box<[u8]>,
    pub(super) stat: Stat,
    pub(super) xattrs: Vec<Xattr>,
    /// Nothing for a directory, which has a record of its own.
    pub(super) held: Option<Held>,
}

/// A file to be read.
#[derive(Debug)]
pub(super) struct ToRead {
    pub(super) path: TreePath,
    pub(super) listed: Stat,
    /// Where its row stands: batch and number.
    pub(super) row: (usize, usize),
}

/// What a visit has come by.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) gathered: Gathered,
    /// By batch of names.
    pub(super) rows: Vec<Vec<Row>>,
    pub(super) directories: Vec<(TreePath, Stat)>,
    pub(super) files: Vec<ToRead>,
    /// What the directory's own `.depsyncignore` looked like when it was taken.
    pub(super) rule_file: Option<StatId>,
    /// A name was gone or another when it was looked at.
    pub(super) is_disturbed: bool,
}

impl Part {
    pub(super) fn set_row(&mut self, (batch, number): (usize, usize), row: Row) {
        if let Some(slot) = self.rows.get_mut(batch).and_then(|rows| rows.get_mut(number)) {
            *slot = row;
        }
    }
}

impl Visit {
    pub(super) fn with_part<T>(&self, act: impl FnOnce(&mut Part) -> T) -> T {
        act(&mut self.part.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True if the directory is as it was when it was opened, and its names were as listed.
    pub(super) fn is_still(&self) -> bool {
        let is_same = self.dir.stat_self().is_ok_and(|now| now.id == self.before.id);
        is_same && self.with_part(|part| !part.is_disturbed && self.is_rule_file_same(part))
    }

    /// True unless the `.depsyncignore` that is part of the tree is another than the one whose rules were used.
    fn is_rule_file_same(&self, part: &Part) -> bool {
        let Some(used) = self.rule_file else { return true };
        part.rule_file.is_none_or(|taken| taken == used)
    }

    /// True for whoever ends the last task of a stage.
    pub(super) fn is_last(&self) -> bool {
        self.pending.fetch_sub(1, Ordering::AcqRel) == 1
    }
}
