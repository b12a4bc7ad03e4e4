//! Which approach fits a cluster: the rules, which are pure. [`gather`] finds what they rest on.
//!
//! The borders start from WSO2's page *Deployment Synchronization*: a high rate of change wants a shared file system, a medium one
//! a copy each minute, a low one (about once a week) configuration management. Where a push costs little they lie elsewhere, and
//! the constants below say where and why.

mod facts;

pub use facts::{Since, gather};

const DAY: u64 = 86_400;

/// At most so many changes in so many seconds are a low rate: once a week, as the page has it.
const LOW: (u64, u64) = (1, 7 * DAY);
/// At most so many changes a day are told of one by one, by a person or by the job that built them. Of more, a timer is sure.
const ON_CHANGE: (u64, u64) = (4, DAY);
/// From so many on it is every second minute, day and night: hardly a push would find nothing to do, and no node would be at
/// rest between two releases.
const SHARED: (u64, u64) = (720, DAY);
/// From this share of the time on, copies do not keep up: a burst of twice the rate would have pushes at work without an end.
const BUSY_PERCENT: u64 = 50;
/// A push that finds nothing and takes longer is no matter for each minute: it would look for a sixth of the time.
const IDLE_MS_MAX: u64 = 10_000;
/// One that takes no longer costs less than half an hour a day, and is worth it for nodes that were down meanwhile.
const IDLE_MS_CHEAP: u64 = 1_000;
/// From so many nodes on, some are built anew in the time between two rare releases: what builds them can bring the release.
const NODES_MANY: usize = 10;
/// What a hub's gigabit brings to all nodes together, where no push was measured.
const LINK_BYTES_PER_SECOND: u64 = 100 << 20;

/// How a cluster is kept at its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approach {
    /// A push by whoever makes a change, or by the job that builds it.
    OnChange,
    /// A push each minute, by a timer.
    EachMinute,
    /// All nodes read one file system.
    Shared,
    /// Release files, applied by configuration management.
    ReleaseFiles,
}

/// The rule that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Changes come as often as [`Borders::shared_per_day`].
    Incessant,
    /// Pushes would be at work for this share of the time.
    Busy {
        /// In percent.
        percent: u64,
    },
    /// More changes than are told of one by one, and a push that finds nothing costs little.
    Medium,
    /// More changes than are told of one by one, but looking each minute would cost too much.
    IdleIsDear,
    /// A low rate, and many nodes.
    RareForMany,
    /// A low rate, and few nodes.
    Rare,
    /// Few enough to be told of one by one.
    Few,
}

/// The borders that are told to people.
#[derive(Debug, Clone, Copy)]
pub struct Borders {
    /// Changes a day from which on copies are too slow.
    pub shared_per_day: u64,
    /// Changes a day up to which each is told of.
    pub on_change_per_day: u64,
    /// Percent of the time that pushes may take.
    pub busy_percent: u64,
    /// Nodes from which on they are many.
    pub nodes_many: usize,
}

/// The borders.
pub const BORDERS: Borders = Borders {
    shared_per_day: SHARED.0,
    on_change_per_day: ON_CHANGE.0,
    busy_percent: BUSY_PERCENT,
    nodes_many: NODES_MANY,
};

/// What is advised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// The approach.
    pub approach: Approach,
    /// Why.
    pub rule: Rule,
    /// One that would do as well.
    pub other: Option<Approach>,
}

/// Where the rate of change is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Releases that became live, in so many runs.
    History {
        /// The runs.
        runs: u64,
    },
    /// Minutes with a modification time in them, of so many names.
    Look {
        /// The names whose time lies in the span.
        dated: u64,
        /// Names whose time is yet to come, which are not counted.
        ahead: u64,
    },
}

/// The median of so many measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Median {
    /// The lower one of the middle.
    pub value: u64,
    /// How many there are.
    pub count: usize,
}

