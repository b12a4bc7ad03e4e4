//! [`Push`]: what the runs that made a release live took and carried.

use rusqlite::Row;

use super::{Error, History, failed, rows};
use crate::model::manifest::ReleaseId;

/// A run that made a release live on some node, or found it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Push {
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// Start to end, in milliseconds.
    pub duration_ms: u64,
    /// The release.
    pub release: ReleaseId,
    /// Some node changed.
    pub has_changed: bool,
    /// Names that changed on the node where most did.
    pub names: u64,
    /// Bytes to the node that was sent most.
    pub bytes: u64,
}

impl History {
    /// The runs that made a release live, oldest first.
    ///
    /// # Errors
    /// [`Error::Sqlite`].
    pub fn pushes(&self) -> Result<Vec<Push>, Error> {
        let sql = "SELECT started, run.duration_ms AS time, run.release AS live,
                coalesce(max(state = 'committed'), 0) AS changed,
                coalesce(max(created + updated + deleted + metadata), 0) AS names,
                coalesce(max(bytes_sent), 0) AS bytes
            FROM run LEFT JOIN node ON node.run = run.id
            WHERE is_live AND run.release IS NOT NULL GROUP BY run.id ORDER BY run.id";
        let listed = || {
            let mut statement = self.connection.prepare(sql)?;
            statement.query_map([], push)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        Ok(listed().map_err(failed("read"))?.into_iter().flatten().collect())
    }
}

/// None of a release that is no digest.
fn push(row: &Row<'_>) -> rusqlite::Result<Option<Push>> {
    let count = |name: &str| row.get::<_, i64>(name).map(|count| u64::try_from(count).unwrap_or(0));
    let Some(release) = rows::digest(row, "live")? else { return Ok(None) };
    Ok(Some(Push {
        started: row.get("started")?,
        duration_ms: count("time")?,
        release,
        has_changed: row.get("changed")?,
        names: count("names")?,
        bytes: count("bytes")?,
    }))
}
