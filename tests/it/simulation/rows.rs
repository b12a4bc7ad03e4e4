//! Rows of the catalogue that need a whole cluster, each told on its own.

use std::fs;
use std::time::Duration;

use depsync::hub::options::{MaxDelete, Require};
use depsync::hub::outcome::{NodeState, RunOutcome, Verdict};
use depsync::node::error::Error;
use depsync::node::journal::Phase;
use depsync::node::{recover, steps};

use super::adversary::{Act, Plan};
use super::death::{Waiting, waiting_at};
use super::dice::Dice;
use super::link::Way;
use super::tree::{Tree, shape};
use super::world::World;
use crate::cluster::stamps;

/// Nodes that are at one release, and a source that has another.
fn changed(seed: u64, nodes: usize) -> World {
    let mut world = World::new(seed, nodes);
    let mut dice = Dice::new(seed);
    let tree = Tree::random(&mut dice);
    world.set_source(&tree);
    assert_eq!(verdict(world.push_well()), Verdict::Done);
    world.set_source(&tree.changed(&mut dice));
    fs::write(world.source().join("news"), vec![7; 40_000]).expect("news");
    world
}

fn verdict(outcome: Option<RunOutcome>) -> Verdict {
    outcome.expect("the hub lives").verdict
}

fn states(outcome: &RunOutcome) -> Vec<NodeState> {
    outcome.nodes.iter().map(|node| node.state).collect()
}

/// Fails with what led there unless every promise was kept so far.
#[track_caller]
fn assert_kept(world: &World) {
    let mut net = world.net.lock();
    let broken = net.adversary.witness.violations();
    assert!(broken.is_empty(), "{}\n{broken:#?}", net.adversary.trace());
}

/// One run without a fault brings all to the release, and the next one writes nothing.
#[track_caller]
fn assert_ends_well(world: &mut World) {
    assert_eq!(verdict(world.push_well()), Verdict::Done);
    let before: Vec<_> = (0..world.count()).map(|node| stamps(&world.root(node))).collect();
    assert_eq!(verdict(world.push_well()), Verdict::Done);
    let after: Vec<_> = (0..world.count()).map(|node| stamps(&world.root(node))).collect();
    assert!(before == after, "a run over nodes at the release wrote something");
    assert_kept(world);
}

fn is_prepared(world: &World, node: usize) -> bool {
    let flight = world.standing(node).and_then(|standing| standing.flight);
    flight.is_some_and(|flight| matches!(flight.phase, Phase::Prepared(_)))
}

/// What node 0 hears and says in a run that changes it, in the order of its stream.
const HEARD: u32 = 7;
const SAID: u32 = 6;

fn single(node: usize, way: Way, at: u32, act: Act) -> Plan {
    Plan { single: Some((node, way, at, act)), ..Plan::default() }
}

/// The hub dies when all of `nodes` are prepared, and the word of the last arrives no more.
fn all_prepared(nodes: usize) -> Plan {
    Plan { hub_dies_hearing: Some((nodes, "Prepared")), ..Plan::default() }
}

#[test]
fn fault_071_an_operator_who_insists_too_late_is_told_that_it_is_done() {
    let mut too_late = 0;
    for first in 22..28 {
        for more in 1..3 {
            let mut world = changed(71, 2);
            let plan = Plan { stop_at: Some((first, more)), ..Plan::default() };
            let outcome = world.push(plan).expect("the hub lives");
            let is_done = outcome.nodes.iter().all(|node| node.state.is_at_release());
            assert_eq!(is_done, outcome.verdict == Verdict::Done, "{outcome:?}");
            too_late += usize::from(is_done);
            assert_ends_well(&mut world);
        }
    }
    assert!((1..12).contains(&too_late), "{too_late} of 12 were done");
}

