//! The source: the tree that every node is to have, read into a manifest.
//!
//! Owns: opening the root that the operator named, the guards that need nothing but the source (empty, marker, links),
//! and reading chunks again when they are shipped.
//! Never: writes to the source, or ships bytes that are not those of the manifest.
//! Start at [`read`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::model::codec::Writer;
use crate::model::digest::{Digest, Domain};
use crate::model::limits::{RULES_BYTES_MAX, TREES_MAX};
use crate::model::manifest::{Capture, Header, KindView, OwnerPolicy};
use crate::model::path::TreePath;
use crate::model::rules::Rules;
use crate::os::dir::Dir;
use crate::os::root::{self, Missing};
use crate::scan::index::{Index, RootId, Whole};
use crate::scan::listing::Listing;
use crate::scan::matcher::{self, Matcher, RULE_FILE};
use crate::scan::{self, Progress, Scan, ScanOptions, Side, Sums};

mod chunks;
pub mod release_file;
mod content;
mod dates;
mod error;
mod layout;
mod links;
mod release;
pub mod lint;

pub use chunks::{ChunkReader, ReadChunks, ReadError};
pub use content::Content;
pub use dates::dates;
pub use error::{Class, Error};
pub use layout::Layout;
pub use release::Release;

/// What a source is and how it is read.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory; with `trees`, the home that they are below.
    pub root: PathBuf,
    /// The trees below it; `[root]` for a plain source, and if the layout is to say.
    pub trees: Vec<TreePath>,
    /// Where the kind of server that it belongs to has what is deployed.
    pub layout: Option<Layout>,
    /// Ignore rules of the operator, in gitignore's syntax, matched against paths below the root.
    pub ignore: Vec<String>,
    /// Rules naming what nodes keep although the source has no such path.
    pub protect: Vec<String>,
    /// What is kept beside mode, mtime and content.
    pub capture: Capture,
    /// Whom entries belong to on nodes.
    pub owner: OwnerPolicy,
    /// What is checked.
    pub checks: Checks,
    /// What is looked for in its files.
    pub lint: lint::Options,
    /// A path below the root that must exist.
    pub marker: Option<TreePath>,
    /// Threads of the walk; 0 for twice the cores, at most eight.
    pub threads: usize,
}

/// Which departures from the default are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "three switches of the command line, in its own words"
)]
pub struct Checks {
    /// Refuse symbolic links that are absolute or lead out of their tree.
    pub safe_links: bool,
    /// Leave FIFOs, sockets and devices out instead of refusing them.
    pub skip_specials: bool,
    /// An empty source is meant.
    pub allow_empty: bool,
}

impl Options {
    /// The plain source at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            trees: vec![TreePath::root()],
            layout: None,
            ignore: Vec::new(),
            protect: Vec::new(),
            capture: Capture::default(),
            owner: OwnerPolicy::default(),
            checks: Checks::default(),
            lint: lint::Options::default(),
            marker: None,
            threads: 0,
        }
    }
}

/// A source that was read.
#[derive(Debug)]
pub struct Source {
    /// What every node is to have.
    pub release: Release,
    /// The directory it was read from.
    pub root: Dir,
    /// Where that is, with every link resolved.
    pub real_path: PathBuf,
    /// Which directory on which file system that is.
    pub identity: Identity,
    /// What was found.
    pub listing: Arc<Listing>,
    /// The index should be written anew.
    pub is_news: bool,
    /// What the operator should know though it stops nothing, sorted by path; what concerns all of it first.
    pub notes: Vec<Note>,
    /// Names, the roots of trees included.
    pub entries: u64,
    /// Bytes of all files together, each hard-linked file once.
    pub bytes: u64,
    /// How often a file was read for its content; those that had just changed are read twice.
    pub files_read: u64,
    /// Bytes of content read.
    pub bytes_read: u64,
}

/// Which directory on which file system a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// `statfs.f_type`.
    pub file_system_type: u64,
    /// The file system's id.
    pub file_system: u64,
    /// Device and inode of the root.
    pub root: RootId,
}

/// Something worth knowing that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A symbolic link whose text is absolute; nodes get the same text.
    AbsoluteLink {
        /// The link.
        path: TreePath,
    },
    /// A symbolic link whose text leads out of its tree; nodes get the same text.
    EscapingLink {
        /// The link.
        path: TreePath,
    },
    /// A FIFO, socket or device that was left out.
    SkippedSpecial {
        /// Where it is.
        path: TreePath,
    },
    /// Tenants' directories under both of their names, of which a server reads one.
    TwoTenants {
        /// The one.
        path: TreePath,
        /// The other.
        other: TreePath,
    },
}

