//! How many connections are opened at once, and how long a refused one waits.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _};
use std::pin::pin;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Connections that are opened at once by this process: below the ten of sshd's default `MaxStartups`.
pub const HANDSHAKES_MAX: usize = 8;
/// A handshake that takes longer gives its place to the next: a dead node shall not hold up living ones.
const PLACE_TIMEOUT: Duration = Duration::from_secs(3);
/// The first wait after a refused handshake; it doubles with each further one.
const BACK_OFF_FIRST: Duration = Duration::from_millis(200);
/// The longest wait.
const BACK_OFF_MAX: Duration = Duration::from_secs(3);

static PLACES: Semaphore = Semaphore::const_new(HANDSHAKES_MAX);

/// The right to open a connection.
#[derive(Debug)]
pub(super) struct Place {
    _permit: SemaphorePermit<'static>,
}

impl Place {
    /// Waits for one.
    pub(super) async fn free() -> Option<Self> {
        PLACES.acquire().await.ok().map(|permit| Self { _permit: permit })
    }

    /// Awaits `work` and gives the place back when it ends, or takes too long.
    pub(super) async fn held_during<F: Future>(self, work: F) -> F::Output {
        let mut work = pin!(work);
        match tokio::time::timeout(PLACE_TIMEOUT, &mut work).await {
            Ok(output) => output,
            Err(_elapsed) => {
                drop(self);
                work.await
            }
        }
    }
}

/// How long to wait before try number `tries` (from 1), with jitter: between half and all of the doubled first wait.
pub(super) fn back_off(tries: u32) -> Duration {
    let doubled = BACK_OFF_FIRST
        .saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX));
    let longest = doubled.min(BACK_OFF_MAX);
    let share = u32::try_from(random() % 1000).unwrap_or(0);
    longest / 2 + longest * share / 2000
}

/// A number that differs each time; not for secrets.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_114_waits_grow_and_are_bounded_and_jittered() {
        for tries in 1..100 {
            let wait = back_off(tries);
            assert!(wait >= BACK_OFF_FIRST / 2 && wait <= BACK_OFF_MAX, "{wait:?}");
        }
        assert!(back_off(3) >= BACK_OFF_FIRST * 2);
        let first = back_off(10);
        assert!((0..50).any(|_| back_off(10) != first));
    }
}
