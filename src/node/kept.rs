//! What commits replaced or removed: kept for a rollback, and as a source of content.
//!
//! `kept/<txid>/list` says which numbered name stood at which path, with the entries below it; it is written, and made
//! durable, before anything moves in.

use super::error::{Error, io_error};
use super::place::State;
use crate::model::codec::{self, Reader, Writer};
use crate::model::digest::{Digest, Domain};
use crate::model::entry::{Entry, Kind};
use crate::model::keep::Keep;
use crate::model::limits;
use crate::model::manifest::{Body, BodyReader, Part, ReleaseId};
use crate::model::path::{self, TreePath};
use crate::os::dir::Dir;
use crate::os::durable;
use crate::os::file::is_exhaustion;
use crate::scan::Found;

const LIST: &[u8] = b"list";
const WHAT: &str = "list of what was kept";

/// What one commit replaced or removed.
#[derive(Debug, Default)]
pub struct KeptList {
    /// The release that was live before.
    pub before: Option<ReleaseId>,
    /// Which commit of the node it was, counted from the first.
    pub commit: u64,
    /// When it was prepared, in seconds since 1970.
    pub at: i64,
    /// The numbered names, with the paths they stood at; sorted by path.
    pub tops: Vec<(u64, TreePath)>,
    /// Every file at and below the tops that the next release does not have there, by the path it had; sorted.
    pub entries: Vec<Entry>,
}

impl KeptList {
    /// The list of `tops`, with the files among `found` that they hold and `next` does not; beside it the paths of those
    /// that it does. What was `moved_from` a path is not there any more.
    pub fn new(
        (before, commit, at): (Option<ReleaseId>, u64, i64),
        tops: Vec<(u64, TreePath)>,
        (found, moved_from): (&[Found], &[TreePath]),
        next: Part<'_>,
    ) -> (Self, Vec<TreePath>) {
        let mut entries: Vec<Entry> = Vec::new();
        for (_, top) in &tops {
            let start = found.partition_point(|one| one.entry.path < *top);
            let rest = found.get(start..).unwrap_or_default();
            let within = rest.iter().take_while(|one| one.entry.path.is_within(top));
            entries.extend(
                within
                    .filter(|one| matches!(one.entry.kind, Kind::File(_)))
                    .filter(|one| path::covering(moved_from, &one.entry.path).is_none())
                    .map(|one| one.entry.clone()),
            );
        }
        let mut still_live = Vec::new();
        let mut place = 0;
        for entry in next.entries_at(entries.iter().map(|entry| &entry.path).collect::<Vec<_>>()) {
            while entries.get(place).is_some_and(|old| old.path < entry.path) {
                place += 1;
            }
            if entries
                .get(place)
                .is_some_and(|old| old.path == entry.path && old.kind == entry.kind)
            {
                still_live.push(entry.path);
            }
        }
        entries.retain(|entry| still_live.binary_search(&entry.path).is_err());
        (Self { before, commit, at, tops, entries }, still_live)
    }

    /// The bytes of the list, its digest behind it.
    ///
    /// # Errors
    /// [`codec::Error::NotCanonical`] for a special file among the entries.
    pub fn encode(&self) -> Result<Vec<u8>, codec::Error> {
        let mut writer = Writer::new();
        writer.option(self.before, |w, release| w.digest(&release));
        writer.u64(self.commit);
        writer.i64(self.at);
        writer.list(&self.tops, |w, (number, path)| {
            w.u64(*number);
            w.path(path);
        });
        let mut body = Body::default();
        for entry in &self.entries {
            body.push(entry)?;
        }
        writer.raw(&body.finish());
        let mut bytes = writer.finish();
        let digest = Digest::of(Domain::State, &bytes);
        bytes.extend_from_slice(&digest.0);
        Ok(bytes)
    }

