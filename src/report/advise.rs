//! What is advised, with the numbers and the reasons that it rests on: text, and one line of JSON.
//!
//! FORMAT: the keys and words of the line are promises, as in [`super::json`].

use std::time::Duration;

use serde::Serialize;

use super::figures;
use super::human::{Color, Style, push_line};
use super::json::{self, FORMAT_VERSION};
use crate::hub::advise::{Advice, Approach, BORDERS, Basis, Facts, Median, Rule, Size};

/// Seconds of a day, and pushes of a day that come each minute.
const DAY: u64 = 86_400;
const MINUTES: u64 = 1_440;
const PAGE: &str = "WSO2's page";

/// An advice for one cluster.
#[derive(Debug)]
pub struct Advised<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// What is known.
    pub facts: &'a Facts,
    /// What follows.
    pub advice: Advice,
    /// What sets it up.
    pub steps: Vec<Step>,
    /// What sets up the one that would do as well.
    pub other_steps: Vec<Step>,
}

/// A command, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The command line, quoted for a shell.
    pub command: String,
    /// What it is for, as a fragment.
    pub why: &'static str,
}

fn word(approach: Approach) -> &'static str {
    match approach {
        Approach::OnChange => "copy-on-change",
        Approach::EachMinute => "copy-each-minute",
        Approach::Shared => "shared",
        Approach::ReleaseFiles => "release-files",
    }
}

fn title(approach: Approach) -> &'static str {
    match approach {
        Approach::OnChange => "copy on change",
        Approach::EachMinute => "copy each minute",
        Approach::Shared => "a shared file system",
        Approach::ReleaseFiles => "release files by configuration management",
    }
}

fn millis(millis: u64) -> String {
    figures::duration(Duration::from_millis(millis))
}

/// `14.2 a day`, `1.4 a week`: so many in so many seconds.
fn rate(changes: u64, span: u64) -> String {
    let tenths = |seconds: u64| {
        let (all, span) = (u128::from(changes) * u128::from(seconds) * 10, u128::from(span.max(1)));
        (all + span / 2) / span
    };
    let (tenths, unit) = match tenths(DAY) {
        day @ 10.. => (day, "day"),
        _ => (tenths(7 * DAY), "week"),
    };
    format!("{}.{} a {unit}", tenths / 10, tenths % 10)
}

fn several(count: u64, one: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {one}{ending}", figures::count(count))
}

/// The numbers, each with its name.
fn numbers(facts: &Facts) -> Vec<(&'static str, String)> {
    let Facts { basis, changes, busiest_day, .. } = *facts;
    let date: String = figures::utc(facts.since).chars().take(10).collect();
    let days = several(facts.span.saturating_add(DAY / 2) / DAY, "day");
    let found = match basis {
        Basis::History { runs } => {
            let (releases, runs) = (several(changes, "new release"), several(runs, "run"));
            format!("{releases} in {runs} of the {days} since {date}")
        }
        Basis::Look { dated, .. } => {
            let (minutes, names) = (several(changes, "minute"), several(dated, "name"));
            format!("{minutes} with changes to {names} in the {days} since {date}")
        }
    };
    let mut lines = vec![("changes", format!("{}: {found}", rate(changes, facts.span)))];
    if changes > 0 {
        lines.push(("busiest", format!("{} on one day", several(busiest_day, "change"))));
    }
    if let Some(Size { names, bytes }) = facts.change {
        let (names, bytes) = (several(names, "name"), figures::bytes(bytes));
        lines.push((
            "one change",
            match basis {
                Basis::History { .. } => format!("{names}, {bytes} sent to a node (medians)"),
                Basis::Look { .. } => format!("{names}, {bytes} of files (medians)"),
            },
        ));
    }
    if let Some(Size { names, bytes }) = facts.full {
        lines.push(("full copy", format!("{}, {}", several(names, "name"), figures::bytes(bytes))));
    }
    lines.push(("nodes", facts.nodes.to_string()));
    let median = |Median { value, count }| format!("{} (median of {count})", millis(value));
    lines.push(("a push", facts.push_ms.map_or_else(|| "not measured".into(), median)));
    lines.push(("idle push", facts.idle_ms.map_or_else(|| "not measured".into(), median)));
    lines
}

