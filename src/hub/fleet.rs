//! All nodes of a run: one session each, one decision for all of them (promise 5).
//!
//! ```text
//! session ─ Prepared ─┐
//! session ─ Ended ────┼─▶ every node has reported ─▶ decide ─▶ decision durable ─▶ Commit to all that are prepared
//! session ─ Prepared ─┘                                  └────▶ Abort
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::census::Census;
use super::early::Early;
use super::encoder::{self, Encoder, ManifestParts};
use super::options::{Mode, Require, RunOptions};
use super::outcome::{Failure, Monitor, NodeOutcome, NodeState, Verdict};
use super::reach::Reach;
use super::session::{Left, Session};
use super::share::Share;
use super::state::{self, Decision, Standing, State};
use super::stop::{Stop, Urgency};
use super::throttle::Throttle;
use crate::model::later::Times;
use crate::model::manifest::{Manifest, ReleaseId};
use crate::source::Release;
use crate::wire::message::{SourcePlace, Txid};

/// What all sessions of a run share.
pub(super) struct Shared {
    pub(super) options: RunOptions,
    pub(super) cluster: String,
    pub(super) release: Arc<Release>,
    pub(super) source_place: SourcePlace,
    pub(super) encoder: Arc<Encoder>,
    pub(super) state: State,
    pub(super) decisions: Vec<Decision>,
    /// Names this run in leases, and its transaction in journals.
    pub(super) run: Txid,
    /// Runs of this cluster that are over; an agent of theirs that still holds a lease is about to notice.
    pub(super) runs_before: Vec<Txid>,
    /// A release was decided since this state began.
    pub(super) knows_a_release: bool,
    pub(super) census: Census,
    /// Which node writes, where all mount one file system.
    pub(super) share: Option<Share>,
    /// What the next run is to find if this one decides on its release; its fence is this run's.
    pub(super) decided: Standing,
    /// Which files of the release have later times than in the source, if that is to be known from now on.
    pub(super) times: Option<Times>,
    pub(super) monitor: Arc<dyn Monitor>,
    pub(super) throttle: Throttle,
    pub(super) slots: Arc<Semaphore>,
    pub(super) reach: Arc<dyn Reach>,
    pub(super) early: Arc<Early>,
    pub(super) parts: tokio::sync::Mutex<HashMap<Option<ReleaseId>, Arc<ManifestParts>>>,
}

/// What a session tells while it goes on.
pub(super) enum Report {
    /// Its node has staged and verified.
    Prepared { node: usize },
    /// It is through.
    Ended { node: usize, state: NodeState, failure: Option<Failure> },
}

/// What all sessions are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Nothing yet.
    Wait,
    /// The decision is durable.
    Commit,
    /// Nothing is to change; why, for people.
    Abort(String),
}

/// What became of the fleet.
pub(super) struct FleetOutcome {
    pub(super) nodes: Vec<NodeOutcome>,
    /// Why the run was stopped for all nodes.
    pub(super) stopped: Option<Failure>,
    /// From the first commit's start to the last one's end.
    pub(super) commit_window: Option<std::time::Duration>,
    /// From the first contact to the decision.
    pub(super) prepare: Option<std::time::Duration>,
    /// The highest fence met or given out.
    pub(super) fence: u64,
}

impl Shared {
    /// The manifest of the release.
    pub(super) fn manifest(&self) -> Result<Arc<Manifest>, encoder::Error> {
        self.release.manifest().map_err(|error| encoder::Error::Release(Arc::new(error)))
    }

    /// Writes down, if it is news, what the next run is to find, and the manifest that its deltas start from.
    ///
    /// # Errors
    /// Those of the standing and of times. A delta that cannot start from here costs bytes, nothing else.
    pub(super) fn remember(&self, standing: &Standing) -> Result<(), state::Error> {
        if standing.release == Some(self.release.id()) {
            self.remember_times()?;
        }
        if standing.release == Some(self.release.id())
            && !self.state.has_manifest(self.release.id())
            && let Ok(manifest) = self.release.manifest()
            && self.state.save_manifest(&manifest, self.manifests_max()).is_err()
        {}
        if self.state.standing()? == *standing {
            return Ok(());
        }
        self.state.save_standing(standing)
    }

    /// Writes down, if it is news, which files have later times.
    ///
    /// CRASH: before the decision, and before the standing. What was given to a release that then does not become live is
    /// given to the same source again, and hides nothing of another.
    fn remember_times(&self) -> Result<(), state::Error> {
        match &self.times {
            Some(times) if self.state.times() != *times => self.state.save_times(times),
            _ => Ok(()),
        }
    }

