//! A world: a source, nodes on real directories, and a hub whose runs reach them over links that an adversary owns.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use depsync::config::{self, Environment, Nodes, Settings};
use depsync::hub;
use depsync::hub::options::{MaxDelete, Mode, RunOptions};
use depsync::hub::outcome::{Event, Monitor, RunOutcome};
use depsync::hub::reach::{Opening, Reach};
use depsync::hub::stop::Stop;
use depsync::link::{self, LinkOptions, Streams};
use depsync::model::target::Target;
use depsync::node::agent::{self, AgentOptions};
use depsync::node::journal::{Journal, Standing};
use depsync::node::place::Allowed;
use depsync::os::bulk::Outlet;
use depsync::os::clock::WaitClock;
use depsync::os::root::{self, Missing};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::adversary::{Adversary, Plan};
use super::death;
use super::net::Net;
use super::pipe::{AgentClock, AgentReader, AgentWriter, HubReader, HubWriter, Severed, is_death};
use super::promises::Witness;
use super::tree::{self, Tree, shape};

/// A run may take so much longer than its deadline: what is under way is told, and waited for.
const BEHIND_DEADLINE: Duration = Duration::from_mins(1);

/// A world of one seed.
pub(crate) struct World {
    directory: tempfile::TempDir,
    pub(crate) net: Arc<Net>,
    pub(crate) options: RunOptions,
    threads: Threads,
    runtime: Option<Runtime>,
    driver: tokio::task::JoinHandle<()>,
    start: Instant,
    copies: u32,
}

const RUNTIME: &str = "it is there until the end";

type Threads = Arc<Mutex<Vec<JoinHandle<()>>>>;

struct Quiet;

impl Monitor for Quiet {
    fn event(&self, _event: Event) {}
}

impl World {
    /// A world of `count` empty nodes.
    pub(crate) fn new(seed: u64, count: usize) -> Self {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        let directory = tempfile::Builder::new().prefix("depsync-sim-").tempdir_in(base);
        let directory = directory.expect("a directory");
        let roots: Vec<PathBuf> =
            (0..count).map(|at| directory.path().join(format!("n{at}/tree"))).collect();
        for root in &roots {
            fs::create_dir_all(root).expect("a node");
        }
        let options = options(directory.path(), &roots);
        let targets = options.targets.iter().map(ToString::to_string);
        let nodes = roots.iter().cloned().zip(targets).collect();
        let witness = Witness::new(nodes, options.state_dir.clone());
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        let start = runtime.block_on(async { Instant::now() });
        let net = Net::new(Adversary::new(seed, witness), start);
        let driver = runtime.spawn(Arc::clone(&net).drive());
        let threads = Threads::default();
        Self { directory, net, options, threads, runtime: Some(runtime), driver, start, copies: 0 }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.path().join("source")
    }

    pub(crate) fn node(&self, at: usize) -> PathBuf {
        self.path().join(format!("n{at}"))
    }

    pub(crate) fn root(&self, at: usize) -> PathBuf {
        self.node(at).join("tree")
    }

    pub(crate) fn count(&self) -> usize {
        self.options.targets.len()
    }

    /// Makes the source `tree`.
    pub(crate) fn set_source(&self, tree: &Tree) {
        tree.write(&self.source());
    }

    /// Pushes while `plan` goes wrong; `None` if the hub died.
    pub(crate) fn push(&mut self, plan: Plan) -> Option<RunOutcome> {
        let is_half_open = plan.is_half_open;
        let stop = Stop::new();
        {
            let mut net = self.net.lock();
            net.adversary.begin(plan, stop.clone());
            net.adversary.witness.begin(shape(&self.source()), self.options.require);
        }
        let reach: Arc<dyn Reach> = self.way();
        let (options, net) = (self.options.clone(), Arc::clone(&self.net));
        let before = self.now();
        let driver = &mut self.driver;
        let runtime = self.runtime.as_ref().expect(RUNTIME);
        let outcome = runtime.block_on(async move {
            let monitor: Arc<dyn Monitor> = Arc::new(Quiet);
            let outcome = tokio::select! {
                biased;
                ended = driver => panic!("links are carried no more: {ended:?}"),
                () = net.hub_death() => None,
                outcome = hub::run_over(&reach, &options, &monitor, &stop) => Some(outcome),
            };
            if outcome.is_none() {
                net.bury_hub(is_half_open);
            }
            // Time moves once all threads of the hub are done.
            tokio::time::sleep(Duration::from_millis(1)).await;
            outcome
        });
        let took = self.now().saturating_sub(before);
        let mut net = self.net.lock();
        let now = net.now;
        let told = outcome.as_ref().map(|outcome| {
            let nodes: Vec<_> = outcome.nodes.iter().map(|node| node.state.word()).collect();
            format!("{} {nodes:?}", outcome.verdict.word())
        });
        net.adversary.note(now, &format!("the run ends: {}", told.unwrap_or("dead".into())));
        if took > self.options.deadline + BEHIND_DEADLINE {
            let what = format!("a run of {took:?}, with a deadline of {:?}", self.options.deadline);
            net.adversary.witness.violated(what);
        }
        net.adversary.witness.ended(outcome.as_ref());
        outcome
    }

    /// Pushes while nothing goes wrong, which must bring every node to the release.
    pub(crate) fn push_well(&mut self) -> Option<RunOutcome> {
        let outcome = self.push(Plan::default());
        self.net.lock().adversary.witness.converged(outcome.as_ref());
        outcome
    }

