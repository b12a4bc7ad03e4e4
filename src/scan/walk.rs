//! The walk: one [`Visit`] a directory, in two stages, on a bounded pool of threads.
//!
//! ```text
//! open by its path from the root ─▶ list ─▶ look at each name ─▶ unchanged? ─▶ read files ─▶ unchanged? ─▶ gathered
//!                                  (large ones in batches)       │             (large ones apart)   │
//!                                                                └▶ directories below               └▶ once more
//! ```
//! A directory is opened by `openat2` from the root and compared with what its parent saw (fault 5), so only directories
//! being visited hold a handle. Nothing waits for anything: whoever ends a stage last starts the next.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rayon::Scope;

use super::close::Closed;
use super::index::{Index, RootId};
use super::listing;
use super::look::LookAt;
use super::matcher::{self, Layer, Matcher};
use super::overflow::Overflow;
use super::read::{Inodes, Taken};
use super::record::{Held, RecordBuilder, Sums};
use super::visit::{Fresh, Gathered, Known, Name, Order, Part, Row, ToRead, Visit};
use super::{Moment, ScanOptions, Side, What};
use crate::model::entry::Timestamp;
use crate::model::path::TreePath;
use crate::os::dir::Dir;
use crate::os::meta;
use crate::os::stat::{Stat, StatId};

/// Names of one directory that one task looks at.
const NAMES_MAX: usize = 1024;
/// Bytes and files that one task reads.
const TASK_BYTES: u64 = 4 * 1024 * 1024;
const TASK_FILES: usize = 256;
/// How often a directory that changes while it is visited is visited again.
const REVISITS_MAX: u32 = 1;

/// Why a directory cannot be visited; nothing if that was said elsewhere.
type Refused = Box<(Order, Option<What>)>;

/// What all visits of one walk share.
pub(super) struct Walk<'a> {
    pub(super) root: &'a Dir,
    pub(super) device: u64,
    pub(super) matcher: &'a Matcher,
    pub(super) index: &'a Arc<Index>,
    pub(super) options: &'a ScanOptions<'a>,
    pub(super) window: Duration,
    pub(super) inodes: Inodes,
    pub(super) gathered: Mutex<Gathered>,
    pub(super) overflow: Overflow<'a>,
    /// The wall clock when the walk began.
    pub(super) started: Timestamp,
    pub(super) bytes_read: AtomicU64,
    pub(super) files_read: AtomicU64,
}