/// Why, in sentences: the rule, then what it costs, then what the numbers do not tell.
fn reasons(facts: &Facts, advice: Advice) -> Vec<String> {
    let mut reasons = because(facts, advice.rule);
    reasons.extend(costs(facts));
    match facts.basis {
        Basis::History { .. } => {
            reasons.push("Several changes between two pushes are one here.".into());
        }
        Basis::Look { ahead, .. } => {
            reasons.push(
                "A modification time tells of the last change of a name alone: there may have been more."
                    .into(),
            );
            if ahead > 0 {
                let names = several(ahead, "name");
                reasons.push(format!("Not counted: {names} with a time that is yet to come."));
            }
        }
    }
    reasons
}

fn because(facts: &Facts, rule: Rule) -> Vec<String> {
    let shared = format!("{PAGE} gives a high rate to a shared file system.");
    let depends = "One node writes then, and each says that its own mount shows the release; all of them depend on one server."
        .to_owned();
    let cheap = match facts.push_ms {
        Some(Median { value, .. }) => format!("a push, which takes {},", millis(value)),
        None => "a push".to_owned(),
    };
    let nodes = figures::nodes(facts.nodes);
    match rule {
        Rule::Incessant => vec![
            format!(
                "{shared} For depsync that begins at {} changes a day, every second minute.",
                BORDERS.shared_per_day
            ),
            depends,
        ],
        Rule::Busy { percent } => vec![
            format!(
                "{shared} For depsync that begins where pushes are at work {} % of the time; here it is {percent} %.",
                BORDERS.busy_percent
            ),
            depends,
        ],
        Rule::Medium => vec![
            format!(
                "{PAGE} copies each minute at a medium rate, and goes over to a shared file system at a high one."
            ),
            format!(
                "As a push costs little, depsync does so from {} changes a day, which nobody tells of one by one, to {}, every second minute.",
                BORDERS.on_change_per_day, BORDERS.shared_per_day
            ),
        ],
        Rule::IdleIsDear => vec![format!(
            "{PAGE} copies each minute at this rate; but a push that finds nothing takes too long for that here."
        )],
        Rule::RareForMany => vec![
            format!("{PAGE} gives a low rate, about once a week, to configuration management."),
            format!(
                "So does depsync from {} nodes on: one that is built anew then has the release from what builds it.",
                BORDERS.nodes_many
            ),
        ],
        Rule::Rare => vec![
            format!("{PAGE} gives a low rate, about once a week, to configuration management."),
            format!("For {nodes} {cheap} does as well, and says what became of each."),
        ],
        Rule::Few => vec![format!(
            "Up to {} changes a day can be told of one by one: whoever makes one, or the job that builds it, pushes it.",
            BORDERS.on_change_per_day
        )],
    }
}

/// What pushes would cost in a day.
fn costs(facts: &Facts) -> Vec<String> {
    let mut costs = Vec::new();
    if let Some(Median { value, .. }) = facts.idle_ms {
        let day = millis(value.saturating_mul(MINUTES));
        let idle = millis(value);
        costs.push(format!(
            "A push that finds nothing takes {idle}: one each minute costs {day} a day."
        ));
    }
    if let Some(change) = facts.change_ms().filter(|_| facts.changes > 0) {
        let all = u128::from(facts.changes) * u128::from(change) * u128::from(DAY);
        let day = all / u128::from(facts.span.max(1));
        let day = millis(u64::try_from(day).unwrap_or(u64::MAX));
        let change = millis(change);
        costs.push(match facts.push_ms {
            Some(_) => format!("A push with a change takes {change}: all of them, {day} a day."),
            None => format!(
                "No push is recorded: at 100 MiB a second to all nodes a change takes {change}, all of them {day} a day."
            ),
        });
    }
    costs
}

