//! What stands in the tables, as data.

use rusqlite::Row;

use crate::model::digest::Digest;
use crate::model::manifest::ReleaseId;
use crate::model::plan::Counts;

/// A run as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its number; they only grow.
    pub id: i64,
    /// The word for what it did: `push`, `plan`, `verify`, `repair` or `rollback`.
    pub act: String,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// Start to end, in milliseconds.
    pub duration_ms: i64,
    /// Until the release was known.
    pub scan_ms: i64,
    /// From then until all nodes were prepared, if they were.
    pub prepare_ms: Option<i64>,
    /// From the first commit's start to the last one's end.
    pub commit_ms: Option<i64>,
    /// Who ran it.
    pub user: String,
    /// Where.
    pub host: String,
    /// The source.
    pub source: String,
    /// The operator's words.
    pub message: Option<String>,
    /// The release, where it got that far.
    pub release: Option<ReleaseId>,
    /// It made the release live on some node, or found it there.
    pub is_live: bool,
    /// The exit code.
    pub exit: u8,
    /// The word for it.
    pub outcome: String,
    /// Why it stopped, where it was not one node's failure.
    pub error: Option<String>,
    /// One for each listed node.
    pub nodes: Vec<Node>,
}

/// What became of one node in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The target, in normal form.
    pub target: String,
    /// The word for where it stood.
    pub state: String,
    /// The release it was at.
    pub release: Option<ReleaseId>,
    /// What its plan touched.
    pub counts: Counts,
    /// Bytes to the node.
    pub bytes_sent: u64,
    /// Bytes from the node.
    pub bytes_received: u64,
    /// First contact to end, in milliseconds.
    pub duration_ms: i64,
    /// The same by phases: connecting, inspecting, staging, waiting for the others, committing.
    pub phases_ms: [i64; 5],
    /// Why it was not at the release.
    pub error: Option<String>,
}

/// A digest that may be missing; one of another length is none.
pub(super) fn digest(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Digest>> {
    let bytes: Option<Vec<u8>> = row.get(column)?;
    Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map(Digest))
}

pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: row.get("id")?,
        act: row.get("act")?,
        started: row.get("started")?,
        duration_ms: row.get("duration_ms")?,
        scan_ms: row.get("scan_ms")?,
        prepare_ms: row.get("prepare_ms")?,
        commit_ms: row.get("commit_ms")?,
        user: row.get("user")?,
        host: row.get("host")?,
        source: row.get("source")?,
        message: row.get("message")?,
        release: digest(row, "release")?,
        is_live: row.get("is_live")?,
        exit: row.get("exit")?,
        outcome: row.get("outcome")?,
        error: row.get("error")?,
        nodes: Vec::new(),
    })
}

pub(super) fn node(row: &Row<'_>) -> rusqlite::Result<Node> {
    let count = |name: &str| row.get::<_, i64>(name).map(i64::unsigned_abs);
    Ok(Node {
        target: row.get("target")?,
        state: row.get("state")?,
        release: digest(row, "release")?,
        counts: Counts {
            created: count("created")?,
            updated: count("updated")?,
            deleted: count("deleted")?,
            metadata: count("metadata")?,
        },
        bytes_sent: count("bytes_sent")?,
        bytes_received: count("bytes_received")?,
        duration_ms: row.get("duration_ms")?,
        phases_ms: [
            row.get("connect_ms")?,
            row.get("inspect_ms")?,
            row.get("stage_ms")?,
            row.get("wait_ms")?,
            row.get("commit_ms")?,
        ],
        error: row.get("error")?,
    })
}
