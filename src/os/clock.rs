//! Clocks: the wall for time stamps and expiry, the monotonic one for every wait.

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
