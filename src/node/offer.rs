//! The answer to an offer: what the node has, what would change, and which chunks it lacks.

use super::accounts;
use super::agent::{Hub, unexpected};
use super::content::{Here, Sources};
use super::difference::{Difference, Owners};
use super::error::{Error, io_error};
use super::inspect::{self, Inspection, Memory};
use super::journal::Standing;
use super::pieces::Pieces;
use super::place::Place;
use super::prepare::{self, Preflight};
use super::recover;
use super::rejected::Rejected;
use super::stage::StageOptions;
use super::swap;
use crate::model::codec::{self, Reader, Writer};
use crate::model::digest::{Digest, Domain};
use crate::model::limits;
use crate::model::manifest::{Header, Manifest, OwnerPolicy, Part, Picked, ReleaseId};
use crate::model::patch::Near;
use crate::model::path::TreePath;
use crate::model::plan::{self, Change, CommitStyle, Counts, Deletes, Plan, Policy};
use crate::model::want::Wanted;
use crate::model::{delta, untrusted::Untrusted};
use crate::os::host;
use crate::scan::index::Whole;
use crate::scan::pace::Pace;
use crate::wire::message::{CHANGES_MAX, ManifestPart, Offer, Open, Planned, ToAgent, ToHub};

/// Everything a transaction needs to know.
#[derive(Debug)]
pub struct Offered {
    /// The release.
    pub manifest: Manifest,
    /// Its entries that the tree has otherwise, unless that is all of them.
    pub picked: Option<Picked>,
    /// The tree as it is.
    pub inspection: Inspection,
    /// What leads from one to the other.
    pub plan: Plan,
    /// Where its content comes from.
    pub sources: Sources,
    /// What is here in the place of content that is not.
    pub pieces: Pieces,
    /// How it is staged.
    pub options: StageOptions,
    /// Directories above its trees that are missing; top first.
    pub missing_parents: Vec<TreePath>,
    /// What the tree is once the plan was carried out.
    pub whole: Whole,
    /// Why it must not be staged.
    pub refusal: Option<Error>,
}

impl Offered {
    /// The release, as far as the tree has it otherwise.
    pub fn part(&self) -> Part<'_> {
        Part::new(&self.manifest, self.picked.as_ref())
    }
}

/// Inspects the tree and answers `offer`: with the plan, or with nothing where the tree is the release already.
///
/// # Errors
/// Whatever keeps the node from being looked at; what only keeps it from being changed is in [`Offered::refusal`].
pub fn answer(
    hub: &Hub,
    place: &Place,
    standing: Option<&Standing>,
    offer: &Offer,
    open: &Open,
) -> Result<Option<Offered>, Error> {
    let header = decode_header(&offer.header)?;
    let owner = accounts::resolve(&header.owner)?;
    // Nothing else is opened by its path from here on.
    place.confine(offer.commit);
    let memory = if offer.reread { Memory::Ignored } else { Memory::Trusted };
    let pace = offer.read_rate.map(Pace::new);
    let inspection = inspect::inspect(place, &header, (memory, pace.as_ref()), &hub.is_gone)?;
    let owners = Owners { compared: inspect::compares_owners(&header.owner), all: owner };
    let whole = Whole { under: under(&offer.header, owners), release: offer.release };
    let is_known = standing.is_some_and(|standing| standing.release == Some(offer.release));
    if is_known && inspection.whole == Some(whole) {
        inspection.remember(place, Some(whole))?;
        hub.send(&ToHub::Planned(clean(notes(&inspection, &Plan::default(), &header))))?;
        return Ok(None);
    }
    let manifest = take_manifest(hub, place, standing, offer)?;
    if *manifest.header() != header {
        return Err(Error::Protocol { what: "the header offered is not the manifest's".into() });
    }
    let (mut offered, rejected) =
        plan(hub, (place, offer, open), (inspection, manifest), (owners, whole))?;
    let mut notes = notes(&offered.inspection, &offered.plan, &header);
    if let Some(rejected) = rejected.sentence() {
        // What this very release brought was not taken: it would not be the next time.
        if is_known && !offer.force && offered.refusal.is_none() {
            offered.refusal = Some(held_back(&rejected));
        }
        notes.push(rejected);
    }
    let is_clean = offered.plan.counts.total() == 0;
    let is_whole = is_clean && offered.plan.kept_extras.is_empty();
    offered.inspection.remember(place, is_whole.then_some(whole))?;
    hub.send(&ToHub::Planned(Planned {
        is_clean: is_clean && is_known,
        counts: offered.plan.counts,
        deletes: offered.plan.deletes,
        wanted: offered.sources.wanted.clone(),
        near: offered.pieces.near.clone(),
        notes,
        refusal: offered.refusal.as_ref().map(Error::failed),
    }))?;
    Ok(Some(offered))
}

