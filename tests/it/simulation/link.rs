//! One link: what is on its two streams, and what the threads of its agent do.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::oneshot;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    ToAgent,
    ToHub,
}

impl Way {
    pub(crate) fn other(self) -> Self {
        if self == Self::ToAgent { Self::ToHub } else { Self::ToAgent }
    }
}

/// What a thread of an agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Converse,
    Frames,
    Alive,
}

/// How a thread stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    Running,
    /// It waits, until then at the longest.
    Paused(Duration),
    Ended,
}

/// Bytes in one direction.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each end comes at a time of its own")]
pub(crate) struct Stream {
    pub(crate) written: Vec<u8>,
    pub(crate) arrived: VecDeque<u8>,
    /// Judged and not yet arrived.
    pub(crate) under_way: usize,
    /// Nobody writes any more.
    pub(crate) is_closed: bool,
    /// The reader sees the end behind what arrived.
    pub(crate) has_ended: bool,
    pub(crate) waker: Option<Waker>,
    /// Units cut so far, signs of life not counted.
    pub(crate) units: u32,
    pub(crate) is_end_sent: bool,
    /// When the last one arrives.
    pub(crate) last_due: Duration,
    /// A unit that the next one overtakes.
    pub(crate) overtaken: Option<Vec<u8>>,
}

/// A link and its agent.
#[expect(clippy::struct_excessive_bools, reason = "agent, hub and link each end by themselves")]
pub(crate) struct LinkState {
    pub(crate) node: usize,
    /// The run that made it.
    pub(crate) run: u32,
    pub(crate) ways: [Stream; 2],
    /// The agent's machine is dead.
    pub(crate) is_dead: bool,
    /// The hub died with this link open.
    pub(crate) is_orphan: bool,
    /// Nothing passes any more, and nobody is told.
    pub(crate) is_hole: bool,
    pub(crate) stands: [Stand; 3],
    pub(crate) pokes: [bool; 3],
    pub(crate) changed: Arc<Condvar>,
    pub(crate) ended: Option<oneshot::Sender<()>>,
}

impl LinkState {
    /// A link to a new agent of `node`, whose threads run.
    pub(crate) fn new(node: usize, run: u32, ended: oneshot::Sender<()>) -> Self {
        Self {
            node,
            run,
            ways: [Stream::default(), Stream::default()],
            is_dead: false,
            is_orphan: false,
            is_hole: false,
            stands: [Stand::Running; 3],
            pokes: [false; 3],
            changed: Arc::default(),
            ended: Some(ended),
        }
    }
}
