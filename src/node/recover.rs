//! Recovery: what the journal says was in flight is ended, before anything else happens at a target.
//!
//! | journal says | the tree is | recovery |
//! |---|---|---|
//! | BEGIN | old | drops the stage |
//! | PREPARED | old | waits for the decision |
//! | COMMITTING | old, new, or between | carries the steps out again: new |

use super::error::{Error, io_error};
use super::journal::{Flight, Journal, Phase, Record};
use super::place::{Allowed, Place};
use super::steps::{self, Step, Steps};
use super::{commit, kept};
use crate::model::digest::Digest;
use crate::model::keep::Keep;
use crate::model::manifest::{Capture, Manifest};
use crate::os::meta::KeepXattrs;
use crate::os::{clock, durable, host};
use crate::wire::message::{FailedClass, Mounted, Open, SourcePlace, Txid};

/// What was in flight at a target, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing was.
    Rested,
    /// It was not prepared: it is dropped.
    Dropped,
    /// It is prepared; the hub's decision is waited for.
    Waits(Txid),
    /// It was decided: the release is live.
    Completed(Digest),
}

/// Ends whatever can be ended without being told: a stage is dropped, a commit is carried out.
///
/// # Errors
/// [`Error::State`] for a damaged journal or list of steps; [`Error::Io`]; nothing further may be changed then.
pub fn recover(place: &mut Place, journal: &mut Journal) -> Result<Recovered, Error> {
    let in_flight = journal.standing().flight.clone();
    let recovered = match in_flight {
        None => Recovered::Rested,
        Some(Flight { txid, phase: Phase::Begun, .. }) => {
            abort(place, journal, txid)?;
            Recovered::Dropped
        }
        Some(Flight { txid, phase: Phase::Prepared(_), .. }) => Recovered::Waits(txid),
        Some(Flight { txid, phase: Phase::Committing(digest), release }) => {
            finish(place, journal, txid, digest)?;
            Recovered::Completed(release)
        }
    };
    drop_leftovers(place, journal)?;
    Ok(recovered)
}

/// Recovers the target at `directory` without a hub, as a node does when it boots.
///
/// # Errors
/// As [`recover`]; [`Error::Busy`] if a hub is at work there, which has seen to it.
pub fn recover_at(
    directory: &[u8],
    state_dir: Option<String>,
    allowed: &Allowed,
) -> Result<Recovered, Error> {
    let open = Open {
        run: Txid(host::random_id().map_err(io_error("make", "an id"))?),
        cluster: String::new(),
        holder: format!("agent --recover, process {}", host::process_id()),
        directory: directory.to_vec(),
        state_dir,
        make_path: false,
        clock: clock::wall(),
        // Where there is no state, none is made.
        read_only: true,
        source: SourcePlace::default(),
        looks_only: false,
        number: 0,
        mounted: Mounted::OWN,
    };
    let mut place = Place::open(&open, allowed)?;
    let Some(state) = &place.state else { return Ok(Recovered::Rested) };
    let mut journal = Journal::open(&state.dir)?;
    recover(&mut place, &mut journal)
}

/// Ends a prepared transaction as its hub has decided, and leaves nothing of it in the stage.
///
/// # Errors
/// As [`commit()`] and [`abort()`].
pub fn settle(
    place: &mut Place,
    journal: &mut Journal,
    txid: Txid,
    decided: bool,
) -> Result<(), Error> {
    if !decided || !is_whole(place, journal, txid)? {
        // A stage that is not the one prepared was put back file by file, with the journal: it leads nowhere, and the push
        // that follows brings the release all the same.
        return abort(place, journal, txid);
    }
    commit(place, journal, txid)?;
    drop_leftovers(place, journal)
}

