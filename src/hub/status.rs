//! [`status`]: where every node stands, by its own journal or, where it does not answer, by the history. Takes no lock and no
//! lease, records nothing and changes nothing, here or on a node: a run goes on beside it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::early::Contact;
use super::ended::{Ended, refused};
use super::glance::Glance;
use super::history::{self, History, Known, Look};
use super::options::{Mode, RunOptions};
use super::outcome::{Event, Failure, Monitor, NodeOutcome, NodeState, Phase, RunOutcome, Verdict};
use super::reach::{Direct, Reach};
use super::stop::{Stop, Urgency};
use super::{FAR, new_runtime, verdict};
use crate::model::manifest::ReleaseId;
use crate::model::target::Target;
use crate::model::untrusted::escaped_once;
use crate::os::{clock, host};
use crate::wire::message::{Free, Open, Opened, Part, SourcePlace, ToAgent, ToHub, Txid};

/// How long an agent that has said all may take to end.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Where all nodes stand.
#[derive(Debug, Clone)]
pub struct Status {
    /// As of a run that changes nothing: its release is the deployed one; [`NodeState::Unchanged`] is a node that has it.
    pub run: RunOutcome,
    /// One for each node of `run`, in the same order.
    pub nodes: Vec<NodeStatus>,
    /// Since when the deployed release is, in seconds since 1970.
    pub deployed: Option<i64>,
    /// When it was looked, in seconds since 1970.
    pub now: i64,
}

/// Where one node stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Whether it told where it stands; `None` if it was not asked.
    pub is_reachable: Option<bool>,
    /// The release it is at: by its own word, or by the history's.
    pub release: Option<ReleaseId>,
    /// How many releases were made live after that one.
    pub behind: Option<usize>,
    /// Since when it has that release, in seconds since 1970.
    pub since: Option<i64>,
    /// When it answered last.
    pub last_contact: Option<i64>,
    /// What it differed in when its tree was last looked at.
    pub last_look: Option<Look>,
    /// Room there.
    pub free: Option<Free>,
    /// A commit is prepared or half-way there, and nobody is at work on it.
    pub is_pending: bool,
    /// The run that is at work there, escaped.
    pub holder: Option<String>,
}

/// Where every listed node stands; `is_offline` asks none.
///
/// Guarantees: within `options.deadline` and a little; nothing is written but the control sockets of ssh here and, where there is
/// none, the agent on a node.
pub fn status(
    options: &RunOptions,
    monitor: &Arc<dyn Monitor>,
    stop: &Stop,
    is_offline: bool,
) -> Status {
    let (started, now) = (clock::now(), clock::wall().seconds);
    let mut run = RunOutcome::nothing();
    let asked = if is_offline { Ok(HashMap::new()) } else { ask(options, monitor, stop) };
    let mut status = match asked.and_then(|asked| survey(options, &mut run, asked, is_offline)) {
        Ok((nodes, deployed)) => Status { run, nodes, deployed, now },
        Err(failure) => {
            run.verdict = failure.verdict;
            run.failure = Some(failure);
            return Status { run, nodes: Vec::new(), deployed: None, now };
        }
    };
    for (outcome, node) in status.run.nodes.iter().zip(&mut status.nodes) {
        if outcome.bytes_received > 0 {
            node.last_contact = Some(now);
        }
    }
    let wish = stop.current();
    let run = &mut status.run;
    if wish.urgency > Urgency::None {
        let verdict = Verdict::Interrupted { by_terminal: wish.by_terminal };
        run.failure = Some(Failure::said(verdict, "interrupted", "interrupted", None));
    }
    run.verdict = verdict::of(Mode::Verify, &run.nodes, run.failure.as_ref());
    run.duration = started.elapsed();
    status
}

/// What was heard of a node, and what became of the contact.
type Asked = (NodeOutcome, Option<Opened>);