impl Note {
    /// The name the note is about.
    pub fn path(&self) -> &TreePath {
        match self {
            Self::AbsoluteLink { path }
            | Self::EscapingLink { path }
            | Self::SkippedSpecial { path }
            | Self::TwoTenants { path, .. } => path,
        }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AbsoluteLink { path } => write!(f, "the link {path} is absolute"),
            Self::EscapingLink { path } => write!(f, "the link {path} leads out of its tree"),
            Self::SkippedSpecial { path } => write!(f, "left out the special file {path}"),
            Self::TwoTenants { path, other } => {
                write!(f, "there are both {path} and {other}: a server reads one of them")
            }
        }
    }
}

/// Opens the root of a source and says which directory it is, without walking it: enough to choose the index.
///
/// # Errors
/// [`Error::Missing`], [`Error::Root`], [`Error::Identify`].
pub fn open(path: &Path) -> Result<(Dir, PathBuf, Identity), Error> {
    let shown =
        || crate::model::untrusted::Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
    let identify = |source| Error::Identify { path: shown(), source };
    let path = root::absolute(path).map_err(identify)?;
    let opened = match root::open(&path, Missing::Refuse) {
        Ok(opened) => opened,
        Err(root::Error::ParentMissing { path }) => return Err(Error::Missing { path }),
        Err(source) => return Err(Error::Root { source }),
    };
    let dir = opened.dir.ok_or_else(|| Error::Missing { path: shown() })?;
    let identity = Identity {
        file_system_type: dir.file_system_type().map_err(identify)?,
        file_system: dir.room().map_err(identify)?.file_system,
        root: RootId::of(&dir.stat_self().map_err(identify)?.id),
    };
    Ok((dir, opened.real_path, identity))
}

/// Reads the source that `options` tell of. Nothing in it is changed; files that look as `index` knows them are not read.
///
/// Guarantees: the manifest holds every name of the trees that no rule ignores, with content that each file had at one
/// moment of the run; whatever could not be taken so is an error that names it.
///
/// # Errors
/// [`Error`]; see [`Error::class`] for what a run makes of each. [`Error::Scan`] with [`scan::Error::Stopped`] soon after
/// `stop` is set.
pub fn read(
    options: &Options,
    index: &Arc<Index>,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<Source, Error> {
    let (root, real_path, identity) = open(&options.root)?;
    check_marker(&root, options.marker.as_ref())?;
    let (options, layout_note) = options.placed(&root)?;
    let trees = checked_trees(&options.trees)?;
    let mut rules = Rules {
        ignore: options.ignore.clone(),
        files: Vec::new(),
        protect: options.protect.clone(),
    };
    let matcher = Matcher::new(&rules).map_err(|source| Error::Rules { source })?;
    let scan_options = ScanOptions {
        capture: options.capture,
        owner: options.owner == OwnerPolicy::Numeric,
        skip_specials: options.checks.skip_specials,
        threads: options.threads,
        ..ScanOptions::new(Side::Source, progress, stop)
    };
    let scanned = scan::scan(&root, &trees, &matcher, index, &scan_options);
    let mut scanned = scanned.map_err(|error| match error {
        scan::Error::Rules(source) => Error::Rules { source },
        source => Error::Scan { source },
    })?;
    if !scanned.problems.is_empty() {
        return Err(Error::Problems { problems: std::mem::take(&mut scanned.problems) });
    }
    if !options.checks.allow_empty {
        check_not_empty(&scanned, &trees)?;
    }
    let mut notes = notes_of(&scanned, &trees, options.checks.safe_links)?;
    notes.splice(..0, layout_note);
    rules.files = std::mem::take(&mut scanned.rule_files);
    check_rules_size(&rules)?;
    let header = Header { trees, capture: options.capture, owner: options.owner.clone(), rules };
    let under = under(&header);
    let sums = sums_of(&scanned.listing)?;
    let listing = Arc::new(scanned.listing);
    let known = index.whole().filter(|whole| scanned.is_same && whole.under == under);
    let release = match known {
        Some(whole) => Release::known(whole.release, header, Arc::clone(&listing)),
        None => Release::new(&header, &listing)?,
    };
    Ok(Source {
        release,
        root,
        real_path,
        identity,
        is_news: scanned.is_news || known.is_none(),
        listing,
        notes,
        entries: sums.names,
        bytes: sums.bytes,
        files_read: scanned.files_read,
        bytes_read: scanned.bytes_read,
    })
}

/// What a tree was looked at under: the same tree makes another release under another header.
fn under(header: &Header) -> Digest {
    let mut writer = Writer::new();
    header.encode(&mut writer);
    Digest::of(Domain::State, &writer.finish())
}

impl Source {
    /// Writes the index by which the source need not be read again.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn write_index<W: std::io::Write>(&self, out: W) -> std::io::Result<W> {
        let whole = Whole { under: under(self.release.header()), release: self.release.id() };
        self.listing.write(out, self.identity.root, Some(whole))
    }
}

