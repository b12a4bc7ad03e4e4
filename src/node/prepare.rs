//! Before anything is staged: whether the commit could be carried out, and the steps it will take.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Sources;
use super::error::{Error, io_error};
use super::inspect::Inspection;
use super::place::{Place, is_privileged};
use super::stage::{StageOptions, Staged};
use super::steps::{Step, Steps};
use crate::model::entry::{Entry, Kind};
use crate::model::manifest::{Manifest, Part, ReleaseId};
use crate::model::path::TreePath;
use crate::model::plan::Plan;
use crate::os::dir::Dir;
use crate::os::host;
use crate::scan::Found;
use crate::wire::message::{FailedClass, Offer};

/// Room that depsync's own files need at most, beside the content.
const OWN_BYTES: u64 = 1024 * 1024;
/// What a name takes in its directory, beside what it names; and some for the file system's own trees.
const NAME_BYTES: u64 = 256;
/// Inodes that depsync's own files need.
const OWN_INODES: u64 = 32;

/// What a commit would be made of.
#[derive(Debug, Clone, Copy)]
pub struct Preflight<'a> {
    /// The target.
    pub place: &'a Place,
    /// What would be done.
    pub plan: &'a Plan,
    /// What it leads to.
    pub manifest: &'a Manifest,
    /// What is there.
    pub found: &'a [Found],
    /// What would be staged.
    pub sources: &'a Sources,
    /// What the hub allows.
    pub offer: &'a Offer,
}

impl Preflight<'_> {
    /// Looks for everything known beforehand that would make the commit fail.
    ///
    /// # Errors
    /// [`Error::Refused`], naming what stands in the way and what to do.
    pub fn check(&self) -> Result<(), Error> {
        let Self { place, plan, manifest, found, offer, .. } = *self;
        if let Some(path) = plan.conflicts.first() {
            return Err(Error::refused(
                "protected-in-the-way",
                format!(
                    "{path} cannot become what the release says: what must be kept is in the way"
                ),
                Some("move what is protected away, or change the rules".into()),
            ));
        }
        if !offer.max_delete.allows(plan.deletes) {
            return Err(Error::Refused {
                class: FailedClass::Guard,
                kind: "max-delete",
                message: format!(
                    "{} of {} files would go from {}",
                    plan.deletes.lost,
                    plan.deletes.of,
                    place.shown()
                ),
                hint: Some("if that is meant, raise --max-delete".into()),
            });
        }
        check_permissions(place, plan, found)?;
        check_folding(place, manifest)?;
        if plan.counts.total() == 0 { Ok(()) } else { self.check_room() }
    }

    fn check_room(&self) -> Result<(), Error> {
        let Self { place, manifest, sources, offer, .. } = *self;
        let around: &Dir = place.root.as_ref().unwrap_or(&place.parent);
        let room = around.room().map_err(io_error("look at", place.shown()))?;
        let own =
            OWN_BYTES.min(room.bytes_total / 64).saturating_add(manifest.as_bytes().len() as u64);
        // A directory takes a block at least; any name takes room in one.
        let entries = sources
            .staged_entries
            .saturating_mul(NAME_BYTES)
            .saturating_add(sources.staged_directories.saturating_mul(room.block_bytes));
        let need = sources.staged_room.saturating_add(own).saturating_add(entries);
        let reserve = room.bytes_total / 100 * u64::from(offer.min_free_percent);
        let missing = need.saturating_add(reserve).saturating_sub(room.bytes_free);
        // A file system that states no size at all, such as ramfs, has no bound to check against.
        if room.bytes_total > 0 && missing > 0 {
            let reserve = match offer.min_free_percent {
                0 => String::new(),
                percent => format!(", and {percent} % must stay free"),
            };
            return Err(no_room(
                place,
                "bytes",
                missing,
                &format!("{need} are needed, {} are free{reserve}", room.bytes_free),
            ));
        }
        let inodes = sources.staged_entries.saturating_add(OWN_INODES);
        if room.inodes_total > 0 && inodes > room.inodes_free {
            let missing = inodes.saturating_sub(room.inodes_free);
            return Err(no_room(
                place,
                "inodes",
                missing,
                &format!("{inodes} are needed, {} are free", room.inodes_free),
            ));
        }
        Ok(())
    }
}

