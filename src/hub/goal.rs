//! [`Goal`]: what every node is to have, and the guards before it: the source as it is, a release of which the hub has
//! the manifest, or what a release file holds.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::Run;
use super::history::{History, Revision};
use super::later::{self, Timed};
use super::options::{Mode, RunOptions};
use super::outcome::{Event, Failure, RunOutcome, Verdict};
use super::state::{Standing, State};
use crate::model::later::Times;
use crate::model::manifest::{Manifest, ReleaseId};
use crate::os::dir::Dir;
use crate::os::root::{self, Missing};
use crate::os::{clock, host};
use crate::source::lint::Level;
use crate::source::release_file::ReleaseFile;
use crate::source::{self, Release, Source};
use crate::wire::message::SourcePlace;

/// As many findings of lint are told one by one.
const FINDINGS_SHOWN_MAX: usize = 20;

/// What every node is to have, and where its content is.
pub(super) struct Goal {
    pub(super) release: Release,
    /// Where the source is, if a target must lie apart from it.
    pub(super) place: SourcePlace,
    /// The source, if it is there.
    pub(super) root: Option<Dir>,
    /// What the next run is to find if this one decides.
    pub(super) decided: Standing,
    /// Which of its files have later times than in the source, if that is to be known from now on.
    pub(super) times: Option<Times>,
    /// A release was decided before.
    pub(super) knows_a_release: bool,
}

impl Run<'_> {
    /// The source as it is now, behind its guards.
    pub(super) fn source_goal(
        &self,
        state: &State,
        standing: &Standing,
        outcome: &mut RunOutcome,
    ) -> Result<Goal, Failure> {
        let known = self.options.source.gives_later_times().then(|| state.times());
        let (read, looked) = self.read_source(state, standing, known.as_ref())?;
        let file_system = (read.identity.file_system_type, read.identity.file_system);
        let is_mount = is_mount_root(&read)?;
        guard_source_change(self.options, standing, file_system, is_mount)?;
        let Timed { release: given, times, note } = Timed::of(&read, state, standing, known)?;
        let release = given.as_ref().unwrap_or(&read.release).id();
        let is_pinned = self.guard_pin(standing, release, outcome)?;
        outcome.notes.extend(read.notes.iter().map(ToString::to_string));
        outcome.notes.extend(note);
        self.monitor.event(Event::Scanned { release, entries: read.entries, bytes: read.bytes });
        if read.is_news {
            state.save_index(&read).map_err(|error| Failure::from(&error))?;
        }
        if let Some(looked) = looked {
            if let Some(known) = &looked.known {
                state.save_lint(known).map_err(|error| Failure::from(&error))?;
            }
            outcome.notes.extend(guard_lint(self.options.source.lint.level, &looked.findings)?);
        }
        let real =
            root::open(&read.real_path, Missing::Refuse).map_err(|error| Failure::from(&error))?;
        Ok(Goal {
            decided: Standing {
                release: Some(release),
                file_system: Some(file_system),
                was_mount_root: is_mount,
                fence: standing.fence.saturating_add(1),
                is_pinned,
            },
            release: given.unwrap_or(read.release),
            times,
            place: SourcePlace { boot: host::boot_id(), ancestry: real.ancestry },
            root: Some(read.root),
            knows_a_release: standing.release.is_some(),
        })
    }

    /// What was deployed last. A source that is not there is no hindrance: most of what a repair needs is on the nodes.
    pub(super) fn deployed_goal(
        &self,
        state: &State,
        standing: &Standing,
    ) -> Result<Goal, Failure> {
        let never = "nothing was deployed from here yet";
        let push = Some("push first: it says what the nodes are to have");
        let release = standing
            .release
            .ok_or_else(|| Failure::said(Verdict::Diff, "never-deployed", never, push))?;
        let lost = |message| Failure::said(Verdict::Fail, "release-unknown", message, push);
        let manifest = state.manifest(release).ok_or_else(|| lost(not_stored(release)))?;
        Ok(self.stored_goal(manifest, standing))
    }

    /// An earlier release, which is pinned from then on.
    pub(super) fn earlier_goal(
        &self,
        state: &State,
        standing: &Standing,
        revision: &Revision,
        outcome: &mut RunOutcome,
    ) -> Result<Goal, Failure> {
        let stored = state.releases().map_err(|error| Failure::from(&error))?;
        let looked = History::look(&self.options.state_dir)
            .and_then(|history| history.map_or(Ok(Vec::new()), |history| history.releases()));
        let mut live = match (looked, revision) {
            (Ok(live), _) => live,
            // An id says enough.
            (Err(_), Revision::Prefix(_)) => Vec::new(),
            (Err(error), _) => return Err(Failure::from(&error)),
        };
        let now = clock::wall().seconds;
        if let Some(release) = standing.release
            && live.first().is_none_or(|first| first.0 != release)
        {
            live.insert(0, (release, now));
        }
        let release = revision.resolve(&live, &stored, now).map_err(|error| {
            let hint = "'depsync history' lists the releases of this cluster";
            Failure::of(Verdict::Usage, "release-unknown", &error, Some(hint.into()))
        })?;
        let manifest = state.manifest(release).ok_or_else(|| {
            let hint =
                "[keep] releases says how many can be gone back to; deploy it from its source";
            Failure::said(Verdict::Fail, "release-unknown", not_stored(release), Some(hint))
        })?;
        let exploded = self.options.source.layout.as_ref().map(|layout| &layout.exploded);
        if let Some(names) = exploded.filter(|names| !names.is_empty())
            && let Some(live) = standing.release.filter(|live| *live != release)
            && let Some(live) = state.manifest(live)
        {
            outcome.notes.extend(later::note_of_unnoticed(&live, &manifest, names));
        }
        if self.options.mode == Mode::Push {
            let pinned = "the release is pinned: a push whose source differs needs --unpin";
            outcome.notes.push(pinned.into());
        }
        let decided = Standing { release: Some(release), is_pinned: true, ..standing.clone() };
        Ok(self.stored_goal(manifest, &decided))
    }

    /// What a release file holds.
    pub(super) fn file_goal(&self, file: &ReleaseFile, standing: &Standing) -> Goal {
        self.early.begin(&Handle::current(), self.reach, self.options);
        let release = Release::of(Arc::clone(file.manifest()));
        Goal {
            decided: Standing {
                release: Some(release.id()),
                is_pinned: false,
                fence: standing.fence.saturating_add(1),
                ..standing.clone()
            },
            release,
            times: None,
            place: SourcePlace::default(),
            root: None,
            knows_a_release: standing.release.is_some(),
        }
    }

    /// A release of which the hub has the manifest. A source that is not there is no hindrance.
    fn stored_goal(&self, manifest: Manifest, standing: &Standing) -> Goal {
        self.early.begin(&Handle::current(), self.reach, self.options);
        Goal {
            release: Release::of(manifest),
            times: None,
            place: SourcePlace::default(),
            root: source::open(&self.options.source.root).ok().map(|(root, _, _)| root),
            decided: Standing { fence: standing.fence.saturating_add(1), ..standing.clone() },
            knows_a_release: true,
        }
    }

    /// Whether `release` is to be pinned from now on; refuses a push that would silently undo a rollback.
    fn guard_pin(
        &self,
        standing: &Standing,
        release: ReleaseId,
        outcome: &mut RunOutcome,
    ) -> Result<bool, Failure> {
        let Some(pinned) = standing.release.filter(|_| standing.is_pinned && !self.options.unpin)
        else {
            return Ok(false);
        };
        if pinned == release {
            return Ok(true);
        }
        let message = format!(
            "release {} is pinned since a rollback led to it, and the source is release {}",
            pinned.short(),
            release.short()
        );
        if self.options.mode == Mode::Push {
            let hint = "push --unpin deploys the source; plan shows what that changes";
            return Err(Failure::said(Verdict::Guard, "pinned", message, Some(hint)));
        }
        outcome.notes.push(message + ": a push needs --unpin");
        Ok(true)
    }
}

