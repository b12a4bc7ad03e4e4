//! What a run is told, checked by whoever made it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::history::Revision;
use crate::link::LinkOptions;
pub use crate::model::keep::Keep;
pub use crate::model::plan::{CommitStyle, MaxDelete};
use crate::model::target::Target;
use crate::source;
use crate::source::release_file::ReleaseFile;
use crate::wire::message::{Mounted, Part};

/// A run's options: plain data, every field validated.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct RunOptions {
    /// What is to be deployed.
    pub source: source::Options,
    /// The listed nodes, no two the same.
    pub targets: Vec<Target>,
    /// The hub's state directory of this cluster (`$XDG_STATE_HOME/depsync/<cluster>`).
    pub state_dir: PathBuf,
    /// How nodes are reached.
    pub link: LinkOptions,
    /// What stops a run before any node changes.
    pub guard: GuardOptions,
    /// How a node carries out its part.
    pub node: NodeOptions,
    /// How much of earlier releases nodes keep.
    pub keep: Keep,
    /// How many runs the history keeps, at least 1.
    pub history_runs: u32,
    /// Which nodes must be prepared before any commits.
    pub require: Require,
    /// Nodes worked on at once, at least 1.
    pub parallel: usize,
    /// The longest a node may be silent.
    pub timeout: Duration,
    /// The longest the whole run may take.
    pub deadline: Duration,
    /// How long to wait for another run's lock.
    pub lock_timeout: Duration,
    /// Bytes a second to all nodes together, if bounded.
    pub bytes_per_second_max: Option<u64>,
    /// Whether nodes change or only say what would.
    pub mode: Mode,
    /// Where the release comes from.
    pub origin: Origin,
    /// Whether each node lists the paths of its plan.
    pub list_changes: bool,
    /// Whether every file is read again, here and on the nodes, whatever the indexes say.
    pub reread: bool,
    /// Bytes a second that each node reads at most while it is looked at, if bounded.
    pub read_rate: Option<u64>,
    /// Whether what a node's server has rejected is pushed there once more.
    pub force: bool,
    /// Whether a release that a rollback has pinned may be replaced.
    pub unpin: bool,
    /// Who runs it, for the history.
    pub operator: String,
    /// The operator's words for the history.
    pub message: Option<String>,
}

/// Whether nodes change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Make every node identical to the source.
    Push,
    /// Say what a push would change.
    Plan,
    /// Say what differs from what was deployed.
    Verify,
}

impl Mode {
    /// True if nothing changes on a node.
    pub fn is_read_only(self) -> bool {
        self != Self::Push
    }
}

/// Where the release comes from that nodes are to have.
#[derive(Debug, Clone)]
pub enum Origin {
    /// It is what the source is now.
    Source,
    /// It is what was deployed last, as the hub's own notes have it; the source is not looked at, but for content that a
    /// repair finds nowhere else.
    Deployed,
    /// It is an earlier release: a rollback. The source is looked at as for [`Origin::Deployed`].
    Earlier(Revision),
    /// It is what a release file holds.
    File(Arc<ReleaseFile>),
}

impl Origin {
    /// The word for bringing nodes to it.
    pub fn act(&self) -> &'static str {
        match self {
            Self::Source => "push",
            Self::Deployed => "repair",
            Self::Earlier(_) => "rollback",
            Self::File(_) => "apply",
        }
    }
}

impl RunOptions {
    /// The word for what the run does.
    pub fn act(&self) -> &'static str {
        match self.mode {
            Mode::Plan => "plan",
            Mode::Verify => "verify",
            Mode::Push => self.origin.act(),
        }
    }
}

/// Which nodes must be prepared before any commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Require {
    /// Every node that can be reached, and at least one.
    Reachable,
    /// Every listed node.
    All,
    /// At least so many.
    Count(usize),
    /// At least so many of a hundred, rounded up.
    Percent(u8),
}

/// What stops a run before any node changes.
#[derive(Debug, Clone)]
pub struct GuardOptions {
    /// The most that may go from a node.
    pub max_delete: MaxDelete,
    /// Another file system under the source is meant.
    pub accept_source_change: bool,
    /// Share of a node's file system that must stay free, in percent.
    pub min_free_percent: u8,
}

/// How a node carries out its part.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Keep what the release does not have.
    pub no_delete: bool,
    /// Create missing parents of the target.
    pub make_path: bool,
    /// Where nodes keep their state, if not beside the target.
    pub state_dir: Option<String>,
    /// How a release becomes live.
    pub commit: CommitStyle,
    /// The targets are one directory, on a file system that all nodes mount; else each node has its own.
    pub share: Option<ShareOptions>,
}

/// How a file system is dealt with that all nodes mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareOptions {
    /// How long a node may take to see what another wrote.
    pub wait: Duration,
    /// It may be a file system that is not known as one that several hosts mount.
    pub allow_local: bool,
}

impl NodeOptions {
    /// What an agent is told of the file system under its target, if it has this part where there is a share.
    pub fn mounted(&self, part: Part) -> Mounted {
        self.share.map_or(Mounted::OWN, |share| Mounted { part, allow_local: share.allow_local })
    }
}