#[test]
fn fault_032_a_guard_at_a_node_that_answers_late_stops_all_of_them() {
    let mut world = changed(32, 3);
    world.options.guard.max_delete = MaxDelete::Count(60);
    for number in 0..61 {
        fs::write(world.root(2).join(format!("of its own {number}")), "own").expect("a file");
    }
    let before: Vec<_> = (0..3).map(|node| stamps(&world.root(node))).collect();
    // The others are prepared long before it has heard what is to go.
    let plan = Plan { slow: Some((2, 100)), ..Plan::default() };
    let outcome = world.push(plan).expect("the hub lives");
    assert_eq!(outcome.verdict, Verdict::Guard, "{outcome:?}");
    let after: Vec<_> = (0..3).map(|node| stamps(&world.root(node))).collect();
    assert!(before == after, "something was written");
    let trace = world.net.lock().adversary.trace();
    assert!([0, 1].iter().all(|node| trace.contains(&format!("run 2 n{node} ->  4 Prepared"))));
    world.options.guard.max_delete = MaxDelete::Percent(100);
    assert_ends_well(&mut world);
}

#[test]
fn fault_085_a_list_of_steps_that_is_damaged_becomes_no_promise() {
    let mut world = changed(85, 2);
    world.push(all_prepared(2));
    world.wait(Duration::from_secs(130));
    let root = world.root(0).into_os_string().into_encoded_bytes();
    let Waiting { mut place, mut journal, txid, .. } = waiting_at(&root).expect("prepared");
    let list = world.node(0).join(".depsync/tree/stage").join(txid.to_string());
    let list = list.join(std::str::from_utf8(steps::NAME).expect("a name"));
    let mut bytes = fs::read(&list).expect("a list");
    bytes[3] ^= 1;
    fs::write(&list, bytes).expect("damaged");
    let refused = recover::commit(&mut place, &mut journal, txid);
    assert!(matches!(refused, Err(Error::State { .. })), "{refused:?}");
    drop((place, journal));
    assert!(is_prepared(&world, 0), "COMMITTING was written for what cannot be carried out");
    assert_ends_well(&mut world);
}

#[test]
fn fault_087_a_hub_that_lost_its_state_drops_what_nobody_committed() {
    let mut world = changed(87, 3);
    world.push(all_prepared(3));
    world.wait(Duration::from_secs(130));
    assert!((0..3).all(|node| is_prepared(&world, node)), "all wait for a decision");
    world.lose_hub();
    let outcome = world.push(Plan { down: Some(2), ..Plan::default() }).expect("the hub lives");
    assert_ne!(outcome.verdict, Verdict::Done);
    assert!((0..2).all(|node| is_prepared(&world, node)), "node 2 may have committed: {outcome:?}");
    let why = outcome.nodes.iter().filter_map(|node| node.failure.as_ref());
    assert!(why.clone().any(|failure| failure.kind == "undecided"), "{outcome:?}");
    assert_ends_well(&mut world);
}

#[test]
fn fault_087_a_hub_that_lost_its_state_completes_what_one_node_committed() {
    let mut world = changed(872, 3);
    let plan = Plan {
        single: Some((2, Way::ToAgent, 6, Act::Hole)),
        dies_at: Some((1, "Committed")),
        ..Plan::default()
    };
    let outcome = world.push(plan).expect("the hub lives");
    assert_eq!(outcome.verdict, Verdict::Partial, "{outcome:?}");
    let new = shape(&world.source());
    world.wait(Duration::from_secs(130));
    assert!(is_prepared(&world, 2), "it heard of no decision");
    world.lose_hub();
    // Nothing but the old commit can be carried out: the source has since become what no run takes.
    world.options.require = Require::All;
    world.options.guard.max_delete = MaxDelete::Count(0);
    world.set_source(&Tree::default());
    fs::write(world.source().join("other"), "other").expect("another source");
    let outcome = world.push(Plan::default()).expect("the hub lives");
    assert_eq!(outcome.verdict, Verdict::Guard, "{outcome:?}");
    assert!((0..3).all(|node| shape(&world.root(node)) == new), "all are at the release of one");
}