/// The answer of a tree that is the release already.
pub(super) fn clean(notes: Vec<String>) -> Planned {
    Planned {
        is_clean: true,
        counts: Counts::default(),
        deletes: Deletes::default(),
        wanted: Wanted::default(),
        near: Near::default(),
        notes,
        refusal: None,
    }
}

/// What a tree is looked at under: another owner makes it another tree.
fn under(header: &[u8], owners: Owners) -> Digest {
    let mut writer = Writer::new();
    writer.bytes(header);
    writer.bool(owners.compared);
    writer.option(owners.all, |writer, owner| {
        writer.u64(u64::from(owner.uid));
        writer.u64(u64::from(owner.gid));
    });
    Digest::of(Domain::State, &writer.finish())
}

/// The manifest of the release: stored here, or sent by the hub as a delta from one that is.
fn take_manifest(
    hub: &Hub,
    place: &Place,
    standing: Option<&Standing>,
    offer: &Offer,
) -> Result<Manifest, Error> {
    let stored = recover::load_manifest(place, offer.release);
    let base = standing
        .and_then(|standing| standing.release)
        .filter(|_| stored.is_none())
        .and_then(|release| recover::load_manifest(place, release));
    let lacks = ToHub::Lacks { manifest: stored.is_none(), base: base.as_ref().map(Manifest::id) };
    hub.send(&lacks)?;
    match stored {
        Some(manifest) => Ok(manifest),
        None => receive_manifest(hub, base.as_ref(), offer.release),
    }
}

