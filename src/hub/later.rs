//! [`Timed`]: the source as a release whose changed files have later times, for servers that look at times; and what they may
//! not notice of a rollback. The rules are those of `model::later` and `model::exploded`.

use super::outcome::Failure;
use super::state::{Standing, State};
use crate::model::exploded;
use crate::model::later::{self, CLOSE_SECONDS, Later, Times};
use crate::model::manifest::{Manifest, ReleaseId};
use crate::model::path::TreePath;
use crate::source::lint::Close;
use crate::source::{Release, Source};

/// As many paths are named in a note.
const PATHS_SHOWN_MAX: usize = 5;

/// What lint makes of close times: where `are_moved`, there are none to find.
pub(super) fn close(are_moved: bool) -> Close {
    if are_moved { Close::Moved } else { Close::Told }
}

/// The release that the deployed source is by its own times.
pub(super) fn source_of(standing: &Standing, times: Option<&Times>) -> Option<ReleaseId> {
    let is_given = |times: &&Times| standing.release == Some(times.release);
    times.filter(is_given).map(|times| times.source).or(standing.release)
}

/// The source with later times.
#[derive(Default)]
pub(super) struct Timed {
    /// `None` if every file has its own time.
    pub(super) release: Option<Release>,
    /// What is to be remembered; `None` if nothing is known of the server.
    pub(super) times: Option<Times>,
    /// What is said of it.
    pub(super) note: Option<String>,
}

impl Timed {
    /// Gives later times to the files of `source` that need one beside what is deployed; `known` is what was given before,
    /// if any is to be given.
    ///
    /// Cost: nothing where the source is what is deployed, with times given or without; else one pass over it and over the
    /// standing manifest, and another where a time is given.
    pub(super) fn of(
        source: &Source,
        state: &State,
        standing: &Standing,
        known: Option<Times>,
    ) -> Result<Self, Failure> {
        let Some(known) = known else { return Ok(Self::default()) };
        let nothing = Self { times: Some(Times::default()), ..Self::default() };
        let own = source.release.id();
        if standing.release == Some(own) {
            return Ok(nothing);
        }
        if known.source == own && standing.release == Some(known.release) {
            let release = source.release.with_known_times(&source.listing, &known);
            return Ok(Self { release: Some(release), times: Some(known), note: None });
        }
        let live = standing.release.and_then(|release| state.manifest(release));
        if live.is_none() && known.files.is_empty() {
            return Ok(nothing);
        }
        let manifest = source.release.manifest().map_err(|error| Failure::from(&error))?;
        let later = later::give(&manifest, live.as_ref(), &known.files);
        if later.files.is_empty() {
            return Ok(nothing);
        }
        let release = source.release.with_times(&source.listing, &later.files);
        let release = release.map_err(|error| Failure::from(&error))?;
        let note = note_of(&later);
        let times = Times { source: own, release: release.id(), files: later.files };
        Ok(Self { release: Some(release), times: Some(times), note })
    }
}

fn note_of(later: &Later) -> Option<String> {
    let given = match &later.news[..] {
        [] => return None,
        [one] => format!("1 file was given a later time: {one}"),
        all => format!("{} files were given later times: {}", all.len(), named(all)),
    };
    Some(match later.left {
        0 => given,
        left => format!(
            "{given}; {left} more that changed within {CLOSE_SECONDS} s of the deployed ones keep their own"
        ),
    })
}

/// What a server may not notice when `live` becomes `earlier`, where it looks for newer files below `names`.
pub(super) fn note_of_unnoticed(
    live: &Manifest,
    earlier: &Manifest,
    names: &[String],
) -> Option<String> {
    let hidden = exploded::unnoticed(live, earlier, names);
    (!hidden.is_empty()).then(|| {
        format!(
            "a server may not notice that {} went back, as no file there is newer than what was live: redeploy there, or touch a file of it on each node, which verify then tells",
            named(&hidden)
        )
    })
}

fn named(paths: &[TreePath]) -> String {
    let shown: Vec<String> = paths.iter().take(PATHS_SHOWN_MAX).map(ToString::to_string).collect();
    match paths.len().saturating_sub(PATHS_SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
