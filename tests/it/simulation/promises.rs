//! What is watched: the promises, as far as trees, messages and the hub's decisions show whether they are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use depsync::hub::options::Require;
use depsync::hub::outcome::{NodeState, RunOutcome, Verdict};
use depsync::wire::message::{ToAgent, ToHub, Txid};

use super::tree::{Shape, shape};
use super::unit::{Said, Unit};

/// What is known of a node.
#[derive(Debug, Clone)]
pub(crate) struct NodeView {
    /// Its tree.
    pub(crate) root: PathBuf,
    /// The target's name in decisions.
    pub(crate) target: String,
    /// Its tree before the run.
    was: Shape,
    /// What a decision that stands leads it to.
    owed: Option<Shape>,
    /// What the commit leads to in whose middle its agent died; until the next contact its tree may be between two.
    between: Option<Shape>,
    /// A decision names it, and the hub was not told yet that it is carried out.
    decided: Option<Txid>,
    /// It reported a prepared transaction, and was not told yet what becomes of it.
    pending: Option<Txid>,
}

/// What is known of a world.
pub(crate) struct Witness {
    pub(crate) nodes: Vec<NodeView>,
    /// The hub's state directory.
    pub(crate) hub: PathBuf,
    goal: Shape,
    require: Require,
    /// What each transaction of each run leads to.
    releases: BTreeMap<String, Shape>,
    /// The transactions that were decided when the run began, and nodes still have to carry out.
    decided: BTreeSet<String>,
    /// Nodes that the hub knows to be prepared, or at the release.
    ready: BTreeSet<usize>,
    /// Nodes that were told to commit.
    committing: BTreeSet<usize>,
    /// Bytes of content that the hub sent in this run, by node.
    pub(crate) batches: BTreeMap<usize, u64>,
    /// The hub's state was lost since the last run that ended well.
    is_memory_lost: bool,
    violations: Vec<String>,
}

impl Witness {
    pub(crate) fn new(nodes: Vec<(PathBuf, String)>, hub: PathBuf) -> Self {
        let nothing = Shape::default();
        let view = |(root, target)| NodeView {
            root,
            target,
            was: Arc::clone(&nothing),
            owed: None,
            between: None,
            decided: None,
            pending: None,
        };
        Self {
            nodes: nodes.into_iter().map(view).collect(),
            hub,
            goal: Shape::default(),
            require: Require::Reachable,
            releases: BTreeMap::new(),
            decided: BTreeSet::new(),
            ready: BTreeSet::new(),
            committing: BTreeSet::new(),
            batches: BTreeMap::new(),
            is_memory_lost: false,
            violations: Vec::new(),
        }
    }

    /// What was broken since it was asked last.
    pub(crate) fn violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    pub(crate) fn violated(&mut self, what: String) {
        self.violations.push(what);
    }

    /// A run begins that is to make the nodes `goal`.
    pub(crate) fn begin(&mut self, goal: Shape, require: Require) {
        for node in &mut self.nodes {
            node.was = shape(&node.root);
            node.pending = None;
        }
        (self.goal, self.require) = (goal, require);
        self.decided = self.decisions().into_keys().collect();
        self.ready.clear();
        self.committing.clear();
        self.batches.clear();
    }

    /// A node is another since: its state was lost, or is an old one.
    pub(crate) fn node_replaced(&mut self, node: usize) {
        self.nodes[node].owed = None;
        self.nodes[node].between = None;
        self.nodes[node].decided = None;
    }

    pub(crate) fn hub_replaced(&mut self) {
        self.is_memory_lost = true;
        for node in &mut self.nodes {
            node.decided = None;
        }
    }

    /// The agent of `node` dies in the middle of its commit.
    pub(crate) fn dies_in_commit(&mut self, node: usize) {
        self.nodes[node].between = Some(Arc::clone(&self.goal));
    }

    /// The decisions on the hub's disk: of each transaction the bytes of its record.
    fn decisions(&self) -> BTreeMap<String, Vec<u8>> {
        let names = fs::read_dir(self.hub.join("decision")).into_iter().flatten();
        let read = |name: fs::DirEntry| {
            let text = name.file_name().into_string().expect("a name of its own");
            (text, fs::read(name.path()).expect("a decision"))
        };
        let all = names.map(|name| read(name.expect("a name")));
        all.filter(|(name, _)| !name.contains('.')).collect()
    }

