//! One directory of a walk: what is asked for, what is held while it is visited, what comes of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::index::Index;
use super::matcher::{self, Layer};
use super::{Found, Problem, What};
use crate::model::path::TreePath;
use crate::os::dir::Dir;
use crate::os::stat::{FileKind, Stat, StatId};

/// A name of a listing, with the type of file where the file system tells it.
pub(super) type Name = (Box<[u8]>, Option<FileKind>);

/// What a walk has come by.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) found: Vec<Found>,
    pub(super) ignored: Vec<TreePath>,
    pub(super) protected: Vec<TreePath>,
    pub(super) problems: Vec<Problem>,
    pub(super) rule_files: Vec<(TreePath, String)>,
    pub(super) skipped_specials: Vec<TreePath>,
    pub(super) bad_rules: Vec<(TreePath, matcher::Error)>,
}

impl Gathered {
    pub(super) fn append(&mut self, mut other: Self) {
        self.found.append(&mut other.found);
        self.ignored.append(&mut other.ignored);
        self.protected.append(&mut other.protected);
        self.problems.append(&mut other.problems);
        self.rule_files.append(&mut other.rule_files);
        self.skipped_specials.append(&mut other.skipped_specials);
        self.bad_rules.append(&mut other.bad_rules);
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
    pub(super) reuse: Index,
    /// The directories that an earlier visit has sent others to.
    pub(super) children: Option<Vec<(TreePath, u64)>>,
}

impl Order {
    pub(super) fn new(path: TreePath, expected: Option<Stat>, layer: Option<Arc<Layer>>) -> Self {
        Self { path, expected, layer, revisit: 0, reuse: Index::empty(), children: None }
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
    pub(super) part: Mutex<Part>,
    pub(super) pending: AtomicUsize,
}

/// What a visit has come by.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) gathered: Gathered,
    pub(super) directories: Vec<(TreePath, Stat)>,
    pub(super) files: Vec<(TreePath, Stat)>,
    /// A name was gone or another when it was looked at.
    pub(super) is_disturbed: bool,
}

impl Visit {
    pub(super) fn with_part<T>(&self, act: impl FnOnce(&mut Part) -> T) -> T {
        act(&mut self.part.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True if the directory is as it was when it was opened, and its names were as listed.
    pub(super) fn is_still(&self) -> bool {
        let is_same = self.dir.stat_self().is_ok_and(|now| now.id == self.before.id);
        is_same && self.with_part(|part| !part.is_disturbed && is_rule_file_same(self, part))
    }

    /// True for whoever ends the last task of a stage.
    pub(super) fn is_last(&self) -> bool {
        self.pending.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// True unless the `.depsyncignore` that is part of the tree is another than the one whose rules were used.
fn is_rule_file_same(visit: &Visit, part: &Part) -> bool {
    let Some(used) = visit.rule_file else { return true };
    let is_rule_file = |found: &&Found| {
        found.entry.path.split_last().is_some_and(|(_, name)| name == matcher::RULE_FILE)
    };
    part.gathered.found.iter().find(is_rule_file).is_none_or(|found| found.stat.id == used)
}