/// Names and bytes, each of which may be of another change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Names.
    pub names: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What the rules rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Where the changes are known from.
    pub basis: Basis,
    /// The start of the span, in seconds since 1970.
    pub since: i64,
    /// Its length in seconds.
    pub span: u64,
    /// Changes in it.
    pub changes: u64,
    /// Changes on the day (UTC) that had most.
    pub busiest_day: u64,
    /// The median change: by the history what one node was sent, by a look the files as they are.
    pub change: Option<Size>,
    /// How many nodes there are.
    pub nodes: usize,
    /// Milliseconds of pushes that changed some node.
    pub push_ms: Option<Median>,
    /// Milliseconds of pushes that found nothing to do.
    pub idle_ms: Option<Median>,
    /// All of the source.
    pub full: Option<Size>,
}

impl Median {
    /// Of `values`, if there are any.
    pub fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        let middle = values.len().saturating_sub(1) / 2;
        values.get(middle).map(|&value| Self { value, count: values.len() })
    }
}

impl Facts {
    /// Milliseconds of a push with a change: measured, else by the bytes that all nodes are sent, if those are known.
    pub fn change_ms(&self) -> Option<u64> {
        let reckoned = || {
            let nodes = u64::try_from(self.nodes).unwrap_or(u64::MAX);
            let bytes = self.change?.bytes.saturating_mul(nodes);
            Some(bytes.saturating_mul(1_000) / LINK_BYTES_PER_SECOND)
        };
        self.push_ms.map(|median| median.value).or_else(reckoned)
    }

    /// Percent of the span for which pushes of all changes are at work.
    fn busy_percent(&self) -> u64 {
        let work = u128::from(self.changes) * u128::from(self.change_ms().unwrap_or(0));
        let percent = work.saturating_mul(100) / (u128::from(self.span.max(1)) * 1_000);
        u64::try_from(percent).unwrap_or(u64::MAX)
    }

    /// How the rate of changes compares with so many in so many seconds.
    fn rate_against(&self, (count, seconds): (u64, u64)) -> std::cmp::Ordering {
        let own = u128::from(self.changes) * u128::from(seconds);
        own.cmp(&(u128::from(count) * u128::from(self.span.max(1))))
    }
}

/// The approach that fits what is known.
pub fn advise(facts: &Facts) -> Advice {
    let rule = rule(facts);
    let idle_ms = facts.idle_ms.map(|median| median.value);
    let is_cheap = idle_ms.is_some_and(|idle| idle <= IDLE_MS_CHEAP);
    let (approach, other) = match rule {
        Rule::Incessant | Rule::Busy { .. } => (Approach::Shared, None),
        Rule::Medium => (Approach::EachMinute, None),
        Rule::IdleIsDear => (Approach::OnChange, None),
        Rule::RareForMany => (Approach::ReleaseFiles, Some(Approach::OnChange)),
        Rule::Rare | Rule::Few => (Approach::OnChange, is_cheap.then_some(Approach::EachMinute)),
    };
    Advice { approach, rule, other }
}