/// True if the stage is there, and everything that the prepared transaction installs is the very thing that was staged:
/// steps know it by inode.
fn is_whole(place: &Place, journal: &Journal, txid: Txid) -> Result<bool, Error> {
    let flight = journal.standing().flight.as_ref().filter(|flight| flight.txid == txid);
    let Some(Phase::Prepared(digest)) = flight.map(|flight| flight.phase) else { return Ok(true) };
    let state = place.state()?;
    let found = state.stage.find(txid.to_string().as_bytes());
    if found.map_err(io_error("look at", "the stage"))?.is_none() {
        return Ok(false);
    }
    let list = read_steps(place, txid, digest)?;
    let stage = state.stage_of(txid)?;
    for step in &list.list {
        let Step::Install { number, inode, .. } = step else { continue };
        let found =
            stage.find(&steps::name_of(*number)).map_err(io_error("look at", "the stage"))?;
        if found.is_none_or(|stat| stat.id.inode != *inode) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Drops a transaction that is not decided.
///
/// # Errors
/// [`Error::Io`], [`Error::State`].
pub fn abort(place: &Place, journal: &mut Journal, txid: Txid) -> Result<(), Error> {
    let recorded = journal.append(&Record::Aborted { txid });
    // A record that a full quota does not take must not hold back the room that the stage gives: whoever comes next finds
    // none, and aborts what the journal still shows.
    let dropped = place.state()?.drop_stage(txid);
    recorded.and(dropped)
}

/// Makes a prepared transaction live. Gives how long the tree was between two releases, in microseconds.
///
/// # Errors
/// [`Error::Refused`] of class pending if a step cannot be carried out now: the decision stands in the journal.
pub fn commit(place: &mut Place, journal: &mut Journal, txid: Txid) -> Result<u64, Error> {
    let flight = journal.standing().flight.clone().filter(|flight| flight.txid == txid);
    let Some(Phase::Prepared(digest)) = flight.map(|flight| flight.phase) else {
        return Err(Error::Protocol { what: "a commit of what is not prepared".into() });
    };
    // Read before the journal says COMMITTING: a list that is damaged must not become a promise.
    let list = read_steps(place, txid, digest)?;
    // CRASH: whether it is there or not, the hub's decision stands, and the next contact goes on.
    journal.append(&Record::Committing { txid }).map_err(|error| pending(&error))?;
    go_live(place, journal, txid, &list).map_err(|error| pending(&error))
}

fn finish(
    place: &mut Place,
    journal: &mut Journal,
    txid: Txid,
    digest: Digest,
) -> Result<(), Error> {
    let list = read_steps(place, txid, digest)?;
    go_live(place, journal, txid, &list).map(drop).map_err(|error| pending(&error))
}

fn pending(error: &Error) -> Error {
    let failed = error.failed();
    let causes =
        failed.causes.iter().fold(failed.message, |text, cause| format!("{text}: {cause}"));
    Error::Refused {
        class: FailedClass::Pending,
        kind: "commit-pending",
        message: format!("the commit could not be completed: {causes}"),
        hint: failed
            .hint
            .or(Some("mend that and push again: the commit goes on where it stopped".into())),
    }
}

/// The steps of a decided transaction: what cannot be read now is pending, what is damaged is an error.
fn read_steps(place: &Place, txid: Txid, digest: Digest) -> Result<Steps, Error> {
    let stage = place.state()?.stage_of(txid).map_err(|error| pending(&error))?;
    let bytes = durable::read(&stage, steps::NAME, steps::BYTES_MAX)
        .map_err(io_error("read", "the list of steps"))
        .map_err(|error| pending(&error))?
        .unwrap_or_default();
    let damaged =
        |source| Error::State { what: "the list of steps of a prepared commit".into(), source };
    Steps::decode(&bytes, digest).map_err(damaged)
}

fn go_live(
    place: &mut Place,
    journal: &mut Journal,
    txid: Txid,
    list: &Steps,
) -> Result<u64, Error> {
    let state = place.state()?;
    let stage = state.stage_of(txid)?;
    let kept = state.kept_of(txid, &stage)?;
    let keep = keep_xattrs(list.capture);
    let (start, end) = commit::carry_out(place, list, &stage, &kept, keep)?;
    place.state()?.kept.sync().map_err(io_error("sync", "the kept area"))?;
    // CRASH: until it is durable, which it is before the stage is dropped, the steps are carried out again.
    journal.note(&Record::Committed { txid })?;
    let window = end.saturating_duration_since(start).as_micros();
    Ok(u64::try_from(window).unwrap_or(u64::MAX))
}

/// Which extended attributes a release keeps on this node.
pub fn keep_xattrs(capture: Capture) -> KeepXattrs {
    KeepXattrs {
        user: capture.xattrs,
        privileged: capture.xattrs && super::place::is_privileged(),
        acls: capture.acls,
    }
}

/// The stored manifest of `release`; `None` if it is not there, or damaged.
pub fn load_manifest(place: &Place, release: Digest) -> Option<Manifest> {
    let state = place.state.as_ref()?;
    let name = release.to_string();
    let limit = crate::model::limits::MANIFEST_BYTES_MAX;
    let bytes = durable::read(&state.manifests, name.as_bytes(), limit).ok()??;
    Manifest::from_stored(bytes, release).ok()
}

/// Removes what no transaction in flight owns (row 90).
fn drop_leftovers(place: &Place, journal: &Journal) -> Result<(), Error> {
    let state = place.state()?;
    let flight = journal.standing().flight.as_ref().map(|flight| flight.txid.to_string());
    let mut is_durable = false;
    for (name, _) in state.stage.names().map_err(io_error("list", "the stage"))? {
        if flight.as_ref().is_none_or(|flight| *flight.as_bytes() != *name) {
            if !is_durable {
                journal.sync()?;
                is_durable = true;
            }
            state.stage.remove_all(&name).map_err(io_error("remove", &name))?;
        }
    }
    for (name, _) in state.kept.names().map_err(io_error("list", "the kept area"))? {
        if name.starts_with(b"going-") {
            state.drop_kept(&name)?;
        }
    }
    Ok(())
}

/// Bounds what is kept.
///
/// # Errors
/// [`Error::Io`].
pub fn tidy(place: &Place, journal: &Journal, keep: Keep) -> Result<(), Error> {
    let state = place.state()?;
    drop_leftovers(place, journal)?;
    kept::prune(state, keep, journal.standing().release, clock::wall().seconds)
}
