//! One node's part of a run, from the first contact to the last word. `wire::message` shows the conversation.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;

use super::channel::{self, Channel};
use super::early::Contact;
use super::ended::{Ended, Holder, broken, refused};
use super::feed;
use super::fleet::{Order, Report, Shared};
use super::outcome::{Change, Counts, Event, Failure, NodeOutcome, NodeState, Phase, Verdict};
use crate::model::codec::Writer;
use crate::model::limits::{ENTRIES_MAX, FENCE_AHEAD_OF_HUB_MAX, MANIFEST_BYTES_MAX};
use crate::model::target::Target;
use crate::os::{clock, host};
use crate::wire::message::{FailedClass, Offer, Open, Opened, Planned, Stage, ToAgent, ToHub};

/// How long an agent may take to tidy up after its last word.
const CLOSE_DEADLINE: Duration = Duration::from_secs(20);
/// How long an agent may take to hear of the run's end, and to drop its stage.
const ABORT_DEADLINE: Duration = Duration::from_secs(5);
/// How long the last message to an agent may take to leave.
const FINISH_DEADLINE: Duration = Duration::from_secs(5);
/// How long a run waits for one that came second but has the lower number to give way.
const GIVE_WAY: Duration = Duration::from_secs(3);
/// How long a run waits for an agent of an earlier one to notice that its hub is gone, which takes it a minute.
const NOTICES: Duration = Duration::from_secs(70);
/// Between two attempts to take a lease.
const LEASE_RETRY: Duration = Duration::from_millis(100);
/// The same where a dead connection holds it.
const OVER_RETRY: Duration = Duration::from_secs(1);

/// One node of a run.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) node: usize,
    pub(super) target: Target,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    pub(super) orders: watch::Receiver<Order>,
    outcome: NodeOutcome,
    started: Instant,
    /// What is being done, and since when.
    phase: (Phase, Instant),
    /// It was heard from, and no earlier commit is pending there.
    is_settled: bool,
    fence: u64,
    /// It did not answer in time: nothing more is waited for.
    is_silent: bool,
    /// Its place among those that are worked on at once; given back when there is nothing left to do but commit.
    slot: Option<OwnedSemaphorePermit>,
}

/// What a session leaves behind.
pub(super) struct Left {
    pub(super) node: usize,
    pub(super) outcome: NodeOutcome,
    pub(super) is_settled: bool,
    pub(super) fence: u64,
}

