//! One seed: trees, faults and losses, and what must hold behind each run and in the end.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use depsync::hub::options::{Mode, Require};
use depsync::hub::outcome::{NodeState, RunOutcome, Verdict};

use super::adversary::{Plan, random_act};
use super::dice::Dice;
use super::link::Way;
use super::tree::Tree;
use super::world::World;
use crate::cluster::stamps;

/// Longer than any agent waits for a hub that is gone.
const AGENTS_NOTICE: Duration = Duration::from_secs(130);
/// Seeds of the short form.
const SEEDS: u64 = 150;

/// How often what happened.
type Tally = BTreeMap<&'static str, u64>;

/// Plays `seed`; on a broken promise says which, and what led there.
fn play(seed: u64) -> Result<(Tally, String), String> {
    let mut dice = Dice::new(seed);
    let count = if seed % 100 == 99 { 6 + dice.index(45) } else { 2 + dice.index(4) };
    let mut world = World::new(seed, count);
    set_up(&mut world, &mut dice);
    let mut source = Tree::random(&mut dice);
    world.set_source(&source);
    for node in 0..count {
        match dice.below(3) {
            0 => {}
            1 => source.changed(&mut dice).write(&world.root(node)),
            _ => Tree::random(&mut dice).write(&world.root(node)),
        }
    }
    let mut copy = None;
    if dice.once_in(2) {
        drop(world.push_well());
        verify(&world, seed)?;
    }
    for _ in 0..=dice.below(3) {
        if dice.below(4) > 0 {
            source = source.changed(&mut dice);
            world.set_source(&source);
        }
        happen(&mut world, &mut dice, &mut copy);
        let plan = random_plan(&mut dice, count);
        world.options.mode = if dice.once_in(8) { Mode::Plan } else { Mode::Push };
        let down = plan.down.filter(|_| plan.is_only_down() && world.options.mode == Mode::Push);
        let outcome = world.push(plan);
        world.options.mode = Mode::Push;
        if let (Some(down), Some(outcome)) = (down, outcome) {
            check_the_others(&world, down, &outcome);
        }
        verify(&world, seed)?;
        world.wait(*dice.pick(&[0, 0, 5, 61, 200].map(Duration::from_secs)));
    }
    end_well(&mut world);
    verify(&world, seed)?;
    let net = world.net.lock();
    Ok((net.adversary.tally.clone(), net.adversary.trace()))
}

/// Promise 5: one node that is down, and nothing else, stops nobody or everybody, as was asked.
fn check_the_others(world: &World, down: usize, outcome: &RunOutcome) {
    let others = outcome.nodes.iter().enumerate().filter(|(node, _)| *node != down);
    let others: Vec<_> = others.map(|(_, node)| node).collect();
    let waits = others.iter().any(|node| {
        // A commit that nobody remembers waits for all nodes; an agent of a dead hub holds its lease for a while.
        node.failure.as_ref().is_some_and(|why| why.kind == "undecided" || why.kind == "busy")
    });
    let is_kept = match world.options.require {
        Require::Reachable => waits || others.iter().all(|node| node.state.is_at_release()),
        Require::All => others.iter().all(|node| node.state != NodeState::Committed),
        _ => true,
    };
    let is_named = outcome.nodes.get(down).is_some_and(|node| node.failure.is_some());
    if !is_kept || !is_named || outcome.verdict == Verdict::Done {
        let what = format!("n{down} alone was down: {outcome:?}");
        world.net.lock().adversary.witness.violated(what);
    }
}

fn set_up(world: &mut World, dice: &mut Dice) {
    let count = world.count();
    let options = &mut world.options;
    options.require = match dice.below(6) {
        0 => Require::All,
        1 => Require::Count(1 + dice.index(count)),
        2 => Require::Percent(60),
        _ => Require::Reachable,
    };
    options.parallel = *dice.pick(&[1, 2, 16]);
    options.timeout = Duration::from_secs(*dice.pick(&[10, 30, 60]));
    options.deadline = Duration::from_secs(*dice.pick(&[100, 600]));
    options.keep.releases = *dice.pick(&[1, 3]);
}

/// What happens between two runs.
fn happen(world: &mut World, dice: &mut Dice, copy: &mut Option<(usize, std::path::PathBuf)>) {
    let node = dice.index(world.count());
    let is_at_rest = world.standing(node).is_none_or(|standing| standing.flight.is_none());
    match dice.below(8) {
        // A commit that was prepared for another tree leaves what is neither old nor new; the push behind it mends it.
        0 if is_at_rest => {
            Tree::random(dice).write(&world.root(node));
            world.net.lock().adversary.count("node changed by others");
        }
        // Steps know what they staged by its inode, which a copy does not keep.
        1 | 2 if copy.is_none() && is_at_rest => *copy = Some((node, world.copy(node))),
        1 | 2 => {
            if let Some((node, copy)) = copy.take() {
                notice(world);
                world.restore(node, &copy);
                world.net.lock().adversary.count("node restored from a copy");
            }
        }
        3 => {
            notice(world);
            world.reimage(node);
            world.net.lock().adversary.count("node state lost");
        }
        4 => {
            notice(world);
            world.lose_hub();
            world.net.lock().adversary.count("hub state lost");
        }
        _ => {}
    }
}