    /// Reads what [`KeptList::encode`] wrote.
    ///
    /// # Errors
    /// [`codec::Error::Digest`] for any other bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::Error> {
        let damaged = codec::Error::Digest { what: WHAT };
        let (bytes, digest) = bytes
            .split_last_chunk::<{ Digest::BYTES }>()
            .map(|(bytes, digest)| (bytes, Digest(*digest)))
            .ok_or_else(|| damaged.clone())?;
        if Digest::of(Domain::State, bytes) != digest {
            return Err(damaged);
        }
        let mut reader = Reader::new(bytes, WHAT);
        let before = reader.option(Reader::digest)?;
        let (commit, at) = (reader.u64()?, reader.i64()?);
        let tops = reader.list(limits::FRAME_BYTES_MAX, |r| Ok((r.u64()?, r.path()?)))?;
        let entries = BodyReader::new(reader).collect::<Result<_, _>>()?;
        Ok(Self { before, commit, at, tops, entries })
    }

    /// Writes the list into `kept`; durable with the stage's own sync.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::State`].
    pub fn write(&self, kept: &Dir) -> Result<(), Error> {
        let bytes = self.encode().map_err(|source| Error::State { what: WHAT.into(), source })?;
        durable::replace_lazily(kept, LIST, &bytes).map_err(io_error("write", WHAT))
    }

    /// Where the file that stood at `path` is now, below `kept/`, if the area's directory there is `area`.
    pub fn location(&self, area: &[u8], path: &TreePath) -> Option<TreePath> {
        let at = self.tops.partition_point(|(_, top)| top <= path);
        let (number, top) = self.tops.get(at.checked_sub(1)?)?;
        let below = path.strip_prefix(top)?;
        Some(below.in_state(&[area, &super::steps::name_of(*number)]))
    }
}

/// The name of a directory below `kept/`, and what it holds.
pub type KeptArea = (Box<[u8]>, KeptList);

/// All kept areas, newest first, each with its directory's name. One whose list is missing or damaged is left out: it
/// is of no use as a source, and goes with [`prune`].
///
/// # Errors
/// [`Error::Io`] if the kept area cannot be listed.
pub fn lists(state: &State) -> Result<Vec<KeptArea>, Error> {
    let mut lists = Vec::new();
    for (name, _) in state.kept.names().map_err(io_error("list", "the kept area"))? {
        if name.starts_with(b"going-") {
            continue;
        }
        let read = |dir: Dir| durable::read(&dir, LIST, limits::MANIFEST_BYTES_MAX);
        let bytes = match state.kept.open_dir(&name).and_then(read) {
            // What cannot be opened just now is not damaged, and must not go for that.
            Err(error) if is_exhaustion(&error) => return Err(io_error("read", WHAT)(error)),
            read => read.ok().flatten(),
        };
        let Some(bytes) = bytes else { continue };
        if let Ok(list) = KeptList::decode(&bytes) {
            lists.push((name, list));
        }
    }
    lists.sort_by_key(|(_, list)| std::cmp::Reverse(list.commit));
    Ok(lists)
}

/// Drops the files at `paths`, below `kept/`: their content is live. A failure costs room until the area is pruned.
pub fn drop_files(state: &State, paths: &[TreePath]) {
    for path in paths {
        let Some((parent, name)) = path.split_last() else { continue };
        if state.kept.open_path(&parent).and_then(|dir| dir.remove_file(name)).is_err() {}
    }
}

/// Drops of `areas`, newest first, those that `keep` does not leave: neither of the last commits, as many as releases are
/// kept, nor needed by one of these releases.
///
/// What an area holds of the release before its commit was there again whenever that release was, and went into a later
/// area or is live. So the newest of each release is needed, and none of the one that is live. What else a commit moved
/// away, which no release has, is in the last ones.
fn retain(areas: &mut Vec<KeptArea>, keep: Keep, live: Option<ReleaseId>, now: i64) {
    let most = usize::try_from(keep.releases).unwrap_or(usize::MAX);
    let mut releases = vec![live];
    let (mut number, mut bytes, mut is_over) = (0usize, 0u64, false);
    areas.retain(|(_, list)| {
        number = number.saturating_add(1);
        let is_first = !releases.contains(&list.before);
        if is_first {
            releases.push(list.before);
        }
        let is_wanted = number <= most || (is_first && releases.len() <= most.saturating_add(1));
        if !is_wanted {
            return false;
        }
        for entry in &list.entries {
            if let Kind::File(content) = &entry.kind {
                bytes = bytes.saturating_add(content.data_bytes());
            }
        }
        let seconds = u64::try_from(now.saturating_sub(list.at)).unwrap_or_default();
        // Whatever is older than one that goes for its age or size may need it.
        is_over |= keep.age.is_some_and(|age| seconds > age.as_secs())
            || keep.bytes.is_some_and(|most| bytes > most);
        !is_over
    });
}

