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
use super::outcome::{Counts, Event, Failure, NodeOutcome, NodeState, Phase, Verdict};
use super::share::Turn;
use crate::model::limits::FENCE_AHEAD_OF_HUB_MAX;
use crate::model::target::Target;
use crate::wire::message::{FailedClass, Part, Planned, Stage, ToAgent, ToHub};

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
/// The same on a share, whose server gives the locks of a dead host free after 90 s (knfsd), or 60 s (Ganesha).
const SERVER_NOTICES: Duration = Duration::from_secs(100);
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
    pub(super) outcome: NodeOutcome,
    started: Instant,
    /// What is being done, and since when.
    phase: (Phase, Instant),
    /// It was heard from, and no earlier commit is pending there.
    pub(super) is_settled: bool,
    fence: u64,
    /// It did not answer in time: nothing more is waited for.
    is_silent: bool,
    /// Its place among those that are worked on at once; given back when there is nothing left to do but commit.
    pub(super) slot: Option<OwnedSemaphorePermit>,
    /// It looks at what another node writes; how far that one has come.
    pub(super) looks_on: Option<Turn>,
}

/// What a session leaves behind.
pub(super) struct Left {
    pub(super) node: usize,
    pub(super) outcome: NodeOutcome,
    pub(super) is_settled: bool,
    pub(super) fence: u64,
}

pub(super) type Result<T> = std::result::Result<T, Ended>;

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
            looks_on: None,
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
        let heard = failure.clone();
        drop(self.reports.send(Report::Ended { node: self.node, state, failure }));
        // Behind the report: why a node that writes has failed is heard before what that means for the others.
        if let Some(share) = &self.shared.share {
            share.has_ended(self.node, state, heard.as_ref());
        }
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

    pub(super) fn phase(&mut self, phase: Phase) {
        let (before, since) = std::mem::replace(&mut self.phase, (phase, Instant::now()));
        self.outcome.phases.add(before, since.elapsed());
        self.event(Event::Phase { node: self.node, phase });
    }

    async fn work(&mut self) -> Result<()> {
        self.phase(Phase::Queued);
        self.await_part().await?;
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
        let notices = self.shared.share.as_ref().map_or(NOTICES, |_| SERVER_NOTICES);
        let since = Instant::now();
        loop {
            match self.contact().await {
                Err(Ended::Busy(_, holder))
                    if since.elapsed() < lock_timeout
                        || (holder == Holder::GivesWay && since.elapsed() < GIVE_WAY)
                        || (holder == Holder::Over && since.elapsed() < notices) =>
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

    pub(super) fn aborted(&self) -> Ended {
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
        if self.is_settled || self.looks_on.is_some() {
            return false;
        }
        let name = self.target.to_string();
        let is_all = self.shared.share.is_some();
        let mut decisions = self.shared.decisions.iter().map(|one| &one.pending);
        decisions.any(|names| names.contains(&name) || is_all && !names.is_empty())
    }

    /// Waits until the run is stopped and the node owed nothing.
    pub(super) async fn stopped(&self, orders: &mut watch::Receiver<Order>) {
        if self.is_owed() {
            std::future::pending::<()>().await;
        }
        until_aborted(orders).await;
    }

    /// Opens the target and ends what is pending there.
    async fn enter(&mut self, channel: &mut Channel) -> Result<()> {
        self.phase(Phase::Inspecting);
        let opened = self.open(channel, Part::Writer).await?;
        if let Some(share) = &self.shared.share {
            share.has_opened(self.node);
        }
        self.outcome.release = opened.release;
        self.outcome.notes.extend(opened.notes.iter().cloned());
        if opened.fence.saturating_sub(self.shared.decided.fence) > FENCE_AHEAD_OF_HUB_MAX {
            return Err(broken("its fence is far above any that was given out"));
        }
        self.fence = opened.fence;
        match &self.shared.share {
            // The others wait for this one to write.
            Some(_) => self.shared.census.all_are_at(opened.release),
            None => self.shared.census.is_at(self.node, opened.release),
        }
        self.settle(channel, &opened).await
    }

    async fn converse(&mut self, channel: &mut Channel) -> Result<()> {
        if let Some(turn) = self.looks_on.clone() {
            return self.look_on(channel, turn).await;
        }
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
        if let Some(share) = &self.shared.share {
            share.has_prepared(self.node);
        }
        drop(self.reports.send(Report::Prepared { node: self.node }));
        self.decided(channel).await
    }

    pub(super) fn end_of_plan(&mut self, planned: Planned) {
        let is_same = planned.counts == Counts::default();
        self.outcome.state = if is_same { NodeState::Unchanged } else { NodeState::Differs };
        if let Some(refusal) = planned.refusal {
            let refusal = Failure::from(refusal);
            let what = self.shared.options.origin.act();
            self.outcome.notes.push(format!("a {what} would be refused: {}", refusal.message));
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
pub(super) fn pending(failure: Failure) -> Ended {
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
