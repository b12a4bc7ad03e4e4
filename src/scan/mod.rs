//! Looking at a tree: one walk for the hub's source and for a node's inspection.
//!
//! Owns: the parallel walk below a confined handle, the ignore rules, the cut of content into chunks, and the index
//! by which an unchanged file is never read twice.
//! Never: writes, or follows a link. What stops one name is a [`Problem`]; the walk goes on and lists them all.
//! Start at [`scan`], then `walk`.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::entry::{Entry, Timestamp};
use crate::model::manifest::Capture;
use crate::model::path::{self, TreePath};
use crate::os::clock;
use crate::os::dir::Dir;
use crate::os::stat::{FileKind, Stat};

pub mod content;
pub mod pace;
pub mod matcher;
pub mod settled;
mod record;
pub mod index;
pub mod listing;
pub mod amend;
mod read;
mod links;
mod visit;
mod look;
mod close;
mod overflow;
mod walk;
pub mod dates;

pub use record::Sums;

use index::Index;
use listing::{Listing, Root};
use matcher::Matcher;
use overflow::Overflow;
use pace::Pace;
use read::Inodes;
use record::Held;
use visit::Order;
use walk::Walk;

/// Why a tree cannot be looked at, beyond what single names do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tree of the source is not there.
    #[error("{tree} does not exist in the source")]
    TreeMissing {
        /// The tree.
        tree: TreePath,
    },
    /// A tree of the source, or a directory above it, is a link or a file.
    #[error("{tree} is not a directory, or is reached through a link")]
    TreeNotDirectory {
        /// The tree.
        tree: TreePath,
    },
    /// The operating system refuses a tree as a whole.
    #[error("open {tree}")]
    Tree {
        /// The tree.
        tree: TreePath,
        /// Why.
        source: io::Error,
    },
    /// The ignore rules cannot be used.
    #[error("read the ignore rules")]
    Rules(#[from] matcher::Error),
    /// The threads of the walk could not be started.
    #[error("start the threads of the walk")]
    Threads {
        /// Why.
        source: io::Error,
    },
    /// What was found does not fit into memory, and cannot be written beside the index either.
    #[error("write what the walk found beside the index")]
    Overflow {
        /// Why.
        source: io::Error,
    },
    /// What was found cannot be walked again.
    #[error("walk what was found")]
    Listing(#[from] listing::Error),
    /// The flag given as `stop` was set.
    #[error("the walk was stopped")]
    Stopped,
}

/// One name that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is; the content of a file is known.
    pub entry: Entry,
    /// What the kernel said when the content was taken.
    pub stat: Stat,
}

/// What a walk found.
#[derive(Debug)]
pub struct Scan {
    /// Every name that is not ignored, the roots of trees included.
    pub listing: Listing,
    /// The trees are what the index says of them, in all that a release tells.
    pub is_same: bool,
    /// The index should be written anew: something looks different, or is now settled.
    pub is_news: bool,
    /// The topmost names that exist and are ignored, specials left out, and protected mount points; sorted.
    pub ignored: Vec<TreePath>,
    /// On a node: the topmost names of `listing` that are protected; sorted.
    pub protected: Vec<TreePath>,
    /// What could not be taken as it is, sorted by path.
    pub problems: Vec<Problem>,
    /// The `.depsyncignore` files met in a source, with their directories, sorted; empty on a node.
    pub rule_files: Vec<(TreePath, String)>,
    /// FIFOs, sockets and devices that were left out of a source; sorted, also in `ignored`.
    pub skipped_specials: Vec<TreePath>,
    /// Bytes of content read; holes are not.
    pub bytes_read: u64,
    /// How often a file was read for its content; those that had just changed are read twice.
    pub files_read: u64,
    /// The wall clock when the walk began.
    pub started: Timestamp,
    /// How old a time stamp must be to be trusted on this file system.
    pub window: Duration,
}

/// Something about one name that keeps a tree from being taken as it is.
#[derive(Debug)]
pub struct Problem {
    /// The name.
    pub path: TreePath,
    /// What is wrong with it.
    pub what: What,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.path, self.what)
    }
}

impl std::error::Error for Problem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.what)
    }
}

impl Problem {
    /// False if the tree is known well enough in spite of it.
    pub fn is_fatal(&self) -> bool {
        !matches!(self.what, What::Opaque { .. })
    }
}