type Result<T> = std::result::Result<T, Ended>;

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        node: usize,
        target: Target,
        reports: mpsc::UnboundedSender<Report>,
        orders: watch::Receiver<Order>,
    ) -> Self {
        let outcome = NodeOutcome::unknown(target.clone());
        let started = Instant::now();
        Self {
            shared,
            node,
            target,
            reports,
            orders,
            outcome,
            started,
            phase: (Phase::Queued, started),
            is_settled: false,
            fence: 0,
            is_silent: false,
            slot: None,
        }
    }

    /// Works through the node's part. Never fails: what went wrong is in the outcome.
    pub(super) async fn run(mut self) -> Left {
        let ended = self.work().await;
        if let Err(ended) = ended {
            let (state, failure) = match ended {
                Ended::Unreachable(failure) => (NodeState::Unreachable, failure),
                Ended::Refused(failure) | Ended::Busy(failure, _) => (NodeState::Refused, failure),
                Ended::Failed(failure) => (NodeState::Failed, failure),
                Ended::Pending(failure) => (NodeState::Pending, failure),
            };
            self.outcome.state = state;
            self.outcome.failure = Some(failure);
        }
        self.shared.census.has_ended(self.node);
        let (phase, since) = self.phase;
        self.outcome.phases.add(phase, since.elapsed());
        self.outcome.duration = self.started.elapsed();
        let state = self.outcome.state;
        self.event(Event::Finished { node: self.node, state });
        let failure = self.outcome.failure.clone();
        drop(self.reports.send(Report::Ended { node: self.node, state, failure }));
        Left {
            node: self.node,
            outcome: self.outcome,
            is_settled: self.is_settled,
            fence: self.fence,
        }
    }

    fn event(&self, event: Event) {
        self.shared.monitor.event(event);
    }

    fn phase(&mut self, phase: Phase) {
        let (before, since) = std::mem::replace(&mut self.phase, (phase, Instant::now()));
        self.outcome.phases.add(before, since.elapsed());
        self.event(Event::Phase { node: self.node, phase });
    }

    async fn work(&mut self) -> Result<()> {
        self.phase(Phase::Queued);
        let slots = Arc::clone(&self.shared.slots);
        let mut orders = self.orders.clone();
        self.slot = tokio::select! {
            slot = slots.acquire_owned() => slot.ok(),
            () = self.stopped(&mut orders) => {
                return Err(self.aborted());
            }
        };
        self.started = Instant::now();
        let lock_timeout = self.shared.options.lock_timeout;
        let since = Instant::now();
        loop {
            match self.contact().await {
                Err(Ended::Busy(_, holder))
                    if since.elapsed() < lock_timeout
                        || (holder == Holder::GivesWay && since.elapsed() < GIVE_WAY)
                        || (holder == Holder::Over && since.elapsed() < NOTICES) =>
                {
                    tokio::select! {
                        () = tokio::time::sleep(if holder == Holder::Over { OVER_RETRY } else { LEASE_RETRY }) => {}
                        () = self.stopped(&mut orders) => {
                            return Err(self.aborted());
                        }
                    }
                }
                done => return done,
            }
        }
    }

    /// One connection to the node, from its start to its end.
    async fn contact(&mut self) -> Result<()> {
        self.phase(Phase::Connecting);
        let mut orders = self.orders.clone();
        let contact = tokio::select! {
            contact = self.connect() => contact?,
            () = self.stopped(&mut orders) => {
                return Err(self.aborted());
            }
        };
        let Contact { mut channel, session } = contact;
        self.outcome.notes.extend(session.notes().iter().cloned());
        let done = self.speak(&mut channel).await;
        self.is_silent |= matches!(&done, Err(Ended::Unreachable(failure) | Ended::Pending(failure)) if failure.kind == "timeout");
        channel.finish(if self.is_silent { Duration::ZERO } else { FINISH_DEADLINE }).await;
        self.outcome.bytes_sent = session.bytes_sent();
        self.outcome.bytes_received = session.bytes_received();
        if self.is_silent {
            session.retire().await;
            return done;
        }
        let closed = session.close(CLOSE_DEADLINE).await;
        if let Err(Ended::Unreachable(failure) | Ended::Pending(failure)) = &done
            && failure.kind == "connection-lost"
            && !closed.stderr.is_empty()
        {
            let mut failure = failure.clone();
            failure.causes.push(closed.stderr);
            return done.map_err(|ended| match ended {
                Ended::Pending(_) => Ended::Pending(failure),
                _ => Ended::Unreachable(failure),
            });
        }
        done
    }

    /// The contact that was made while the source was read, else a new one.
    async fn connect(&self) -> Result<Contact> {
        let made = match self.shared.early.take(self.node).await {
            Some(made) => made,
            None => Contact::make(&*self.shared.reach, &self.target, &self.shared.options).await,
        };
        made.map_err(|error| Ended::Unreachable(Failure::from(&error)))
    }

    /// The run was stopped for another node's sake, or by the operator. An agent that is prepared is told; any other
    /// sees the stream end, and drops its stage.
    async fn give_up(&mut self, channel: &mut Channel) -> Result<()> {
        let told = async {
            channel.send(&ToAgent::Abort).await?;
            channel.receive().await
        };
        match tokio::time::timeout(ABORT_DEADLINE, told).await {
            Ok(Ok(ToHub::Failed(failed))) if failed.class == FailedClass::Pending => {
                return Err(Ended::Pending(failed.into()));
            }
            Ok(_) => {}
            Err(_elapsed) => self.is_silent = true,
        }
        Err(self.aborted())
    }

    fn aborted(&self) -> Ended {
        let reason = match &*self.orders.borrow() {
            Order::Abort(reason) => reason.clone(),
            Order::Wait | Order::Commit => "the run was stopped".into(),
        };
        let failure = Failure::said(
            Verdict::Fail,
            "aborted",
            format!("nothing changed here: {reason}"),
            None,
        );
        Ended::Failed(failure)
    }

    /// What an earlier run decided is carried out whatever becomes of this one; the rest ends when this one is stopped.
    async fn speak(&mut self, channel: &mut Channel) -> Result<()> {
        if self.is_owed() {
            self.enter(channel).await?;
        }
        let mut orders = self.orders.clone();
        tokio::select! {
            done = self.converse(channel) => done,
            () = until_aborted(&mut orders) => self.give_up(channel).await,
        }
    }

    /// True if this hub has decided a commit that the node is not known to have carried out (row 91).
    fn is_owed(&self) -> bool {
        let name = self.target.to_string();
        !self.is_settled && self.shared.decisions.iter().any(|one| one.pending.contains(&name))
    }

    /// Waits until the run is stopped and the node owed nothing.
    async fn stopped(&self, orders: &mut watch::Receiver<Order>) {
        if self.is_owed() {
            std::future::pending::<()>().await;
        }
        until_aborted(orders).await;
    }

    /// Opens the target and ends what is pending there.
    async fn enter(&mut self, channel: &mut Channel) -> Result<()> {
        self.phase(Phase::Inspecting);
        let opened = self.open(channel).await?;
        self.outcome.release = opened.release;
        self.outcome.notes.extend(opened.notes.iter().cloned());
        if opened.fence.saturating_sub(self.shared.decided.fence) > FENCE_AHEAD_OF_HUB_MAX {
            return Err(broken("its fence is far above any that was given out"));
        }
        self.fence = opened.fence;
        self.shared.census.is_at(self.node, opened.release);
        self.settle(channel, &opened).await
    }

    async fn converse(&mut self, channel: &mut Channel) -> Result<()> {
        if !self.is_settled {
            self.enter(channel).await?;
        }
        let planned = self.offer(channel).await?;
        self.outcome.counts = planned.counts;
        self.outcome.notes.extend(planned.notes.iter().cloned());
        if planned.is_clean {
            self.outcome.state = NodeState::Unchanged;
            self.outcome.release = Some(self.shared.release.id());
            return Ok(());
        }
        if self.shared.options.mode.is_read_only() {
            self.end_of_plan(planned);
            return Ok(());
        }
        if let Some(refusal) = planned.refusal {
            return Err(Ended::Refused(refusal.into()));
        }
        self.stage(channel, &planned).await?;
        self.phase(Phase::Prepared);
        // The decision waits for every node: one that waits for it must not keep the others out.
        self.slot = None;
        drop(self.reports.send(Report::Prepared { node: self.node }));
        self.decided(channel).await
    }

    fn end_of_plan(&mut self, planned: Planned) {
        let is_same = planned.counts == Counts::default();
        self.outcome.state = if is_same { NodeState::Unchanged } else { NodeState::Differs };
        if let Some(refusal) = planned.refusal {
            let refusal = Failure::from(refusal);
            let what = self.shared.options.origin.act();
            self.outcome.notes.push(format!("a {what} would be refused: {}", refusal.message));
        }
    }

    async fn open(&self, channel: &mut Channel) -> Result<Opened> {
        let options = &self.shared.options;
        let open = Open {
            run: self.shared.run,
            cluster: self.shared.cluster.clone(),
            holder: format!("process {} on {}", host::process_id(), host::name()),
            directory: self.target.directory().to_vec(),
            state_dir: options.node.state_dir.clone(),
            make_path: options.node.make_path,
            clock: clock::wall(),
            read_only: options.mode.is_read_only(),
            source: self.shared.source_place.clone(),
            looks_only: false,
        };
        channel.send(&ToAgent::Open(open)).await?;
        match channel.receive().await? {
            ToHub::Opened(opened) => Ok(opened),
            ToHub::Failed(failed) if failed.class == FailedClass::Busy => {
                let holder = match failed.holder {
                    Some(run) if self.shared.runs_before.contains(&run) => Holder::Over,
                    Some(run) if self.shared.run < run => Holder::GivesWay,
                    _ => Holder::Rival,
                };
                Err(Ended::Busy(failed.into(), holder))
            }
            other => Err(refused(other)),
        }
    }

    /// Ends what an earlier run left prepared, as it was decided then.
    async fn settle(&mut self, channel: &mut Channel, opened: &Opened) -> Result<()> {
        if let Some(pending) = &opened.pending {
            if self.shared.has_forgotten(pending) {
                // The others may wait for a place to be heard.
                self.slot = None;
            }
            let decided = self.shared.was_decided(pending).await?;
            if self.slot.is_none() {
                self.slot = Arc::clone(&self.shared.slots).acquire_owned().await.ok();
            }
            channel.send(&ToAgent::Settle { txid: pending.txid, decided }).await?;
            let release = match channel.receive().await? {
                ToHub::Settled { release } => release,
                other => return Err(refused(other)),
            };
            self.outcome.release = release;
            // A node drops what was decided, too, where its stage is not the one that was prepared.
            let end = if release == Some(pending.release) { "completed" } else { "dropped" };
            self.outcome.notes.push(format!("the commit of an earlier run was {end} first"));
        }
        self.is_settled = true;
        Ok(())
    }

    async fn offer(&mut self, channel: &mut Channel) -> Result<Planned> {
        let options = &self.shared.options;
        let mut header = Writer::new();
        self.shared.release.header().encode(&mut header);
        let offer = Offer {
            release: self.shared.release.id(),
            header: header.finish(),
            no_delete: options.node.no_delete,
            max_delete: options.guard.max_delete,
            list_changes: options.list_changes,
            reread: options.reread,
            read_rate: options.read_rate,
            force: options.force,
            min_free_percent: options.guard.min_free_percent,
            commit: options.node.commit,
        };
        channel.send(&ToAgent::Offer(offer)).await?;
        match channel.receive().await? {
            // The tree is the release already.
            ToHub::Planned(planned) if planned.is_clean => return Ok(planned),
            ToHub::Lacks { manifest: false, .. } => {}
            ToHub::Lacks { manifest: true, base } => {
                feed::manifest(&self.shared, &channel.sender(), base).await?;
            }
            other => return Err(refused(other)),
        }
        let mut changes: Vec<Change> = Vec::new();
        let mut bytes = 0u64;
        loop {
            match channel.receive().await? {
                ToHub::Changes(more) if options.list_changes => {
                    bytes +=
                        more.iter().map(|change| change.path.as_bytes().len() as u64).sum::<u64>();
                    changes.extend(more);
                    if changes.len() as u64 > 2 * ENTRIES_MAX || bytes > MANIFEST_BYTES_MAX {
                        return Err(broken("it lists more changes than two trees can differ by"));
                    }
                }
                ToHub::Planned(planned) => {
                    self.outcome.changes = changes;
                    return Ok(planned);
                }
                other => return Err(refused(other)),
            }
        }
    }

    async fn stage(&mut self, channel: &mut Channel, planned: &Planned) -> Result<()> {
        self.phase(Phase::Staging);
        self.fence = self.fence.max(self.shared.decided.fence);
        let stage =
            Stage { txid: self.shared.run, fence: self.fence, keep: self.shared.options.keep };
        channel.send(&ToAgent::Stage(stage)).await?;
        let sender = channel.sender();
        let feed = feed::chunks(&self.shared, self.node, planned, sender);
        tokio::pin!(feed);
        let mut is_fed = false;
        loop {
            tokio::select! {
                fed = &mut feed, if !is_fed => {
                    fed?;
                    is_fed = true;
                }
                received = channel.receive() => match received? {
                    ToHub::Prepared if is_fed => return Ok(()),
                    other => return Err(refused(other)),
                },
            }
        }
    }

    /// Waits for the decision; the connection's end is heard of meanwhile.
    async fn decided(&mut self, channel: &mut Channel) -> Result<()> {
        let mut orders = self.orders.clone();
        let ordered = tokio::select! {
            ordered = orders.wait_for(|order| *order == Order::Commit) => ordered.is_ok(),
            received = channel.receive() => match received {
                // The decision may have been written down already, with this node in it.
                Err(error) if *self.orders.borrow() == Order::Commit => return Err(lost(&error)),
                received => return Err(refused(received?)),
            },
        };
        if !ordered {
            return Err(self.aborted());
        }
        self.phase(Phase::Committing);
        let lost = |error: channel::Error| lost(&error);
        channel.send(&ToAgent::Commit { txid: self.shared.run }).await.map_err(lost)?;
        match channel.receive().await.map_err(lost)? {
            ToHub::Committed { .. } => {
                let is_same = self.outcome.counts == Counts::default();
                self.outcome.state =
                    if is_same { NodeState::Unchanged } else { NodeState::Committed };
                self.outcome.release = Some(self.shared.release.id());
                Ok(())
            }
            ToHub::Failed(failed) if failed.class == FailedClass::Pending => {
                Err(pending(failed.into()))
            }
            other => Err(refused(other)),
        }
    }
}

/// The decision stands, whatever happens to the connection.
fn pending(failure: Failure) -> Ended {
    Ended::Pending(Failure { verdict: Verdict::Partial, ..failure })
}

fn lost(error: &channel::Error) -> Ended {
    pending(Failure::from(error))
}

/// Waits until the run is stopped; for ever if it never is.
async fn until_aborted(orders: &mut watch::Receiver<Order>) {
    if orders.wait_for(|order| matches!(order, Order::Abort(_))).await.is_err() {
        std::future::pending::<()>().await;
    }
}
