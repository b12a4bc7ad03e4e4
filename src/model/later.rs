//! [`give`]: which files of a source get a later modification time than their own, for servers that notice a change by it
//! alone.
//!
//! A changed file whose time lies close to the deployed one's gets that one and two seconds. No clock is read: what was
//! given is remembered as [`Times`], so that the same source is the same release again. Pure; a merge of sorted lists.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::iter::Peekable;
use std::slice::Iter;

use super::codec::{Reader, Result, Writer};
use super::digest::Digest;
use super::entry::Timestamp;
use super::limits::{GIVEN_PATHS_BYTES_MAX, GIVEN_TIMES_MAX};
use super::manifest::{KindView, Manifest, ReleaseId, Stamp, View, Views};
use super::path::{self, TreePath};

/// A server that looks at times may take two this close for one.
pub const CLOSE_SECONDS: i64 = 2;
/// FORMAT: what another version wrote counts as nothing.
const VERSION: u64 = 1;

/// True if a server that looks at times may take `one` for `other`.
pub fn is_close(one: Timestamp, other: Timestamp) -> bool {
    let (early, late) = if one < other { (one, other) } else { (other, one) };
    late < next(early)
}

/// The first time after `time` that is not close to it.
fn next(time: Timestamp) -> Timestamp {
    Timestamp { seconds: time.seconds.saturating_add(CLOSE_SECONDS), ..time }
}

/// A file that was given another time than its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Where it is.
    pub path: TreePath,
    /// The content that was given the time.
    pub content: Digest,
    /// The time it has in the source.
    pub own: Timestamp,
    /// The time it has on nodes.
    pub given: Timestamp,
}

/// What was given to the files of one source; nothing by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// The release that the source is by its own times.
    pub source: ReleaseId,
    /// The release that it is by those given.
    pub release: ReleaseId,
    /// In the order of paths.
    pub files: Vec<Given>,
}

impl Default for Times {
    fn default() -> Self {
        let none = Digest([0; 32]);
        Self { source: none, release: none, files: Vec::new() }
    }
}

/// What [`give`] came to.
#[derive(Debug, Default)]
pub struct Later {
    /// All files that get another time than their own, in the order of paths.
    pub files: Vec<Given>,
    /// Those of them that the standing release does not have so yet.
    pub news: Vec<TreePath>,
    /// Files that should have got one when there were too many of them.
    pub left: u64,
}

/// Which files of `source` get another time than their own, beside the `standing` release and what was given before.
///
/// Guarantees: a file that `standing` has with other content is not close to it in time; one that was given a time keeps it as
/// long as its content and its own time stay, and nodes do not have the same content at another time. So nothing is news when
/// `standing` is what this made of the same source.
pub fn give(source: &Manifest, standing: Option<&Manifest>, known: &[Given]) -> Later {
    let (mut later, mut known, mut path_bytes) = (Later::default(), InOrder::new(known), 0);
    let (mut olds, mut news) = (standing.map(Manifest::views), source.views());
    let mut old = olds.as_mut().and_then(Views::next);
    while let Some(new) = news.next() {
        while old.as_ref().is_some_and(|old| path::order(old.path, new.path).is_lt()) {
            old = olds.as_mut().and_then(Views::next);
        }
        let KindView::File(content) = new.kind else { continue };
        let own = new.stamp.mtime;
        let live = old.as_ref().filter(|old| old.path == new.path).and_then(|old| match old.kind {
            KindView::File(live) => Some(Live { is_same: live == content, time: old.stamp.mtime }),
            _ => None,
        });
        let before = known.at(new.path).map(|known| {
            let is_same = known.content == content.digest();
            Before { is_same, is_whole: is_same && known.own == own, given: known.given }
        });
        let given = time_of(own, live, before);
        if given == own {
            continue;
        }
        path_bytes = new.path.len().saturating_add(path_bytes);
        if later.files.len() >= GIVEN_TIMES_MAX || path_bytes > GIVEN_PATHS_BYTES_MAX {
            later.left = later.left.saturating_add(1);
            continue;
        }
        let path = TreePath::of_checked(new.path);
        if live.is_none_or(|live| !live.is_same) {
            later.news.push(path.clone());
        }
        later.files.push(Given { path, content: content.digest(), own, given });
    }
    later
}

/// The file that the standing release has at a path.
#[derive(Debug, Clone, Copy)]
struct Live {
    is_same: bool,
    time: Timestamp,
}

/// What was given to a path before.
#[derive(Debug, Clone, Copy)]
struct Before {
    /// To the same content.
    is_same: bool,
    /// And of the same time.
    is_whole: bool,
    given: Timestamp,
}