/// What is wrong with one name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum What {
    /// It cannot be looked at, opened, listed or read.
    #[error("cannot be read")]
    Unreadable {
        /// Why.
        source: io::Error,
    },
    /// On a node: a file that cannot be read or does not hold still. It is found as a special file, which can only be
    /// moved away. Not fatal.
    #[error("cannot be read, so it counts as different")]
    Opaque {
        /// Why, if it is not that it keeps changing.
        source: Option<io::Error>,
    },
    /// A file changed each time it was read.
    #[error("changed every time it was read")]
    Unstable,
    /// A directory was changed, replaced or removed while it was walked, and again when it was walked anew.
    #[error("changed while it was walked")]
    DirectoryChanged,
    /// A FIFO, socket or device in a source.
    #[error("is a FIFO, a socket or a device")]
    Special,
    /// Another file system is mounted there.
    #[error("is on another file system")]
    MountPoint,
    /// A directory above a tree of a node is a link or a file.
    #[error("is not a directory")]
    NotDirectory,
    /// The name cannot be a path of a release. The problem's path is the directory that holds it.
    #[error("holds {name}, which cannot be part of a release")]
    BadName {
        /// The name, escaped for display.
        name: String,
        /// The rule it breaks.
        source: path::Error,
    },
}

/// Whose tree is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The source: `.depsyncignore` files are read as they are met, special files are problems.
    Source,
    /// A node: the rules came with the release; special and unreadable files are found as special.
    Node,
}

/// Told of moments of a walk, for tests.
#[doc(hidden)]
pub type Observer<'a> = dyn Fn(Moment, &TreePath) + Sync + 'a;

/// How a tree is looked at.
#[derive(Clone, Copy)]
pub struct ScanOptions<'a> {
    /// Whose tree it is.
    pub side: Side,
    /// What is kept beside mode, mtime and content.
    pub capture: Capture,
    /// Whether numeric owners are recorded.
    pub owner: bool,
    /// Whether special files of a source are left out rather than refused.
    pub skip_specials: bool,
    /// Threads of the walk; 0 for twice the cores, at most eight.
    pub threads: usize,
    /// Counts as the walk goes on.
    pub progress: &'a Progress,
    /// Content is read no faster.
    pub pace: Option<&'a Pace>,
    /// Ends the walk with [`Error::Stopped`] soon after it is set.
    pub stop: &'a AtomicBool,
    /// Told of moments at which tests change the tree.
    #[doc(hidden)]
    pub observer: Option<&'a Observer<'a>>,
}

impl std::fmt::Debug for ScanOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanOptions")
            .field("side", &self.side)
            .field("capture", &self.capture)
            .field("owner", &self.owner)
            .field("skip_specials", &self.skip_specials)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl<'a> ScanOptions<'a> {
    /// Nothing kept but mode, mtime and content; threads by the machine.
    pub fn new(side: Side, progress: &'a Progress, stop: &'a AtomicBool) -> Self {
        let capture = Capture::default();
        Self {
            side,
            capture,
            owner: false,
            skip_specials: false,
            threads: 0,
            progress,
            pace: None,
            stop,
            observer: None,
        }
    }
}

/// Counts of a walk that goes on.
#[derive(Debug, Default)]
pub struct Progress {
    /// Names looked at.
    pub entries: AtomicU64,
    /// Bytes of content read.
    pub bytes: AtomicU64,
}

/// A moment of a walk, for tests.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The names of a directory are known, but none was looked at.
    Listed,
    /// A file is about to be opened.
    Opening,
    /// A file is open and was looked at, but not read.
    Reading,
}