/// Names and bytes of all files, each file with several names once where those are told.
fn sums_of(listing: &Listing) -> Result<Sums, Error> {
    let mut sums = listing.sums();
    if listing.tells_hard_links() {
        sums.bytes = 0;
        let mut cursor = listing.cursor();
        while let Some(item) = cursor.next().map_err(|_error| Error::IndexChanged)? {
            if let KindView::File(content) = item.view.kind {
                sums.bytes = sums.bytes.saturating_add(content.size());
            }
        }
    }
    Ok(sums)
}

/// The trees sorted, if there are any, not too many, and none lies within another.
fn checked_trees(trees: &[TreePath]) -> Result<Vec<TreePath>, Error> {
    let mut trees = trees.to_vec();
    trees.sort_unstable();
    if trees.is_empty() || trees.len() > TREES_MAX {
        return Err(Error::TreeCount { count: trees.len() });
    }
    for pair in trees.windows(2) {
        if let [one, next] = pair
            && next.is_within(one)
        {
            return Err(Error::TreesOverlap { outer: one.clone(), inner: next.clone() });
        }
    }
    Ok(trees)
}

fn check_marker(root: &Dir, marker: Option<&TreePath>) -> Result<(), Error> {
    let Some(marker) = marker else { return Ok(()) };
    let missing = || Error::MarkerMissing { marker: marker.clone() };
    let Some((parent, name)) = marker.split_last() else { return Err(missing()) };
    match root.open_path(&parent).and_then(|dir| dir.find(name)) {
        Ok(Some(_)) => Ok(()),
        Ok(None) | Err(_) => Err(missing()),
    }
}

/// SAFETY-STOP: a source without anything would empty every node; most likely it is not mounted.
fn check_not_empty(scanned: &Scan, trees: &[TreePath]) -> Result<(), Error> {
    let mut cursor = scanned.listing.cursor();
    while let Some(item) = cursor.next().map_err(|_error| Error::IndexChanged)? {
        let path = item.view.path;
        let is_rule_file = path.split(|&byte| byte == b'/').next_back() == Some(RULE_FILE);
        if !is_rule_file && !trees.iter().any(|tree| tree.as_bytes() == path) {
            return Ok(());
        }
    }
    if scanned.ignored.is_empty() { Err(Error::Empty) } else { Err(Error::AllIgnored) }
}

fn notes_of(scanned: &Scan, trees: &[TreePath], safe_links: bool) -> Result<Vec<Note>, Error> {
    let mut notes = Vec::new();
    if scanned.listing.sums().symlinks > 0 {
        let mut cursor = scanned.listing.cursor();
        while let Some(item) = cursor.next().map_err(|_error| Error::IndexChanged)? {
            if matches!(item.view.kind, KindView::Symlink(_)) {
                notes.extend(links::note_of(&item.view.to_entry(), trees));
            }
        }
    }
    if safe_links && !notes.is_empty() {
        return Err(Error::UnsafeLinks {
            links: notes.iter().map(|note| note.path().clone()).collect(),
        });
    }
    let skipped = scanned.skipped_specials.iter();
    notes.extend(skipped.map(|path| Note::SkippedSpecial { path: path.clone() }));
    notes.sort_by(|one, other| one.path().cmp(other.path()));
    Ok(notes)
}

fn check_rules_size(rules: &Rules) -> Result<(), Error> {
    let texts = rules.ignore.iter().chain(&rules.protect).map(String::len);
    let files = rules.files.iter().map(|(_, text)| text.len());
    let bytes = texts.chain(files).fold(0, usize::saturating_add);
    if bytes > RULES_BYTES_MAX {
        let source = matcher::Error::File {
            place: "all ignore rules together".into(),
            why: "are too long for one release",
        };
        return Err(Error::Rules { source });
    }
    Ok(())
}
