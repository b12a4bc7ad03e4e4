//! An honest conversation with its bytes changed at random, in frames whose checks are right: flipped, cut, repeated,
//! reordered, left out. Whatever the agent makes of it, it ends in good order, and the tree is the old one or the new one.
//!
//! `DEPSYNC_SEED` and `DEPSYNC_SECONDS` choose where it begins and how long it goes on; `cargo xtask soak hostile` sets them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use depsync::model::limits::FRAME_BYTES_MAX;
use depsync::wire::message::{ManifestPart, Open, Packing, ToAgent};

use crate::cluster::{Name, names_below};
use crate::hostile_hub::{FILES, TXID, Talk, content, packed};

type Frame = (Vec<u8>, Vec<u8>);

/// Numbers from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("small")
    }

    /// Flips, cuts, repeats or inserts somewhere in `bytes`.
    pub(crate) fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.next(bytes.len() + 1);
        match self.next(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.next(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.next(5)],
            2 => bytes.truncate(at),
            3 => {
                let more = bytes[at..].iter().take(1 + self.next(40)).copied().collect::<Vec<_>>();
                bytes.splice(at..at, more);
            }
            _ => bytes.insert(at, [0, 1, 9, 0x80, 0xff][self.next(5)]),
        }
    }

    /// Changes a few of the frames, or their order.
    fn mutate(&mut self, frames: &mut Vec<Frame>) {
        for _ in 0..=self.next(3) {
            let (at, other) = (self.next(frames.len()), self.next(frames.len()));
            match self.next(8) {
                0 if frames.len() > 1 => drop(frames.remove(at)),
                1 => frames.insert(at, frames[other].clone()),
                2 => frames.swap(at, other),
                3 => frames[at].1 = frames[other].1.clone(),
                4 => self.change(&mut frames[at].1),
                _ => self.change(&mut frames[at].0),
            }
        }
        frames.retain(|(control, bulk)| control.len() + bulk.len() <= FRAME_BYTES_MAX);
    }
}

/// All that an honest hub of whatever node says to the end of a commit, without waiting for answers.
fn conversation(talk: &Talk) -> Vec<Frame> {
    let manifest = &talk.manifest;
    let part = ManifestPart { base: None, raw_bytes: manifest.len(), is_last: true };
    let batch = |files: std::ops::Range<usize>| -> Vec<u8> { files.flat_map(content).collect() };
    let plain = ToAgent::Batch { packing: Packing::Plain };
    let fresh = ToAgent::Batch { packing: Packing::Fresh };
    [
        (ToAgent::Open(Open { directory: b"tree".to_vec(), ..talk.open.clone() }), Vec::new()),
        (ToAgent::Offer(talk.offer.clone()), Vec::new()),
        (ToAgent::Manifest(part), packed(manifest)),
        (ToAgent::Stage(talk.stage.clone()), Vec::new()),
        (fresh, packed(&batch(0..6))),
        (plain, batch(6..FILES)),
        (ToAgent::Commit { txid: TXID }, Vec::new()),
    ]
    .into_iter()
    .map(|(message, bulk)| (message.encode(), bulk))
    .collect()
}

/// How long an agent that says nothing is waited for: it may wait for what was left out.
const PATIENCE: Duration = Duration::from_millis(400);

fn tell(frames: &[Frame], patience: Duration) -> (Talk, BTreeMap<PathBuf, Name>) {
    let mut talk = Talk::new();
    let outside = names_below(&talk.at("outside"));
    talk.greet();
    for (control, bulk) in frames {
        talk.control(control, bulk);
    }
    // An agent that sees the end stops its work.
    talk.hear_out(patience);
    talk.end();
    (talk, outside)
}

/// The contents of the tree's files, by path.
fn files(talk: &Talk) -> Vec<(PathBuf, Vec<u8>)> {
    let names = names_below(&talk.at("n0/tree")).into_iter();
    names.filter(|(_, name)| name.kind == '-').map(|(path, name)| (path, name.content)).collect()
}

pub(crate) fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn fault_145_to_149_and_155_an_agent_stands_every_mutation_of_a_conversation() {
    let honest = conversation(&Talk::new());
    let old = files(&Talk::new());
    let (mut talk, _) = tell(&honest, 30 * PATIENCE);
    let ended = talk.finish();
    assert_eq!(ended, (Some(0), None), "the honest conversation commits: {:?}", talk.last);
    let new = files(&talk);
    assert!(new.len() == FILES && old != new);

    let first = variable("DEPSYNC_SEED").unwrap_or(1);
    let least = Duration::from_secs(variable("DEPSYNC_SECONDS").unwrap_or(0));
    let started = Instant::now();
    let (mut seed, mut committed) = (first, 0);
    while seed < first + 25 || started.elapsed() < least {
        let mut frames = honest.clone();
        Random(seed).mutate(&mut frames);
        let (mut talk, outside) = tell(&frames, PATIENCE);
        let (code, _) = talk.finish();
        let case = format!("DEPSYNC_SEED={seed}: exit {code:?}, {:?}", talk.last);
        assert!(matches!(code, Some(0 | 1)), "{case}");
        assert_eq!(talk.stderr(), "", "{case}");
        assert_eq!(names_below(&talk.at("outside")), outside, "{case}");
        let now = files(&talk);
        assert!(now == old || now == new, "{case}: the tree is neither old nor new");
        committed += u32::from(now == new);
        talk.assert_no_stage();
        seed += 1;
    }
    println!("{} mutations from seed {first}, {committed} of them commits, 0 losses", seed - first);
}