    /// As many manifests as nodes have releases, and the one that is live.
    fn manifests_max(&self) -> usize {
        let kept = usize::try_from(self.options.keep.releases).unwrap_or(usize::MAX);
        kept.saturating_add(1)
    }

    /// Works out what leads to the release from `base`, which most nodes have, while they are looked at.
    pub(super) async fn ahead(self: Arc<Self>, base: ReleaseId) {
        if base != self.release.id() && self.state.has_manifest(base) {
            drop(self.manifest_parts(Some(base)).await);
        }
    }

    /// The manifest in parts, as a delta from `base` if the hub knows it; made once for all nodes that ask for it.
    pub(super) async fn manifest_parts(
        self: &Arc<Self>,
        base: Option<ReleaseId>,
    ) -> Result<Arc<ManifestParts>, encoder::Error> {
        let mut known = self.parts.lock().await;
        if let Some(parts) = known.get(&base) {
            return Ok(Arc::clone(parts));
        }
        let shared = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            let from = base.and_then(|base| shared.state.manifest(base));
            ManifestParts::new(&*shared.manifest()?, from.as_ref())
        });
        let parts = made.await.map_err(|error| encoder::Error::Io(Arc::new(error.into())))??;
        let parts = Arc::new(parts);
        known.insert(base, Arc::clone(&parts));
        Ok(parts)
    }
}

/// Brings every node to the release, or none of them further than the stage.
pub(super) async fn run(shared: &Arc<Shared>, stop: &Stop, deadline: Instant) -> FleetOutcome {
    let targets = &shared.options.targets;
    let (reports_of, reports) = mpsc::unbounded_channel();
    let (orders, orders_of) = watch::channel(Order::Wait);
    let mut sessions = JoinSet::new();
    for (node, target) in targets.iter().enumerate() {
        let session = Session::new(
            Arc::clone(shared),
            node,
            target.clone(),
            reports_of.clone(),
            orders_of.clone(),
        );
        sessions.spawn(session.run());
    }
    drop(reports_of);
    let mut fleet = Fleet {
        shared,
        orders,
        reports,
        stands: vec![Stand::Working; targets.len()],
        stopped: None,
        remembering: None,
    };
    let begun = Instant::now();
    fleet.watch(stop, deadline).await;
    let started = Instant::now();
    let is_committing = *fleet.orders.borrow() == Order::Commit;
    let prepare = is_committing.then(|| started.saturating_duration_since(begun));
    let left = fleet.collect(&mut sessions, stop, deadline).await;
    let commit_window = is_committing.then(|| started.elapsed());
    fleet.remembered().await;
    FleetOutcome { prepare, ..fleet.conclude(left, commit_window) }
}

/// Where a node stands, as far as the decision is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stand {
    Working,
    Prepared,
    Ended(NodeState),
}

struct Fleet<'a> {
    shared: &'a Arc<Shared>,
    orders: watch::Sender<Order>,
    reports: mpsc::UnboundedReceiver<Report>,
    stands: Vec<Stand>,
    stopped: Option<Failure>,
    /// The hub's own notes are written while the nodes commit.
    remembering: Option<JoinHandle<Result<(), state::Error>>>,
}

