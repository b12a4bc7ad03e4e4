//! Looking at one name of a directory, beside what the index knows of it.

use super::matcher::{self, Verdict};
use super::record::{Child, Children, Held, Look, Seen};
use super::visit::{Fresh, Known, Part, Row, ToRead, Visit};
use super::walk::{Walk, is_gone};
use super::{Side, What};
use crate::model::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};
use crate::model::manifest::KindView;
use crate::model::path::{self, TreePath};
use crate::model::untrusted::Untrusted;
use crate::os::stat::{FileKind, Stat};

/// Goes through the names of one batch in order, and through the record of the directory with them.
pub(super) struct LookAt<'v> {
    walk: &'v Walk<'v>,
    visit: &'v Visit,
    batch: usize,
    rows: Vec<Row>,
    known: Option<Beside<'v>>,
    /// A path of this directory can be too long or too deep, or there are rules that want to see it.
    needs_path: bool,
    has_rules: bool,
}

/// Where in the record of a directory the names have come to.
struct Beside<'v> {
    known: &'v Known,
    rest: Children<'v>,
    next: Option<Child<'v>>,
}

impl<'v> Beside<'v> {
    fn new(known: &'v Known, first: &[u8]) -> Option<Self> {
        let mut rest = known.children_from(first)?;
        let next = rest.next().ok()?;
        Some(Self { known, rest, next })
    }

    /// What is recorded under `name`, with its place.
    fn find(&mut self, name: &[u8]) -> Option<(Child<'v>, std::ops::Range<usize>)> {
        while self.next.as_ref().is_some_and(|child| child.name < name) {
            self.next = self.rest.next().ok().flatten();
        }
        let child = self.next.filter(|child| child.name == name)?;
        Some((child, self.known.place_of(&child, self.rest.rest())))
    }
}

impl<'v> LookAt<'v> {
    /// Looks at the batch of that number, which begins with the name `first`.
    pub(super) fn new(walk: &'v Walk<'v>, visit: &'v Visit, batch: usize, first: &[u8]) -> Self {
        let path = &visit.order.path;
        let has_rules = !walk.matcher.is_silent(visit.layer.as_deref(), walk.options.side);
        let needs_path = has_rules
            || path.as_bytes().len() + 1 + NAME_BYTES_MAX > PATH_BYTES_MAX
            || path.depth() >= PATH_DEPTH_MAX;
        let known = visit.known.as_ref().and_then(|known| Beside::new(known, first));
        Self { walk, visit, batch, rows: Vec::new(), known, needs_path, has_rules }
    }

    /// What became of the names, in order.
    pub(super) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// Looks at `name`.
    pub(super) fn one(&mut self, name: &[u8], kind: Option<FileKind>, part: &mut Part) {
        let row = self.row(name, kind, part).unwrap_or(Row::Absent);
        self.rows.push(row);
    }

    fn row(&mut self, name: &[u8], kind: Option<FileKind>, part: &mut Part) -> Option<Row> {
        let known = self.known.as_mut().and_then(|known| known.find(name));
        if let Some(known) = &known
            && !self.needs_path
        {
            return self.beside(name, kind, known, part);
        }
        let path = self.path(name, part)?;
        let side = self.walk.options.side;
        let verdict = |kind: FileKind| {
            if !self.has_rules {
                return Verdict::None;
            }
            let layer = self.visit.layer.as_deref();
            self.walk.matcher.verdict(layer, &path, kind == FileKind::Directory, side)
        };
        if kind.map(verdict) == Some(Verdict::Ignored) {
            part.gathered.ignored.push(path);
            return None;
        }
        let stat = self.stat(name, kind, part)?;
        let verdict = verdict(stat.kind);
        if kind.is_none() && verdict == Verdict::Ignored {
            part.gathered.ignored.push(path);
            return None;
        }
        let is_mounted = self.is_mounted(&stat);
        match verdict {
            // What is mounted there cannot be walked, nor be part of a release.
            Verdict::Protected if is_mounted => {
                part.gathered.ignored.push(path);
                return None;
            }
            // Part of the tree all the same: the release may hold it, and then it is managed.
            Verdict::Protected => part.gathered.protected.push(path.clone()),
            Verdict::Ignored | Verdict::None => {}
        }
        if is_mounted {
            part.gathered.problem(&path, What::MountPoint);
            return None;
        }
        match known.and_then(|known| as_known(&known, &stat)) {
            Some(row) => Some(self.seen(name, &stat, row, part)),
            None => self.fresh(path, name, stat, part),
        }
    }