    fn names(record: &[u8], target: &str) -> bool {
        record.windows(target.len()).any(|part| part == target.as_bytes())
    }

    /// A unit leaves its writer.
    pub(crate) fn hub_says(&mut self, unit: &Unit<'_>) {
        let Said::Hub(message) = &unit.said else { return };
        let node = unit.node;
        match &**message {
            ToAgent::Stage(stage) => {
                self.releases.insert(stage.txid.to_string(), Arc::clone(&self.goal));
            }
            ToAgent::Batch { .. } => {
                *self.batches.entry(node).or_default() += unit.bytes.len() as u64;
            }
            ToAgent::Settle { txid, decided } => self.settles(node, *txid, *decided),
            ToAgent::Offer(_) => {
                if let Some(txid) = self.nodes[node].pending {
                    self.violated(format!("n{node} is offered a release before {txid} is settled"));
                }
            }
            ToAgent::Commit { txid } => self.commits(node, *txid),
            _ => {}
        }
    }

    /// What an earlier run decided is what nodes are told.
    fn settles(&mut self, node: usize, txid: Txid, decided: bool) {
        let is_named = self.nodes[node].decided == Some(txid);
        let is_known = is_named || self.decided.contains(&txid.to_string());
        if decided != is_known && !self.is_memory_lost {
            self.violated(format!("n{node} is told of {txid}: {decided}; decided: {is_known}"));
        }
        self.nodes[node].pending = None;
        if decided {
            // Also where the decision does not name it, because its word was lost: it is the same release.
            self.nodes[node].owed = self.releases.get(&txid.to_string()).cloned();
        }
    }

    /// Promise 5, at the moment at which the first `Commit` of a run leaves the hub, and with each further one.
    fn commits(&mut self, node: usize, txid: Txid) {
        let record = self.decisions().remove(&txid.to_string());
        let target = self.nodes[node].target.clone();
        for node in &mut self.nodes {
            if record.as_ref().is_some_and(|record| Self::names(record, &node.target)) {
                node.decided = Some(txid);
            }
        }
        match record {
            None => self.violated(format!("Commit to n{node}, and {txid} is not decided")),
            Some(record) if !Self::names(&record, &target) => {
                self.violated(format!("Commit to n{node}, which the decision does not name"));
            }
            Some(_) => {}
        }
        if self.committing.is_empty() {
            let needed = self.needed();
            if self.ready.len() < needed {
                let ready = &self.ready;
                self.violations.push(format!("Commit with {ready:?} ready, {needed} needed"));
            }
            for at in 0..self.nodes.len() {
                self.check_tree(at, false, "before the first Commit");
            }
        }
        if !self.ready.contains(&node) {
            self.violated(format!("Commit to n{node}, which did not say Prepared"));
        }
        self.committing.insert(node);
    }

    fn needed(&self) -> usize {
        match self.require {
            Require::Reachable => 1,
            Require::All => self.nodes.len(),
            Require::Count(count) => count,
            Require::Percent(percent) => (self.nodes.len() * usize::from(percent)).div_ceil(100),
        }
    }

    /// A unit arrived whole at the hub.
    pub(crate) fn agent_said(&mut self, unit: &Unit<'_>) {
        let Said::Agent(message) = &unit.said else { return };
        match &**message {
            ToHub::Prepared => drop(self.ready.insert(unit.node)),
            ToHub::Planned(planned) if planned.is_clean => drop(self.ready.insert(unit.node)),
            ToHub::Opened(opened) => {
                let node = &mut self.nodes[unit.node];
                node.pending = opened.pending.as_ref().map(|one| one.txid);
                node.decided = node.decided.filter(|txid| node.pending == Some(*txid));
            }
            ToHub::Committed { .. } | ToHub::Settled { .. } => {
                self.nodes[unit.node].decided = None;
            }
            _ => {}
        }
    }

