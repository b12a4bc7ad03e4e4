//! One run: guards, one session per node, the decision, the outcome. Never prints.
//!
//! ```text
//! run ─▶ lock ─▶ source ─▶ guards ─▶ fleet ─▶ verdict
//!           └─▶ early ──────────────────┴ session per node ─ channel ─ link ═══ agent
//! ```
//! Start at [`run`], then `fleet`.

pub mod outcome;
pub mod history;
pub mod options;
pub mod stop;
pub mod state;
pub mod glance;
pub mod channel;
pub mod reach;
mod packer;
pub mod encoder;
mod failure;
mod early;
mod reading;
mod later;
mod goal;
mod ended;
mod census;
mod throttle;
mod share;
mod feed;
mod session;
mod asking;
mod witness;
mod fleet;
pub mod verdict;
pub mod package;
pub mod examine;
pub mod status;
pub mod advise;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::model::entry::Timestamp;
use crate::model::later::Times;
use crate::os::clock::{self, Deadline};
use crate::os::host;
use crate::os::process;
use crate::os::spool::Spool;
use crate::scan::index::Index;
use crate::source::Source;
use crate::source::lint::{self, Level, Looked};
use crate::wire::message::Txid;
use census::Census;
use early::Early;
use encoder::Encoder;
use fleet::{FleetOutcome, Shared};
use goal::Goal;
use history::History;
use options::{Mode, Origin, RunOptions};
use outcome::{Failure, Monitor, NodeOutcome, RunOutcome, Verdict};
use reach::{Direct, Reach};
use reading::{GLANCE, Watch};
use share::Share;
use state::{Standing, State};
use stop::{Stop, Urgency};
use throttle::Throttle;

/// Longer than any run, and within the range of every clock.
const FAR: Duration = Duration::from_hours(30 * 24);

/// Carries out one run to its end.
///
/// Guarantees: returns within `options.deadline` and a little, whatever a node, a network or the source's disk does;
/// nothing is asked of a node before the source was read and the guards on it passed, although agents are brought to
/// answer meanwhile, and are let go if a guard stops the run; no live tree changes before the decision is durable;
/// [`Verdict::Done`] means that every listed node is verified at the release.
pub fn run(options: &RunOptions, monitor: &Arc<dyn Monitor>, stop: &Stop) -> RunOutcome {
    match new_runtime() {
        Ok(runtime) => {
            let reach: Arc<dyn Reach> = Arc::new(Direct);
            let outcome = runtime.block_on(run_over(&reach, options, monitor, stop));
            // A thread stuck in a dead mount must not hold the program.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => {
            let hint = "raise the limit of open files (ulimit -n) to 64 and 8 for each node";
            let failure = Failure::of(Verdict::Fail, "threads", &error, Some(hint.into()));
            RunOutcome { verdict: failure.verdict, failure: Some(failure), ..RunOutcome::nothing() }
        }
    }
}

/// As [`run`], on the caller's runtime, whose thread it holds while it reads the source; nodes are reached by `reach`.
///
/// CRASH: dropped half-way, it leaves on every disk what a hub that was killed there leaves.
pub async fn run_over(
    reach: &Arc<dyn Reach>,
    options: &RunOptions,
    monitor: &Arc<dyn Monitor>,
    stop: &Stop,
) -> RunOutcome {
    let (started, at) = (Instant::now(), clock::wall());
    let mut outcome = RunOutcome::nothing();
    let mut has_lock = false;
    let early = Arc::default();
    let deadline = Deadline::after(options.deadline);
    let run = Run { options, monitor, stop, deadline, reach, early: &early };
    let fleet = match take_lock(options, stop) {
        Ok(state) => {
            has_lock = true;
            run.carry_out(state, &mut outcome, started).await
        }
        Err(failure) => Err(failure),
    };
    early.close().await;
    match fleet {
        Ok(fleet) => {
            outcome.verdict = verdict::of(options.mode, &fleet.nodes, fleet.stopped.as_ref());
            outcome.nodes = fleet.nodes;
            outcome.failure = fleet.stopped;
            outcome.commit_window = fleet.commit_window;
            outcome.prepare = fleet.prepare;
        }
        Err(failure) => {
            outcome.verdict = failure.verdict;
            outcome.failure = Some(failure);
        }
    }
    outcome.duration = started.elapsed();
    if has_lock && let Err(error) = record(at, options, &outcome) {
        let causes = Failure::of(Verdict::Fail, "history", &error, None).causes;
        let why = std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ");
        outcome.notes.push(format!("this run is not in the history: {why}; {}", error.hint()));
    }
    outcome
}