fn time_of(own: Timestamp, live: Option<Live>, before: Option<Before>) -> Timestamp {
    let kept = before.filter(|before| before.is_whole).map(|before| before.given);
    if let Some(live) = live.filter(|live| live.is_same) {
        return kept.filter(|kept| *kept == live.time).unwrap_or(own);
    }
    let time = kept.unwrap_or(own);
    // CRASH: what was given last may be live although the standing release does not know of it: the hub died in between.
    let given = before.filter(|before| !before.is_same).map(|before| before.given);
    let taken = || live.map(|live| live.time).into_iter().chain(given);
    let is_free = |time: &Timestamp| !taken().any(|taken| is_close(*time, taken));
    if is_free(&time) {
        return time;
    }
    let later = taken().map(next).filter(|next| *next > time && is_free(next));
    later.min().unwrap_or(time)
}

/// What was given, come to by paths that are in order.
#[derive(Debug, Clone)]
pub struct InOrder<'a>(Peekable<Iter<'a, Given>>);

impl<'a> InOrder<'a> {
    /// `given`, which is in the order of paths.
    pub fn new(given: &'a [Given]) -> Self {
        Self(given.iter().peekable())
    }

    /// What was given to `path`, which stands behind all that was asked for before.
    fn at(&mut self, path: &[u8]) -> Option<&'a Given> {
        while self.0.next_if(|given| path::order(given.path.as_bytes(), path).is_lt()).is_some() {}
        self.0.next_if(|given| given.path.as_bytes() == path)
    }

    /// `view` with the time that it was given, if it was; as [`InOrder::new`] has it of their order.
    #[must_use]
    pub fn put<'p, 'v>(&mut self, view: View<'p, 'v>) -> View<'p, 'v> {
        match self.at(view.path) {
            Some(given) => View { stamp: Stamp { mtime: given.given, ..view.stamp }, ..view },
            None => view,
        }
    }
}

impl Times {
    /// Appends all of it to `writer`.
    pub fn encode(&self, writer: &mut Writer) {
        let time = |writer: &mut Writer, time: Timestamp| {
            writer.i64(time.seconds);
            writer.u64(time.nanos.into());
        };
        writer.u64(VERSION);
        writer.digest(&self.source);
        writer.digest(&self.release);
        writer.list(&self.files, |writer, file| {
            writer.path(&file.path);
            writer.digest(&file.content);
            time(writer, file.own);
            time(writer, file.given);
        });
    }

    /// Reads what [`Times::encode`] wrote.
    ///
    /// # Errors
    /// Anything else, and what another version wrote.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let version = reader.u64()?;
        if version != VERSION {
            return Err(reader.unknown(version));
        }
        let (source, release) = (reader.digest()?, reader.digest()?);
        let files = reader.list(GIVEN_TIMES_MAX, |reader| {
            let (path, content) = (reader.path()?, reader.digest()?);
            let (own, given) = (decode_time(reader)?, decode_time(reader)?);
            if own == given {
                Err(reader.not_canonical())
            } else {
                Ok(Given { path, content, own, given })
            }
        })?;
        if !files.is_sorted_by(|one, next| one.path < next.path) {
            return Err(reader.not_canonical());
        }
        Ok(Self { source, release, files })
    }
}