    /// A node's tree is the one before, or one that a decision allows.
    fn check_tree(&mut self, at: usize, may_be_new: bool, when: &str) {
        let node = &self.nodes[at];
        let now = shape(&node.root);
        let is_allowed = now == node.was
            || node.owed.as_ref() == Some(&now)
            || node.between.as_ref() == Some(&now)
            || may_be_new && (now == self.goal || node.between.is_some());
        if !is_allowed {
            let what = if now == self.goal { "new" } else { "neither old nor new" };
            self.violated(format!("{when}: n{at} is {what}"));
        }
    }

    /// A run has ended; with no `outcome` the hub died.
    pub(crate) fn ended(&mut self, outcome: Option<&RunOutcome>) {
        let mut is_done = true;
        let mut has_news = false;
        for at in 0..self.nodes.len() {
            let was_told = self.committing.contains(&at);
            let now = shape(&self.nodes[at].root);
            let is_at_goal = now == self.goal;
            is_done &= is_at_goal;
            has_news |= is_at_goal && now != self.nodes[at].was;
            let state = outcome.and_then(|outcome| Some(outcome.nodes.get(at)?.state));
            if state.is_some_and(NodeState::is_at_release) && !is_at_goal {
                self.violated(format!("n{at} is said to be {state:?}, and is not at the release"));
            }
            let says_old = matches!(
                state,
                Some(NodeState::Failed | NodeState::Refused | NodeState::Unreachable)
            );
            self.check_tree(at, was_told && !says_old, &format!("behind a run, {state:?}"));
            if self.nodes[at].between.is_some() && now != self.nodes[at].was {
                // Either recovered, or left in the middle by this very run.
                let is_whole = is_at_goal || self.nodes[at].between.as_ref() == Some(&now);
                if is_whole {
                    self.nodes[at].between = None;
                }
            }
        }
        if let Some(outcome) = outcome {
            self.check_verdict(outcome, is_done, has_news);
        }
        self.remember_decisions();
    }

    /// Promise 10.
    fn check_verdict(&mut self, outcome: &RunOutcome, is_done: bool, has_news: bool) {
        let verdict = outcome.verdict;
        if verdict == Verdict::Done && !is_done {
            self.violated("exit 0, and not every node is at the release".into());
        }
        let says_unchanged = !matches!(verdict, Verdict::Done | Verdict::Partial);
        let is_owed = self.nodes.iter().any(|node| node.owed.is_some() || node.between.is_some());
        if says_unchanged && has_news && !is_owed {
            self.violated(format!("exit {}, and a node is new", verdict.exit_code()));
        }
        if verdict == Verdict::Partial && outcome.nodes.iter().all(|one| one.state.is_at_release())
        {
            self.violated("exit 3, and no node is told why".into());
        }
    }

    fn remember_decisions(&mut self) {
        let decisions = self.decisions();
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(txid) = node.decided else { continue };
            let record = decisions.get(&txid.to_string());
            if !record.is_some_and(|record| Self::names(record, &node.target)) {
                self.violations.push(format!("the hub forgot that n{at} is to commit {txid}"));
            }
        }
        for node in &mut self.nodes {
            let named = decisions.iter().find(|(_, record)| Self::names(record, &node.target));
            if let Some((txid, _)) = named {
                node.owed = self.releases.get(txid).cloned();
            } else if !self.is_memory_lost {
                node.owed = None;
            }
        }
    }

    /// Behind a run in which nothing went wrong.
    pub(crate) fn converged(&mut self, outcome: Option<&RunOutcome>) {
        let Some(outcome) = outcome else { return self.violated("the hub died by itself".into()) };
        if outcome.verdict != Verdict::Done {
            let failures: Vec<_> =
                outcome.nodes.iter().map(|node| (node.state, &node.failure)).collect();
            let what = format!("{:?} {:?} {failures:#?}", outcome.verdict, outcome.failure);
            self.violated(format!("a run without a fault ends in {what}"));
        }
        for (at, node) in self.nodes.iter().enumerate() {
            if shape(&node.root) != self.goal {
                self.violations.push(format!("n{at} has not converged"));
            }
        }
        if !self.decisions().is_empty() {
            self.violated("a decision is left behind".into());
        }
        self.is_memory_lost = false;
    }
}
