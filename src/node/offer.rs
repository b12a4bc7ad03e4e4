//! The answer to an offer: what the node has, what would change, and which chunks it lacks.

use super::accounts;
use super::agent::{Hub, unexpected};
use super::content::Sources;
use super::error::{Error, io_error};
use super::inspect::{self, Inspection, Memory};
use super::journal::Standing;
use super::place::Place;
use super::prepare::{self, Preflight};
use super::recover;
use super::stage::StageOptions;
use crate::model::codec::{self, Reader};
use crate::model::entry::Owner;
use crate::model::limits;
use crate::model::manifest::{Header, Manifest, OwnerPolicy, ReleaseId};
use crate::model::path::TreePath;
use crate::model::plan::{self, Change, Plan, Policy};
use crate::model::{delta, untrusted::Untrusted};
use crate::os::host;
use crate::wire::message::{CHANGES_MAX, ManifestPart, Offer, Planned, ToAgent, ToHub};

/// Everything a transaction needs to know.
#[derive(Debug)]
pub struct Offered {
    /// The release.
    pub manifest: Manifest,
    /// The tree as it is.
    pub inspection: Inspection,
    /// What leads from one to the other.
    pub plan: Plan,
    /// Where its content comes from.
    pub sources: Sources,
    /// How it is staged.
    pub options: StageOptions,
    /// Directories above its trees that are missing; top first.
    pub missing_parents: Vec<TreePath>,
    /// Why it must not be staged.
    pub refusal: Option<Error>,
}

/// Inspects the tree, takes the manifest if it is missing here, plans, and tells the hub.
///
/// # Errors
/// Whatever keeps the plan from being made. What only keeps it from being carried out is told in the plan.
pub fn answer(
    hub: &Hub,
    place: &Place,
    standing: Option<&Standing>,
    offer: &Offer,
    make_path: bool,
) -> Result<Offered, Error> {
    let header = decode_header(&offer.header)?;
    let owner = accounts::resolve(&header.owner)?;
    let stored = recover::load_manifest(place, offer.release);
    let base = standing
        .and_then(|standing| standing.release)
        .filter(|_| stored.is_none())
        .and_then(|release| recover::load_manifest(place, release));
    let lacks = ToHub::Lacks { manifest: stored.is_none(), base: base.as_ref().map(Manifest::id) };
    hub.send(&lacks)?;
    let memory = if offer.reread { Memory::Ignored } else { Memory::Trusted };
    // The hub sends the manifest meanwhile.
    let inspection = inspect::inspect(place, &header, memory, &hub.is_gone)?;
    let manifest = match stored {
        Some(manifest) => manifest,
        None => receive_manifest(hub, base.as_ref(), offer.release)?,
    };
    if *manifest.header() != header {
        return Err(Error::Protocol { what: "the header offered is not the manifest's".into() });
    }
    let policy = policy(&inspection, offer, &header, owner);
    let plan = make_plan(hub, &inspection, &manifest, &policy, offer.list_changes)?;
    let around = place.root.as_ref().unwrap_or(&place.parent);
    let block = around.room().map_err(io_error("look at", place.shown()))?.block_bytes;
    let sources = Sources::find(place, &plan, &manifest, &inspection.found, block)?;
    let missing = prepare::missing_parents(place, &manifest, make_path);
    let found = &inspection.found;
    let preflight =
        Preflight { place, plan: &plan, manifest: &manifest, found, sources: &sources, offer };
    let checked = preflight.check();
    let (missing_parents, refusal) = match missing.and_then(|missing| checked.map(|()| missing)) {
        Ok(missing) => (missing, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let is_known = standing.is_some_and(|standing| standing.release == Some(offer.release));
    hub.send(&ToHub::Planned(Planned {
        is_clean: plan.counts.total() == 0 && is_known,
        counts: plan.counts,
        deletes: plan.deletes,
        wanted: sources.wanted.clone(),
        notes: notes(&inspection, &plan, &header),
        refusal: refusal.as_ref().map(Error::failed),
    }))?;
    let options = StageOptions {
        keep_xattrs: recover::keep_xattrs(&manifest),
        owner,
        owners: inspect::compares_owners(&header.owner),
    };
    Ok(Offered { manifest, inspection, plan, sources, options, missing_parents, refusal })
}

fn decode_header(bytes: &[u8]) -> Result<Header, Error> {
    let damaged = |source| Error::State { what: "the offered header".into(), source };
    let mut reader = Reader::new(bytes, "manifest header");
    let header = Header::decode(&mut reader).map_err(damaged)?;
    reader.finish().map_err(damaged)?;
    Ok(header)
}

fn policy(inspection: &Inspection, offer: &Offer, header: &Header, owner: Option<Owner>) -> Policy {
    Policy {
        no_delete: offer.no_delete,
        ignored: inspection.ignored.clone(),
        protected: inspection.protected.clone(),
        owners: inspect::compares_owners(&header.owner),
        owner,
    }
}

fn make_plan(
    hub: &Hub,
    inspection: &Inspection,
    manifest: &Manifest,
    policy: &Policy,
    list_changes: bool,
) -> Result<Plan, Error> {
    let mut changes: Vec<Change> = Vec::new();
    let mut sent = Ok(());
    let mut tell = |change: Change| {
        if list_changes && sent.is_ok() {
            changes.push(change);
            if changes.len() == CHANGES_MAX {
                sent = hub.send(&ToHub::Changes(std::mem::take(&mut changes)));
            }
        }
    };
    let plan = plan::plan(&inspect::as_have(&inspection.found), manifest, policy, &mut tell);
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
        let part = zstd::bulk::decompress(&received.bulk, raw_bytes)
            .ok()
            .filter(|part| part.len() == raw_bytes)
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