fn no_room(place: &Place, unit: &str, missing: u64, figures: &str) -> Error {
    Error::refused(
        if unit == "inodes" { "no-inodes" } else { "no-space" },
        format!("{missing} {unit} too few on the file system of {}: {figures}", place.shown()),
        Some("free space there, or lower [keep] releases or [guard] min_free".into()),
    )
}

fn find<'a>(found: &'a [Found], path: &TreePath) -> Option<&'a Found> {
    found.binary_search_by(|one| one.entry.path.cmp(path)).ok().and_then(|at| found.get(at))
}

/// Everything found at and below `top`.
fn within<'a>(found: &'a [Found], top: &TreePath) -> impl Iterator<Item = &'a Found> {
    let start = found.partition_point(|one| one.entry.path < *top);
    let rest = found.get(start..).unwrap_or_default();
    rest.iter().take_while(move |one| one.entry.path.is_within(top))
}

/// What goes is checked whole: it is moved by one rename, but must be removed name by name when it is pruned.
fn check_permissions(place: &Place, plan: &Plan, found: &[Found]) -> Result<(), Error> {
    for top in plan.removes.iter().chain(&plan.installs) {
        // An install that replaces no directory is one name at most.
        within(found, top).try_for_each(|one| check_permission(one, false))?;
    }
    let moved = plan.moves.iter().map(|moved| &moved.from);
    for path in plan.dirs.iter().chain(moved) {
        find(found, path).map_or(Ok(()), |one| check_permission(one, false))?;
    }
    for path in &plan.metas {
        find(found, path).map_or(Ok(()), |one| check_permission(one, true))?;
    }
    if plan.counts.total() > 0 {
        check_writable(place)?;
    }
    Ok(())
}

fn check_permission(one: &Found, must_own: bool) -> Result<(), Error> {
    let path = &one.entry.path;
    if one.stat.is_immutable {
        return Err(Error::refused(
            "immutable",
            format!("{path} is immutable or append-only"),
            Some("take the attribute away with chattr -i -a".into()),
        ));
    }
    let must_own = must_own || one.entry.kind.is_directory();
    let (owner, user) = (one.stat.owner.uid, host::user_id());
    if must_own && !is_privileged() && owner != user {
        return Err(Error::refused(
            "permission",
            format!("{path} belongs to user {owner}, and the agent is user {user}"),
            Some("give the target to the agent's user, or log in as its owner".into()),
        ));
    }
    Ok(())
}

fn check_writable(place: &Place) -> Result<(), Error> {
    let Some(root) = &place.root else { return Ok(()) };
    let room = root.room().map_err(io_error("look at", place.shown()))?;
    if room.is_read_only {
        return Err(Error::refused(
            "read-only",
            format!("{} is on a file system that is mounted read-only", place.shown()),
            Some("mount it writable".into()),
        ));
    }
    Ok(())
}

/// On a directory that folds case or normalises names, two names of the release may be one (row 15).
fn check_folding(place: &Place, manifest: &Manifest) -> Result<(), Error> {
    let around = place.root.as_ref().unwrap_or(&place.parent);
    if !around.folds_names().map_err(io_error("look at", place.shown()))? {
        return Ok(());
    }
    let mut folded: BTreeMap<String, TreePath> = BTreeMap::new();
    for entry in manifest.entries() {
        let key = String::from_utf8_lossy(entry.path.as_bytes()).to_lowercase();
        if let Some(other) = folded.insert(key, entry.path.clone()) {
            return Err(Error::refused(
                "names-collide",
                format!("{other} and {} are one name on this node's file system", entry.path),
                Some("rename one of them in the source".into()),
            ));
        }
    }
    Ok(())
}