/// As people read it.
pub fn text(advised: &Advised<'_>, style: Style) -> String {
    let Advised { cluster, facts, advice, steps, other_steps } = advised;
    let mut text = String::new();
    let title_of = style.paint(Color::Green, title(advice.approach));
    push_line(
        &mut text,
        &format!("{} {title_of}", style.paint(Color::Bold, &format!("{cluster}:"))),
    );
    for (name, value) in numbers(facts) {
        let name = style.paint(Color::Dim, &format!("{name:<10}"));
        push_line(&mut text, &format!("  {name}  {value}"));
    }
    push_line(&mut text, "");
    push_line(&mut text, &style.paint(Color::Bold, "why"));
    for reason in reasons(facts, *advice) {
        push_line(&mut text, &format!("  {reason}"));
    }
    push_steps(&mut text, "set it up", steps, style);
    if let Some(other) = advice.other {
        push_steps(&mut text, &format!("would do as well: {}", title(other)), other_steps, style);
    }
    text
}

fn push_steps(text: &mut String, head: &str, steps: &[Step], style: Style) {
    push_line(text, "");
    push_line(text, &style.paint(Color::Bold, head));
    let width = steps.iter().map(|step| step.command.chars().count()).max().unwrap_or(0);
    for Step { command, why } in steps {
        let why = style.paint(Color::Dim, &format!("# {why}"));
        push_line(text, &format!("  {command:<width$}  {why}"));
    }
}

#[derive(Serialize)]
struct AdviceLine<'a> {
    r#type: &'static str,
    format_version: u32,
    cluster: &'a str,
    approach: &'static str,
    other: Option<&'static str>,
    basis: &'static str,
    since: String,
    span_seconds: u64,
    changes: u64,
    changes_busiest_day: u64,
    change_names: Option<u64>,
    change_bytes: Option<u64>,
    nodes: usize,
    push_ms: Option<u64>,
    idle_push_ms: Option<u64>,
    full_names: Option<u64>,
    full_bytes: Option<u64>,
    reasons: Vec<String>,
    steps: &'a [Step],
    other_steps: &'a [Step],
}

