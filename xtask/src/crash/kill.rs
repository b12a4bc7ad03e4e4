//! `cargo xtask crash kill`: a process is killed before each of its changes; then while it recovers; then once more.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Extent;
use super::aftermath::Losses;
use super::case::{self, Case, Victim};
use super::crew;
use super::ground::Workshop;
use super::sandbox::{self, Sandbox, Wrap};
use super::scenario::Release;
use super::trace::{self, CHANGES, Point};
use crate::failure::{Failure, Result};
use crate::figures;

const KILL: &str = "signal=KILL";

/// How many runs there are of each kind, at most.
struct Plan {
    single: usize,
    /// First crashes behind which each crash of the recovery is a double one.
    firsts: usize,
    double: usize,
    triple: usize,
}

const SHORT: Plan = Plan { single: 160, firsts: 6, double: 24, triple: 6 };
const FULL: Plan = Plan { single: usize::MAX, firsts: 60, double: 500, triple: 100 };

/// A run that is killed at a point, and each time that it recovers at one more.
#[derive(Debug, Clone)]
struct Chain<'a> {
    case: &'a Case,
    first: &'a Point,
    /// By which way it recovers, and where it is killed then.
    then: Vec<Point>,
    by: Means,
}

/// How what was in flight is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// `agent --recover`, as when a node boots.
    Boot,
    /// The next contact of a hub, whose agent is killed.
    Contact,
}

/// What a chain came to.
struct Done {
    /// The change before which each kill came; none where it did not come.
    hits: Vec<Option<String>>,
    losses: Losses,
    text: String,
}

/// Carries out the task.
///
/// # Errors
/// A promise was broken, or the task could not be carried out.
pub(crate) fn run(extent: &Extent) -> Result {
    let started = Instant::now();
    let seed = extent.seed();
    sandbox::build()?;
    let workshop = Workshop::open("kill")?;
    let grounds = workshop.grounds()?;
    let mut cases = Vec::new();
    for ground in &grounds {
        cases.extend(Case::all_on(ground)?);
    }
    let plan = if extent.full { FULL } else { SHORT };
    let all: Vec<Chain<'_>> =
        cases.iter().flat_map(singles).filter(|chain| extent.is_wanted(&chain.text())).collect();
    let single = crew::sample(&all, extent.runs(plan.single), seed);
    println!("seed {seed}: {} of {} points", single.len(), all.len());
    let done = crew::work(&single, carry_out, Done::is_loss)?;
    print_cover(&all, &done);
    let double = doubles(&crew::sample(&all, plan.firsts, seed + 1))?;
    let again = triples(&crew::sample(&double, plan.triple, seed + 2));
    let double = crew::sample(&double, plan.double, seed + 3);
    let more = [double, again].concat();
    println!("seed {seed}: {} chains of two and three crashes", more.len());
    let chained = crew::work(&more, carry_out, Done::is_loss)?;
    conclude(extent, &done, &chained, started)
}

/// A chain of one crash for each point.
fn singles(case: &Case) -> Vec<Chain<'_>> {
    let chain = |first| Chain { case, first, then: Vec::new(), by: Means::Boot };
    case.points.iter().map(chain).collect()
}

/// Behind each first crash, one crash at each change of the recovery, by both means.
fn doubles<'a>(firsts: &[Chain<'a>]) -> Result<Vec<Chain<'a>>> {
    let scouts: Vec<Chain<'a>> = firsts
        .iter()
        .flat_map(|first| [Means::Boot, Means::Contact].map(|by| Chain { by, ..first.clone() }))
        .filter(|chain| chain.by == Means::Boot || chain.case.victim() != Victim::Whole)
        .collect();
    let found = crew::work(&scouts, scout, |_| false)?;
    Ok(found.into_iter().flatten().collect())
}

/// Two crashes of the recovery: the second at another of the same points, which it may not reach any more.
fn triples<'a>(doubles: &[Chain<'a>]) -> Vec<Chain<'a>> {
    let second = doubles.iter().rev().flat_map(|chain| chain.then.iter());
    let pairs = doubles.iter().zip(second);
    pairs
        .map(|(chain, more)| Chain {
            then: [&chain.then[..], std::slice::from_ref(more)].concat(),
            ..chain.clone()
        })
        .collect()
}