/// Drops the kept areas that `keep` does not leave at the moment `now`, and the manifests that neither the others nor `live`
/// name.
///
/// # Errors
/// [`Error::Io`].
pub fn prune(state: &State, keep: Keep, live: Option<ReleaseId>, now: i64) -> Result<(), Error> {
    let mut kept = lists(state)?;
    retain(&mut kept, keep, live, now);
    for (name, _) in state.kept.names().map_err(io_error("list", "the kept area"))? {
        if !kept.iter().any(|(kept, _)| *kept == name) {
            state.drop_kept(&name)?;
        }
    }
    let named: Vec<Vec<u8>> = kept
        .iter()
        .filter_map(|(_, list)| list.before)
        .chain(live)
        .map(|release| release.to_string().into_bytes())
        .collect();
    for (name, _) in state.manifests.names().map_err(io_error("list", "the manifests"))? {
        if !named.iter().any(|named| **named == *name) {
            state.manifests.remove_all(&name).map_err(io_error("remove", &name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::fixture::entries;

    const NOW: i64 = 1_000_000;

    /// Areas, newest first: of each, the release before it, how long ago it was made, and the digits of its chunks.
    fn areas(told: &[(u8, i64, &str)]) -> Vec<KeptArea> {
        let area = |(before, ago, chunks): &(u8, i64, &str)| {
            let list = KeptList {
                before: (*before > 0).then_some(Digest([*before; 32])),
                commit: 0,
                at: NOW - ago,
                tops: Vec::new(),
                entries: entries(&format!("f f {chunks}")).split_off(1),
            };
            (Box::from(*b"area"), list)
        };
        told.iter().map(area).collect()
    }

    /// Which of the areas stay, by the seconds since they were made.
    fn kept(told: &[(u8, i64, &str)], keep: Keep) -> Vec<i64> {
        let mut areas = areas(told);
        retain(&mut areas, keep, Some(Digest([9; 32])), NOW);
        areas.iter().map(|(_, list)| NOW - list.at).collect()
    }

    fn count(told: &[(u8, i64, &str)], keep: Keep) -> usize {
        kept(told, keep).len()
    }

    fn releases(releases: u32) -> Keep {
        Keep { releases, ..Keep::default() }
    }

    #[test]
    fn so_many_releases_stay_as_are_kept_whatever_was_live_in_between() {
        let forward = [(8, 1, "1"), (7, 2, "1"), (6, 3, "1"), (5, 4, "1")];
        assert_eq!(kept(&forward, releases(3)), [1, 2, 3]);
        assert_eq!(kept(&forward, releases(9)), [1, 2, 3, 4]);
        assert_eq!(kept(&forward, releases(0)), [0i64; 0]);
        // Back and forth: the newest of each, none of the one that is live, and the last commits in any case.
        let back = [8, 7, 8, 9, 8, 7, 6, 5];
        let back: Vec<_> = back.iter().zip(1..).map(|(before, ago)| (*before, ago, "1")).collect();
        assert_eq!(kept(&back, releases(2)), [1, 2]);
        assert_eq!(kept(&back, releases(3)), [1, 2, 3, 7]);
        let flapping: Vec<_> = (1..100).map(|ago| (8 + u8::from(ago % 2 == 0), ago, "1")).collect();
        assert_eq!(kept(&flapping, releases(2)), [1, 2]);
        // What was there before the first push counts as a release.
        assert_eq!(kept(&[(8, 1, "1"), (0, 2, "1")], releases(1)), [1]);
    }

    #[test]
    fn what_repairs_moved_away_is_in_the_last_commits_and_takes_no_place_of_a_release() {
        let told = [(9, 1, "1"), (9, 2, "1"), (9, 3, "1"), (8, 4, "1"), (8, 5, "1"), (7, 6, "1")];
        assert_eq!(kept(&told, releases(2)), [1, 2, 4, 6]);
        assert_eq!(kept(&told, releases(3)), [1, 2, 3, 4, 6]);
    }

    #[test]
    fn age_and_bytes_bound_them_from_the_oldest_on() {
        let told = [(8, 10, "1"), (7, 20, "2 3"), (6, 30, "4")];
        let aged = |seconds| Keep { age: Some(Duration::from_secs(seconds)), ..releases(5) };
        assert_eq!([9, 10, 29, 30].map(|seconds| count(&told, aged(seconds))), [0, 1, 2, 3]);
        let bytes_of = |at: usize| {
            let list = &areas(&told)[at].1;
            let Kind::File(content) = &list.entries[0].kind else { panic!("a file") };
            content.data_bytes()
        };
        let of = |bytes| Keep { bytes: Some(bytes), ..releases(5) };
        let first = bytes_of(0);
        assert_eq!(count(&told, of(first - 1)), 0);
        assert_eq!(count(&told, of(first)), 1);
        assert_eq!(count(&told, of(first + bytes_of(1))), 2);
        assert_eq!(count(&told, of(u64::MAX)), 3);
        // A clock that was set back makes nothing old.
        assert_eq!(count(&[(8, -500, "1")], aged(1)), 1);
    }
}
