//! Clocks: the wall for time stamps and expiry, the monotonic one for every wait.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::entry::Timestamp;

/// The monotonic clock.
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock.
pub fn wall() -> Timestamp {
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH);
    match since(SystemTime::now()) {
        Ok(after) => Timestamp {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: after.subsec_nanos(),
        },
        Err(before) => Timestamp {
            seconds: i64::try_from(before.duration().as_secs())
                .map_or(i64::MIN, |seconds| -seconds),
            nanos: 0,
        },
    }
}

/// What a thread goes by that waits for a message at most for a time.
#[derive(Debug, Clone, Default)]
pub enum WaitClock {
    /// The machine's monotonic clock.
    #[default]
    Machine,
    /// One that somebody turns: minutes of silence are simulated in no time.
    Turned(Arc<dyn Turned>),
}

/// A clock that somebody turns, who also knows which threads wait by it.
pub trait Turned: Debug + Send + Sync {
    /// The time since some start.
    fn now(&self) -> Duration;

    /// Holds the calling thread until `until`, or for less: whoever waits looks again after each return.
    fn pause(&self, until: Duration);

    /// Whoever waits by this clock is to look again.
    fn nudge(&self);
}

impl WaitClock {
    /// The next message, waited for at most for `at_most`.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn receive<T>(&self, from: &Receiver<T>, at_most: Duration) -> Result<T, RecvTimeoutError> {
        let Self::Turned(clock) = self else { return from.recv_timeout(at_most) };
        let until = clock.now().saturating_add(at_most);
        loop {
            match from.try_recv() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) if clock.now() >= until => {
                    return Err(RecvTimeoutError::Timeout);
                }
                Err(TryRecvError::Empty) => clock.pause(until),
            }
        }
    }

    /// Says that a channel was closed: those who wait by a clock that is turned do not see it by themselves.
    pub fn nudge(&self) {
        if let Self::Turned(clock) = self {
            clock.nudge();
        }
    }
}

/// A moment by which something must have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No bound within the life of the program.
    pub const NEVER: Self = Self(None);

    /// `duration` from now; [`Deadline::NEVER`] if that is out of the clock's range.
    pub fn after(duration: Duration) -> Self {
        Self(now().checked_add(duration))
    }

    /// What is left; zero once it has passed.
    pub fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |end| end.saturating_duration_since(now()))
    }

    /// True once it has passed.
    pub fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// The earlier of the two.
    #[must_use]
    pub fn or_sooner(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(two)) => Self(Some(one.min(two))),
            (one, two) => Self(one.or(two)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Each pause takes the whole time, within which a message is sent if there is one.
    #[derive(Debug)]
    struct Leaping {
        now: Mutex<Duration>,
        message: Mutex<Option<mpsc::Sender<u8>>>,
    }

    impl Turned for Leaping {
        fn now(&self) -> Duration {
            *self.now.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn pause(&self, until: Duration) {
            *self.now.lock().unwrap_or_else(PoisonError::into_inner) = until;
            if let Some(to) = self.message.lock().unwrap_or_else(PoisonError::into_inner).take() {
                to.send(7).expect("somebody waits");
            }
        }

        fn nudge(&self) {}
    }

    #[test]
    fn a_wait_ends_with_a_message_with_the_last_sender_or_with_its_time() {
        const HOUR: Duration = Duration::from_hours(1);
        let (to, from) = mpsc::channel();
        let message = Mutex::new(Some(to.clone()));
        let leaping = Arc::new(Leaping { now: Mutex::default(), message });
        let clock = WaitClock::Turned(Arc::<Leaping>::clone(&leaping));
        assert_eq!(clock.receive(&from, HOUR), Ok(7), "it came within the hour");
        assert_eq!(clock.receive(&from, HOUR), Err(RecvTimeoutError::Timeout));
        assert_eq!(leaping.now(), 2 * HOUR, "and that took no time");
        drop(to);
        assert_eq!(clock.receive(&from, HOUR), Err(RecvTimeoutError::Disconnected));
        assert_eq!(leaping.now(), 2 * HOUR);
        let by_machine = WaitClock::Machine.receive(&from, HOUR);
        assert_eq!(by_machine, Err(RecvTimeoutError::Disconnected));
    }
}