/// Crashes a run, and watches its recovery: a chain of two for each change that the recovery makes.
fn scout<'a>(chain: &Chain<'a>, worker: usize) -> Result<Vec<Chain<'a>>> {
    let stopped = chain.case.stop(chain.first, KILL, worker)?;
    recover(&stopped.sandbox, chain.by, &["-e".to_owned(), format!("trace={CHANGES}")])?;
    let points = trace::points(&case::calls_of(&stopped.sandbox)?);
    Ok(points.into_iter().map(|point| Chain { then: vec![point], ..chain.clone() }).collect())
}

/// Recovers under a tracer with these words.
fn recover(sandbox: &Sandbox, by: Means, words: &[String]) -> Result {
    let tracer = [&trace::tracer(&case::log_of(sandbox), false)[..], words].concat();
    match by {
        Means::Boot => sandbox.recover(&tracer).map(drop),
        Means::Contact => {
            let wrap = Wrap { hub: Vec::new(), agent: tracer };
            sandbox.run("plan", Release::New, &wrap).map(drop)
        }
    }
}

fn carry_out(chain: &Chain<'_>, worker: usize) -> Result<Done> {
    let stopped = chain.case.stop(chain.first, KILL, worker)?;
    let mut hits = vec![stopped.hit.clone()];
    for point in &chain.then {
        recover(&stopped.sandbox, chain.by, &point.inject(KILL, stopped.sandbox.directory()))?;
        hits.push(point.hit(&case::calls_of(&stopped.sandbox)?));
    }
    let losses = chain.case.check(&stopped, stopped.hit.is_some())?;
    let done = Done { hits, losses, text: chain.text() };
    done.print();
    Ok(done)
}

impl Chain<'_> {
    /// What is done, as `--only` finds it.
    fn text(&self) -> String {
        let first = format!("{}: {}", self.case, self.first);
        let then = self.then.iter().map(|point| format!("{:?} {point}", self.by));
        std::iter::once(first).chain(then).collect::<Vec<_>>().join(" + ")
    }
}

impl Done {
    fn is_loss(&self) -> bool {
        !self.losses.is_empty()
    }

    fn print(&self) {
        for loss in &self.losses {
            println!("LOSS {}\n  {loss}\n  hit: {:?}", self.text, self.hits);
        }
    }
}

/// How many of the different changes were hit: threads and chance may hide one behind another.
fn print_cover(all: &[Chain<'_>], done: &[Done]) {
    let key = |text: &str, change: &str| {
        format!("{}: {change}", text.split_once(": ").map_or(text, |(case, _)| case))
    };
    let wanted: BTreeSet<String> =
        all.iter().map(|chain| key(&chain.text(), &chain.first.change)).collect();
    let hits = done.iter().filter_map(|done| Some(key(&done.text, done.hits.first()?.as_deref()?)));
    let hit: BTreeSet<String> = hits.filter(|hit| wanted.contains(hit)).collect();
    println!("killed before {} of {} different changes", hit.len(), wanted.len());
    if done.len() == all.len() {
        for change in wanted.difference(&hit) {
            println!("  not reached: {change}");
        }
    }
}

fn conclude(extent: &Extent, done: &[Done], chained: &[Done], started: Instant) -> Result {
    let reached =
        |done: &[Done]| done.iter().filter(|done| done.hits.iter().all(Option::is_some)).count();
    let losses = done.iter().chain(chained).filter(|done| done.is_loss()).count();
    let text = format!(
        "{} crashes ({} points), {} of two and three, {losses} losses, {} s",
        reached(done),
        done.len(),
        reached(chained),
        started.elapsed().as_secs()
    );
    println!("kill: {text}");
    if losses > 0 {
        return Err(Failure::new(format!(
            "{losses} runs broke a promise; --seed {}",
            extent.seed()
        )));
    }
    if extent.record { figures::record("kill", &text) } else { Ok(()) }
}
