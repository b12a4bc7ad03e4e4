//! What an agent leaves that died in the middle of its commit: COMMITTING in the journal, and the first steps carried out.

use depsync::node::commit;
use depsync::node::journal::{Journal, Phase, Record};
use depsync::node::place::{Allowed, Place};
use depsync::node::steps::{self, Steps};
use depsync::os::{clock, durable};
use depsync::wire::message::{Open, SourcePlace, Txid};

/// Begins the commit that is prepared at `root`, and ends behind so many of its steps; `None` if there is none.
pub(crate) fn carry_out_some(root: &[u8], count: usize) -> Option<()> {
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
    };
    let allowed = Allowed { home: "/".into(), ..Allowed::default() };
    let mut place = Place::open(&open, &allowed).ok()?;
    let state = place.state().ok()?;
    let mut journal = Journal::open(&state.dir).ok()?;
    let flight = journal.standing().flight.clone()?;
    let Phase::Prepared(digest) = flight.phase else { return None };
    let stage = state.stage_of(flight.txid).ok()?;
    let bytes = durable::read(&stage, steps::NAME, steps::BYTES_MAX).ok()??;
    let mut list = Steps::decode(&bytes, digest).ok()?;
    list.list.truncate(count);
    journal.append(&Record::Committing { txid: flight.txid }).ok()?;
    let kept = state.kept_of(flight.txid, &stage).ok()?;
    let keep = depsync::os::meta::KeepXattrs::default();
    commit::carry_out(&mut place, &list, &stage, &kept, keep).ok().map(drop)
}