/// Whoever holds the lock writes down what it did.
fn record(at: Timestamp, options: &RunOptions, outcome: &RunOutcome) -> Result<(), history::Error> {
    History::open(&options.state_dir)?.record(at, options, outcome)
}

fn new_runtime() -> std::io::Result<Runtime> {
    // Six are opened; tokio panics if it does not get those for signals.
    process::require_spare_files(8)?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// What a run is given.
struct Run<'a> {
    options: &'a RunOptions,
    monitor: &'a Arc<dyn Monitor>,
    stop: &'a Stop,
    deadline: Deadline,
    reach: &'a Arc<dyn Reach>,
    early: &'a Arc<Early>,
}

impl Run<'_> {
    async fn carry_out(
        &self,
        state: State,
        outcome: &mut RunOutcome,
        started: Instant,
    ) -> Result<FleetOutcome, Failure> {
        let options = self.options;
        let mut standing = state.standing().map_err(|error| Failure::from(&error))?;
        if standing.release.is_some() && !History::is_there(&options.state_dir) {
            outcome.notes.push("the history starts anew: there was none".into());
        }
        let goal = match &options.origin {
            Origin::Source => self.source_goal(&state, &standing, outcome)?,
            Origin::Deployed => self.deployed_goal(&state, &standing)?,
            Origin::Earlier(revision) => self.earlier_goal(&state, &standing, revision, outcome)?,
            Origin::File(file) => self.file_goal(file, &standing),
        };
        outcome.release = Some(goal.release.id());
        outcome.scan = started.elapsed();
        let shared = self.share(state, goal)?;
        let deadline = Instant::now() + self.deadline.left().min(FAR);
        let ahead = standing.release.map(|base| tokio::spawn(Arc::clone(&shared).ahead(base)));
        let mut fleet = fleet::run(&shared, self.stop, deadline).await;
        if let Some(ahead) = ahead {
            // It holds the state; what went wrong was told to whoever asked.
            drop(ahead.await);
        }
        if options.mode == Mode::Push {
            let at_release = fleet.nodes.iter().any(|node| node.state.is_at_release());
            let fence = standing.fence.max(fleet.fence);
            if at_release || fleet.commit_window.is_some() {
                standing = shared.decided.clone();
            }
            standing.fence = fence;
            // What became of the nodes is told whether or not the hub can note it.
            if let Err(error) = shared.remember(&standing) {
                fleet.stopped.get_or_insert(Failure::from(&error));
            }
        }
        Ok(fleet)
    }

    /// Reads the source, and looks at it as its lint is told to. Once it is found to be there, contact is made with the
    /// nodes meanwhile.
    fn read_source(
        &self,
        state: &State,
        standing: &Standing,
        times: Option<&Times>,
    ) -> Result<(Source, Option<Looked>), Failure> {
        let watch = Watch { monitor: self.monitor, stop: self.stop, deadline: self.deadline };
        let mut source = self.options.source.clone();
        let is_stored = standing.release.is_some_and(|release| state.has_manifest(release));
        source.lint.close = later::close(times.is_some() && is_stored);
        let deployed = later::source_of(standing, times);
        watch.read(&source, deployed, |root| {
            self.early.begin(&Handle::current(), self.reach, self.options);
            let index = if self.options.reread { Ok(Index::empty()) } else { state.index(root) };
            let index = index.and_then(|index| state.with_room(index));
            let index = index.map_err(|error| Failure::from(&error))?;
            let lint = match source.lint.level {
                Level::Off => lint::Known::default(),
                Level::Warn | Level::Deny => state.lint(),
            };
            Ok((index, lint))
        })
    }

    fn share(&self, state: State, goal: Goal) -> Result<Arc<Shared>, Failure> {
        let options = self.options;
        let failed = |error: std::io::Error| Failure::of(Verdict::Fail, "hub", &error, None);
        let name = options.state_dir.file_name().unwrap_or_default();
        let run = host::random_id().map(Txid).map_err(failed)?;
        let encoder = match (&options.origin, &goal.root) {
            (Origin::Source, Some(root)) => Encoder::new(root, &run.0),
            (Origin::File(file), _) => Ok(Encoder::of_file(file, &run.0)),
            (_, root) => Encoder::of_stored(root.as_ref(), &run.0),
        };
        // With one node, nobody comes later.
        let spool = if options.targets.len() > 1 { state.spool() } else { Ok(Spool::in_memory(0)) };
        let spool = spool.map_err(|error| Failure::from(&error))?;
        Ok(Arc::new(Shared {
            cluster: name.to_string_lossy().into_owned(),
            source_place: goal.place,
            encoder: Arc::new(encoder.map_err(failed)?.keeping(spool)),
            release: Arc::new(goal.release),
            decisions: state.decisions().map_err(|error| Failure::from(&error))?,
            runs_before: state.begin(run).map_err(|error| Failure::from(&error))?,
            state,
            run,
            decided: goal.decided,
            times: goal.times,
            knows_a_release: goal.knows_a_release,
            census: Census::of(options.targets.len()),
            share: options.node.share.map(|_| Share::of(options.targets.len())),
            monitor: Arc::clone(self.monitor),
            throttle: Throttle::new(options.bytes_per_second_max),
            slots: Arc::new(Semaphore::new(options.parallel.max(1))),
            reach: Arc::clone(self.reach),
            early: Arc::clone(self.early),
            parts: tokio::sync::Mutex::default(),
            options: options.clone(),
        }))
    }
}