/// Asks all nodes, `options.parallel` at a time.
fn ask(
    options: &RunOptions,
    monitor: &Arc<dyn Monitor>,
    stop: &Stop,
) -> Result<HashMap<usize, Asked>, Failure> {
    let threads = |error: std::io::Error| Failure::of(Verdict::Fail, "threads", &error, None);
    let runtime = new_runtime().map_err(threads)?;
    let run = host::random_id().map(Txid).map_err(threads)?;
    let asked = runtime.block_on(async {
        let slots = Arc::new(Semaphore::new(options.parallel.max(1)));
        let mut sessions = JoinSet::new();
        for (node, target) in options.targets.iter().cloned().enumerate() {
            let (slots, options) = (Arc::clone(&slots), options.clone());
            let monitor = Arc::clone(monitor);
            sessions.spawn(async move {
                let _slot = slots.acquire_owned().await;
                monitor.event(Event::Phase { node, phase: Phase::Connecting });
                let asked = ask_one(&Direct, target, &options, run).await;
                let state = asked.0.state;
                monitor.event(Event::Finished { node, state });
                (node, asked)
            });
        }
        collect(sessions, stop, Instant::now() + options.deadline.min(FAR)).await
    });
    runtime.shutdown_background();
    Ok(asked)
}

async fn collect(
    mut sessions: JoinSet<(usize, Asked)>,
    stop: &Stop,
    deadline: Instant,
) -> HashMap<usize, Asked> {
    let (mut wishes, mut all) = (stop.subscribe(), HashMap::new());
    loop {
        tokio::select! {
            ended = sessions.join_next() => match ended {
                Some(asked) => all.extend(asked.ok()),
                None => return all,
            },
            _wish = wishes.wait_for(|request| request.urgency >= Urgency::SafePoint) => break,
            () = tokio::time::sleep_until(deadline) => break,
        }
    }
    sessions.shutdown().await;
    all
}

async fn ask_one(reach: &dyn Reach, target: Target, options: &RunOptions, run: Txid) -> Asked {
    let started = Instant::now();
    let mut outcome = NodeOutcome::unknown(target);
    let heard = hear(reach, &mut outcome, options, run).await;
    outcome.duration = started.elapsed();
    match heard {
        Ok(opened) => {
            outcome.notes.extend(opened.notes.iter().map(|note| escaped_once(note)));
            (outcome, Some(opened))
        }
        Err(ended) => {
            let (state, failure) = match ended {
                Ended::Unreachable(failure) => (NodeState::Unreachable, failure),
                Ended::Refused(failure) | Ended::Busy(failure, _) => (NodeState::Refused, failure),
                Ended::Failed(failure) | Ended::Pending(failure) => (NodeState::Failed, failure),
            };
            (NodeOutcome { state, failure: Some(failure), ..outcome }, None)
        }
    }
}

async fn hear(
    reach: &dyn Reach,
    outcome: &mut NodeOutcome,
    options: &RunOptions,
    run: Txid,
) -> Result<Opened, Ended> {
    let made = Contact::make(reach, &outcome.target, options).await;
    let Contact { mut channel, session } =
        made.map_err(|error| Ended::Unreachable(Failure::from(&error)))?;
    outcome.notes.extend(session.notes().iter().cloned());
    let open = Open {
        run,
        cluster: String::new(),
        holder: format!("process {} on {}", host::process_id(), host::name()),
        directory: outcome.target.directory().to_vec(),
        state_dir: options.node.state_dir.clone(),
        make_path: false,
        clock: clock::wall(),
        read_only: true,
        source: SourcePlace::default(),
        looks_only: true,
        number: 0,
        mounted: options.node.mounted(Part::Witness),
    };
    let heard = async {
        channel.send(&ToAgent::Open(open)).await?;
        match channel.receive().await? {
            ToHub::Opened(opened) => Ok(opened),
            other => Err(refused(other)),
        }
    };
    let heard = heard.await;
    channel.finish(CLOSE_DEADLINE).await;
    (outcome.bytes_sent, outcome.bytes_received) = (session.bytes_sent(), session.bytes_received());
    match &heard {
        Err(Ended::Unreachable(failure)) if failure.kind == "timeout" => session.retire().await,
        _ => drop(session.close(CLOSE_DEADLINE).await),
    }
    heard
}

