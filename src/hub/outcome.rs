//! What became of a run, as data: one [`NodeOutcome`] per node and one [`RunOutcome`].

use std::time::Duration;

use crate::model::manifest::ReleaseId;
use crate::model::target::Target;

/// How a run ended. The exit codes are the promise of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every listed node is verified at the release.
    Done,
    /// Failed, and no node changed.
    Fail,
    /// Differences found (plan and verify), or findings (doctor).
    Diff,
    /// Some nodes are at the release; the others are named.
    Partial,
    /// Another run holds a lock.
    Busy,
    /// A guard refused before any node changed.
    Guard,
    /// Host key, authentication or signature.
    Trust,
    /// Journal, release or protocol.
    Integrity,
    /// Usage or configuration.
    Usage,
    /// Stopped by a signal.
    Interrupted {
        /// SIGINT gives 130, SIGTERM and SIGHUP 143.
        by_terminal: bool,
    },
}

impl Verdict {
    /// The exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Fail => 1,
            Self::Diff => 2,
            Self::Partial => 3,
            Self::Busy => 4,
            Self::Guard => 5,
            Self::Trust => 7,
            Self::Integrity => 8,
            Self::Usage => 64,
            Self::Interrupted { by_terminal: true } => 130,
            Self::Interrupted { by_terminal: false } => 143,
        }
    }

    /// The word for it in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Fail => "fail",
            Self::Diff => "diff",
            Self::Partial => "partial",
            Self::Busy => "busy",
            Self::Guard => "guard",
            Self::Trust => "trust",
            Self::Integrity => "integrity",
            Self::Usage => "usage",
            Self::Interrupted { .. } => "interrupted",
        }
    }
}

/// What went wrong, where, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code's class it belongs to.
    pub verdict: Verdict,
    /// A stable word for machines, such as `host-key-unknown` or `no-space`.
    pub kind: std::borrow::Cow<'static, str>,
    /// What failed: a lowercase sentence without final stop, already escaped.
    pub message: String,
    /// The chain of causes, outermost first, already escaped.
    pub causes: Vec<String>,
    /// One action that helps.
    pub hint: Option<String>,
}

/// Where a node stands at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// It was at the release before, and nothing was written.
    Unchanged,
    /// It is not at the release (plan and verify).
    Differs,
    /// It was brought to the release and verified.
    Committed,
    /// The decision stands; it gets there at next contact.
    Pending,
    /// No agent answered.
    Unreachable,
    /// It refused before anything changed.
    Refused,
    /// It failed; nothing changed on it unless the failure says so.
    Failed,
}

impl NodeState {
    /// The word for it, in JSON and on screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Differs => "differs",
            Self::Committed => "committed",
            Self::Pending => "pending",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// True if the node is verified at the release.
    pub fn is_at_release(self) -> bool {
        matches!(self, Self::Unchanged | Self::Committed)
    }
}

pub use crate::model::plan::{Change, ChangeKind, Counts};

/// What became of one node.
#[derive(Debug, Clone)]
pub struct NodeOutcome {
    /// The node.
    pub target: Target,
    /// Where it stands.
    pub state: NodeState,
    /// The release it is at, where known.
    pub release: Option<ReleaseId>,
    /// What its plan touched.
    pub counts: Counts,
    /// Bytes to the node and from it, before ssh's own encryption.
    pub bytes_sent: u64,
    /// Bytes from the node.
    pub bytes_received: u64,
    /// From first contact to the end.
    pub duration: Duration,
    /// The same, by what was being done.
    pub phases: Phases,
    /// The paths of its plan, where they were asked for (plan, `-v`).
    pub changes: Vec<Change>,
    /// What the operator should know although it worked.
    pub notes: Vec<String>,
    /// Why it is not at the release.
    pub failure: Option<Failure>,
}

/// What became of a run.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// How it ended.
    pub verdict: Verdict,
    /// The release of the source, where it got that far.
    pub release: Option<ReleaseId>,
    /// One for each listed node, in the order of the list; empty if the run ended before any was contacted.
    pub nodes: Vec<NodeOutcome>,
    /// What the operator should know of the source or the run.
    pub notes: Vec<String>,
    /// Why the run stopped, where it was not one node's failure.
    pub failure: Option<Failure>,
    /// Start to end.
    pub duration: Duration,
    /// From the start until the release was known.
    pub scan: Duration,
    /// From then until the decision, if there was one.
    pub prepare: Option<Duration>,
    /// From the first commit's start to the last one's end.
    pub commit_window: Option<Duration>,
}

/// What happens while a run goes on; the only channel from a run to a screen.
#[derive(Debug, Clone)]
pub enum Event {
    /// The source is being read: entries seen so far.
    Scanning {
        /// Entries seen.
        entries: u64,
    },
    /// The source is read and the release known.
    Scanned {
        /// The release.
        release: ReleaseId,
        /// Entries of the release.
        entries: u64,
        /// Bytes of all its files.
        bytes: u64,
    },
    /// A node goes on to its next phase.
    Phase {
        /// Position in the list of targets.
        node: usize,
        /// The phase.
        phase: Phase,
    },
    /// Bytes of content that a node lacks, told once.
    Lacks {
        /// Position in the list of targets.
        node: usize,
        /// Bytes to send it, before compression.
        bytes: u64,
    },
    /// Content went to a node.
    Sent {
        /// Position in the list of targets.
        node: usize,
        /// Bytes since the last such event, before compression.
        bytes: u64,
    },
    /// A node is through.
    Finished {
        /// Position in the list of targets.
        node: usize,
        /// Where it stands.
        state: NodeState,
    },
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waiting for a free place under `-j`.
    Queued,
    /// ssh connects, the agent starts.
    Connecting,
    /// The agent looks at its tree.
    Inspecting,
    /// Content goes to its stage.
    Staging,
    /// Prepared; waiting for the other nodes.
    Prepared,
    /// The release becomes live.
    Committing,
}

/// How long a node was in each phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases([Duration; 6]);

impl Phases {
    /// The time in `phase`.
    pub fn of(&self, phase: Phase) -> Duration {
        self.0.get(phase as usize).copied().unwrap_or_default()
    }

    /// Adds `time` to what was spent in `phase`.
    pub fn add(&mut self, phase: Phase, time: Duration) {
        if let Some(sum) = self.0.get_mut(phase as usize) {
            *sum = sum.saturating_add(time);
        }
    }
}

/// Receives [`Event`]s. Called from several threads; must not block.
pub trait Monitor: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}
