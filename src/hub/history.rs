//! The history of a cluster on its hub: every run that reached its nodes, or was stopped before, in `history.db`.
//!
//! SQLite, because operators have `sqlite3` and questions of their own. It is a record, and nothing rests on it: a push whose
//! history cannot be written is a push all the same, and says so.
//! FORMAT: the tables of `SCHEMA`; a change is a further entry of `MIGRATIONS`.

mod known;
mod pushes;
mod revision;
mod rows;

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use super::options::RunOptions;
use super::outcome::{NodeOutcome, Phase, RunOutcome};
use crate::model::entry::Timestamp;
use crate::model::manifest::ReleaseId;
use crate::os::operator_file;

pub use known::{Known, Look};
pub use pushes::Push;
pub use revision::{Revision, Unresolved};
pub use rows::{Node, Run};

/// The file's name in the hub's state directory.
pub const NAME: &str = "history.db";
/// Each brings a history one version further; `user_version` counts those that were applied.
const MIGRATIONS: [&str; 1] = [SCHEMA];
const SCHEMA: &str = "
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    act TEXT NOT NULL,
    started INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    scan_ms INTEGER NOT NULL,
    prepare_ms INTEGER,
    commit_ms INTEGER,
    user TEXT NOT NULL,
    host TEXT NOT NULL,
    source TEXT NOT NULL,
    message TEXT,
    release BLOB,
    is_live INTEGER NOT NULL,
    exit INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    error TEXT
) STRICT;
CREATE TABLE node (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    target TEXT NOT NULL,
    state TEXT NOT NULL,
    release BLOB,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    metadata INTEGER NOT NULL,
    bytes_sent INTEGER NOT NULL,
    bytes_received INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    connect_ms INTEGER NOT NULL,
    inspect_ms INTEGER NOT NULL,
    stage_ms INTEGER NOT NULL,
    wait_ms INTEGER NOT NULL,
    commit_ms INTEGER NOT NULL,
    error TEXT
) STRICT;
CREATE INDEX node_of_run ON node (run);
CREATE INDEX node_by_target ON node (target, run);
";
/// How long another run's write is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Why the history cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A newer version of depsync wrote it.
    #[error("{NAME} is of version {version}; this program knows versions up to {}", MIGRATIONS.len())]
    Newer {
        /// Its version.
        version: i64,
    },
    /// It is locked, damaged, or the disk is full.
    #[error("{act} {NAME}")]
    Sqlite {
        /// What was being done.
        act: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
}

impl Error {
    /// One action that helps.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Newer { .. } => {
                "use the version of depsync that wrote it, or move the file away: a new one is begun"
            }
            Self::Sqlite { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                    "another program holds it: end that, and ask again"
                }
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                    "move the file away: a new one is begun, and pushes do not need it"
                }
                _ => "look at the state directory of the hub: room, and who owns it",
            },
        }
    }
}

fn failed(act: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
    move |source| Error::Sqlite { act, source }
}

/// An open history.
#[derive(Debug)]
pub struct History {
    connection: Connection,
}