impl Fleet<'_> {
    /// Follows the sessions until everything is decided.
    async fn watch(&mut self, stop: &Stop, deadline: Instant) {
        let mut wishes = stop.subscribe();
        while self.stands.contains(&Stand::Working) && self.stopped.is_none() {
            tokio::select! {
                report = self.reports.recv() => match report {
                    Some(report) => self.take(report),
                    None => return,
                },
                wish = wishes.wait_for(|request| request.urgency >= Urgency::SafePoint) => {
                    let by_terminal = wish.is_ok_and(|request| request.by_terminal);
                    self.stopped = Some(interrupted(by_terminal));
                }
                () = tokio::time::sleep_until(deadline) => {
                    let message = "the run's deadline has passed before every node was prepared";
                    let hint = Some("--deadline bounds the whole run");
                    self.stopped = Some(Failure::said(Verdict::Fail, "deadline", message, hint));
                }
            }
        }
        if self.stopped.is_none() && self.shared.options.mode == Mode::Push {
            self.decide().await;
        }
        if let Some(failure) = &self.stopped {
            drop(self.orders.send(Order::Abort(failure.message.clone())));
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Prepared { node } => self.set(node, Stand::Prepared),
            Report::Ended { node, state, failure } => {
                self.set(node, Stand::Ended(state));
                if let Some(failure) = failure.filter(|failure| self.stops_run(state, failure)) {
                    let target = self.shared.options.targets.get(node);
                    let name = target.map(ToString::to_string).unwrap_or_default();
                    let message = format!("{name}: {}", failure.message);
                    self.stopped = Some(Failure { message, ..failure });
                }
            }
        }
    }

    fn set(&mut self, node: usize, stand: Stand) {
        if let Some(slot) = self.stands.get_mut(node) {
            *slot = stand;
        }
    }

    /// True if one node's failure is every node's.
    fn stops_run(&self, state: NodeState, failure: &Failure) -> bool {
        if self.shared.options.mode.is_read_only() {
            return failure.kind == "host-key-changed" || failure.verdict == Verdict::Usage;
        }
        if failure.kind == "host-key-changed" {
            return true;
        }
        // It has the release, and its server would not run it: the others have no reason to wait.
        if failure.kind == "rejected" {
            return false;
        }
        match failure.verdict {
            Verdict::Guard | Verdict::Busy | Verdict::Usage => true,
            _ => match self.shared.options.require {
                Require::All => true,
                Require::Reachable => matches!(state, NodeState::Refused | NodeState::Failed),
                Require::Count(_) | Require::Percent(_) => false,
            },
        }
    }

    /// All nodes have reported: writes the decision down, then gives the order.
    async fn decide(&mut self) {
        let prepared = self.count(|stand| *stand == Stand::Prepared);
        if prepared == 0 {
            return;
        }
        let ready = prepared + self.count(|stand| *stand == Stand::Ended(NodeState::Unchanged));
        let needed = needed(self.shared.options.require, self.stands.len());
        if ready < needed {
            let message = format!("{ready} nodes are ready, and {needed} are required");
            let hint = Some("--require says how many of the listed nodes must be ready");
            self.stopped = Some(Failure::said(Verdict::Fail, "required-nodes", message, hint));
            return;
        }
        let targets = self.shared.options.targets.iter().zip(&self.stands);
        let pending: BTreeSet<String> = targets
            .filter(|(_, stand)| **stand == Stand::Prepared)
            .map(|(target, _)| target.to_string())
            .collect();
        let decision =
            Decision { txid: self.shared.run, release: self.shared.release.id(), pending };
        let shared = Arc::clone(self.shared);
        let save = move || {
            shared.remember_times()?;
            shared.state.save_decision(&decision)
        };
        let saved = tokio::task::spawn_blocking(save).await;
        match saved {
            Ok(Ok(())) => {
                drop(self.orders.send(Order::Commit));
                let shared = Arc::clone(self.shared);
                let remember = move || shared.remember(&shared.decided);
                self.remembering = Some(tokio::task::spawn_blocking(remember));
            }
            Ok(Err(error)) => self.stopped = Some(Failure::from(&error)),
            Err(error) => {
                let message = format!("write the decision: {error}");
                self.stopped = Some(Failure::said(Verdict::Fail, "hub-state", message, None));
            }
        }
    }

    async fn remembered(&mut self) {
        let Some(remembering) = self.remembering.take() else { return };
        if let Ok(Err(error)) = remembering.await {
            self.stopped.get_or_insert(Failure::from(&error));
        }
    }

    fn count(&self, test: impl Fn(&Stand) -> bool) -> usize {
        self.stands.iter().filter(|stand| test(stand)).count()
    }

    /// Waits for every session's end; a second wish to stop, or the deadline, cuts them off.
    async fn collect(
        &mut self,
        sessions: &mut JoinSet<Left>,
        stop: &Stop,
        deadline: Instant,
    ) -> Vec<Left> {
        let mut wishes = stop.subscribe();
        let mut left = Vec::new();
        let is_committing = *self.orders.borrow() == Order::Commit;
        loop {
            tokio::select! {
                ended = sessions.join_next() => match ended {
                    Some(Ok(one)) => left.push(one),
                    // A session that panicked has left nothing; it is told as failed.
                    Some(Err(_)) => {}
                    None => return left,
                },
                wish = wishes.wait_for(|request| request.urgency == Urgency::Abort) => {
                    let by_terminal = wish.is_ok_and(|request| request.by_terminal);
                    self.stopped.get_or_insert_with(|| interrupted(by_terminal));
                    sessions.abort_all();
                    while let Some(ended) = sessions.join_next().await {
                        left.extend(ended.ok());
                    }
                    return left;
                }
                () = tokio::time::sleep_until(deadline), if is_committing => {
                    sessions.abort_all();
                    while let Some(ended) = sessions.join_next().await {
                        left.extend(ended.ok());
                    }
                    return left;
                }
            }
        }
    }

    fn conclude(self, left: Vec<Left>, commit_window: Option<std::time::Duration>) -> FleetOutcome {
        let targets = &self.shared.options.targets;
        let mut nodes: Vec<NodeOutcome> =
            targets.iter().cloned().map(NodeOutcome::unknown).collect();
        for (node, stand) in nodes.iter_mut().zip(&self.stands) {
            let (state, message) = if *stand == Stand::Prepared && commit_window.is_some() {
                (NodeState::Pending, "cut off while it committed; the next run completes it")
            } else {
                (NodeState::Failed, "cut off before it was prepared; nothing changed")
            };
            node.state = state;
            node.failure = Some(Failure::said(Verdict::Fail, "cut-off", message, None));
        }
        // A session that was cut off may have given out the run's own.
        let mut fence = if left.len() == nodes.len() { 0 } else { self.shared.decided.fence };
        let mut settled = BTreeSet::new();
        let mut committed = BTreeSet::new();
        for one in left {
            fence = fence.max(one.fence);
            if let Some(slot) = nodes.get_mut(one.node) {
                if one.is_settled {
                    settled.insert(one.outcome.target.to_string());
                }
                if one.outcome.state.is_at_release() {
                    committed.insert(one.outcome.target.to_string());
                }
                *slot = one.outcome;
                let is_decided =
                    commit_window.is_some() && self.stands.get(one.node) == Some(&Stand::Prepared);
                if is_decided && slot.state == NodeState::Unreachable {
                    // Lost in the moment of the decision, which names it.
                    slot.state = NodeState::Pending;
                }
            }
        }
        if self.shared.share.is_some() {
            // Whoever writes has the one journal of all before it.
            let names = || targets.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
            settled = if settled.is_empty() { settled } else { names() };
            committed = if committed.is_empty() { committed } else { names() };
        }
        let mut stopped = self.stopped;
        let is_done = nodes.iter().all(|node| node.state.is_at_release());
        if is_done && commit_window.is_some() {
            // A wish that came when there was nothing left to stop; every node has the release, and says so.
            stopped = stopped.filter(|why| !matches!(why.verdict, Verdict::Interrupted { .. }));
        }
        if let Err(failure) =
            close_decisions(self.shared, commit_window.is_some(), &settled, &committed)
        {
            stopped.get_or_insert(failure);
        }
        FleetOutcome { nodes, stopped, commit_window, prepare: None, fence }
    }
}