/// Puts together what was heard with what the history says; fills in `run`, but for its verdict.
fn survey(
    options: &RunOptions,
    run: &mut RunOutcome,
    mut asked: HashMap<usize, Asked>,
    is_offline: bool,
) -> Result<(Vec<NodeStatus>, Option<i64>), Failure> {
    let glance = Glance::open(&options.state_dir).map_err(|error| Failure::from(&error))?;
    let standing = glance.standing().map_err(|error| Failure::from(&error))?;
    let history = match Past::read(options) {
        Ok(past) => past,
        Err(error) if is_offline => return Err(Failure::from(&error)),
        Err(error) => {
            run.notes.push(format!("the history says nothing: {error}; {}", error.hint()));
            Past::nothing(options)
        }
    };
    let Past { mut releases, known } = history;
    let last = releases.first().map(|(release, _)| *release);
    if let Some(release) = standing.release.filter(|release| last != Some(*release)) {
        // A run that is not in the history, or not yet.
        releases.insert(0, (release, None));
    }
    let deployed = releases.first().copied();
    run.release = deployed.map(|(release, _)| release);
    if let Some(release) = standing.release.filter(|_| standing.is_pinned) {
        let pinned =
            "is pinned since a rollback led to it: a push whose source differs needs --unpin";
        run.notes.push(format!("release {} {pinned}", release.short()));
    }
    let mut nodes = Vec::new();
    for (number, (target, known)) in options.targets.iter().zip(known).enumerate() {
        let (mut outcome, opened) =
            asked.remove(&number).unwrap_or_else(|| (unasked(target, is_offline), None));
        let mut node = NodeStatus::of(&known);
        node.is_reachable = (!is_offline).then_some(opened.is_some());
        if let Some(opened) = &opened {
            node.hear(opened, &known);
        }
        node.behind = releases.iter().position(|(release, _)| Some(*release) == node.release);
        if opened.is_some() || (is_offline && (node.release.is_some() || deployed.is_none())) {
            let is_there = node.behind == Some(0) && !node.is_pending;
            outcome.state = if is_there { NodeState::Unchanged } else { NodeState::Differs };
        }
        outcome.release = node.release;
        outcome.notes.extend(node.holder.iter().map(|by| format!("a run is under way: {by}")));
        if run.failure.is_none()
            && let Some(failure) =
                outcome.failure.as_ref().filter(|one| one.kind == "host-key-changed")
        {
            let message = format!("{target}: {}", failure.message);
            run.failure = Some(Failure { message, ..failure.clone() });
        }
        run.nodes.push(outcome);
        nodes.push(node);
    }
    Ok((nodes, deployed.and_then(|(_, since)| since)))
}

/// A node that was not asked.
fn unasked(target: &Target, is_offline: bool) -> NodeOutcome {
    let outcome =
        NodeOutcome { state: NodeState::Unreachable, ..NodeOutcome::unknown(target.clone()) };
    let message = "it was not asked, or has not answered, when this ended";
    let failure = Failure::said(Verdict::Fail, "cut-off", message, None);
    NodeOutcome { failure: (!is_offline).then_some(failure), ..outcome }
}

/// What the history says.
struct Past {
    /// The releases that were live, newest first, each with the moment from which on.
    releases: Vec<(ReleaseId, Option<i64>)>,
    /// Of each target, in order.
    known: Vec<Known>,
}

impl Past {
    fn read(options: &RunOptions) -> Result<Self, history::Error> {
        let Some(history) = History::look(&options.state_dir)? else {
            return Ok(Self::nothing(options));
        };
        let releases = history.releases()?;
        let known = options.targets.iter().map(|target| history.known(&target.to_string()));
        Ok(Self {
            releases: releases.into_iter().map(|(release, at)| (release, Some(at))).collect(),
            known: known.collect::<Result<_, _>>()?,
        })
    }

    fn nothing(options: &RunOptions) -> Self {
        Self { releases: Vec::new(), known: vec![Known::default(); options.targets.len()] }
    }
}

impl NodeStatus {
    fn of(known: &Known) -> Self {
        Self {
            release: known.release,
            since: known.since,
            last_contact: known.last_contact,
            last_look: known.last_look,
            is_pending: known.is_pending,
            ..Self::default()
        }
    }

    /// What the node says itself stands over what the history says.
    fn hear(&mut self, opened: &Opened, known: &Known) {
        self.release = opened.release;
        self.since = known.since.filter(|_| opened.release == known.release);
        self.is_pending = opened.pending.is_some();
        self.free = opened.free;
        self.holder = opened.holder.as_deref().map(escaped_once);
    }
}
