//! What a node has: its tree against its index. Drift shows here, on every push.

use std::sync::atomic::AtomicBool;

use super::error::{Error, io_error};
use super::place::Place;
use crate::model::manifest::{Header, OwnerPolicy};
use crate::model::path::TreePath;
use crate::model::plan::Have;
use crate::os::durable;
use crate::os::host;
use crate::scan::index::{Index, RootId};
use crate::scan::matcher::Matcher;
use crate::scan::{self, Found, Progress, Scan, ScanOptions, Side};

const INDEX: &[u8] = b"index";
/// A larger index is not read, but made anew.
const INDEX_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// What a node has.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Every name, sorted.
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

/// Inspects the trees of `header` below the root of `place`.
///
/// A missing or damaged index costs time, never correctness: files are read again. The index is written anew if
/// anything was read.
///
/// # Errors
/// [`Error::Scan`] for the walk as a whole; [`Error::Refused`] naming what cannot be inspected.
pub fn inspect(
    place: &Place,
    header: &Header,
    memory: Memory,
    stop: &AtomicBool,
) -> Result<Inspection, Error> {
    let Some(root) = &place.root else {
        return Ok(Inspection::default());
    };
    let id = root.stat_self().map_err(io_error("look at", place.shown()))?.id;
    let root_id = RootId::of(&id);
    let index = match memory {
        Memory::Trusted => load_index(place, root_id)?,
        Memory::Ignored => Index::empty(),
    };
    let matcher =
        Matcher::new(&header.rules).map_err(|error| Error::Scan(scan::Error::Rules(error)))?;
    let progress = Progress::default();
    let mut options = ScanOptions::new(Side::Node, &progress, stop);
    options.capture = header.capture;
    options.owner = compares_owners(&header.owner);
    let scan = scan::scan(root, &header.trees, &matcher, &index, &options).map_err(Error::Scan)?;
    let notes = check_problems(&scan)?;
    if scan.files_read > 0 && place.state.is_some() {
        let index = Index::of(root_id, &scan.found, scan.started, scan.window);
        save_index(place, &index)?;
    }
    Ok(Inspection { found: scan.found, ignored: scan.ignored, protected: scan.protected, notes })
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
    let bytes = match durable::read(&state.dir, INDEX, INDEX_BYTES_MAX) {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Vec::new(),
        Err(error) => return Err(io_error("read", "the index")(error)),
    };
    Ok(Index::from_bytes(&bytes, root).unwrap_or_default())
}

/// Writes the index, without waiting for the disk: it can always be made anew.
///
/// # Errors
/// [`Error::Io`].
pub fn save_index(place: &Place, index: &Index) -> Result<(), Error> {
    let Some(state) = &place.state else { return Ok(()) };
    durable::replace_lazily(&state.dir, INDEX, &index.to_bytes())
        .map_err(io_error("write", "the index"))
}

/// `found` as a plan takes it.
pub fn as_have(found: &[Found]) -> Vec<Have<'_>> {
    found
        .iter()
        .map(|one| Have { entry: &one.entry, is_sole_name: one.stat.link_count == 1 })
        .collect()
}