#[test]
fn fault_088_a_node_restored_from_an_old_copy_is_pushed_to_again() {
    let mut world = changed(88, 2);
    let old = world.copy(0);
    world.push(all_prepared(2));
    world.wait(Duration::from_secs(130));
    assert!(is_prepared(&world, 0));
    let prepared = world.copy(0);
    assert_ends_well(&mut world);
    for copy in [prepared, old] {
        world.restore(0, &copy);
        let outcome = world.push_well().expect("the hub lives");
        assert_eq!(states(&outcome), [NodeState::Committed, NodeState::Unchanged]);
        assert_ends_well(&mut world);
    }
}

#[test]
fn fault_089_a_node_that_lost_its_state_is_sent_nothing_that_it_has() {
    let mut world = changed(89, 2);
    assert_ends_well(&mut world);
    world.reimage(0);
    let outcome = world.push_well().expect("the hub lives");
    assert_eq!(states(&outcome), [NodeState::Unchanged; 2], "adopted by its content");
    fs::write(world.root(0).join("news"), "broken").expect("changed");
    world.reimage(0);
    fs::write(world.source().join("more"), vec![9; 10_000]).expect("more");
    fs::write(world.root(0).join("more"), vec![9; 10_000]).expect("more");
    let outcome = world.push_well().expect("the hub lives");
    assert_eq!(states(&outcome), [NodeState::Committed; 2]);
    let sent = world.net.lock().adversary.witness.batches.get(&0).copied().unwrap_or_default();
    assert!(sent < 1_000, "{sent} bytes for a file of one byte, forty thousand times");
    assert_ends_well(&mut world);
}

#[test]
fn fault_093_a_link_may_end_at_each_boundary_of_a_frame_and_within_each() {
    for (way, count) in [(Way::ToAgent, HEARD), (Way::ToHub, SAID)] {
        for at in 0..count {
            for act in [Act::CutBefore, Act::CutWithin(0), Act::CutWithin(9_000), Act::CutBehind] {
                let mut world = changed(93, 2);
                let outcome = world.push(single(0, way, at, act)).expect("the hub lives");
                let met = !matches!(act, Act::CutBehind) || at + 1 < count;
                let is_end = way == Way::ToHub && at + 1 == count;
                if met && !is_end {
                    assert_eq!(outcome.verdict, Verdict::Partial, "{way:?} {at} {act:?}");
                    assert_eq!(outcome.nodes[1].state, NodeState::Committed, "{way:?} {at}");
                }
                assert_ends_well(&mut world);
            }
        }
    }
}

#[test]
fn fault_095_an_agent_whose_hub_is_gone_ends_and_holds_what_is_prepared() {
    let mut world = changed(95, 2);
    // Node 0 is prepared; node 1 stages, and what it needs does not come any more.
    let dies = single(1, Way::ToAgent, 5, Act::HubDies);
    let plan = Plan { is_half_open: true, slow: Some((1, 10_000)), ..dies };
    assert!(world.push(plan).is_none(), "the hub dies");
    world.wait(Duration::from_secs(50));
    assert!(world.has_agents(), "they wait for a sign of life");
    world.wait(Duration::from_secs(15));
    assert!(!world.has_agents(), "a minute is enough");
    assert!(is_prepared(&world, 0), "that is the hub's to decide");
    let standing = world.standing(1).expect("a journal");
    assert_eq!(standing.flight, None, "what only staged is dropped");
    assert_ends_well(&mut world);
}

#[test]
fn fault_096_a_node_behind_a_slow_link_holds_nobody_up_and_ends_at_the_deadline() {
    let mut world = changed(96, 3);
    let mut dice = Dice::new(96);
    let noise: Vec<u8> = (0..20_000).flat_map(|_| dice.next().to_le_bytes()).collect();
    fs::write(world.source().join("noise"), noise).expect("noise");
    world.options.deadline = Duration::from_mins(1);
    let old = shape(&world.root(0));
    let plan = Plan { slow: Some((1, 1_000)), ..Plan::default() };
    let outcome = world.push(plan).expect("the hub lives");
    assert_eq!(outcome.verdict, Verdict::Fail, "{outcome:?}");
    assert_eq!(outcome.failure.expect("why").kind, "deadline");
    for node in 0..3 {
        assert_eq!(shape(&world.root(node)), old, "node {node} changed");
    }
    let trace = world.net.lock().adversary.trace();
    for node in [0, 2] {
        let said = format!("run 2 n{node} ->  4 Prepared");
        assert!(trace.contains(&said), "node {node} staged meanwhile: {trace}");
    }
    assert_kept(&world);
    assert_ends_well(&mut world);
}

