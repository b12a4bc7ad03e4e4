//! Workers, each in a directory of its own, until the work is done or too much went wrong.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::failure::{Failure, Result};

/// More losses than this end the work: one cause has many.
const LOSSES_MAX: usize = 8;

/// Workers for each processor: a trial whose locks fail waits for them longer than it works.
const WORKERS_PER_PROCESSOR: usize = 2;

/// How often a long form says how far it is.
const SIGN_OF_LIFE_EVERY: usize = 200;

/// Does `work` for each of `items`, telling it which worker does it; gives what each came to, in no order.
///
/// # Errors
/// The first that `work` gives; the others end their items.
pub(crate) fn work<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T, usize) -> Result<R> + Sync,
    is_loss: impl Fn(&R) -> bool + Sync,
) -> Result<Vec<R>> {
    let (next, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let done: Mutex<(Vec<R>, Option<Failure>)> = Mutex::new((Vec::new(), None));
    let count = thread::available_parallelism().map_or(1, usize::from) * WORKERS_PER_PROCESSOR;
    let lock = || done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    thread::scope(|scope| {
        for worker in 0..count {
            let (next, lost, work, is_loss, lock) = (&next, &lost, &work, &is_loss, &lock);
            scope.spawn(move || {
                while lost.load(Ordering::Relaxed) < LOSSES_MAX {
                    let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        return;
                    };
                    match work(item, worker) {
                        Ok(result) => {
                            lost.fetch_add(usize::from(is_loss(&result)), Ordering::Relaxed);
                            let mut done = lock();
                            done.0.push(result);
                            if done.0.len().is_multiple_of(SIGN_OF_LIFE_EVERY) {
                                println!("{} of {}", done.0.len(), items.len());
                            }
                        }
                        Err(failure) => {
                            lost.fetch_add(LOSSES_MAX, Ordering::Relaxed);
                            lock().1.get_or_insert(failure);
                        }
                    }
                }
            });
        }
    });
    let (results, failure) = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failure.map_or(Ok(results), Err)
}

/// An even sample of at most `count` of `items`, which of them by `seed`.
pub(crate) fn sample<T: Clone>(items: &[T], count: usize, seed: u64) -> Vec<T> {
    if items.len() <= count || count == 0 {
        return items.to_vec();
    }
    // Each of `count` equal stretches gives one, at a place in it that the seed chooses.
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut choose = |end: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % end.max(1)
    };
    let stretch = |at: usize| (at * items.len() / count, (at + 1) * items.len() / count);
    let places = (0..count).map(stretch).map(|(start, end)| start + choose(end - start));
    places.filter_map(|place| items.get(place).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_even_and_its_seed_decides_which() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(sample(&items, 200, 1), items);
        let (one, other) = (sample(&items, 10, 1), sample(&items, 10, 2));
        assert_ne!(one, other);
        assert_eq!(one, sample(&items, 10, 1));
        for (stretch, chosen) in one.iter().enumerate() {
            assert!((stretch * 10..stretch * 10 + 10).contains(chosen), "{one:?}");
        }
    }

    #[test]
    fn work_ends_when_too_much_is_lost() {
        let items: Vec<usize> = (0..1000).collect();
        let all = work(&items, |item, _| Ok(*item), |_| false).unwrap();
        assert_eq!(all.len(), 1000);
        let some = work(&items, |item, _| Ok(*item), |_| true).unwrap();
        assert!((LOSSES_MAX..LOSSES_MAX + 64).contains(&some.len()), "{}", some.len());
        let failed = work(&items, |_item, _worker| Err::<(), _>(Failure::new("x")), |()| false);
        assert!(failed.is_err());
    }
}
