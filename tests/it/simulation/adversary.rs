//! Who owns the links: what becomes of each unit, and which machine dies when.

use std::collections::BTreeMap;
use std::time::Duration;

use depsync::hub::stop::Stop;

use super::dice::Dice;
use super::link::Way;
use super::promises::Witness;
use super::unit::{self, Unit};

/// What becomes of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Pass,
    /// The connection ends in its place.
    CutBefore,
    /// The connection ends behind so many bytes of it.
    CutWithin(usize),
    CutBehind,
    /// It and all that follows in both directions is lost, and nobody is told.
    Hole,
    Twice,
    /// The next one arrives first.
    Overtaken,
    /// This bit of it is turned.
    Flip(usize),
    /// It is that of a run which was overtaken long ago.
    Stale,
    /// The agent's machine dies as it would arrive there, or when it has left.
    AgentDies,
    /// The hub dies as it would arrive there, or when it is to leave.
    HubDies,
}

/// What becomes of a unit, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fate {
    pub(crate) act: Act,
    pub(crate) delay: Duration,
}

impl Fate {
    pub(crate) const PASS: Self = Self { act: Act::Pass, delay: Duration::ZERO };
}

/// What is to go wrong in one run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// Of a thousand units, how many meet a fault.
    pub(crate) faults_per_mille: u64,
    /// Exactly this unit meets exactly this fault.
    pub(crate) single: Option<(usize, Way, u32, Act)>,
    /// The hub dies at the so manieth unit.
    pub(crate) hub_dies_at: Option<u32>,
    /// The hub dies as the so manieth node is to tell it this: the order in which nodes get there is nobody's to choose.
    pub(crate) hub_dies_hearing: Option<(usize, &'static str)>,
    /// Nobody is told of the hub's death.
    pub(crate) is_half_open: bool,
    /// This node dies in the moment it says, or hears, this.
    pub(crate) dies_at: Option<(usize, &'static str)>,
    /// The operator asks at the so manieth unit that the run ends, and insists so many units later.
    pub(crate) stop_at: Option<(u32, u32)>,
    /// A node that gets so many bytes a second.
    pub(crate) slow: Option<(usize, u64)>,
    /// A node that cannot be reached.
    pub(crate) down: Option<usize>,
    /// The longest a unit is under way.
    pub(crate) delay_max_ms: u64,
}

impl Plan {
    /// True if a node is down, and nothing else goes wrong.
    pub(crate) fn is_only_down(&self) -> bool {
        self.faults_per_mille == 0
            && self.single.is_none()
            && self.dies_at.is_none()
            && self.hub_dies_at.is_none()
            && self.hub_dies_hearing.is_none()
            && self.stop_at.is_none()
            && self.slow.is_none()
    }
}

/// The adversary of one world.
pub(crate) struct Adversary {
    seed: u64,
    run: u32,
    plan: Plan,
    stop: Stop,
    units: u32,
    has_hub_died: bool,
    /// Links to each node in this run.
    attempts: BTreeMap<usize, Vec<usize>>,
    /// How many steps of its commit an agent that died had carried out, by its link.
    steps_done: BTreeMap<usize, usize>,
    trace: Vec<String>,
    /// How often what happened.
    pub(crate) tally: BTreeMap<&'static str, u64>,
    pub(crate) witness: Witness,
}

impl Adversary {
    pub(crate) fn new(seed: u64, witness: Witness) -> Self {
        Self {
            seed,
            run: 0,
            plan: Plan::default(),
            stop: Stop::new(),
            units: 0,
            has_hub_died: false,
            attempts: BTreeMap::new(),
            steps_done: BTreeMap::new(),
            trace: Vec::new(),
            tally: BTreeMap::new(),
            witness,
        }
    }

    /// A run begins, in which `plan` is to go wrong.
    pub(crate) fn begin(&mut self, plan: Plan, stop: Stop) {
        self.run += 1;
        self.note(Duration::ZERO, &format!("run {} begins: {plan:?}", self.run));
        self.count("runs");
        (self.plan, self.stop) = (plan, stop);
        self.units = 0;
        self.has_hub_died = false;
        self.attempts.clear();
    }

    pub(crate) fn run(&self) -> u32 {
        self.run
    }

    pub(crate) fn hub_has_died(&self) -> bool {
        self.has_hub_died
    }

    /// What happened so far, line by line.
    pub(crate) fn trace(&self) -> String {
        self.trace.join("\n")
    }

    pub(crate) fn note(&mut self, now: Duration, text: &str) {
        self.trace.push(format!("{:10.3} {text}", now.as_secs_f64()));
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// True if `node` can be reached.
    pub(crate) fn connects(&mut self, node: usize, now: Duration) -> bool {
        let is_up = self.plan.down != Some(node);
        if !is_up {
            self.count("node down");
            self.note(now, &format!("n{node} is down"));
        }
        is_up
    }

    /// `link` is a new link to `node`.
    pub(crate) fn linked(&mut self, node: usize, link: usize) {
        self.attempts.entry(node).or_default().push(link);
    }

    /// How many steps of its commit the agent at the end of `link` had carried out when it died; `None` if it had begun none.
    pub(crate) fn steps_done(&self, link: usize) -> Option<usize> {
        self.steps_done.get(&link).copied()
    }

    fn dice(&self, unit: &Unit<'_>, word: u64) -> Dice {
        let links = self.attempts.get(&unit.node);
        let attempt = links.and_then(|links| links.iter().position(|one| *one == unit.link));
        let words = [u64::from(self.run), unit.node as u64, attempt.unwrap_or(99) as u64];
        let more = [unit.way as u64, u64::from(unit.at), word];
        Dice::of(self.seed, &[words, more].concat())
    }

    /// True if the agent dies in the moment it says this.
    pub(crate) fn dies_saying(&mut self, unit: &Unit<'_>, now: Duration) -> bool {
        let Some((node, name)) = self.plan.dies_at else { return false };
        if node != unit.node || unit.name() != name {
            return false;
        }
        self.plan.dies_at = None;
        self.count("agent dies saying");
        self.note(now, &format!("n{node} dies in the moment it says {name}"));
        true
    }

    /// Decides what becomes of `unit`.
    pub(crate) fn judge(&mut self, unit: &Unit<'_>, now: Duration) -> Fate {
        if unit.is_sign_of_life() {
            return Fate { act: Act::Pass, delay: self.delay(unit) };
        }
        self.units += 1;
        self.count("units");
        if let Some((first, more)) = self.plan.stop_at
            && [first, first + more].contains(&self.units)
        {
            self.count("operator stops");
            self.note(now, "the operator wants the run to end");
            self.stop.request(false);
        }
        self.witness.hub_says(unit);
        let act = self.act(unit);
        let delay = self.delay(unit);
        let arrow = if unit.way == Way::ToAgent { "<-" } else { "->" };
        let told = if act == Act::Pass { String::new() } else { format!(" *** {act:?}") };
        let line = format!(
            "run {} n{} {arrow} {:2} {} ({} bytes, {} ms){told}",
            self.run,
            unit.node,
            unit.at,
            unit.name(),
            unit.bytes.len(),
            delay.as_millis()
        );
        self.note(now, &line);
        self.count(match act {
            Act::Pass => "passed",
            Act::CutBefore | Act::CutBehind => "cut between",
            Act::CutWithin(_) => "cut within",
            Act::Hole => "black hole",
            Act::Twice => "repeated",
            Act::Overtaken => "reordered",
            Act::Flip(_) => "flipped",
            Act::Stale => "stale",
            Act::AgentDies => "agent dies",
            Act::HubDies => "hub dies",
        });
        if act == Act::HubDies {
            self.has_hub_died = true;
        }
        if act == Act::AgentDies && unit.commit().is_some() {
            let done = [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(3), Some(6)];
            if let Some(steps) = *self.dice(unit, 7).pick(&done) {
                self.steps_done.insert(unit.link, steps);
            }
        }
        Fate { act, delay }
    }

    fn act(&mut self, unit: &Unit<'_>) -> Act {
        if self.plan.hub_dies_at == Some(self.units) {
            return Act::HubDies;
        }
        if let Some((left, name)) = &mut self.plan.hub_dies_hearing
            && unit.way == Way::ToHub
            && unit.name() == *name
        {
            *left -= 1;
            if *left == 0 {
                self.plan.hub_dies_hearing = None;
                return Act::HubDies;
            }
        }
        if let Some((node, way, at, act)) = self.plan.single
            && (node, way, at) == (unit.node, unit.way, unit.at)
        {
            self.plan.single = None;
            return act;
        }
        if let Some((node, name)) = self.plan.dies_at
            && (node, Way::ToAgent) == (unit.node, unit.way)
            && unit.name() == name
        {
            self.plan.dies_at = None;
            return Act::AgentDies;
        }
        let mut dice = self.dice(unit, 1);
        if dice.below(1000) >= self.plan.faults_per_mille {
            return Act::Pass;
        }
        random_act(&mut dice)
    }

    fn delay(&self, unit: &Unit<'_>) -> Duration {
        let mut dice = self.dice(unit, 2);
        let mut delay = Duration::from_millis(dice.below(self.plan.delay_max_ms + 1));
        if let Some((node, bytes_per_second)) = self.plan.slow
            && node == unit.node
        {
            // Lengths differ a little with what is told of this very process.
            let bytes = unit.bytes.len() as u64 / 64 * 64;
            delay += Duration::from_millis(bytes * 1000 / bytes_per_second);
        }
        delay
    }

    /// Bytes of a unit, or a part of one, arrived whole or changed.
    pub(crate) fn arrived(&mut self, node: usize, way: Way, bytes: &[u8]) {
        if way == Way::ToHub {
            let sequence = bytes.get(8..12).and_then(|bytes| bytes.try_into().ok());
            let sequence = sequence.map_or(0, u32::from_le_bytes);
            if unit::is_frame(bytes, sequence) {
                self.witness.agent_said(&Unit::new(node, 0, way, (0, bytes)));
            }
        }
    }
}

/// Any fault of a link or of an agent.
pub(crate) fn random_act(dice: &mut Dice) -> Act {
    match dice.below(9) {
        0 => Act::CutBefore,
        1 => Act::CutWithin(dice.index(1 << 20)),
        2 => Act::CutBehind,
        3 => Act::Hole,
        4 => Act::Twice,
        5 => Act::Overtaken,
        6 => Act::Flip(dice.index(1 << 20)),
        _ => Act::AgentDies,
    }
}