fn decode_time(reader: &mut Reader<'_>) -> Result<Timestamp> {
    let seconds = reader.i64()?;
    let nanos = reader.u32()?;
    if nanos < 1_000_000_000 {
        Ok(Timestamp { seconds, nanos })
    } else {
        Err(reader.not_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{entries, manifest_of};
    use super::*;

    fn tree(lines: &str) -> Manifest {
        manifest_of(&entries(lines), true)
    }

    /// The times given to the files of `source`, as `path@given` apart by spaces.
    fn shown(later: &Later) -> String {
        let shown = |file: &Given| format!("{}@{}", file.path, file.given.seconds);
        later.files.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    /// What comes of `source` behind `standing` when `before` was given.
    fn check(source: &str, standing: &str, before: &[Given], expected: &str) -> Vec<Given> {
        let later = give(&tree(source), Some(&tree(standing)), before);
        assert_eq!(shown(&later), expected, "{source} behind {standing}");
        later.files
    }

    #[test]
    fn a_changed_file_that_is_close_to_the_deployed_one_gets_its_time_and_two_seconds() {
        for (own, expected) in
            [(98, ""), (99, "a@102"), (100, "a@102"), (101, "a@102"), (102, ""), (900, "")]
        {
            check(&format!("a@{own} f two"), "a@100 f one", &[], expected);
        }
        // Only a file that was another file at the same path.
        check("a@101 f one; b@101 f two", "a@100 f one; c@100 f one", &[], "");
        check("a@101 f two; b@101 d; c@101 l x", "a@100 l y; b@100 f one; c@100 f one", &[], "");
        check(
            "a@1 f two; b d; b/c@1 f x y; b/d@1 f same; b/e h a; z@1 f 2",
            "a@0 f one; b d; b/c@0 f x; b/d@1 f same; z@0 f 1",
            &[],
            "a@2 b/c@2 z@2",
        );
        let of = |seconds, nanos| Timestamp { seconds, nanos };
        assert!(is_close(of(-1, 999_999_999), of(1, 999_999_998)) && is_close(of(5, 0), of(5, 0)));
        assert!(!is_close(of(1, 999_999_999), of(-1, 999_999_999)));
        assert!(!is_close(of(i64::MIN, 0), of(i64::MAX, 0)));
    }

    #[test]
    fn what_was_given_stays_as_long_as_content_and_own_time_do() {
        let given = check("a@101 f two", "a@100 f one", &[], "a@102");
        assert_eq!(check("a@101 f two", "a@102 f two", &given, "a@102"), given);
        let again = give(&tree("a@101 f two"), Some(&tree("a@102 f two")), &given);
        assert!(again.news.is_empty(), "it is deployed by now");
        // The next edit, a touch, and one far away.
        check("a@101 f three", "a@102 f two", &given, "a@104");
        check("a@103 f two", "a@102 f two", &given, "");
        check("a@300 f three", "a@102 f two", &given, "");
        check("", "a@102 f two", &given, "");
        // Content that is back: two seconds away it needs nothing, and closer it does.
        check("a@100 f one", "a@102 f two", &given, "");
        check("a@101 f one", "a@102 f two", &given, "a@104");
        // Nothing is known of the standing release, or nothing of what was given.
        assert_eq!(shown(&give(&tree("a@101 f two"), None, &given)), "a@102");
        check("a@101 f two", "a@102 f two", &[], "");
    }

    #[test]
    fn a_standing_release_that_went_back_or_was_not_written_down_hides_nothing() {
        let given = check("a@101 f two", "a@100 f one", &[], "a@102");
        // The same source again, when it was refused, cut off, or rolled back from.
        assert_eq!(check("a@101 f two", "a@100 f one", &given, "a@102"), given);
        // Nodes may have 102 by now.
        check("a@101 f three", "a@100 f one", &given, "a@104");
        check("a@101 f three", "", &given, "a@104");
        check("a@102 f three", "", &given, "a@104");
        check("a@101 f three", "a@103 f one", &given, "a@105");
        check("a@201 f three", "a@200 f one", &given, "a@202");
        check("a@103 f three", "a@900 f one", &given, "a@104");
        // What they have with the same content is left alone.
        check("a@100 f one", "a@100 f one", &given, "");
        check("a@101 f two", "a@101 f two", &given, "");
        // What is live now is close to what was given then.
        check("a@101 f two", "a@101 f zero", &given, "a@103");
    }

    #[test]
    fn the_entries_of_the_source_get_what_was_given_in_order() {
        let source = tree("a@1 f two; b d; b/c@1 f x; d@7 f same");
        let later = give(&source, Some(&tree("a@0 f one; b d; b/c@0 f y; d@7 f same")), &[]);
        let (mut given, mut views, mut seen) = (InOrder::new(&later.files), source.views(), vec![]);
        while let Some(view) = views.next() {
            seen.push(given.put(view).stamp.mtime.seconds);
        }
        assert_eq!(seen, [0, 2, 0, 2, 7]);
    }

    #[test]
    fn what_is_remembered_is_read_as_it_was_written_and_nothing_else_is() {
        let files = check("a@1 f two; b@-9 f x", "a@0 f one; b@-8 f y", &[], "a@2 b@-6");
        let times = Times { source: Digest([1; 32]), release: Digest([2; 32]), files };
        let bytes = |times: &Times| {
            let mut writer = Writer::new();
            times.encode(&mut writer);
            writer.finish()
        };
        let decode = |bytes: &[u8]| Times::decode(&mut Reader::new(bytes, "times"));
        let whole = bytes(&times);
        assert_eq!(decode(&whole), Ok(times.clone()));
        for end in 0..whole.len() {
            assert!(decode(whole.get(..end).unwrap_or_default()).is_err(), "{end}");
        }
        let broken = |change: fn(&mut Vec<Given>)| {
            let mut times = times.clone();
            change(&mut times.files);
            decode(&bytes(&times))
        };
        assert!(broken(|files| files.reverse()).is_err());
        assert!(broken(|files| files.iter_mut().for_each(|file| file.given = file.own)).is_err());
        assert!(
            broken(|files| files.iter_mut().for_each(|file| file.own.nanos = u32::MAX)).is_err()
        );
    }

    #[test]
    fn there_is_a_bound_to_what_is_given() {
        let lines = |content: &str| {
            let line = |number| format!("{number:06} f {content}");
            (0..GIVEN_TIMES_MAX.saturating_add(3)).map(line).collect::<Vec<_>>().join(";")
        };
        let later = give(&tree(&lines("two")), Some(&tree(&lines("one"))), &[]);
        assert_eq!((later.files.len(), later.left), (GIVEN_TIMES_MAX, 3));
    }
}