fn interrupted(by_terminal: bool) -> Failure {
    let verdict = Verdict::Interrupted { by_terminal };
    Failure::said(verdict, "interrupted", "the run was interrupted", None)
}

/// How many nodes must be ready.
fn needed(require: Require, nodes: usize) -> usize {
    match require {
        Require::Reachable => 1,
        Require::All => nodes,
        Require::Count(count) => count,
        Require::Percent(percent) => (nodes * usize::from(percent)).div_ceil(100),
    }
}

/// Takes the nodes that were heard of out of the decisions; those that nobody waits for are dropped.
fn close_decisions(
    shared: &Shared,
    is_decided: bool,
    settled: &BTreeSet<String>,
    committed: &BTreeSet<String>,
) -> Result<(), Failure> {
    let mut failed = None;
    for decision in &shared.decisions {
        let pending: BTreeSet<String> = decision.pending.difference(settled).cloned().collect();
        if pending != decision.pending {
            let decision = Decision { pending, ..decision.clone() };
            failed = shared.state.save_decision(&decision).err().or(failed);
        }
    }
    if is_decided {
        let targets = shared.options.targets.iter().map(ToString::to_string);
        let own =
            shared.state.decisions().ok().into_iter().flatten().find(|one| one.txid == shared.run);
        if let Some(own) = own {
            let done: BTreeSet<String> =
                targets.filter(|target| committed.contains(target)).collect();
            let pending = own.pending.difference(&done).cloned().collect();
            failed = shared.state.save_decision(&Decision { pending, ..own }).err().or(failed);
        }
    }
    failed.map_or(Ok(()), |error| Err(Failure::from(&error)))
}