/// What is said of `findings`; refuses a run that must not have any.
pub(super) fn guard_lint(level: Level, findings: &[String]) -> Result<Vec<String>, Failure> {
    let mut shown: Vec<String> = findings.iter().take(FINDINGS_SHOWN_MAX).cloned().collect();
    let more = findings.len().saturating_sub(FINDINGS_SHOWN_MAX);
    if more > 0 {
        shown.push(format!("and {more} more findings of lint"));
    }
    if level != Level::Deny || findings.is_empty() {
        return Ok(shown);
    }
    Err(Failure {
        verdict: Verdict::Guard,
        kind: "lint".into(),
        message: match findings.len() {
            1 => "the source has a finding of lint".to_owned(),
            count => format!("the source has {count} findings of lint"),
        },
        causes: shown,
        hint: Some("mend the source; lint = \"warn\" in [source] pushes it as it is".into()),
    })
}

fn not_stored(release: ReleaseId) -> String {
    format!("the manifest of release {} is not stored here", release.short())
}

pub(super) fn is_mount_root(source: &Source) -> Result<bool, Failure> {
    let stat = source.root.stat_self();
    stat.map(|stat| stat.is_mount_root)
        .map_err(|error| Failure::of(Verdict::Fail, "source-unreadable", &error, None))
}

/// A source that was a mount point and is none, or is on quite another file system, is most likely not mounted.
pub(super) fn guard_source_change(
    options: &RunOptions,
    standing: &Standing,
    file_system: (u64, u64),
    is_mount: bool,
) -> Result<(), Failure> {
    let is_other = standing
        .file_system
        .is_some_and(|before| before.0 != file_system.0 && before.1 != file_system.1);
    let is_unmounted = standing.was_mount_root && !is_mount;
    if options.guard.accept_source_change || !(is_other || is_unmounted) {
        return Ok(());
    }
    let message = if is_unmounted {
        "the source was a mount point at the last release, and is none now"
    } else {
        "the source is on another file system than at the last release"
    };
    let hint = "is the source mounted? if the move is meant, give --accept-source-change";
    Err(Failure::said(Verdict::Guard, "source-changed", message, Some(hint)))
}