fn rule(facts: &Facts) -> Rule {
    let percent = facts.busy_percent();
    if facts.rate_against(SHARED).is_ge() {
        return Rule::Incessant;
    }
    if percent >= BUSY_PERCENT {
        return Rule::Busy { percent };
    }
    if facts.rate_against(ON_CHANGE).is_gt() {
        let is_dear = facts.idle_ms.is_some_and(|median| median.value > IDLE_MS_MAX);
        return if is_dear { Rule::IdleIsDear } else { Rule::Medium };
    }
    match facts.rate_against(LOW).is_le() {
        true if facts.nodes >= NODES_MANY => Rule::RareForMany,
        true => Rule::Rare,
        false => Rule::Few,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: u64 = 7 * DAY;

    /// `changes` in a week on two nodes, of which nothing else is known.
    fn facts(changes: u64) -> Facts {
        Facts {
            basis: Basis::History { runs: 9 },
            since: 0,
            span: WEEK,
            changes,
            busiest_day: changes,
            change: None,
            nodes: 2,
            push_ms: None,
            idle_ms: None,
            full: None,
        }
    }

    fn median(value: u64) -> Option<Median> {
        Median::of(vec![value; 3])
    }

    fn check(facts: Facts, approach: Approach, rule: Rule) {
        let advice = advise(&facts);
        assert_eq!((advice.approach, advice.rule), (approach, rule), "{facts:?}");
    }

    #[test]
    fn the_rate_alone_decides_where_nothing_else_is_known() {
        check(facts(0), Approach::OnChange, Rule::Rare);
        check(facts(1), Approach::OnChange, Rule::Rare);
        check(facts(2), Approach::OnChange, Rule::Few);
        check(facts(4 * 7), Approach::OnChange, Rule::Few);
        check(facts(4 * 7 + 1), Approach::EachMinute, Rule::Medium);
        check(facts(720 * 7 - 1), Approach::EachMinute, Rule::Medium);
        check(facts(720 * 7), Approach::Shared, Rule::Incessant);
        check(facts(u64::MAX), Approach::Shared, Rule::Incessant);
    }

    #[test]
    fn many_nodes_at_a_low_rate_want_release_files() {
        let nodes = |nodes, changes| Facts { nodes, ..facts(changes) };
        check(nodes(NODES_MANY - 1, 1), Approach::OnChange, Rule::Rare);
        check(nodes(NODES_MANY, 1), Approach::ReleaseFiles, Rule::RareForMany);
        check(nodes(NODES_MANY, 2), Approach::OnChange, Rule::Few);
        assert_eq!(advise(&nodes(NODES_MANY, 1)).other, Some(Approach::OnChange));
    }

    #[test]
    fn pushes_that_are_at_work_half_of_the_time_want_a_shared_file_system() {
        // Half of a week, in 100 changes.
        let half_ms = WEEK * 1_000 / 2 / 100;
        let with = |push_ms| Facts { push_ms, ..facts(100) };
        check(with(median(half_ms)), Approach::Shared, Rule::Busy { percent: 50 });
        check(with(median(half_ms - 1)), Approach::EachMinute, Rule::Medium);
        assert_eq!(advise(&with(median(u64::MAX))).approach, Approach::Shared);
    }

    #[test]
    fn where_no_push_was_measured_its_time_is_reckoned_of_bytes_and_nodes() {
        let change = Some(Size { names: 1, bytes: LINK_BYTES_PER_SECOND * 3 });
        let known = Facts { change, ..facts(100) };
        assert_eq!(known.change_ms(), Some(6_000));
        assert_eq!(Facts { push_ms: median(7), ..known }.change_ms(), Some(7));
        assert_eq!(facts(1).change_ms(), None);
        check(Facts { nodes: 2_000, ..known }, Approach::Shared, Rule::Busy { percent: 99 });
        check(known, Approach::EachMinute, Rule::Medium);
    }

    #[test]
    fn a_push_that_finds_nothing_may_be_too_dear_for_each_minute() {
        let idle = |idle_ms, changes| Facts { idle_ms, ..facts(changes) };
        check(idle(median(IDLE_MS_MAX), 99), Approach::EachMinute, Rule::Medium);
        check(idle(median(IDLE_MS_MAX + 1), 99), Approach::OnChange, Rule::IdleIsDear);
        check(idle(median(IDLE_MS_MAX + 1), 7), Approach::OnChange, Rule::Few);
    }

    #[test]
    fn a_copy_each_minute_would_do_as_well_where_it_costs_hardly_anything() {
        let other = |idle_ms, changes| advise(&Facts { idle_ms, ..facts(changes) }).other;
        for changes in [1, 28] {
            assert_eq!(other(median(IDLE_MS_CHEAP), changes), Some(Approach::EachMinute));
            assert_eq!(other(median(IDLE_MS_CHEAP + 1), changes), None);
            assert_eq!(other(None, changes), None, "it was never measured");
        }
        assert_eq!(other(median(1), 29), None, "it is what is advised");
    }

    #[test]
    fn a_median_is_one_of_the_values() {
        assert_eq!(Median::of(vec![9, 1, 5]), Some(Median { value: 5, count: 3 }));
        assert_eq!(Median::of(vec![9, 1]), Some(Median { value: 1, count: 2 }));
        assert_eq!(Median::of(Vec::new()), None);
    }
}
