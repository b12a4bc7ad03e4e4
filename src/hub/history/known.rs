//! [`Known`]: what the history says of one node, and of one release.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Error, History, Run, failed, rows};
use crate::model::manifest::ReleaseId;
use crate::model::plan::Counts;

/// What the history says of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The release it was at last.
    pub release: Option<ReleaseId>,
    /// Since when, in seconds since 1970: the start of the first of the runs, without another release between them, that found or
    /// made it so.
    pub since: Option<i64>,
    /// When it answered last.
    pub last_contact: Option<i64>,
    /// A commit that was decided was not carried out there when it was last heard of.
    pub is_pending: bool,
    /// What it differed in from its release when its tree was last looked at.
    pub last_look: Option<Look>,
}

/// One look at a node's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The number of the run.
    pub run: i64,
    /// When it began, in seconds since 1970.
    pub at: i64,
    /// What differed from the node's release: nothing behind a commit.
    pub drift: Counts,
}

impl History {
    /// What is known of `target`, in normal form.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn known(&self, target: &str) -> Result<Known, Error> {
        let read = || {
            let release = release(&self.connection, target)?;
            Ok(Known {
                release,
                since: match release {
                    Some(release) => since(&self.connection, target, release)?,
                    None => None,
                },
                last_contact: last_contact(&self.connection, target)?,
                is_pending: is_pending(&self.connection, target)?,
                last_look: last_look(&self.connection, target)?,
            })
        };
        read().map_err(failed("read"))
    }

    /// The newest run that made `release` live.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn run_of(&self, release: ReleaseId) -> Result<Option<Run>, Error> {
        let sql = "SELECT id FROM run WHERE is_live AND release = ?1 ORDER BY id DESC LIMIT 1";
        let found = self.connection.query_row(sql, [release.0], |row| row.get(0)).optional();
        match found.map_err(failed("read"))? {
            Some(id) => self.run(id),
            None => Ok(None),
        }
    }

    /// The release that was live before the run with the number `id`.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn release_before(&self, id: i64) -> Result<Option<ReleaseId>, Error> {
        let sql = "SELECT release FROM run WHERE is_live AND release IS NOT NULL AND id < ?1 ORDER BY id DESC LIMIT 1";
        let digest = |row: &Row<'_>| rows::digest(row, "release");
        let found = self.connection.query_row(sql, [id], digest).optional();
        found.map(Option::flatten).map_err(failed("read"))
    }
}

fn release(connection: &Connection, target: &str) -> rusqlite::Result<Option<ReleaseId>> {
    let sql = "SELECT release FROM node WHERE target = ?1 AND release IS NOT NULL ORDER BY run DESC LIMIT 1";
    let digest = |row: &Row<'_>| rows::digest(row, "release");
    connection.query_row(sql, [target], digest).optional().map(Option::flatten)
}

fn since(
    connection: &Connection,
    target: &str,
    release: ReleaseId,
) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT run.started FROM node JOIN run ON run.id = node.run
        WHERE node.target = ?1 AND node.release = ?2 AND node.run > coalesce(
            (SELECT run FROM node WHERE target = ?1 AND release IS NOT NULL AND release != ?2 ORDER BY run DESC LIMIT 1), 0)
        ORDER BY node.run LIMIT 1";
    connection.query_row(sql, params![target, release.0], |row| row.get(0)).optional()
}

fn last_contact(connection: &Connection, target: &str) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT run.started FROM node JOIN run ON run.id = node.run
        WHERE node.target = ?1 AND node.bytes_received > 0 ORDER BY node.run DESC LIMIT 1";
    connection.query_row(sql, [target], |row| row.get(0)).optional()
}

fn is_pending(connection: &Connection, target: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT state = 'pending' FROM node WHERE target = ?1
        AND state IN ('pending', 'committed', 'unchanged', 'differs') ORDER BY run DESC LIMIT 1";
    let found = connection.query_row(sql, [target], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(false))
}

/// A plan against a release that the node does not have tells of the release, not of drift.
fn last_look(connection: &Connection, target: &str) -> rusqlite::Result<Option<Look>> {
    let sql = "SELECT node.*, run.started FROM node JOIN run ON run.id = node.run
        WHERE node.target = ?1 AND (node.state IN ('unchanged', 'committed')
            OR (node.state = 'differs' AND (run.act = 'verify' OR node.release = run.release)))
        ORDER BY node.run DESC LIMIT 1";
    let look = |row: &Row<'_>| {
        let node = rows::node(row)?;
        let drift = if node.state == "differs" { node.counts } else { Counts::default() };
        Ok(Look { run: row.get("run")?, at: row.get("started")?, drift })
    };
    connection.query_row(sql, [target], look).optional()
}
