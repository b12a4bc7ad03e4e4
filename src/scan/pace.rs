//! [`Pace`]: a bound on the bytes a second that a walk reads, so that a server on the same disk does not suffer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::os::clock;

/// A thread that waits looks so often whether it should stop.
const GLANCE: Duration = Duration::from_millis(100);

/// Lets bytes pass at a steady rate, in the order in which threads ask.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u64,
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// Lets `bytes_per_second` pass, which count as one if there are none.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Mutex::default() }
    }

    /// Takes note that `bytes` were read, and returns when the next may be, or soon after `stop` is set.
    pub fn pass(&self, bytes: u64, stop: &AtomicBool) {
        let until = self.book(bytes);
        while let left = until.saturating_duration_since(clock::now())
            && !left.is_zero()
            && !stop.load(Ordering::Relaxed)
        {
            thread::park_timeout(left.min(GLANCE));
        }
    }

    /// When `bytes` that are read now are paid for.
    fn book(&self, bytes: u64) -> Instant {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        let start = free_at.map_or(now, |at| at.max(now));
        *free_at.insert(start.checked_add(cost).unwrap_or(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_paid_for_one_after_the_other_and_a_stop_ends_the_wait() {
        let pace = Pace::new(1_000);
        let start = clock::now();
        let first = pace.book(500) - start;
        let second = pace.book(1_500) - start;
        assert!((500..600).contains(&first.as_millis()), "{first:?}");
        assert!((2_000..2_100).contains(&second.as_millis()), "{second:?}");
        pace.pass(u64::MAX, &AtomicBool::new(true));
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
