//! The thread that swaps, in one of three manners for each push.

use std::fs;
use std::hint::spin_loop;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::classes::{self, Class};
use super::ground::Ground;

/// A thread that swaps until it is stopped, or dropped.
#[derive(Debug)]
pub(super) struct Flipper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    push: AtomicU64,
    flips: AtomicU64,
    is_over: AtomicBool,
    /// Held while something is swapped.
    turn: Mutex<()>,
    /// Somebody waits for the turn, which a lock alone would not see to.
    is_wanted: AtomicBool,
}

impl Flipper {
    /// Starts to swap what `class` says.
    pub(super) fn start(ground: &Ground, class: &'static Class, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let (own, ground) = (Arc::clone(&shared), ground.clone());
        let thread = std::thread::spawn(move || {
            let mut random = Random(seed);
            while !own.is_over.load(Ordering::Relaxed) {
                let flips = one(&ground, class, &own, &mut random);
                own.flips.fetch_add(flips, Ordering::Relaxed);
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// Another push begins: the manner changes.
    pub(super) fn next_push(&self, number: u64) {
        self.shared.push.store(number, Ordering::Relaxed);
    }

    /// Keeps everything in its place, and back in it, as long as the guard is held.
    pub(super) fn hold(&self) -> MutexGuard<'_, ()> {
        self.shared.is_wanted.store(true, Ordering::Relaxed);
        let turn = self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.is_wanted.store(false, Ordering::Relaxed);
        turn
    }

    /// Ends it when all is swapped back; gives how often something was swapped.
    pub(super) fn stop(mut self) -> u64 {
        self.end();
        self.shared.flips.load(Ordering::Relaxed)
    }

    fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("invariant: the flipper does not panic");
        }
    }
}

impl Drop for Flipper {
    fn drop(&mut self) {
        self.end();
    }
}

/// Swaps once, or waits a little.
///
/// Where everything is swapped all the time a push gives up while it inspects. So every third push is disturbed only
/// once it has something in its stage, and every third now and then.
fn one(ground: &Ground, class: &Class, shared: &Shared, random: &mut Random) -> u64 {
    let (rest, held) = match shared.push.load(Ordering::Relaxed) % 3 {
        0 => (0, random.below(2_000)),
        1 => {
            if !has_staged(&ground.at("node/.depsync/tree/stage")) {
                std::thread::yield_now();
                return 0;
            }
            (random.below(20_000), random.below(20_000))
        }
        _ => (random.below(400_000), random.below(400_000)),
    };
    spin(rest);
    if shared.is_wanted.load(Ordering::Relaxed) {
        std::thread::yield_now();
        return 0;
    }
    let act = class.acts.get(random.index(class.acts.len()));
    let _turn = shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
    act.map_or(0, |act| classes::flip(ground, act, &mut || spin(held)))
}

fn has_staged(stage: &Path) -> bool {
    fs::read_dir(stage).is_ok_and(|mut names| names.next().is_some())
}

fn spin(turns: u64) {
    for _ in 0..turns {
        spin_loop();
    }
}

/// A `SplitMix64` generator.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("invariant: it is below a length")
    }
}
