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

use super::index::{Index, RootId};
use super::matcher::{self, Layer, Matcher, Verdict};
use super::read::{Inodes, Taken};
use super::visit::{Gathered, Name, Order, Part, Visit};
use super::{Found, Moment, ScanOptions, Side, What};
use crate::model::entry::{Content, Entry, Kind, Meta, Xattr};
use crate::model::path::{self, TreePath};
use crate::model::untrusted::Untrusted;
use crate::os::dir::Dir;
use crate::os::meta;
use crate::os::stat::{FileKind, Stat, StatId};

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
    pub(super) index: &'a Index,
    pub(super) options: &'a ScanOptions<'a>,
    pub(super) window: Duration,
    pub(super) inodes: Inodes,
    pub(super) gathered: Mutex<Gathered>,
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

    /// The content of a file that looks like `id`, if it was read before.
    pub(super) fn known<'b>(&'b self, visit: &'b Visit, id: &StatId) -> Option<&'b Content> {
        self.index.lookup(id).or_else(|| visit.order.reuse.lookup(id))
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
        if names.len() <= NAMES_MAX {
            self.look_at(&visit, names);
            return self.listed(scope, &visit);
        }
        visit.pending.store(names.len().div_ceil(NAMES_MAX), Ordering::Release);
        let mut names = names;
        while !names.is_empty() {
            let batch = names.split_off(names.len().saturating_sub(NAMES_MAX));
            let visit = Arc::clone(&visit);
            scope.spawn(move |scope| {
                self.look_at(&visit, batch);
                if visit.is_last() {
                    self.listed(scope, &visit);
                }
            });
        }
    }

    /// The directory could not be visited: it stands alone, as its parent saw it.
    fn give_up(&self, order: &Order, what: Option<What>) {
        self.gather(|gathered| {
            if let Some(stat) = order.expected {
                gathered.found.push(self.found(&order.path, stat, Kind::Directory, Vec::new()));
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
        let names = match dir.names() {
            Ok(names) => names,
            Err(source) => return Err(Box::new((order, Some(directory_refused(source))))),
        };
        let (pending, part) = (AtomicUsize::new(1), Mutex::default());
        let (layer, rule_file) = match self.layer(&order, &dir, &names, &part) {
            Ok(layer) => layer,
            Err(error) => {
                self.gather(|gathered| gathered.bad_rules.push((order.path.clone(), error)));
                return Err(Box::new((order, None)));
            }
        };
        Ok((Visit { order, dir, before, layer, rule_file, part, pending }, names))
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

    /// First stage: looks at `names`.
    fn look_at(&self, visit: &Visit, names: Vec<Name>) {
        let mut part = Part::default();
        part.gathered.found.reserve(names.len());
        for (name, kind) in names {
            if self.is_stopped() {
                break;
            }
            self.look_at_one(visit, &name, kind, &mut part);
        }
        visit.with_part(|all| {
            if all.gathered.found.is_empty() {
                std::mem::swap(&mut all.gathered.found, &mut part.gathered.found);
            }
            all.gathered.append(part.gathered);
            all.directories.append(&mut part.directories);
            all.files.append(&mut part.files);
            all.is_disturbed |= part.is_disturbed;
        });
    }

    fn look_at_one(&self, visit: &Visit, name: &[u8], kind: Option<FileKind>, part: &mut Part) {
        let path = match visit.order.path.join(name) {
            Ok(path) => path,
            // A node's own state directory is not part of its tree.
            Err(path::Error::StateDirectory) if self.options.side == Side::Node => return,
            Err(source) => {
                let name = Untrusted::new(name).to_string();
                return part.gathered.problem(&visit.order.path, What::BadName { name, source });
            }
        };
        let verdict = |kind: FileKind| {
            let layer = visit.layer.as_deref();
            let is_directory = kind == FileKind::Directory;
            self.matcher.verdict(layer, &path, is_directory, self.options.side)
        };
        if kind.map(verdict) == Some(Verdict::Ignored) {
            return part.gathered.ignored.push(path);
        }
        let stat = match visit.dir.find(name) {
            Ok(Some(stat)) => stat,
            Ok(None) => return part.is_disturbed = true,
            Err(source) => return part.gathered.problem(&path, What::Unreadable { source }),
        };
        let verdict = verdict(stat.kind);
        if kind.is_none() && verdict == Verdict::Ignored {
            return part.gathered.ignored.push(path);
        }
        if kind.is_some_and(|kind| kind != stat.kind) {
            return part.is_disturbed = true;
        }
        // Files of an overlay may tell the device of a layer; its directories do not.
        let is_elsewhere = stat.kind == FileKind::Directory && stat.id.device != self.device;
        let is_mounted = stat.is_mount_root || is_elsewhere;
        match verdict {
            // What is mounted there cannot be walked, nor be part of a release.
            Verdict::Protected if is_mounted => return part.gathered.ignored.push(path),
            // Part of the tree all the same: the release may hold it, and then it is managed.
            Verdict::Protected => part.gathered.protected.push(path.clone()),
            Verdict::Ignored | Verdict::None => {}
        }
        if is_mounted {
            return part.gathered.problem(&path, What::MountPoint);
        }
        self.options.progress.entries.fetch_add(1, Ordering::Relaxed);
        self.sort_in(visit, path, stat, part);
    }

    fn sort_in(&self, visit: &Visit, path: TreePath, stat: Stat, part: &mut Part) {
        let kind = match stat.kind {
            FileKind::Directory => return part.directories.push((path, stat)),
            FileKind::File => match self.known(visit, &stat.id) {
                Some(content) if !self.keep_xattrs().any() => Kind::File(content.clone()),
                _ => return part.files.push((path, stat)),
            },
            FileKind::Symlink => {
                match path.split_last().map(|(_, name)| visit.dir.read_link(name)) {
                    Some(Ok(text)) => Kind::Symlink(text),
                    Some(Err(error)) if !is_gone(&error) => {
                        return part.gathered.problem(&path, What::Unreadable { source: error });
                    }
                    _ => return part.is_disturbed = true,
                }
            }
            FileKind::Special if self.options.side == Side::Node => Kind::Special,
            FileKind::Special if self.options.skip_specials => {
                part.gathered.ignored.push(path.clone());
                return part.gathered.skipped_specials.push(path);
            }
            FileKind::Special => return part.gathered.problem(&path, What::Special),
        };
        part.gathered.found.push(self.found(&path, stat, kind, Vec::new()));
    }

    pub(super) fn found(
        &self,
        path: &TreePath,
        stat: Stat,
        kind: Kind,
        xattrs: Vec<Xattr>,
    ) -> Found {
        let mode = if stat.kind == FileKind::Symlink { 0 } else { stat.mode };
        let owner = self.options.owner.then_some(stat.owner);
        let meta = Meta { mode, owner, mtime: stat.id.mtime, xattrs };
        Found { entry: Entry { path: path.clone(), kind, meta }, stat }
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
        files: Vec<(TreePath, Stat)>,
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
    fn read_files(&self, visit: &Visit, files: Vec<(TreePath, Stat)>) {
        for (path, listed) in files {
            if self.is_stopped() {
                return;
            }
            let taken = self.take_file(visit, &path, &listed);
            visit.with_part(|part| match taken {
                Taken::Whole(stat, content, xattrs) => {
                    let found = self.found(&path, stat, Kind::File(content), xattrs);
                    part.gathered.found.push(found);
                }
                Taken::Gone if visit.order.revisit < REVISITS_MAX => part.is_disturbed = true,
                Taken::Gone => part.gathered.problem(&path, What::Unstable),
                Taken::Refused(what) => {
                    if matches!(what, What::Opaque { .. }) {
                        let found = self.found(&path, listed, Kind::Special, Vec::new());
                        part.gathered.found.push(found);
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
        let found = visit.with_part(|part| std::mem::take(&mut part.gathered.found));
        let pairs = found.into_iter().filter_map(|one| match one.entry.kind {
            Kind::File(content) => Some((one.stat.id, content)),
            _ => None,
        });
        let order = Order {
            path: visit.order.path.clone(),
            expected: visit.order.expected,
            layer: visit.order.layer.clone(),
            revisit: visit.order.revisit + 1,
            reuse: Index::of_pairs(RootId::default(), pairs.collect()),
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
        let mut gathered = visit.with_part(|part| std::mem::take(&mut part.gathered));
        if !is_still {
            gathered.problem(path, What::DirectoryChanged);
        }
        match xattrs {
            Ok(xattrs) => {
                gathered.found.push(self.found(path, visit.before, Kind::Directory, xattrs));
            }
            Err(source) => gathered.problem(path, What::Unreadable { source }),
        }
        self.gather(|all| all.append(gathered));
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

fn directory_refused(source: io::Error) -> What {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => What::DirectoryChanged,
        io::ErrorKind::CrossesDevices => What::MountPoint,
        _ => What::Unreadable { source },
    }
}

fn split_by_size(files: Vec<(TreePath, Stat)>) -> Vec<Vec<(TreePath, Stat)>> {
    let mut tasks: Vec<Vec<(TreePath, Stat)>> = Vec::new();
    let mut bytes = 0u64;
    for file in files {
        let more = file.1.id.size;
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