/// Looks at the `trees` below `root`.
///
/// Guarantees: the result depends on the tree alone, not on threads; a file whose stat identity `index` knows is not
/// opened (but for its extended attributes, if they are kept); content is never a mix of two versions of a file; links
/// are never followed; a directory that changes while it is walked is walked once more.
/// Cost: one `statx` a name; memory for what `index` does not know, about 100 bytes an entry, or as much as it has room for
/// ([`Index::beside`]); at most a few handles for each thread.
///
/// # Errors
/// [`Error`] for what concerns a whole tree; all that concerns single names is in [`Scan::problems`]. On a node a tree
/// that does not exist is no error: nothing is found.
pub fn scan(
    root: &Dir,
    trees: &[TreePath],
    matcher: &Matcher,
    index: &Arc<Index>,
    options: &ScanOptions<'_>,
) -> Result<Scan, Error> {
    let started = clock::wall();
    let at_root = |source| Error::Tree { tree: TreePath::root(), source };
    let window = settled::racy_window(root.file_system_type().map_err(at_root)?);
    let walk = Walk {
        root,
        device: root.stat_self().map_err(at_root)?.id.device,
        matcher,
        index,
        options,
        window,
        inodes: Inodes::default(),
        gathered: Mutex::default(),
        overflow: Overflow::new(index.room_beside()),
        started,
        bytes_read: AtomicU64::new(0),
        files_read: AtomicU64::new(0),
    };
    let mut orders = Vec::new();
    let mut roots = Vec::new();
    for tree in trees {
        roots.extend(order_for(&walk, tree, &mut orders)?);
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(thread_count(options.threads))
        .thread_name(|number| format!("walk-{number}"))
        .build()
        .map_err(|source| Error::Threads { source: io::Error::other(source) })?;
    pool.scope(|scope| {
        for order in orders {
            let walk = &walk;
            scope.spawn(move |scope| walk.visit(scope, order));
        }
    });
    if options.stop.load(Ordering::Relaxed) {
        return Err(Error::Stopped);
    }
    assemble(walk, roots)
}

/// Puts together what the walk has come by.
fn assemble(walk: Walk<'_>, roots: Vec<Root>) -> Result<Scan, Error> {
    let (options, keep) = (walk.options, walk.keep_xattrs());
    let mut all = walk.gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, error)) =
        all.bad_rules.into_iter().min_by(|(one, _), (other, _)| one.cmp(other))
    {
        return Err(error.into());
    }
    all.ignored.sort_unstable();
    all.protected.sort_unstable();
    keep_tops(&mut all.protected);
    all.skipped_specials.sort_unstable();
    all.rule_files.sort_unstable();
    let listing = Listing {
        index: Arc::clone(walk.index),
        overflow: walk.overflow.finish().map_err(|source| Error::Overflow { source })?,
        parts: all.parts.into_iter().collect(),
        roots,
        device: walk.device,
        keep,
        owner: options.owner,
        hard_links: options.capture.hard_links,
    };
    if options.capture.hard_links {
        links::check(&listing, &mut all.problems)?;
    }
    all.problems.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Scan {
        listing,
        is_same: !all.is_different,
        is_news: all.is_news,
        ignored: all.ignored,
        protected: all.protected,
        problems: all.problems,
        rule_files: all.rule_files,
        skipped_specials: all.skipped_specials,
        bytes_read: walk.bytes_read.into_inner(),
        files_read: walk.files_read.into_inner(),
        started: walk.started,
        window: walk.window,
    })
}

/// Leaves out what lies within another of the sorted `paths`.
fn keep_tops(paths: &mut Vec<TreePath>) {
    let mut top: Option<TreePath> = None;
    paths.retain(|path| {
        let is_top = top.as_ref().is_none_or(|top| !path.is_within(top));
        if is_top {
            top = Some(path.clone());
        }
        is_top
    });
}

fn thread_count(wanted: usize) -> usize {
    if wanted > 0 {
        return wanted;
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.saturating_mul(2).min(8)
}

/// The root of `tree`, with an order to visit it if it is a directory. On a node one that is missing, or cannot be a
/// directory, is something that was found, or not.
fn order_for(
    walk: &Walk<'_>,
    tree: &TreePath,
    orders: &mut Vec<Order>,
) -> Result<Option<Root>, Error> {
    let layer = walk.matcher.layer_above(tree);
    let Some((parent, name)) = tree.split_last() else {
        let inode =
            walk.root.stat_self().map_err(|source| Error::Tree { tree: tree.clone(), source })?;
        orders.push(Order::new(tree.clone(), None, layer));
        return Ok(Some(Root::Directory { path: tree.clone(), inode: inode.id.inode }));
    };
    let is_source = walk.options.side == Side::Source;
    let missing = || {
        // The index may still know what was there.
        walk.gather(|gathered| gathered.is_different = true);
        if is_source { Err(Error::TreeMissing { tree: tree.clone() }) } else { Ok(None) }
    };
    let looked = walk.root.open_path(&parent).and_then(|dir| match dir.find(name)? {
        Some(stat) if stat.kind == FileKind::Symlink => {
            Ok(Some((stat, Held::Symlink(dir.read_link(name)?))))
        }
        // What is no directory can only be moved away, so its content is of no interest.
        Some(stat) => Ok(Some((stat, Held::Special))),
        None => Ok(None),
    });
    match looked {
        Ok(None) => missing(),
        Ok(Some((stat, _))) if stat.kind == FileKind::Directory => {
            orders.push(Order::new(tree.clone(), Some(stat), layer));
            Ok(Some(Root::Directory { path: tree.clone(), inode: stat.id.inode }))
        }
        Ok(Some(_)) if is_source => Err(Error::TreeNotDirectory { tree: tree.clone() }),
        Ok(Some((stat, held))) => {
            walk.gather(|gathered| gathered.is_different = true);
            Ok(Some(Root::Other { path: tree.clone(), stat, held }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing(),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && is_source => {
            Err(Error::TreeNotDirectory { tree: tree.clone() })
        }
        Err(source) if is_source => Err(Error::Tree { tree: tree.clone(), source }),
        Err(source) => {
            let what = match source.kind() {
                io::ErrorKind::NotADirectory => What::NotDirectory,
                io::ErrorKind::CrossesDevices => What::MountPoint,
                _ => What::Unreadable { source },
            };
            walk.gather(|gathered| gathered.problem(tree, what));
            Ok(None)
        }
    }
}