impl Walk<'_> {
    pub(super) fn is_stopped(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed)
    }

    pub(super) fn observe(&self, moment: Moment, path: &TreePath) {
        if let Some(observer) = self.options.observer {
            observer(moment, path);
        }
    }

    pub(super) fn gather(&self, act: impl FnOnce(&mut Gathered)) {
        act(&mut self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Visits the directory of `order` and sends others below it.
    pub(super) fn visit<'s>(&'s self, scope: &Scope<'s>, order: Order) {
        if self.is_stopped() {
            return;
        }
        let (visit, names) = match self.open(order) {
            Ok(opened) => opened,
            Err(refused) => return self.give_up(&refused.0, refused.1),
        };
        self.observe(Moment::Listed, &visit.order.path);
        let visit = Arc::new(visit);
        let batches = names.len().div_ceil(NAMES_MAX);
        if batches <= 1 {
            self.look_at(&visit, 0, names);
            return self.listed(scope, &visit);
        }
        visit.pending.store(batches, Ordering::Release);
        let mut names = names;
        for number in (0..batches).rev() {
            let batch = names.split_off(number.saturating_mul(NAMES_MAX));
            let visit = Arc::clone(&visit);
            scope.spawn(move |scope| {
                self.look_at(&visit, number, batch);
                if visit.is_last() {
                    self.listed(scope, &visit);
                }
            });
        }
    }

    /// The directory could not be visited: it stands alone, as its parent saw it.
    fn give_up(&self, order: &Order, what: Option<What>) {
        self.gather(|gathered| {
            gathered.is_different = true;
            if let Some(stat) = order.expected {
                let record = RecordBuilder::new(self.device).finish(&stat, &[]);
                let part = listing::Part::Fresh(record.into(), Sums::default());
                gathered.parts.push((stat.id.inode, part));
            }
            if let Some(what) = what {
                gathered.problem(&order.path, what);
            }
        });
    }

    fn open(&self, order: Order) -> Result<(Visit, Vec<Name>), Refused> {
        let opened = self.root.open_path(&order.path).and_then(|dir| {
            let before = dir.stat_self()?;
            Ok((dir, before))
        });
        let (dir, before) = match opened {
            Ok(opened) => opened,
            Err(source) => return Err(Box::new((order, Some(directory_refused(source))))),
        };
        let same = |seen: &Stat| RootId::of(&seen.id) == RootId::of(&before.id);
        if !order.expected.as_ref().is_none_or(same) {
            return Err(Box::new((order, Some(What::DirectoryChanged))));
        }
        let mut names = match dir.names() {
            Ok(names) => names,
            Err(source) => return Err(Box::new((order, Some(directory_refused(source))))),
        };
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let (pending, part) = (AtomicUsize::new(1), Mutex::default());
        let (layer, rule_file) = match self.layer(&order, &dir, &names, &part) {
            Ok(layer) => layer,
            Err(error) => {
                self.gather(|gathered| gathered.bad_rules.push((order.path.clone(), error)));
                return Err(Box::new((order, None)));
            }
        };
        let known = self.recorded(before.id.inode);
        Ok((Visit { order, dir, before, layer, rule_file, known, part, pending }, names))
    }

    /// What the index knows of the directory `inode`.
    fn recorded(&self, inode: u64) -> Option<Known> {
        let slot = self.index.slot(inode, self.keep_xattrs())?;
        Known::new(slot, self.index.record(&slot)?, self.device)
    }

    /// The rules that hold in a directory, with its own.
    fn layer(
        &self,
        order: &Order,
        dir: &Dir,
        names: &[Name],
        part: &Mutex<Part>,
    ) -> Result<(Option<Arc<Layer>>, Option<StatId>), matcher::Error> {
        let above = order.layer.clone();
        if self.options.side == Side::Node {
            return Ok((self.matcher.layer_in(&order.path).or(above), None));
        }
        if !names.iter().any(|(name, _)| **name == *matcher::RULE_FILE) {
            return Ok((above, None));
        }
        let Some((text, id)) = matcher::read_rule_file(dir, &order.path)? else {
            // Gone or changing: the directory will be found changed.
            part.lock().unwrap_or_else(PoisonError::into_inner).is_disturbed = true;
            return Ok((above, None));
        };
        let layer = Layer::new(above, &order.path, &text)?;
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.gathered.rule_files.push((order.path.clone(), text));
        Ok((Some(Arc::new(layer)), Some(id)))
    }

    /// First stage: looks at `names`, the batch of that number.
    fn look_at(&self, visit: &Visit, batch: usize, names: Vec<Name>) {
        let mut part = Part::default();
        let first = names.first().map(|(name, _)| name.clone()).unwrap_or_default();
        let mut look = LookAt::new(self, visit, batch, &first);
        for (name, kind) in names {
            if self.is_stopped() {
                break;
            }
            look.one(&name, kind, &mut part);
        }
        let rows = look.into_rows();
        let seen = rows.iter().filter(|row| !matches!(row, Row::Absent)).count();
        let entries = seen.saturating_add(part.files.len()) as u64;
        self.options.progress.entries.fetch_add(entries, Ordering::Relaxed);
        visit.with_part(|all| {
            all.gathered.append(part.gathered);
            all.directories.append(&mut part.directories);
            all.files.append(&mut part.files);
            all.is_disturbed |= part.is_disturbed;
            all.rule_file = all.rule_file.or(part.rule_file);
            if all.rows.len() <= batch {
                all.rows.resize_with(batch.saturating_add(1), Vec::new);
            }
            if let Some(slot) = all.rows.get_mut(batch) {
                *slot = rows;
            }
        });
    }

    /// Every name was looked at: sends others to the directories below and starts reading.
    fn listed<'s>(&'s self, scope: &Scope<'s>, visit: &Arc<Visit>) {
        if self.is_stopped() {
            return;
        }
        if !visit.is_still() {
            return self.once_more(scope, visit);
        }
        let (mut directories, files) = visit.with_part(|part| {
            (std::mem::take(&mut part.directories), std::mem::take(&mut part.files))
        });
        directories.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let children: Vec<_> =
            directories.iter().map(|(path, stat)| (path.clone(), stat.id.inode)).collect();
        match &visit.order.children {
            // Others were sent before, to the same directories.
            Some(sent) if *sent == children => {}
            Some(_) => {
                visit.with_part(|part| {
                    part.gathered.problem(&visit.order.path, What::DirectoryChanged);
                });
            }
            None => {
                for (path, stat) in directories {
                    let order = Order::new(path, Some(stat), visit.layer.clone());
                    scope.spawn(move |scope| self.visit(scope, order));
                }
            }
        }
        // Spawned last, so that this thread reads before it goes down: few directories stay open.
        self.start_reading(scope, visit, files, children);
    }

    fn start_reading<'s>(
        &'s self,
        scope: &Scope<'s>,
        visit: &Arc<Visit>,
        files: Vec<ToRead>,
        children: Vec<(TreePath, u64)>,
    ) {
        let mut tasks = split_by_size(files);
        if tasks.len() <= 1 {
            self.read_files(visit, tasks.pop().unwrap_or_default());
            return self.finish(scope, visit, children);
        }
        visit.pending.store(tasks.len(), Ordering::Release);
        let children = Arc::new(children);
        for task in tasks {
            let (visit, children) = (Arc::clone(visit), Arc::clone(&children));
            scope.spawn(move |scope| {
                self.read_files(&visit, task);
                if visit.is_last() {
                    self.finish(scope, &visit, children.to_vec());
                }
            });
        }
    }

    /// Second stage: reads `files`.
    fn read_files(&self, visit: &Visit, files: Vec<ToRead>) {
        for ToRead { path, listed, row } in files {
            if self.is_stopped() {
                return;
            }
            let taken = self.take_file(visit, &path, &listed);
            let name: Box<[u8]> =
                path.split_last().map(|(_, name)| name.into()).unwrap_or_default();
            visit.with_part(|part| match taken {
                Taken::Whole(stat, content, xattrs) => {
                    if *name == *matcher::RULE_FILE {
                        part.rule_file = Some(stat.id);
                    }
                    let held = Some(Held::File(content));
                    part.set_row(row, Row::Fresh(Box::new(Fresh { name, stat, xattrs, held })));
                }
                Taken::Gone if visit.order.revisit < REVISITS_MAX => part.is_disturbed = true,
                Taken::Gone => part.gathered.problem(&path, What::Unstable),
                Taken::Refused(what) => {
                    if matches!(what, What::Opaque { .. }) {
                        let (xattrs, held) = (Vec::new(), Some(Held::Special));
                        let fresh = Fresh { name, stat: listed, xattrs, held };
                        part.set_row(row, Row::Fresh(Box::new(fresh)));
                    }
                    part.gathered.problem(&path, what);
                }
            });
        }
    }

    /// Every file was read: what the visit came by counts if the directory is still as it was.
    fn finish<'s>(&'s self, scope: &Scope<'s>, visit: &Arc<Visit>, children: Vec<(TreePath, u64)>) {
        if self.is_stopped() {
            return;
        }
        if !visit.is_still() && visit.order.revisit < REVISITS_MAX {
            return self.revisit(scope, visit, Some(children));
        }
        self.close(visit);
    }

    /// The directory changed under the first stage.
    fn once_more<'s>(&'s self, scope: &Scope<'s>, visit: &Arc<Visit>) {
        if visit.order.revisit < REVISITS_MAX {
            return self.revisit(scope, visit, visit.order.children.clone());
        }
        self.close(visit);
    }

    fn revisit<'s>(
        &'s self,
        scope: &Scope<'s>,
        visit: &Visit,
        children: Option<Vec<(TreePath, u64)>>,
    ) {
        let rows = visit.with_part(|part| std::mem::take(&mut part.rows));
        let read = rows.into_iter().flatten().filter_map(|row| match row {
            Row::Fresh(fresh) => match *fresh {
                Fresh { stat, held: Some(Held::File(content)), .. } => {
                    Some((stat.id.inode, (stat.id, content)))
                }
                _ => None,
            },
            Row::Known(_) | Row::Absent => None,
        });
        let order = Order {
            path: visit.order.path.clone(),
            expected: visit.order.expected,
            layer: visit.order.layer.clone(),
            revisit: visit.order.revisit + 1,
            reuse: read.collect(),
            children,
        };
        scope.spawn(move |scope| self.visit(scope, order));
    }

    /// Hands over what the visit came by.
    fn close(&self, visit: &Visit) {
        let is_still = visit.is_still();
        let path = &visit.order.path;
        let keep = self.keep_xattrs();
        let xattrs = if keep.any() { meta::xattrs(&visit.dir, keep) } else { Ok(Vec::new()) };
        let (mut gathered, rows) = visit
            .with_part(|part| (std::mem::take(&mut part.gathered), std::mem::take(&mut part.rows)));
        if !is_still {
            gathered.problem(path, What::DirectoryChanged);
        }
        let xattrs = xattrs.unwrap_or_else(|source| {
            gathered.problem(path, What::Unreadable { source });
            Vec::new()
        });
        let Closed { part, is_different } = self.record(visit, &rows, &xattrs);
        gathered.is_different |= is_different;
        let inode = visit.before.id.inode;
        let part = match part {
            listing::Part::Fresh(record, sums) => {
                gathered.is_news = true;
                self.overflow.take(inode, record, sums)
            }
            known => known,
        };
        gathered.parts.push((inode, part));
        self.gather(|all| all.append(gathered));
    }
}

pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

pub(super) fn directory_refused(source: io::Error) -> What {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => What::DirectoryChanged,
        io::ErrorKind::CrossesDevices => What::MountPoint,
        _ => What::Unreadable { source },
    }
}

fn split_by_size(files: Vec<ToRead>) -> Vec<Vec<ToRead>> {
    let mut tasks: Vec<Vec<ToRead>> = Vec::new();
    let mut bytes = 0u64;
    for file in files {
        let more = file.listed.id.size;
        match tasks.last_mut() {
            Some(task) if task.len() < TASK_FILES && bytes.saturating_add(more) <= TASK_BYTES => {
                task.push(file);
                bytes = bytes.saturating_add(more);
            }
            _ => {
                tasks.push(vec![file]);
                bytes = more;
            }
        }
    }
    tasks
}
