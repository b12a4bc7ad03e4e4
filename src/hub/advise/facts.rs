//! [`gather`]: what the rules rest on, from the history and from the dates of the source.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Basis, DAY, Facts, Median, Size};
use crate::hub::glance::Glance;
use crate::hub::history::{History, Push};
use crate::hub::options::RunOptions;
use crate::hub::outcome::{Failure, Monitor};
use crate::hub::reading::Watch;
use crate::hub::stop::Stop;
use crate::model::manifest::{KindView, Manifest};
use crate::os::clock::Deadline;
use crate::scan::dates::Stamp;

/// A history that goes back less far says nothing of a rate.
const HISTORY_SECONDS_MIN: u64 = 3 * DAY;
/// How far back the source is looked at, if nobody says.
const LOOK_SECONDS: i64 = 30 * 86_400;

/// From when on the dates of a source count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// A moment, in seconds since 1970.
    At(i64),
}

impl Since {
    /// The moment, in seconds since 1970; `None` if that is less than a day ago, which says nothing of a rate.
    pub fn moment(self, now: i64) -> Option<i64> {
        let at = match self {
            Self::Ago(ago) => now.saturating_sub_unsigned(ago.as_secs()),
            Self::At(at) => at,
        };
        (span(at, now) >= DAY).then_some(at)
    }
}

/// What is known of the cluster at the moment `now`: from the history where it goes back some days, else, or where `since` is
/// given, from the dates of the source since then.
///
/// Takes no lock, contacts no node and reads no file of the source. Ends with the run's deadline, or with `stop`.
///
/// # Errors
/// Of the history as `history` has them, and where the source is looked at, of that as a plan has them.
pub fn gather(
    options: &RunOptions,
    since: Option<i64>,
    now: i64,
    monitor: &Arc<dyn Monitor>,
    stop: &Stop,
) -> Result<Facts, Failure> {
    let history = History::look(&options.state_dir).map_err(|error| Failure::from(&error))?;
    let pushes = history.map_or_else(|| Ok(Vec::new()), |history| history.pushes());
    let pushes = pushes.map_err(|error| Failure::from(&error))?;
    let nodes = options.targets.len();
    if since.is_none()
        && let Some(mut facts) = of_pushes(&pushes, now, nodes)
    {
        let glance = Glance::open(&options.state_dir).map_err(|error| Failure::from(&error))?;
        let newest = pushes.last().and_then(|push| glance.manifest(push.release));
        facts.full = newest.as_ref().map(size_of);
        return Ok(facts);
    }
    let watch = Watch { monitor, stop, deadline: Deadline::after(options.deadline) };
    let dates = watch.dates(&options.source)?;
    let since = since.unwrap_or_else(|| now.saturating_sub(LOOK_SECONDS));
    let (push_ms, idle_ms) = times(&pushes);
    Ok(Facts { push_ms, idle_ms, ..of_stamps(&dates.stamps, since, now, nodes) })
}

fn span(since: i64, now: i64) -> u64 {
    u64::try_from(now.saturating_sub(since)).unwrap_or(0)
}

/// The most moments that fall on one day.
fn busiest(moments: impl Iterator<Item = i64>) -> u64 {
    let mut days: BTreeMap<i64, u64> = BTreeMap::new();
    for moment in moments {
        let count = days.entry(moment.div_euclid(86_400)).or_default();
        *count = count.saturating_add(1);
    }
    days.into_values().max().unwrap_or(0)
}

/// The pushes, each with whether its release followed another.
fn changes(pushes: &[Push]) -> impl Iterator<Item = (&Push, bool)> {
    let before = std::iter::once(None).chain(pushes.iter().map(Some));
    pushes
        .iter()
        .zip(before)
        .map(|(push, before)| (push, before.is_some_and(|before| before.release != push.release)))
}

/// Medians of the times of pushes that changed a node, and of those that found nothing to do. The first one of all is neither: it
/// may have brought everything.
fn times(pushes: &[Push]) -> (Option<Median>, Option<Median>) {
    let of = |has_changed| {
        let alike = pushes.iter().skip(1).filter(|push| push.has_changed == has_changed);
        Median::of(alike.map(|push| push.duration_ms).collect())
    };
    (of(true), of(false))
}

/// What the history says, if it goes back far enough.
fn of_pushes(pushes: &[Push], now: i64, nodes: usize) -> Option<Facts> {
    let since = pushes.first()?.started;
    let span = span(since, now);
    if span < HISTORY_SECONDS_MIN {
        return None;
    }
    let changed: Vec<&Push> =
        changes(pushes).filter(|(_, is_change)| *is_change).map(|(push, _)| push).collect();
    let median = |of: fn(&Push) -> u64| {
        Median::of(changed.iter().map(|push| of(push)).collect()).map(|median| median.value)
    };
    let names = median(|push| push.names);
    let (push_ms, idle_ms) = times(pushes);
    Some(Facts {
        basis: Basis::History { runs: pushes.len() as u64 },
        since,
        span,
        changes: changed.len() as u64,
        busiest_day: busiest(changed.iter().map(|push| push.started)),
        change: names.zip(median(|push| push.bytes)).map(|(names, bytes)| Size { names, bytes }),
        nodes,
        push_ms,
        idle_ms,
        full: None,
    })
}

