//! What a node has: its tree against its index. Drift shows here, on every push.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::error::{Error, io_error};
use super::place::Place;
use crate::model::entry::{Content, Kind};
use crate::model::manifest::{Header, OwnerPolicy};
use crate::model::path::TreePath;
use crate::model::plan::Have;
use crate::os::durable::Replacement;
use crate::os::host;
use crate::scan::index::{Index, RootId, Whole};
use crate::scan::listing::Listing;
use crate::scan::matcher::Matcher;
use crate::scan::pace::Pace;
use crate::scan::{self, Found, Progress, Scan, ScanOptions, Side};

const INDEX: &[u8] = b"index";

/// What a node has.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Every name.
    pub listing: Listing,
    /// The release that it was found to be, if nothing changed since.
    pub whole: Option<Whole>,
    /// The index should be written anew.
    pub is_news: bool,
    /// Names that are not as the release says, and the directories around them, once both were compared; sorted.
    pub found: Vec<Found>,
    /// Topmost names that are ignored, and not found; sorted.
    pub ignored: Vec<TreePath>,
    /// Topmost names found of which what the release lacks must stay; sorted.
    pub protected: Vec<TreePath>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Whether what the index says is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// A file that looks as the index knows it is not read.
    Trusted,
    /// Every file is read.
    Ignored,
}

/// Inspects the trees of `header` below the root of `place`, reading no faster than `pace`.
///
/// A missing or damaged index costs time, never correctness: files are read again.
///
/// # Errors
/// [`Error::Scan`] for the walk as a whole; [`Error::Refused`] naming what cannot be inspected.
pub fn inspect(
    place: &Place,
    header: &Header,
    (memory, pace): (Memory, Option<&Pace>),
    stop: &AtomicBool,
) -> Result<Inspection, Error> {
    let Some(root) = &place.root else {
        return Ok(Inspection::default());
    };
    let id = root.stat_self().map_err(io_error("look at", place.shown()))?.id;
    let root_id = place.root_id(&id);
    let index = match memory {
        Memory::Trusted => load_index(place, root_id)?,
        Memory::Ignored => Index::empty(),
    };
    let index = Arc::new(index);
    let matcher =
        Matcher::new(&header.rules).map_err(|error| Error::Scan(scan::Error::Rules(error)))?;
    let progress = Progress::default();
    let mut options = ScanOptions::new(Side::Node, &progress, stop);
    options.pace = pace;
    options.capture = header.capture;
    options.owner = compares_owners(&header.owner);
    let scan = scan::scan(root, &header.trees, &matcher, &index, &options).map_err(Error::Scan)?;
    let notes = check_problems(&scan)?;
    Ok(Inspection {
        listing: scan.listing,
        whole: index.whole().filter(|_| scan.is_same),
        is_news: scan.is_news,
        found: Vec::new(),
        ignored: scan.ignored,
        protected: scan.protected,
        notes,
    })
}

impl Inspection {
    /// Writes the index of the tree, which is `whole`, if it says anything new. A tree that is about to become another
    /// release (`None`) is still the one it was: what the index says of that stands.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remember(&self, place: &Place, whole: Option<Whole>) -> Result<(), Error> {
        if !self.is_news && (whole.is_none() || self.whole == whole) {
            return Ok(());
        }
        let Some((out, root)) = new_index(place)? else { return Ok(()) };
        let written = self.listing.write(out, root, whole).and_then(Replacement::finish);
        written.map_err(io_error("write", "the index"))
    }
}

impl Inspection {
    /// The content of the file at `path`, if there is one.
    pub fn content(&self, path: &TreePath) -> Option<Content> {
        let at = self.found.binary_search_by(|one| one.entry.path.cmp(path)).ok()?;
        match &self.found.get(at)?.entry.kind {
            Kind::File(content) => Some(content.clone()),
            _ => None,
        }
    }
}

/// True if numeric owners on this node are compared with a release's.
pub fn compares_owners(policy: &OwnerPolicy) -> bool {
    match policy {
        OwnerPolicy::Numeric | OwnerPolicy::Agent => host::is_root(),
        OwnerPolicy::Named { .. } => true,
    }
}

fn check_problems(scan: &Scan) -> Result<Vec<String>, Error> {
    let (fatal, notes): (Vec<_>, Vec<_>) =
        scan.problems.iter().partition(|problem| problem.is_fatal());
    let Some(first) = fatal.first() else {
        return Ok(notes.iter().take(10).map(|problem| told(problem)).collect());
    };
    let more = match fatal.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let (kind, hint) = match first.what {
        scan::What::MountPoint => ("mount-point", "unmount it, or exclude it with an ignore rule"),
        _ => ("unreadable", "the agent must be able to read the whole target"),
    };
    Err(Error::refused(kind, format!("{}{more}", told(first)), Some(hint.into())))
}

fn told(problem: &scan::Problem) -> String {
    let mut text = problem.to_string();
    let mut next = std::error::Error::source(&problem.what);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

fn load_index(place: &Place, root: RootId) -> Result<Index, Error> {
    let Some(state) = &place.state else { return Ok(Index::empty()) };
    match state.dir.open_file(INDEX) {
        Ok(file) => Ok(Index::open(file, root).unwrap_or_default()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Index::empty()),
        Err(error) => Err(io_error("read", "the index")(error)),
    }
}

/// Starts to write the index of the tree at the root whose identity is given beside it; nobody waits for the disk, as it can
/// always be made anew. `None` where nothing can be kept.
///
/// # Errors
/// [`Error::Io`].
pub fn new_index(place: &Place) -> Result<Option<(Replacement, RootId)>, Error> {
    let (Some(state), Some(root)) = (&place.state, &place.root) else { return Ok(None) };
    if state.lease.is_none() {
        return Ok(None);
    }
    let id = root.stat_self().map_err(io_error("look at", place.shown()))?.id;
    let out = Replacement::start(&state.dir, INDEX).map_err(io_error("write", "the index"))?;
    Ok(Some((out, place.root_id(&id))))
}

/// `found` as a plan takes it.
pub fn as_have(found: &[Found]) -> Vec<Have<'_>> {
    found
        .iter()
        .map(|one| Have { entry: &one.entry, is_sole_name: one.stat.link_count == 1 })
        .collect()
}