impl History {
    /// Opens the history in the hub's state directory at `state_dir`, and begins one if there is none.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Sqlite`].
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NOFOLLOW
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(state_dir.join(NAME), flags).map_err(failed("open"))?;
        connection.busy_timeout(LOCK_WAIT).map_err(failed("open"))?;
        // PERF: the last one to close would copy the log into the file and flush both, at each run's end.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(failed("open"))?;
        let mut history = Self { connection };
        history.migrate()?;
        Ok(history)
    }

    /// Opens the history to read it; `None` if there is none.
    ///
    /// # Errors
    /// As [`History::open`].
    pub fn look(state_dir: &Path) -> Result<Option<Self>, Error> {
        if Self::is_there(state_dir) { Self::open(state_dir).map(Some) } else { Ok(None) }
    }

    /// True if there is one.
    pub fn is_there(state_dir: &Path) -> bool {
        operator_file::exists(&state_dir.join(NAME))
    }

    fn version(connection: &Connection) -> Result<usize, Error> {
        let asked = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
        let version: i64 = asked.map_err(failed("open"))?;
        let known = usize::try_from(version).ok().filter(|version| *version <= MIGRATIONS.len());
        known.ok_or(Error::Newer { version })
    }

    fn migrate(&mut self) -> Result<(), Error> {
        let act = "open";
        // Nothing is written to what a newer version wrote.
        let version = Self::version(&self.connection)?;
        let pragmas =
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;";
        self.connection.execute_batch(pragmas).map_err(failed(act))?;
        if version == MIGRATIONS.len() {
            return Ok(());
        }
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let change = begun.map_err(failed(act))?;
        // RACE: another run may have been here first.
        let version = Self::version(&change)?;
        for migration in MIGRATIONS.iter().skip(version) {
            change.execute_batch(migration).map_err(failed(act))?;
        }
        let now = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
        change.pragma_update(None, "user_version", now).map_err(failed(act))?;
        change.commit().map_err(failed(act))
    }

    /// Records a run that began at `started`; not flushed, so that a power loss may take the newest runs. Runs beyond the
    /// newest `options.history_runs` are dropped.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn record(
        &mut self,
        started: Timestamp,
        options: &RunOptions,
        outcome: &RunOutcome,
    ) -> Result<(), Error> {
        let act = "write";
        let change = self.connection.transaction().map_err(failed(act))?;
        let run = insert_run(&change, started, options, outcome).map_err(failed(act))?;
        for node in &outcome.nodes {
            insert_node(&change, run, node).map_err(failed(act))?;
        }
        let last = run.saturating_sub(i64::from(options.history_runs));
        change.execute("DELETE FROM run WHERE id <= ?1", [last]).map_err(failed(act))?;
        change.commit().map_err(failed(act))
    }

    /// The newest `limit` runs, newest first, with their nodes.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn runs(&self, limit: usize) -> Result<Vec<Run>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let listed = || {
            let mut statement =
                self.connection.prepare("SELECT * FROM run ORDER BY id DESC LIMIT ?1")?;
            let runs = statement.query_map([limit], rows::run)?.collect::<Result<Vec<_>, _>>()?;
            runs.into_iter().map(|run| self.with_nodes(run)).collect::<rusqlite::Result<_>>()
        };
        listed().map_err(failed("read"))
    }

    /// The run with the number `id`.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn run(&self, id: i64) -> Result<Option<Run>, Error> {
        let found = || {
            let sql = "SELECT * FROM run WHERE id = ?1";
            let run = self.connection.query_row(sql, [id], rows::run).optional()?;
            run.map(|run| self.with_nodes(run)).transpose()
        };
        found().map_err(failed("read"))
    }

    fn with_nodes(&self, run: Run) -> rusqlite::Result<Run> {
        let sql = "SELECT * FROM node WHERE run = ?1 ORDER BY rowid";
        let mut statement = self.connection.prepare(sql)?;
        let nodes = statement.query_map([run.id], rows::node)?.collect::<Result<_, _>>()?;
        Ok(Run { nodes, ..run })
    }

    /// The releases that were made live, newest first, each with the moment it was, in seconds since 1970. One that followed
    /// itself is there once, from the first time on.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn releases(&self) -> Result<Vec<(ReleaseId, i64)>, Error> {
        let sql =
            "SELECT release, started FROM run WHERE is_live AND release IS NOT NULL ORDER BY id";
        let listed = || {
            let mut statement = self.connection.prepare(sql)?;
            let live = |row: &rusqlite::Row<'_>| {
                Ok((rows::digest(row, "release")?, row.get::<_, i64>("started")?))
            };
            statement.query_map([], live)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut releases: Vec<(ReleaseId, i64)> = Vec::new();
        for (release, at) in listed().map_err(failed("read"))? {
            let Some(release) = release else { continue };
            if releases.last().is_none_or(|last| last.0 != release) {
                releases.push((release, at));
            }
        }
        releases.reverse();
        Ok(releases)
    }
}

fn insert_run(
    change: &Connection,
    started: Timestamp,
    options: &RunOptions,
    outcome: &RunOutcome,
) -> rusqlite::Result<i64> {
    change.execute(
        "INSERT INTO run (act, started, duration_ms, scan_ms, prepare_ms, commit_ms, user, host, source, message, release,
         is_live, exit, outcome, error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        params![
            options.act(),
            started.seconds,
            millis(outcome.duration),
            millis(outcome.scan),
            outcome.prepare.map(millis),
            outcome.commit_window.map(millis),
            options.operator,
            crate::os::host::name(),
            options.source.root.to_string_lossy(),
            options.message,
            outcome.release.map(|release| release.0),
            outcome.is_live(options),
            outcome.verdict.exit_code(),
            outcome.verdict.word(),
            outcome.failure.as_ref().map(|failure| &failure.message),
        ],
    )?;
    Ok(change.last_insert_rowid())
}

fn insert_node(change: &Connection, run: i64, node: &NodeOutcome) -> rusqlite::Result<()> {
    let wide = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let phase = |phase| millis(node.phases.of(phase));
    change
        .execute(
            "INSERT INTO node (run, target, state, release, created, updated, deleted, metadata, bytes_sent,
             bytes_received, duration_ms, connect_ms, inspect_ms, stage_ms, wait_ms, commit_ms, error)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            params![
                run,
                node.target.to_string(),
                node.state.word(),
                node.release.map(|release| release.0),
                wide(node.counts.created),
                wide(node.counts.updated),
                wide(node.counts.deleted),
                wide(node.counts.metadata),
                wide(node.bytes_sent),
                wide(node.bytes_received),
                millis(node.duration),
                phase(Phase::Connecting),
                phase(Phase::Inspecting),
                phase(Phase::Staging),
                phase(Phase::Prepared),
                phase(Phase::Committing),
                node.failure.as_ref().map(|failure| &failure.message),
            ],
        )
        .map(drop)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