    /// A name that the index knows, where nothing but its look decides.
    fn beside(
        &self,
        name: &[u8],
        kind: Option<FileKind>,
        known: &(Child<'_>, std::ops::Range<usize>),
        part: &mut Part,
    ) -> Option<Row> {
        let stat = self.stat(name, kind, part)?;
        if !self.is_mounted(&stat)
            && let Some(row) = as_known(known, &stat)
        {
            return Some(self.seen(name, &stat, row, part));
        }
        let path = self.path(name, part)?;
        if self.is_mounted(&stat) {
            part.gathered.problem(&path, What::MountPoint);
            return None;
        }
        self.fresh(path, name, stat, part)
    }

    fn seen(&self, name: &[u8], stat: &Stat, row: Row, part: &mut Part) -> Row {
        if stat.kind == FileKind::Directory
            && let Some(path) = self.path(name, part)
        {
            part.directories.push((path, *stat));
        }
        if name == matcher::RULE_FILE {
            part.rule_file = Some(stat.id);
        }
        row
    }

    fn path(&self, name: &[u8], part: &mut Part) -> Option<TreePath> {
        match self.visit.order.path.join(name) {
            Ok(path) => Some(path),
            // A node's own state directory is not part of its tree.
            Err(path::Error::StateDirectory) if self.walk.options.side == Side::Node => None,
            Err(source) => {
                let name = Untrusted::new(name).to_string();
                let what = What::BadName { name, source };
                part.gathered.problem(&self.visit.order.path, what);
                None
            }
        }
    }

    fn stat(&self, name: &[u8], kind: Option<FileKind>, part: &mut Part) -> Option<Stat> {
        match self.visit.dir.find(name) {
            Ok(Some(stat)) if kind.is_none_or(|kind| kind == stat.kind) => Some(stat),
            Ok(_) => {
                part.is_disturbed = true;
                None
            }
            Err(source) => {
                let path = self.path(name, part)?;
                part.gathered.problem(&path, What::Unreadable { source });
                None
            }
        }
    }

    /// Files of an overlay may tell the device of a layer; its directories do not.
    fn is_mounted(&self, stat: &Stat) -> bool {
        let is_elsewhere = stat.kind == FileKind::Directory && stat.id.device != self.walk.device;
        stat.is_mount_root || is_elsewhere
    }

    /// A name that is not as the index knows it.
    fn fresh(&self, path: TreePath, name: &[u8], stat: Stat, part: &mut Part) -> Option<Row> {
        let held = match stat.kind {
            FileKind::Directory => {
                part.directories.push((path, stat));
                None
            }
            FileKind::File => {
                let row = (self.batch, self.rows.len());
                part.files.push(ToRead { path, listed: stat, row });
                return None;
            }
            FileKind::Symlink => match self.visit.dir.read_link(name) {
                Ok(text) => Some(Held::Symlink(text)),
                Err(error) if !is_gone(&error) => {
                    part.gathered.problem(&path, What::Unreadable { source: error });
                    return None;
                }
                Err(_gone) => {
                    part.is_disturbed = true;
                    return None;
                }
            },
            FileKind::Special if self.walk.options.side == Side::Node => Some(Held::Special),
            FileKind::Special if self.walk.options.skip_specials => {
                part.gathered.ignored.push(path.clone());
                part.gathered.skipped_specials.push(path);
                return None;
            }
            FileKind::Special => {
                part.gathered.problem(&path, What::Special);
                return None;
            }
        };
        Some(Row::Fresh(Box::new(Fresh { name: name.into(), stat, xattrs: Vec::new(), held })))
    }
}

/// The row for a name that is as it was recorded: nothing about it can have changed.
fn as_known((child, place): &(Child<'_>, std::ops::Range<usize>), stat: &Stat) -> Option<Row> {
    let is_same = match &child.seen {
        Seen::Directory { inode } => stat.kind == FileKind::Directory && stat.id.inode == *inode,
        Seen::Other(Look { stat: before, is_settled, kind, .. }) => {
            // How much room a file takes changes when the disk gets to it.
            let now = Stat { allocated_bytes: before.allocated_bytes, ..*stat };
            *is_settled && *before == now && !matches!(kind, KindView::Special)
        }
    };
    is_same.then(|| Row::Known(place.clone()))
}