/// The same as a line of JSON.
pub fn line(advised: &Advised<'_>) -> String {
    let Advised { cluster, facts, advice, steps, other_steps } = advised;
    let value = |median: Option<Median>| median.map(|median| median.value);
    let line = AdviceLine {
        r#type: "advice",
        format_version: FORMAT_VERSION,
        cluster,
        approach: word(advice.approach),
        other: advice.other.map(word),
        basis: match facts.basis {
            Basis::History { .. } => "history",
            Basis::Look { .. } => "source",
        },
        since: figures::utc(facts.since),
        span_seconds: facts.span,
        changes: facts.changes,
        changes_busiest_day: facts.busiest_day,
        change_names: facts.change.map(|size| size.names),
        change_bytes: facts.change.map(|size| size.bytes),
        nodes: facts.nodes,
        push_ms: value(facts.push_ms),
        idle_push_ms: value(facts.idle_ms),
        full_names: facts.full.map(|size| size.names),
        full_bytes: facts.full.map(|size| size.bytes),
        reasons: reasons(facts, *advice),
        steps,
        other_steps,
    };
    let mut text = String::new();
    json::push(&mut text, &line);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::advise::advise;

    const PLAIN: Style = Style { color: false, all_paths: false };

    fn facts() -> Facts {
        Facts {
            basis: Basis::History { runs: 12_960 },
            since: 1_793_491_200,
            span: 9 * DAY,
            changes: 128,
            busiest_day: 31,
            change: Some(Size { names: 3, bytes: 4_200 }),
            nodes: 4,
            push_ms: Some(Median { value: 420, count: 128 }),
            idle_ms: Some(Median { value: 95, count: 12_832 }),
            full: Some(Size { names: 1_200, bytes: 340 << 20 }),
        }
    }

    fn advised(facts: &Facts) -> Advised<'_> {
        let step = Step { command: "depsync recipe x -c y".into(), why: "a reason" };
        let advice = advise(facts);
        Advised { cluster: "mi", facts, advice, steps: vec![step], other_steps: Vec::new() }
    }

    #[test]
    fn the_advice_comes_with_its_numbers_its_reasons_and_its_commands() {
        let facts = facts();
        let text = text(&advised(&facts), PLAIN);
        let expected = "\
mi: copy each minute
  changes     14.2 a day: 128 new releases in 12.9 k runs of the 9 days since 2026-11-01
  busiest     31 changes on one day
  one change  3 names, 4.1 KiB sent to a node (medians)
  full copy   1200 names, 340.0 MiB
  nodes       4
  a push      420 ms (median of 128)
  idle push   95 ms (median of 12832)

why
  WSO2's page copies each minute at a medium rate, and goes over to a shared file system at a high one.
  As a push costs little, depsync does so from 4 changes a day, which nobody tells of one by one, to 720, every second minute.
  A push that finds nothing takes 95 ms: one each minute costs 2 m 16 s a day.
  A push with a change takes 420 ms: all of them, 5.9 s a day.
  Several changes between two pushes are one here.

set it up
  depsync recipe x -c y  # a reason
";
        assert_eq!(text, expected);
        let colored = super::text(&advised(&facts), Style { color: true, ..PLAIN });
        assert!(colored.starts_with("\x1b[1mmi:\x1b[0m \x1b[32mcopy each minute\x1b[0m\n"));
    }

    #[test]
    fn every_rule_has_its_words_and_every_approach_its_name() {
        let calm = Facts { changes: 1, span: 7 * DAY, ..facts() };
        let cases = [
            (Facts { changes: 720 * 9, ..facts() }, "a shared file system", "every second minute"),
            (
                Facts { push_ms: Some(Median { value: 4_000_000, count: 1 }), ..facts() },
                "a shared file system",
                "here it is 65 %",
            ),
            (
                Facts { idle_ms: Some(Median { value: 11_000, count: 1 }), ..facts() },
                "copy on change",
                "takes too long for that",
            ),
            (
                Facts { nodes: 10, ..calm },
                "release files by configuration management",
                "from 10 nodes",
            ),
            (calm, "copy on change", "For 4 nodes a push, which takes 420 ms, does as well"),
            (Facts { changes: 3, ..calm }, "copy on change", "Up to 4 changes a day"),
        ];
        for (facts, name, words) in cases {
            let text = text(&advised(&facts), PLAIN);
            assert!(text.starts_with(&format!("mi: {name}\n")) && text.contains(words), "{text}");
        }
        let unknown = Facts { push_ms: None, idle_ms: None, change: None, full: None, ..calm };
        let text = text(&advised(&unknown), PLAIN);
        assert!(
            text.contains("For 4 nodes a push does as well") && !text.contains("takes"),
            "{text}"
        );
        assert!(text.contains("  a push      not measured\n"), "{text}");
    }

    #[test]
    fn a_look_says_what_it_cannot_see() {
        let basis = Basis::Look { dated: 40, ahead: 2 };
        let facts = Facts { basis, changes: 1, push_ms: None, ..facts() };
        let text = text(&advised(&facts), PLAIN);
        let found = "0.8 a week: 1 minute with changes to 40 names in the 9 days since 2026-11-01";
        assert!(text.contains(found), "{text}");
        assert!(text.contains("No push is recorded: at 100 MiB a second"), "{text}");
        assert!(text.contains("Not counted: 2 names with a time that is yet to come."), "{text}");
        assert!(text.contains("\nwould do as well: copy each minute\n"), "{text}");
    }

    #[test]
    fn the_line_has_every_number() {
        let line = line(&advised(&facts()));
        let start = "{\"type\":\"advice\",\"format_version\":1,\"cluster\":\"mi\",\"approach\":\"copy-each-minute\",\"other\":null,\"basis\":\"history\",\"since\":\"2026-11-01T00:00:00Z\",\"span_seconds\":777600,\"changes\":128,";
        assert!(line.starts_with(start) && line.ends_with("}\n"), "{line}");
        let steps = "\"steps\":[{\"command\":\"depsync recipe x -c y\",\"why\":\"a reason\"}]";
        assert!(line.contains(steps) && line.lines().count() == 1, "{line}");
    }
}
