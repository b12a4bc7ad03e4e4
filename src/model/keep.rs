//! [`Keep`]: how much of earlier releases stays.

use std::time::Duration;

/// How much of earlier releases a node keeps, beside the one that is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Releases.
    pub releases: u32,
    /// None that was replaced longer ago.
    pub age: Option<Duration>,
    /// No more bytes of content in all; the oldest go first.
    pub bytes: Option<u64>,
}

impl Default for Keep {
    fn default() -> Self {
        Self { releases: 5, age: None, bytes: None }
    }
}