fn plan(
    hub: &Hub,
    (place, offer, open): (&Place, &Offer, &Open),
    (mut inspection, manifest): (Inspection, Manifest),
    (owners, whole): (Owners, Whole),
) -> Result<(Offered, Rejected), Error> {
    // Where a release tells which names are one file, a name can change by what is done to another; and a tree that is
    // exchanged is replaced in all its names.
    let is_swap = offer.commit == CommitStyle::Swap;
    let takes_all = manifest.header().capture.hard_links || is_swap;
    let difference = Difference::between(&inspection.listing, &manifest, owners, takes_all)?;
    inspection.found = difference.found;
    let policy = Policy {
        no_delete: offer.no_delete,
        ignored: std::mem::take(&mut inspection.ignored),
        protected: std::mem::take(&mut inspection.protected),
        owners: owners.compared,
        owner: owners.all,
    };
    let Difference { picked, same, same_files, .. } = difference;
    let release = Part::new(&manifest, picked.as_ref());
    let want = plan::Want { release, same_files };
    let mut rejected = Rejected::among(&inspection.found);
    let plan = make_plan(hub, &inspection, want, &policy, (offer.list_changes, &mut rejected))?;
    let (plan, refusal) = if is_swap && plan.counts.total() > 0 {
        let refusal = swap::check(place, &manifest, &policy, &plan).err();
        (plan.as_swap(&swap::tree_of(&manifest)), refusal)
    } else {
        (plan, None)
    };
    let around = place.root.as_ref().unwrap_or(&place.parent);
    let block = around.room().map_err(io_error("look at", place.shown()))?.block_bytes;
    let here = Here { found: &inspection.found, same: &same };
    let sources = Sources::find(place.state.as_ref(), &plan, release, here, block)?;
    let missing = prepare::missing_parents(place, &manifest, open.make_path);
    let found = &inspection.found;
    let preflight =
        Preflight { place, plan: &plan, manifest: &manifest, found, sources: &sources, offer };
    let checked = refusal.map_or_else(|| preflight.check(), Err);
    let (missing_parents, refusal) = match missing.and_then(|missing| checked.map(|()| missing)) {
        Ok(missing) => (missing, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let mut pieces = Pieces::new(&open.run.0);
    if let Some(root) = place.root.as_ref().filter(|_| refusal.is_none() && !open.read_only) {
        pieces.name(root, release, &sources.wanted, |path, content| {
            let path = match inspection.content(path) {
                Some(_) => path.clone(),
                // A new name: the file that most likely had another.
                None => content.chunks().find_map(|chunk| sources.live_file(&chunk))?.clone(),
            };
            let old = inspection.content(&path)?;
            Some((path, old))
        });
    }
    let options = StageOptions {
        keep_xattrs: recover::keep_xattrs(manifest.header().capture),
        owner: owners.all,
        owners: owners.compared,
    };
    let offered = Offered {
        manifest,
        picked,
        inspection,
        plan,
        sources,
        pieces,
        options,
        missing_parents,
        whole,
        refusal,
    };
    Ok((offered, rejected))
}

pub(super) fn decode_header(bytes: &[u8]) -> Result<Header, Error> {
    let damaged = |source| Error::State { what: "the offered header".into(), source };
    let mut reader = Reader::new(bytes, "manifest header");
    let header = Header::decode(&mut reader).map_err(damaged)?;
    reader.finish().map_err(damaged)?;
    Ok(header)
}

fn make_plan(
    hub: &Hub,
    inspection: &Inspection,
    want: plan::Want<'_>,
    policy: &Policy,
    (list_changes, rejected): (bool, &mut Rejected),
) -> Result<Plan, Error> {
    let mut changes: Vec<Change> = Vec::new();
    let mut sent = Ok(());
    let mut tell = |change: Change| {
        rejected.note(&change);
        if list_changes && sent.is_ok() {
            changes.push(change);
            if changes.len() == CHANGES_MAX {
                sent = hub.send(&ToHub::Changes(std::mem::take(&mut changes)));
            }
        }
    };
    let plan = plan::plan(&inspect::as_have(&inspection.found), want, policy, &mut tell);
    sent?;
    if !changes.is_empty() {
        hub.send(&ToHub::Changes(changes))?;
    }
    Ok(plan)
}

fn receive_manifest(
    hub: &Hub,
    base: Option<&Manifest>,
    release: ReleaseId,
) -> Result<Manifest, Error> {
    let mut bytes = Vec::new();
    let is_delta = loop {
        let received = hub.receive()?;
        let ToAgent::Manifest(ManifestPart { base, raw_bytes, is_last }) = received.message else {
            return Err(unexpected(&received.message));
        };
        // One frame and nothing behind it; parts without anything in them could go on for ever.
        let frame = zstd::zstd_safe::find_frame_compressed_size(&received.bulk).ok();
        let part = zstd::bulk::decompress(&received.bulk, raw_bytes)
            .ok()
            .filter(|part| part.len() == raw_bytes && frame == Some(received.bulk.len()))
            .filter(|part| is_last || !part.is_empty())
            .ok_or_else(|| Error::Protocol {
                what: "a part of the manifest is not what it says".into(),
            })?;
        bytes.extend_from_slice(&part);
        if bytes.len() as u64 > limits::MANIFEST_BYTES_MAX {
            return Err(Error::Protocol { what: "the manifest is longer than any may be".into() });
        }
        if is_last {
            break base.is_some();
        }
    };
    let damaged = |source| Error::State { what: "the manifest that was sent".into(), source };
    let manifest = match (is_delta, base) {
        (true, Some(base)) => delta::apply(base, &bytes, release),
        _ => Manifest::from_bytes(bytes),
    };
    let manifest = manifest.map_err(damaged)?;
    if manifest.id() != release {
        return Err(damaged(codec::Error::Digest { what: "manifest" }));
    }
    Ok(manifest)
}

fn held_back(rejected: &str) -> Error {
    let message = format!("{rejected}: it is not pushed again until the source changes");
    let hint = "the server's log says why; --force pushes it once more";
    Error::refused("rejected", message, Some(hint.into()))
}

fn notes(inspection: &Inspection, plan: &Plan, header: &Header) -> Vec<String> {
    let mut notes = inspection.notes.clone();
    if header.owner == OwnerPolicy::Numeric && !host::is_root() {
        notes.push("the agent is not root: it owns what it writes".into());
    }
    let shown =
        plan.kept_extras.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match plan.kept_extras.len() {
        0 => {}
        count @ 1..=5 => {
            notes.push(format!("{count} kept that the release does not have: {shown}"));
        }
        count => notes.push(format!("{count} kept that the release does not have: {shown}, …")),
    }
    notes
}

/// The refusal of what a plan may not do, for a hub that stages it all the same.
pub fn refused(error: &Error) -> Error {
    let failed = error.failed();
    Error::Refused {
        class: failed.class,
        kind: "refused",
        message: Untrusted::new(failed.message.as_bytes()).to_string(),
        hint: failed.hint,
    }
}
