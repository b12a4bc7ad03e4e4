//! What a visit came by, as the record of its directory, compared with the one before.

use super::listing::Part;
use super::record::{Child, Look, Record, RecordBuilder, Seen, Sums};
use super::settled::is_settled;
use super::visit::{Row, Visit};
use super::walk::Walk;
use crate::model::codec::Result;
use crate::model::entry::Xattr;
use crate::model::manifest::KindView;

/// A directory's record after a visit.
pub(super) struct Closed {
    pub(super) part: Part,
    /// It differs from the one before in what a release tells.
    pub(super) is_different: bool,
}

impl Walk<'_> {
    /// The record of the directory of `visit`, whose names became `rows`.
    pub(super) fn record(&self, visit: &Visit, rows: &[Vec<Row>], xattrs: &[Xattr]) -> Closed {
        let rows = || rows.iter().flatten().filter(|row| !matches!(row, Row::Absent));
        let before = visit.known.as_ref().and_then(|known| Some((known, known.record()?)));
        let builder = || RecordBuilder::new(self.device);
        if let Some((known, record)) = &before {
            let is_all = rows().all(|row| matches!(row, Row::Known(_)))
                && rows().count() as u64 == known.count
                && visit.before == record.own.stat;
            // Attributes are asked for anew each time, and compared as they are encoded.
            if is_all && record.own.xattrs == encoded(builder(), visit, xattrs).as_deref() {
                return Closed { part: Part::Recorded(known.slot), is_different: false };
            }
        }
        let mut builder = builder();
        for row in rows() {
            match row {
                Row::Known(place) => {
                    builder.raw(
                        visit.known.as_ref().map(|known| known.raw(place)).unwrap_or_default(),
                    );
                }
                Row::Fresh(fresh) => match &fresh.held {
                    None => builder.directory(&fresh.name, fresh.stat.id.inode),
                    Some(held) => {
                        let is_settled = is_settled(&fresh.stat.id, self.started, self.window);
                        let look = (&fresh.stat, is_settled);
                        builder.other(&fresh.name, look, &fresh.xattrs, held);
                    }
                },
                Row::Absent => {}
            }
        }
        let bytes = builder.finish(&visit.before, xattrs).into_boxed_slice();
        let is_same = before.is_some_and(|(_, before)| {
            let now = Record::decode(&bytes, self.device);
            !self.options.capture.hard_links
                && now.and_then(|now| tells_same(&before, &now, self.options.owner)) == Ok(true)
        });
        let sums = Sums::of(&bytes, self.device).unwrap_or_default();
        Closed { part: Part::Fresh(bytes, sums), is_different: !is_same }
    }
}

/// `xattrs` as a record has them.
fn encoded(builder: RecordBuilder, visit: &Visit, xattrs: &[Xattr]) -> Option<Vec<u8>> {
    if xattrs.is_empty() {
        return None;
    }
    let bytes = builder.finish(&visit.before, xattrs);
    let record = Record::decode(&bytes, visit.before.id.device).ok()?;
    record.own.xattrs.map(<[u8]>::to_vec)
}

/// True if a release would tell the same of both.
fn tells_same(one: &Record<'_>, other: &Record<'_>, owner: bool) -> Result<bool> {
    if one.count != other.count || !look_same(&one.own, &other.own, owner) {
        return Ok(false);
    }
    let (mut one, mut other) = (one.children(), other.children());
    loop {
        match (one.next()?, other.next()?) {
            (Some(one), Some(other)) if child_same(&one, &other, owner) => {}
            (one, other) => return Ok(one.is_none() && other.is_none()),
        }
    }
}

fn child_same(one: &Child<'_>, other: &Child<'_>, owner: bool) -> bool {
    one.name == other.name
        && match (&one.seen, &other.seen) {
            // Its inode too: another directory of that name has another record.
            (Seen::Directory { inode: one }, Seen::Directory { inode: other }) => one == other,
            (Seen::Other(one), Seen::Other(other)) => look_same(one, other, owner),
            _ => false,
        }
}

fn look_same(one: &Look<'_>, other: &Look<'_>, owner: bool) -> bool {
    let is_link = matches!(one.kind, KindView::Symlink(_));
    one.kind == other.kind
        && one.xattrs == other.xattrs
        && one.stat.id.mtime == other.stat.id.mtime
        && (is_link || one.stat.mode == other.stat.mode)
        && (!owner || one.stat.owner == other.stat.owner)
        && one.stat.is_immutable == other.stat.is_immutable
        && one.stat.link_count == other.stat.link_count
}