/// What the dates say: what was changed within one minute is one change.
fn of_stamps(stamps: &[Stamp], since: i64, now: i64, nodes: usize) -> Facts {
    let mut minutes: BTreeMap<i64, Size> = BTreeMap::new();
    let (mut dated, mut ahead) = (0u64, 0u64);
    let mut full = Size { names: 0, bytes: 0 };
    for stamp in stamps {
        full.add(stamp.bytes);
        if stamp.seconds > now {
            ahead = ahead.saturating_add(1);
        } else if stamp.seconds >= since {
            dated = dated.saturating_add(1);
            let minute = minutes.entry(stamp.seconds.div_euclid(60));
            minute.or_insert(Size { names: 0, bytes: 0 }).add(stamp.bytes);
        }
    }
    let median = |of: fn(&Size) -> u64| Median::of(minutes.values().map(of).collect());
    let sizes = median(|size| size.names).zip(median(|size| size.bytes));
    Facts {
        basis: Basis::Look { dated, ahead },
        since,
        span: span(since, now),
        changes: minutes.len() as u64,
        busiest_day: busiest(minutes.keys().map(|minute| minute.saturating_mul(60))),
        change: sizes.map(|(names, bytes)| Size { names: names.value, bytes: bytes.value }),
        nodes,
        push_ms: None,
        idle_ms: None,
        full: Some(full),
    }
}

impl Size {
    fn add(&mut self, bytes: u64) {
        self.names = self.names.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

fn size_of(manifest: &Manifest) -> Size {
    let mut size = Size { names: 0, bytes: 0 };
    let mut views = manifest.views();
    while let Some(view) = views.next() {
        // The roots of trees are no names of what is copied.
        if manifest.header().trees.iter().any(|tree| tree.as_bytes() == view.path) {
            continue;
        }
        size.add(if let KindView::File(content) = view.kind { content.size() } else { 0 });
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::{Digest, Domain};

    const NOW: i64 = 100 * 86_400;

    fn push(release: &str, ago: i64, duration_ms: u64, has_changed: bool) -> Push {
        let release = Digest::of(Domain::Tree, release.as_bytes());
        Push { started: NOW - ago, duration_ms, release, has_changed, names: 3, bytes: 70 }
    }

    #[test]
    fn releases_that_followed_another_are_the_changes_of_a_history() {
        const DAY: i64 = 86_400;
        let pushes = [
            push("one", 4 * DAY, 9_000, true),
            push("one", 3 * DAY, 10, false),
            push("two", 2 * DAY, 100, true),
            push("two", 2 * DAY - 60, 300, true),
            push("one", 2 * DAY - 120, 200, true),
            push("one", DAY, 20, false),
            push("one", 60, 30, false),
        ];
        let facts = of_pushes(&pushes, NOW, 5).expect("four days");
        assert_eq!((facts.basis, facts.nodes), (Basis::History { runs: 7 }, 5));
        assert_eq!((facts.since, facts.span), (NOW - 4 * DAY, 4 * 86_400));
        // A node that came later was brought to the same release, which is no change.
        assert_eq!((facts.changes, facts.busiest_day), (2, 2));
        assert_eq!(facts.push_ms, Some(Median { value: 200, count: 3 }));
        assert_eq!(facts.idle_ms, Some(Median { value: 20, count: 3 }));
        assert_eq!(facts.change, Some(Size { names: 3, bytes: 70 }));
    }

    #[test]
    fn a_history_of_less_than_three_days_says_nothing_of_a_rate() {
        let of = |ago| of_pushes(&[push("one", ago, 1, true)], NOW, 1);
        assert_eq!(of(3 * 86_400 - 1), None);
        let facts = of(3 * 86_400).expect("three days");
        assert_eq!((facts.changes, facts.change, facts.push_ms), (0, None, None));
        assert_eq!(of_pushes(&[], NOW, 1), None);
        assert_eq!(of(-60), None, "a clock that was set back");
    }

    #[test]
    fn minutes_with_a_date_in_them_are_the_changes_of_a_look() {
        let stamp = |ago, bytes| Stamp { seconds: NOW - ago, bytes, is_rule_file: false };
        let since = NOW - 7 * 86_400;
        let stamps = [
            stamp(600, 10),
            stamp(590, 20),
            stamp(86_400 * 2, 500),
            stamp(86_400 * 7, 40),
            stamp(86_400 * 7 + 1, 1),
            stamp(-1, 2),
        ];
        let facts = of_stamps(&stamps, since, NOW, 4);
        assert_eq!(facts.basis, Basis::Look { dated: 4, ahead: 1 });
        assert_eq!((facts.changes, facts.busiest_day, facts.span), (3, 1, 7 * 86_400));
        assert_eq!(facts.change, Some(Size { names: 1, bytes: 40 }));
        assert_eq!(facts.full, Some(Size { names: 6, bytes: 573 }));
        let nothing = of_stamps(&[], since, NOW, 4);
        assert_eq!((nothing.changes, nothing.change, nothing.busiest_day), (0, None, 0));
    }

    #[test]
    fn since_is_a_moment_or_so_long_ago() {
        let day = NOW - 86_400;
        assert_eq!(Since::Ago(Duration::from_hours(24)).moment(NOW), Some(day));
        assert_eq!(Since::Ago(Duration::from_hours(23)).moment(NOW), None);
        assert_eq!(Since::At(day).moment(NOW), Some(day));
        assert_eq!(Since::At(day + 1).moment(NOW), None);
        assert_eq!(Since::At(NOW + 1).moment(NOW), None);
    }
}