    /// Two hubs at once; the second has `options`.
    pub(crate) fn push_twice(&mut self, options: &RunOptions) -> [RunOutcome; 2] {
        self.net.lock().adversary.begin(Plan::default(), Stop::new());
        let reach: Arc<dyn Reach> = self.way();
        let (monitor, stop): (Arc<dyn Monitor>, _) = (Arc::new(Quiet), Stop::new());
        let first = hub::run_over(&reach, &self.options, &monitor, &stop);
        let second = hub::run_over(&reach, options, &monitor, &stop);
        let both = self.runtime().block_on(async { tokio::join!(first, second) });
        both.into()
    }

    /// Lets virtual time pass.
    pub(crate) fn wait(&self, time: Duration) {
        self.runtime().block_on(async { tokio::time::sleep(time).await });
    }

    /// The hub's disk is lost.
    pub(crate) fn lose_hub(&self) {
        tree::remove(&self.options.state_dir);
        self.net.lock().adversary.witness.hub_replaced();
    }

    /// The node's disk is lost, but for its files.
    pub(crate) fn reimage(&self, node: usize) {
        tree::remove(&self.node(node).join(".depsync"));
        self.net.lock().adversary.witness.node_replaced(node);
    }

    /// A copy of a node's whole disk.
    pub(crate) fn copy(&mut self, node: usize) -> PathBuf {
        self.copies += 1;
        let copy = self.path().join(format!("copy-{}", self.copies));
        tree::copy(&self.node(node), &copy);
        copy
    }

    /// The node's disk is what it was when `copy` was made.
    pub(crate) fn restore(&self, node: usize, copy: &Path) {
        fs::remove_dir_all(self.node(node)).expect("removed");
        tree::copy(copy, &self.node(node));
        self.net.lock().adversary.witness.node_replaced(node);
    }

    /// True while the thread of some agent goes on.
    pub(crate) fn has_agents(&self) -> bool {
        self.net.has_agents()
    }

    /// What the journal of a node says, if it has one.
    pub(crate) fn standing(&self, node: usize) -> Option<Standing> {
        let state = self.node(node).join(".depsync/tree");
        let state = root::open(&state, Missing::Refuse).ok()?.dir?;
        Journal::look(&state).ok()
    }

    fn way(&self) -> Arc<Way> {
        Arc::new(Way {
            net: Arc::clone(&self.net),
            targets: self.options.targets.clone(),
            threads: Arc::clone(&self.threads),
        })
    }

    fn now(&self) -> Duration {
        let start = self.start;
        self.runtime().block_on(async move { start.elapsed() })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect(RUNTIME)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.net.end();
        drop(self.runtime.take());
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            drop(thread.join());
        }
    }
}

fn options(here: &Path, roots: &[PathBuf]) -> RunOptions {
    let targets: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
    let settings = Settings {
        source: Some(here.join("source")),
        nodes: Some(Nodes::from_options(&targets, here).expect("targets")),
        max_delete: Some(MaxDelete::Percent(100)),
        ..Settings::default()
    };
    let environment = Environment {
        working_directory: here.into(),
        home: Some(here.into()),
        ..Environment::default()
    };
    let mut options = config::resolve(settings, &environment, Mode::Push).expect("options").run;
    options.source.threads = 1;
    options
}

/// The way over links in memory.
struct Way {
    net: Arc<Net>,
    targets: Vec<Target>,
    threads: Threads,
}

impl Reach for Way {
    fn open<'a>(&'a self, target: &'a Target, options: &'a LinkOptions) -> Opening<'a> {
        let node = self.targets.iter().position(|one| one == target).expect("a node");
        let net = Arc::clone(&self.net);
        let is_up = {
            let mut inner = net.lock();
            let now = inner.now;
            inner.adversary.connects(node, now)
        };
        if !is_up {
            let sample = "no route to it".to_owned();
            let error = link::Error::NoAgent { status: "none".to_owned(), sample };
            return Box::pin(async move { Err(error) });
        }
        let (tell_end, ended) = oneshot::channel();
        let link = net.add_link(node, tell_end);
        net.lock().adversary.linked(node, link);
        let agent = Agent { net: Arc::clone(&net), link, root: target.directory().to_vec() };
        let thread = thread::Builder::new().name("agent".into()).spawn(move || agent.live());
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(thread.expect("a thread"));
        let streams = Streams {
            reader: HubReader { net: Arc::clone(&net), link },
            writer: Outlet::of_memory(HubWriter { net: Arc::clone(&net), link }),
            ended,
            severed: Box::new(Severed { net, link }),
        };
        Box::pin(link::open_streams(streams, options.connect_timeout))
    }
}

/// An agent's process.
struct Agent {
    net: Arc<Net>,
    link: usize,
    root: Vec<u8>,
}

impl Agent {
    fn live(self) {
        let (net, link) = (&self.net, self.link);
        let clock = WaitClock::Turned(Arc::new(AgentClock { net: Arc::clone(net), link }));
        let allowed = Allowed { home: "/".into(), ..Allowed::default() };
        let options = AgentOptions { allowed, clock };
        let reader = AgentReader { net: Arc::clone(net), link };
        let writer = AgentWriter { net: Arc::clone(net), link };
        let served = catch_unwind(AssertUnwindSafe(|| agent::serve(reader, writer, &options)));
        if let Err(payload) = served {
            if is_death(&*payload) {
                let steps = net.lock().adversary.steps_done(link);
                if steps.and_then(|steps| death::carry_out_some(&self.root, steps)).is_some() {
                    let mut net = net.lock();
                    let node = net.links[link].node;
                    net.adversary.count("agent dies within its commit");
                    net.adversary.witness.dies_in_commit(node);
                }
            } else {
                net.lock().adversary.witness.violated("an agent panicked".into());
            }
        }
        net.agent_ended(link);
    }
}
