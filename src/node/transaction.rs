//! One transaction on a node: stage, prepare, and then what the hub decides. The order of writes is in `docs/safety.md`.

use super::agent::{Hub, unexpected};
use super::content::LocalReader;
use super::error::{Error, io_error};
use super::incoming::Incoming;
use super::journal::{Journal, Record};
use super::kept::KeptList;
use super::offer::{self, Offered};
use super::pieces::Patcher;
use super::place::{Place, State};
use super::stage::{self, Input};
use super::steps::{self, Steps};
use super::{after, commit, kept, prepare, recover};
use crate::model::digest::Digest;
use crate::model::limits;
use crate::model::path::TreePath;
use crate::os::clock;
use crate::os::dir::Dir;
use crate::os::durable::{self, Behind};
use crate::wire::message::{FailedClass, Part, Stage, ToAgent, ToHub, Txid};

/// A transaction at a target.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// Who decides.
    pub hub: &'a Hub,
    /// The target.
    pub place: &'a mut Place,
    /// Its journal.
    pub journal: &'a mut Journal,
    /// What was asked for.
    pub stage: Stage,
}

impl Transaction<'_> {
    /// Stages what was `offered`, says that it is prepared, and does what the hub decides.
    ///
    /// # Errors
    /// Before the decision: the stage was dropped and nothing changed, unless the journal could not be written. After
    /// it: [`Error::Refused`] of class pending, or a change by somebody else that showed in the last check.
    pub fn run(mut self, mut offered: Offered) -> Result<(), Error> {
        let txid = self.stage.txid;
        if let Some(error) = &offered.refusal {
            return Err(offer::refused(error));
        }
        let fence = self.journal.standing().fence;
        if self.stage.fence.saturating_sub(fence) > limits::FENCE_AHEAD_OF_NODE_MAX {
            return Err(Error::Protocol { what: "a fence far above any seen here".into() });
        }
        if self.stage.fence < fence {
            return Err(Error::Refused {
                class: FailedClass::Busy,
                kind: "stale-fence",
                message: "a newer run has been here since".into(),
                hint: Some("run again".into()),
            });
        }
        let release = offered.manifest.id();
        self.hear_old_errors()?;
        self.journal.note(&Record::Begin { txid, fence: self.stage.fence, release })?;
        let still_live = match self.prepare(&mut offered) {
            Ok(still_live) => still_live,
            Err(error) => {
                return match recover::abort(self.place, self.journal, txid) {
                    Ok(()) => Err(error),
                    Err(worse) => Err(worse),
                };
            }
        };
        if let Err(error) = self.check_lease() {
            recover::abort(self.place, self.journal, txid)?;
            return Err(error);
        }
        self.hub.send(&ToHub::Prepared)?;
        self.await_decision(txid, &offered, &still_live)
    }

    /// Durably prepared on success; gives where the commit will have put, below `kept/`, what is live all the same.
    fn prepare(&mut self, offered: &mut Offered) -> Result<Vec<TreePath>, Error> {
        let txid = self.stage.txid;
        let state = self.place.state()?;
        let stage_dir = state.stage_of(txid)?;
        let kept_dir = State::kept_in(&stage_dir)?;
        let mut sources = std::mem::take(&mut offered.sources);
        let wanted = std::mem::take(&mut sources.wanted);
        let patcher = Patcher::new(self.place.root.as_ref(), &offered.pieces);
        let mut wire = Incoming::new(self.hub, offered.part(), &wanted, patcher);
        let behind = Behind::start(&stage_dir);
        let mut behind = behind.map_err(io_error("start a thread for", "the stage"))?;
        let input = Input {
            sources: &mut sources,
            local: LocalReader::new(self.place.root.as_ref(), &state.kept, &stage_dir),
            wire: &mut wire,
            first_names: std::collections::HashMap::new(),
            hard_links: offered.manifest.header().capture.hard_links,
            behind: &mut behind,
            buffer: Vec::new(),
        };
        let (release, found) = (offered.part(), &offered.inspection.found);
        let Offered { plan, options, .. } = &*offered;
        let staged = stage::write(&stage_dir, plan, release, input, options)?;
        wire.finish()?;
        stage::try_metadata(&stage_dir, plan, release, found, options)?;
        commit::check_movable(self.place, plan, found, &stage_dir)?;
        let standing = self.journal.standing();
        let (steps, kept) = prepare::steps(
            standing.release,
            plan,
            release,
            &offered.inspection,
            (&staged, options, offered.missing_parents.clone()),
        );
        let before = (standing.release, standing.commits, clock::wall().seconds);
        let (list, still_live) = KeptList::new(before, kept, (found, &plan.moved_from()), release);
        list.write(&kept_dir)?;
        let area = txid.to_string();
        let place_of = |path: &TreePath| list.location(area.as_bytes(), path);
        let still_live = still_live.iter().filter_map(place_of).collect();
        let digest = write_steps(&stage_dir, &steps)?;
        self.journal.note(&Record::Prepared { txid, steps: digest })?;
        behind.finish().map_err(io_error("write", "the stage"))?;
        // One barrier for all of it: files, their directories, the lists, the journal.
        // CRASH: what of it is on the disk before it returns is not told, so that the hub has decided nothing.
        stage_dir.sync_file_system().map_err(io_error("sync", "the stage"))?;
        Ok(still_live)
    }

    /// On a share an earlier run's last words may have failed after it had ended: the system tells that to the next who
    /// syncs, whom it does not concern as long as nothing was written.
    fn hear_old_errors(&self) -> Result<(), Error> {
        if self.place.mounted.part != Part::Own {
            let _told = self.place.state()?.dir.sync_file_system();
        }
        Ok(())
    }

    fn check_lease(&self) -> Result<(), Error> {
        let state = self.place.state()?;
        state.lease.as_ref().map_or(Ok(()), |lease| lease.check(&state.dir))
    }

    fn await_decision(
        &mut self,
        txid: Txid,
        offered: &Offered,
        still_live: &[TreePath],
    ) -> Result<(), Error> {
        match self.hub.receive()?.message {
            ToAgent::Commit { txid: decided } if decided == txid => {
                let window_us = recover::commit(self.place, self.journal, txid)?;
                let amended = after::check(self.place, offered)?;
                self.hub.send(&ToHub::Committed { window_us })?;
                after::remember(self.place, offered, amended);
                recover::tidy(self.place, self.journal, self.stage.keep)?;
                kept::drop_files(self.place.state()?, still_live);
                Ok(())
            }
            ToAgent::Abort => {
                recover::abort(self.place, self.journal, txid)?;
                self.hub.send(&ToHub::Aborted)
            }
            other => Err(unexpected(&other)),
        }
    }
}

fn write_steps(stage: &Dir, steps: &Steps) -> Result<Digest, Error> {
    let bytes = steps.encode();
    durable::replace_lazily(stage, steps::NAME, &bytes)
        .map_err(io_error("write", "the list of steps"))?;
    Ok(Steps::digest(&bytes))
}