/// Agents that wait for a hub that is gone notice.
fn notice(world: &World) {
    world.wait(AGENTS_NOTICE);
    if world.has_agents() {
        world.net.lock().adversary.witness.violated("an agent outlives its hub".into());
    }
}

fn random_plan(dice: &mut Dice, count: usize) -> Plan {
    let node = dice.index(count);
    let mut plan = Plan { delay_max_ms: *dice.pick(&[0, 0, 20, 3_000]), ..Plan::default() };
    let way = *dice.pick(&[Way::ToAgent, Way::ToHub]);
    let at = u32::try_from(dice.below(10)).expect("small");
    let moment = 1 + dice.below(14 * count as u64);
    match dice.below(10) {
        0..3 => plan.single = Some((node, way, at, random_act(dice))),
        3..5 => plan.faults_per_mille = 20 + dice.below(130),
        5 | 6 => plan.hub_dies_at = u32::try_from(moment).ok(),
        7 => {
            let said = ["Opened", "Settled", "Planned", "Prepared", "Committed", "Aborted"];
            let heard = ["Batch", "Commit", "Commit", "Commit", "Abort", "Settle decided=true"];
            plan.dies_at = Some((node, *dice.pick(&[said, heard].concat())));
        }
        8 => plan.slow = Some((node, *dice.pick(&[1_000, 20_000]))),
        _ => plan.down = Some(node),
    }
    if dice.once_in(6) {
        plan.hub_dies_at = u32::try_from(moment).ok();
    }
    if dice.once_in(3) {
        plan.dies_at = Some((dice.index(count), *dice.pick(&["Prepared", "Commit", "Commit"])));
    }
    if dice.once_in(8) {
        let more = u32::try_from(dice.below(9)).expect("small");
        plan.stop_at = u32::try_from(moment).ok().map(|at| (at, more));
    }
    plan.is_half_open = dice.once_in(2);
    plan
}

/// One run without a fault brings all nodes to the release, the next one writes nothing (promises 6 and 7).
fn end_well(world: &mut World) {
    drop(world.push_well());
    let stamped = |world: &World| -> Vec<_> {
        (0..world.count()).map(|node| stamps(&world.root(node))).collect()
    };
    let before = stamped(world);
    let outcome = world.push_well();
    let is_quiet = outcome
        .is_some_and(|outcome| outcome.nodes.iter().all(|node| node.state == NodeState::Unchanged));
    if !is_quiet || stamped(world) != before {
        world.net.lock().adversary.witness.violated("the second run wrote something".into());
    }
}

fn verify(world: &World, seed: u64) -> Result<(), String> {
    let mut net = world.net.lock();
    let violations = net.adversary.witness.violations();
    if violations.is_empty() {
        return Ok(());
    }
    let commit = std::env::var("DEPSYNC_COMMIT").unwrap_or_else(|_unset| "unknown".to_owned());
    let trace = net.adversary.trace();
    let broken = violations.join("\n");
    Err(format!("{trace}\n\nDEPSYNC_SEED={seed} commit={commit}: broken:\n{broken}"))
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Plays many seeds on two threads; says what they came to.
fn play_all(first: u64, count: u64) -> Result<Tally, String> {
    let next = AtomicU64::new(0);
    let all: Mutex<Result<Tally, String>> = Mutex::new(Ok(Tally::new()));
    let work = || loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if at >= count {
            return;
        }
        let played = play(first.wrapping_add(at));
        let mut all = all.lock().expect("no panic");
        match (&mut *all, played) {
            (Ok(all), Ok((tally, _))) => {
                for (what, times) in tally {
                    *all.entry(what).or_default() += times;
                }
            }
            (all @ Ok(_), Err(broken)) => {
                next.store(count, Ordering::Relaxed);
                *all = Err(broken);
            }
            (Err(_), _) => {}
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    all.into_inner().expect("no panic")
}

#[test]
fn simulation_short() {
    let seed = from_environment("DEPSYNC_SEED");
    let seeds = from_environment("DEPSYNC_SEEDS");
    if let (Some(seed), None | Some(1)) = (seed, seeds) {
        match play(seed) {
            Ok((_, trace)) => return eprintln!("{trace}\nDEPSYNC_SEED={seed}: 0 violations"),
            Err(broken) => panic!("{broken}"),
        }
    }
    let (first, count) = (seed.unwrap_or(0), seeds.unwrap_or(SEEDS));
    match play_all(first, count) {
        Ok(tally) => {
            let told: Vec<_> =
                tally.iter().map(|(what, times)| format!("{times} {what}")).collect();
            eprintln!(
                "simulation: {count} seeds, {}, 0 violations, DEPSYNC_SEED={first}",
                told.join(", ")
            );
            let happened = |what: &str| tally.get(what).copied().unwrap_or_default();
            if count >= SEEDS {
                for what in ["hub dies", "agent dies", "cut within", "agent dies within its commit"]
                {
                    assert!(happened(what) > 0, "{what} never happened: {tally:?}");
                }
            }
        }
        Err(broken) => panic!("{broken}"),
    }
}