/// The steps that make the staged release live, and the numbered paths that they move into the kept area.
///
/// Order: directories above trees; new and replaced paths; what changes its name; what goes; metadata, of
/// directories last and from the deepest up, since every step before changes their times.
pub fn steps(
    before: Option<ReleaseId>,
    plan: &Plan,
    release: Part<'_>,
    inspection: &Inspection,
    made: (&[Staged], &StageOptions, Vec<TreePath>),
) -> (Steps, Vec<(u64, TreePath)>) {
    let (staged, options, missing_parents) = made;
    let mut list: Vec<Step> =
        missing_parents.into_iter().map(|path| Step::MakeDir { path }).collect();
    let mut kept = Vec::new();
    for (number, (path, staged)) in (0u64..).zip(plan.installs.iter().zip(staged)) {
        if let Some(inode) = staged.inode {
            list.push(Step::Install { number, inode, path: path.clone() });
        }
        if find(&inspection.found, path).is_some() {
            kept.push((number, path.clone()));
        }
    }
    for moved in &plan.moves {
        let inode = find(&inspection.found, &moved.from).map_or(0, |one| one.stat.id.inode);
        list.push(Step::Move { from: moved.from.clone(), to: moved.to.clone(), inode });
    }
    for (number, path) in (plan.installs.len() as u64..).zip(&plan.removes) {
        list.push(Step::Remove { number, path: path.clone() });
        kept.push((number, path.clone()));
    }
    kept.sort_by(|(_, one), (_, other)| one.cmp(other));
    list.extend(metadata_steps(plan, release, &inspection.found, options));
    let (after, capture) = (release.manifest().id(), release.manifest().header().capture);
    (Steps { before, after, capture, list }, kept)
}

fn metadata_steps(
    plan: &Plan,
    release: Part<'_>,
    found: &[Found],
    options: &StageOptions,
) -> Vec<Step> {
    let metas: BTreeSet<&TreePath> = plan.metas.iter().chain(&plan.dirs).collect();
    let installs: BTreeSet<&TreePath> = plan.installs.iter().collect();
    let is_set_again = |entry: &Entry| {
        // Its owner kept access to it until the rename; see Branch::leave_one.
        let is_closed = !is_privileged() && entry.meta.mode & 0o700 != 0o700;
        // XFS counts an exchange as a change of the directories exchanged.
        let is_exchanged = || find(found, &entry.path).is_some();
        installs.contains(&entry.path) && (is_closed || is_exchanged())
    };
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    let looked_at: BTreeSet<&TreePath> = metas.union(&installs).copied().collect();
    for entry in release.entries_at(looked_at) {
        let is_directory = entry.kind.is_directory();
        let is_set = metas.contains(&entry.path) || (is_directory && is_set_again(&entry));
        if !is_set {
            continue;
        }
        if !is_directory && !matches!(entry.kind, Kind::File(_)) {
            continue;
        }
        let meta = options.meta_of(&entry);
        let step = Step::SetMeta { path: entry.path, is_directory, meta };
        if is_directory { directories.push(step) } else { files.push(step) }
    }
    files.extend(directories.into_iter().rev());
    files
}

/// Directories above the trees of `manifest` that the node lacks; top first.
///
/// # Errors
/// [`Error::Refused`] if there are several levels, and parents are not to be made.
pub fn missing_parents(
    place: &Place,
    manifest: &Manifest,
    make_path: bool,
) -> Result<Vec<TreePath>, Error> {
    let mut missing = BTreeSet::new();
    for tree in &manifest.header().trees {
        let mut above = tree.parent();
        while let Some(path) = above.filter(|path| !path.is_root()) {
            let exists = place.root.as_ref().is_some_and(|root| root.open_path(&path).is_ok());
            if exists {
                break;
            }
            above = path.parent();
            missing.insert(path);
        }
    }
    if !make_path && let Some(path) = missing.first() {
        return Err(Error::refused(
            "parent-missing",
            format!("{path} does not exist in {}", place.shown()),
            Some("create it, or give --mkpath".into()),
        ));
    }
    Ok(missing.into_iter().collect())
}