#[test]
fn fault_100_a_partition_while_nodes_commit_is_partial_and_the_next_run_converges() {
    for (way, at) in [(Way::ToAgent, 6), (Way::ToHub, 5)] {
        let mut world = changed(100, 3);
        let outcome = world.push(single(1, way, at, Act::Hole)).expect("the hub lives");
        assert_eq!(outcome.verdict, Verdict::Partial, "{outcome:?}");
        let expected = [NodeState::Committed, NodeState::Pending, NodeState::Committed];
        assert_eq!(states(&outcome), expected);
        assert_ends_well(&mut world);
    }
}

#[test]
fn fault_101_two_hubs_in_the_same_moment_never_mix_nodes() {
    let mut refused = 0;
    for seed in 0..12 {
        let mut world = changed(1010 + seed, 3);
        let mut other = world.options.clone();
        let same_state = world.push_twice(&other);
        let verdicts = same_state.each_ref().map(|outcome| outcome.verdict);
        assert!(verdicts.contains(&Verdict::Done) && verdicts.contains(&Verdict::Busy));
        let source = world.path().join("other");
        Tree::random(&mut Dice::new(seed)).write(&source);
        other.source.root = source;
        other.state_dir = world.path().join("other-state");
        other.lock_timeout = Duration::ZERO;
        world.options.lock_timeout = Duration::ZERO;
        fs::write(world.source().join("news"), vec![8; 30_000]).expect("news");
        let verdicts = world.push_twice(&other).map(|outcome| outcome.verdict);
        assert!(verdicts.contains(&Verdict::Done), "{verdicts:?}");
        refused += usize::from(verdicts.contains(&Verdict::Busy));
        let first = shape(&world.root(0));
        assert!((1..3).all(|node| shape(&world.root(node)) == first), "nodes are mixed");
        let sources = [shape(&world.source()), shape(&other.source.root)];
        assert!(sources.contains(&first), "neither one nor the other");
    }
    assert!(refused > 0, "the two never met");
}

#[test]
fn fault_101_a_run_that_was_overtaken_is_refused_by_its_fence() {
    let mut world = changed(1019, 2);
    let old = shape(&world.root(0));
    let outcome = world.push(single(0, Way::ToAgent, 4, Act::Stale)).expect("the hub lives");
    assert_eq!(outcome.verdict, Verdict::Busy, "{outcome:?}");
    let failure = outcome.nodes[0].failure.as_ref().expect("why");
    assert_eq!(failure.kind, "stale-fence");
    assert!((0..2).all(|node| shape(&world.root(node)) == old), "nothing changed");
    assert_ends_well(&mut world);
}

#[test]
fn fault_112_repeated_and_reordered_frames_end_a_session_and_nothing_else() {
    for (way, count) in [(Way::ToAgent, HEARD), (Way::ToHub, SAID)] {
        for at in 1..count {
            for act in [Act::Twice, Act::Overtaken, Act::Flip(133)] {
                let mut world = changed(112, 2);
                world.options.timeout = Duration::from_secs(10);
                let outcome = world.push(single(0, way, at, act)).expect("the hub lives");
                let is_last = at + 1 == count;
                if !is_last {
                    let state = outcome.nodes[0].state;
                    assert!(!state.is_at_release(), "{way:?} {at} {act:?}: {outcome:?}");
                }
                assert_kept(&world);
                assert_ends_well(&mut world);
            }
        }
    }
}
