//! What an agent leaves that died in the middle of its commit: COMMITTING in the journal, and the first steps carried out.

use depsync::model::digest::Digest;
use depsync::node::commit;
use depsync::node::journal::{Journal, Phase, Record};
use depsync::node::place::{Allowed, Place};
use depsync::node::steps::{self, Steps};
use depsync::os::{clock, durable};
use depsync::wire::message::{Mounted, Open, SourcePlace, Txid};

/// A transaction that waits for its decision.
pub(crate) struct Waiting {
    pub(crate) place: Place,
    pub(crate) journal: Journal,
    pub(crate) txid: Txid,
    /// Of its list of steps.
    digest: Digest,
}

/// What is prepared at `root`; `None` if nothing is.
pub(crate) fn waiting_at(root: &[u8]) -> Option<Waiting> {
    let open = Open {
        run: Txid([7; 16]),
        cluster: "simulation".to_owned(),
        holder: "an agent that dies".to_owned(),
        directory: root.to_vec(),
        state_dir: None,
        make_path: false,
        clock: clock::wall(),
        read_only: false,
        source: SourcePlace::default(),
        looks_only: false,
        number: 0,
        mounted: Mounted::OWN,
    };
    let allowed = Allowed { home: "/".into(), ..Allowed::default() };
    let place = Place::open(&open, &allowed).ok()?;
    let journal = Journal::open(&place.state().ok()?.dir).ok()?;
    let flight = journal.standing().flight.clone()?;
    let Phase::Prepared(digest) = flight.phase else { return None };
    Some(Waiting { place, journal, txid: flight.txid, digest })
}

/// Begins the commit that is prepared at `root`, and ends behind so many of its steps; `None` if there is none.
pub(crate) fn carry_out_some(root: &[u8], count: usize) -> Option<()> {
    let Waiting { mut place, mut journal, txid, digest } = waiting_at(root)?;
    let state = place.state().ok()?;
    let stage = state.stage_of(txid).ok()?;
    let bytes = durable::read(&stage, steps::NAME, steps::BYTES_MAX).ok()??;
    let mut list = Steps::decode(&bytes, digest).ok()?;
    list.list.truncate(count);
    journal.append(&Record::Committing { txid }).ok()?;
    let kept = state.kept_of(txid, &stage).ok()?;
    let keep = depsync::os::meta::KeepXattrs::default();
    commit::carry_out(&mut place, &list, &stage, &kept, keep).ok().map(drop)
}
