//! `cargo xtask crash errors`: each change fails, once or from there on, in every way in which a disk or a system fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use super::Extent;
use super::aftermath::Losses;
use super::case::{Case, Victim};
use super::crew;
use super::ground::Workshop;
use super::sandbox;
use super::trace::Point;
use crate::failure::{Failure, Result};
use crate::figures;

/// How many runs the short form has.
const SHORT: usize = 100;

/// Errors of a call, once, and with `+` from there on. An interrupted call is tried again at once, so that one which is
/// interrupted for ever is no fault that a kernel has.
const FAULTS: [&str; 17] = [
    "error=EIO",
    "error=EIO+",
    "error=ENOSPC",
    "error=ENOSPC+",
    "error=EDQUOT",
    "error=EDQUOT+",
    "error=EROFS",
    "error=EROFS+",
    "error=EACCES",
    "error=EACCES+",
    "error=EMFILE",
    "error=EMFILE+",
    "error=ENOMEM",
    "error=ENOMEM+",
    "error=EXDEV",
    "error=EXDEV+",
    "error=EINTR",
];

/// A write that takes nothing and says so.
const NOTHING_WRITTEN: &str = "retval=0";

/// The calls that are repeated where a signal interrupts them. Of the others a node's own disk never says so.
const INTERRUPTED: [&str; 4] = ["write", "pwrite64", "fdatasync", "ftruncate"];

/// One run: a point, and what goes wrong there.
#[derive(Debug, Clone)]
struct Trial<'a> {
    case: &'a Case,
    point: &'a Point,
    fault: &'static str,
}

/// What a trial came to.
struct Done {
    is_hit: bool,
    code: Option<i32>,
    losses: Losses,
}

/// Carries out the task.
///
/// # Errors
/// A promise was broken, or the task could not be carried out.
pub(crate) fn run(extent: &Extent) -> Result {
    let started = Instant::now();
    let seed = extent.seed();
    sandbox::build()?;
    let workshop = Workshop::open("errors")?;
    let grounds = workshop.grounds()?;
    let mut cases = Vec::new();
    for ground in &grounds {
        cases.extend(Case::all_on(ground)?);
    }
    let all: Vec<Trial<'_>> =
        cases.iter().flat_map(trials).filter(|trial| extent.is_wanted(&trial.text())).collect();
    let chosen = crew::sample(&all, extent.runs(SHORT), seed);
    println!("seed {seed}: {} of {} trials", chosen.len(), all.len());
    let done = crew::work(&chosen, carry_out, |done| !done.losses.is_empty())?;
    conclude(extent, &done, started)
}

/// Every fault at every point; a whole program in one process is stopped where an agent alone and a hub alone are, so that
/// its trials would repeat theirs.
fn trials(case: &Case) -> Vec<Trial<'_>> {
    if case.victim() == Victim::Whole {
        return Vec::new();
    }
    let faults = |point: &'_ Point| {
        let is_write = point.call().contains("write");
        FAULTS.into_iter().chain(is_write.then_some(NOTHING_WRITTEN))
    };
    let trial = |point| faults(point).map(move |fault| Trial { case, point, fault });
    // The runtime of a hub wakes its threads by writes too, which never fail.
    let is_lone = |point: &&Point| case.victim() == Victim::Agent || !point.is_any_write();
    case.points.iter().filter(is_lone).flat_map(trial).collect()
}

fn carry_out(trial: &Trial<'_>, worker: usize) -> Result<Done> {
    let stopped = trial.case.stop(trial.point, trial.fault, worker)?;
    let mut losses = Losses::new();
    if stopped.hit.is_some() {
        let state = stopped.sandbox.state(0);
        let (code, hit) = (stopped.outcome.code, stopped.hit.as_deref());
        losses.extend(trial.at_once(&state, code, hit)?);
    }
    losses.extend(trial.case.check(&stopped, false)?);
    for loss in &losses {
        println!(
            "LOSS {}\n  {loss}\n  hit: {:?}\n{}",
            trial.text(),
            stopped.hit,
            stopped.outcome.said
        );
    }
    Ok(Done { is_hit: stopped.hit.is_some(), code: stopped.outcome.code, losses })
}

impl Trial<'_> {
    /// What is done, as `--only` finds it.
    fn text(&self) -> String {
        format!("{}: {} {}", self.case, self.point, self.fault)
    }

    /// What must hold before anything else happens.
    fn at_once(&self, state: &Path, code: Option<i32>, hit: Option<&str>) -> Result<Losses> {
        let mut losses = Losses::new();
        if self.fault == "error=EINTR"
            && INTERRUPTED.contains(&self.point.call())
            && code != Some(0)
        {
            losses.push(format!("an interrupted call was not repeated: exit code {code:?}"));
        }
        if self.point.call() == "syncfs" && self.fault.starts_with("error=EIO") {
            if code == Some(0) {
                losses.push("a sync that failed was told done".to_owned());
            }
            // What the disk has refused once is gone from the page cache as far as anybody knows: a later sync that succeeds
            // says nothing of it. So none of these files may ever be published. The commit's own sync, on the kept area, is
            // of names: those of a decided stage must stay, for the commit to go on.
            let left = super::aftermath::names(&state.join("stage"))?;
            let is_sync_of_stage = hit.is_none_or(|hit| !hit.starts_with("syncfs kept"));
            if is_sync_of_stage && !left.is_empty() {
                losses.push(format!("a stage that could not be synced still stands: {left:?}"));
            }
        }
        Ok(losses)
    }
}

fn conclude(extent: &Extent, done: &[Done], started: Instant) -> Result {
    let losses = done.iter().filter(|done| !done.losses.is_empty()).count();
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    for one in done.iter().filter(|one| one.is_hit) {
        *codes.entry(one.code.map_or("none".into(), |code| code.to_string())).or_default() += 1;
    }
    println!("exit codes: {codes:?}");
    let text = format!(
        "{} faults ({} trials), {losses} losses, {} s",
        done.iter().filter(|one| one.is_hit).count(),
        done.len(),
        started.elapsed().as_secs()
    );
    println!("errors: {text}");
    if losses > 0 {
        return Err(Failure::new(format!(
            "{losses} trials broke a promise; --seed {}",
            extent.seed()
        )));
    }
    if extent.record { figures::record("errors", &text) } else { Ok(()) }
}
