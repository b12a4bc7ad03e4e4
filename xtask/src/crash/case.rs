//! A case: a file system, a way to commit and a process to stop; with what every run of it starts from.

use std::fmt;
use std::path::{Path, PathBuf};

use super::aftermath::{Expected, Losses};
use super::ground::Ground;
use super::sandbox::{Commit, Form, Outcome, Sandbox, Setup, Wrap};
use super::scenario::Release;
use super::trace::{self, CHANGES, Call, Point};
use crate::failure::{Result, at};

/// Which process is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The agent of the first of two nodes.
    Agent,
    /// The hub of two nodes.
    Hub,
    /// A hub that is the agent of its one node as well.
    Whole,
}

/// What every run of a case starts from.
#[derive(Debug)]
pub(crate) struct Case {
    name: String,
    victim: Victim,
    directory: PathBuf,
    template: Sandbox,
    expected: Expected,
    /// Where a push of it can be stopped.
    pub(crate) points: Vec<Point>,
}

/// What one run came to.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// What was hit; none if no thread came so far.
    pub(crate) hit: Option<String>,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The sandbox as it was left.
    pub(crate) sandbox: Sandbox,
}

impl Case {
    /// Makes the cases of a ground: each victim with each way to commit.
    ///
    /// # Errors
    /// A sandbox cannot be made, or a push without any fault fails.
    pub(crate) fn all_on(ground: &Ground) -> Result<Vec<Self>> {
        let mut cases = Vec::new();
        for (commit, how) in [(Commit::InPlace, "in-place"), (Commit::Swap, "swap")] {
            for victim in [Victim::Agent, Victim::Hub, Victim::Whole] {
                let (nodes, form) = match victim {
                    Victim::Agent | Victim::Hub => (2, Form::Agents),
                    Victim::Whole => (1, Form::Local),
                };
                let name = format!("{victim} {how} {}", ground.name);
                let directory = ground.directory.join(name.replace(' ', "-"));
                cases.push(Self::create(name, victim, &directory, Setup { nodes, form, commit })?);
            }
        }
        Ok(cases)
    }

    fn create(name: String, victim: Victim, directory: &Path, setup: Setup) -> Result<Self> {
        let template = Sandbox::create(&directory.join("template"), setup)?;
        let expected = Expected::of(&template)?;
        let directory = directory.to_path_buf();
        let mut case = Self { name, victim, directory, template, expected, points: Vec::new() };
        let baseline = case.template.copy_to(&case.directory.join("baseline"))?;
        let log = log_of(&baseline);
        let words = ["-e".to_owned(), format!("trace={CHANGES}")];
        let outcome = baseline.run("push", Release::New, &case.wrap(&log, &words))?;
        outcome.expect("a push under a tracer", 0)?;
        case.points = trace::points(&calls_of(&baseline)?);
        baseline.remove()?;
        Ok(case)
    }

    /// A fresh sandbox of this `worker`, pushed to while `what` is done at `point`.
    ///
    /// # Errors
    /// Something cannot be made, started or read.
    pub(crate) fn stop(&self, point: &Point, what: &str, worker: usize) -> Result<Stopped> {
        let sandbox = self.template.copy_to(&self.directory.join(format!("worker-{worker}")))?;
        let log = log_of(&sandbox);
        let wrap = self.wrap(&log, &point.inject(what, sandbox.directory()));
        let outcome = sandbox.run("push", Release::New, &wrap)?;
        Ok(Stopped { hit: point.hit(&calls_of(&sandbox)?), outcome, sandbox })
    }

    /// What is wrong after a run of this case.
    ///
    /// # Errors
    /// Something cannot be read or started.
    pub(crate) fn check(&self, stopped: &Stopped, is_killed: bool) -> Result<Losses> {
        let is_dead = is_killed && self.victim != Victim::Agent;
        self.expected.check(&stopped.sandbox, &stopped.outcome, is_dead)
    }

    /// Which process is stopped.
    pub(crate) fn victim(&self) -> Victim {
        self.victim
    }

    fn wrap(&self, log: &Path, words: &[String]) -> Wrap {
        let is_hub = self.victim != Victim::Agent;
        let tracer = [&trace::tracer(log, is_hub)[..], words].concat();
        if is_hub {
            Wrap { hub: tracer, agent: Vec::new() }
        } else {
            Wrap { hub: Vec::new(), agent: tracer }
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Hub => "hub",
            Self::Whole => "whole",
        })
    }
}

/// Where a tracer in `sandbox` writes.
pub(crate) fn log_of(sandbox: &Sandbox) -> PathBuf {
    sandbox.directory().join("calls")
}

/// What the last tracer in `sandbox` has written; nothing if it was not started.
///
/// # Errors
/// It cannot be read.
pub(crate) fn calls_of(sandbox: &Sandbox) -> Result<Vec<Call>> {
    let log = log_of(sandbox);
    let bytes = match std::fs::read(&log) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(at("read", &log)(error));
        }
        bytes => bytes.unwrap_or_default(),
    };
    Ok(trace::calls(&String::from_utf8_lossy(&bytes), sandbox.directory()))
}