fn take_lock(options: &RunOptions, stop: &Stop) -> Result<State, Failure> {
    let about = format!("process {} on {}", host::process_id(), host::name());
    let give_up = Deadline::after(options.lock_timeout);
    loop {
        match State::open(&options.state_dir, &about) {
            Err(state::Error::Busy { .. })
                if !give_up.is_over() && stop.current().urgency == Urgency::None =>
            {
                thread::park_timeout(GLANCE.min(give_up.left()));
            }
            opened => return opened.map_err(|error| Failure::from(&error)),
        }
    }
}

impl RunOutcome {
    /// The outcome of a run of which nothing is known yet.
    fn nothing() -> Self {
        Self {
            verdict: Verdict::Fail,
            release: None,
            nodes: Vec::new(),
            notes: Vec::new(),
            failure: None,
            duration: Duration::ZERO,
            scan: Duration::ZERO,
            prepare: None,
            commit_window: None,
        }
    }

    /// True if the release became live on a node by this run, or was found to be: it is what nodes are to have from now on.
    pub(crate) fn is_live(&self, options: &RunOptions) -> bool {
        let is_there = self.nodes.iter().any(|node| node.state.is_at_release());
        options.mode == Mode::Push && (is_there || self.commit_window.is_some())
    }
}

impl NodeOutcome {
    /// The outcome of a node of which nothing is known yet.
    pub fn unknown(target: crate::model::target::Target) -> Self {
        Self {
            target,
            state: outcome::NodeState::Failed,
            release: None,
            counts: outcome::Counts::default(),
            bytes_sent: 0,
            bytes_received: 0,
            duration: Duration::ZERO,
            phases: outcome::Phases::default(),
            changes: Vec::new(),
            notes: Vec::new(),
            failure: None,
        }
    }
}
