//! Rows, medians and what they were measured on.

use super::measure::Cost;
use crate::program;
use serde::Serialize;
use std::fmt::Write as _;

/// One run of one tool.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) work: String,
    pub(super) change: String,
    pub(super) tool: String,
    pub(super) run: u32,
    /// The command succeeded and every node's tree is the source's.
    pub(super) ok: bool,
    #[serde(flatten)]
    pub(super) cost: Cost,
}

/// The medians of all runs of one tool.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Median {
    work: String,
    change: String,
    tool: String,
    wall: f64,
    cpu: f64,
    wire: f64,
    rss: f64,
    noise: f64,
    ok: bool,
    /// How many times as fast as the tool it is compared with.
    ratio: f64,
}

impl Row {
    /// The row as one line for the screen.
    pub(super) fn shown(&self) -> String {
        let cost = &self.cost;
        let verdict = if self.ok { "ok".to_owned() } else { format!("WRONG exit {}", cost.exit) };
        format!(
            "{:6} {:8} {:12} wall {:8.2}s cpu {:8.2}s wire {:9.2}MB rss {:7.1}MB noise {:5.2} {verdict}",
            self.work,
            self.change,
            self.tool,
            cost.wall,
            cost.cpu,
            megabytes(cost.wire),
            megabytes(cost.rss),
            cost.noise,
        )
    }
}

/// The medians by tree, change and tool, in the order of the rows. Ratios are to `base`.
pub(super) fn medians(rows: &[Row], base: &str) -> Vec<Median> {
    let mut found: Vec<Median> = Vec::new();
    for row in rows {
        let is_this = |median: &Median| {
            (&median.work, &median.change, &median.tool) == (&row.work, &row.change, &row.tool)
        };
        if found.iter().any(is_this) {
            continue;
        }
        let of = |tool: &str| -> Vec<&Row> {
            let alike = |other: &&Row| (&other.work, &other.change) == (&row.work, &row.change);
            rows.iter().filter(alike).filter(|other| other.tool == tool).collect()
        };
        let (own, other) = (of(&row.tool), of(base));
        let value = |rows: &[&Row], of: fn(&Cost) -> f64| {
            middle(rows.iter().map(|row| of(&row.cost)).collect())
        };
        found.push(Median {
            work: row.work.clone(),
            change: row.change.clone(),
            tool: row.tool.clone(),
            wall: value(&own, |cost| cost.wall),
            cpu: value(&own, |cost| cost.cpu),
            wire: value(&own, |cost| megabytes(cost.wire)),
            rss: value(&own, |cost| megabytes(cost.rss)),
            noise: value(&own, |cost| cost.noise),
            ok: own.iter().all(|row| row.ok),
            ratio: value(&other, |cost| cost.wall) / value(&own, |cost| cost.wall),
        });
    }
    let order = |median: &Median| {
        rows.iter().position(|row| row.work == median.work && row.change == median.change)
    };
    found.sort_by_key(order);
    found
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    let lower = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
    f64::midpoint(upper, lower)
}

/// The medians as a table, in columns or as Markdown.
pub(super) fn table(medians: &[Median], base: &str, markdown: bool) -> String {
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "{line}").expect("invariant: writing to a string succeeds");
    };
    if markdown {
        line(format_args!(
            "| tree | change | tool | wall s | times {base} | cpu s | wire MB | rss MB | noise | |"
        ));
        line(format_args!("|---|---|---|--:|--:|--:|--:|--:|--:|---|"));
    } else {
        line(format_args!("medians; the ratio is how many times as fast as {base}"));
    }
    for m in medians {
        let verdict = if m.ok { "ok" } else { "WRONG" };
        let (work, change, tool) = (&m.work, &m.change, &m.tool);
        if markdown {
            line(format_args!(
                "| {work} | {change} | {tool} | {:.2} | {:.1} | {:.2} | {:.2} | {:.1} | {:.2} | {verdict} |",
                m.wall, m.ratio, m.cpu, m.wire, m.rss, m.noise
            ));
        } else {
            line(format_args!(
                "{work:6} {change:8} {tool:12} wall {:8.2} ({:5.1}x) cpu {:8.2} wire {:9.2} rss {:7.1} \
                 noise {:5.2} {verdict}",
                m.wall, m.ratio, m.cpu, m.wire, m.rss, m.noise
            ));
        }
    }
    text
}

/// The machine and the programs measured with, one `name: value` a line.
pub(super) fn machine() -> Vec<(String, String)> {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str, mark: char| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(mark)
            .map_or("unknown", |(_, value)| value.trim())
            .trim_matches('"')
            .to_owned()
    };
    let version = |argv: &[&str]| {
        let said = program::captured(argv).map(|done| [done.stdout, done.stderr].concat());
        let said = said.map(|said| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default();
        said.lines().next().unwrap_or("absent").trim().to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let cpu = format!("{} x {}", processors, field(&file("/proc/cpuinfo"), "model name", ':'));
    [
        ("processors", cpu),
        ("memory", field(&file("/proc/meminfo"), "MemTotal", ':')),
        ("kernel", file("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("system", field(&file("/etc/os-release"), "PRETTY_NAME", '=')),
        ("rsync", version(&["rsync", "--version"])),
        ("ssh", version(&["ssh", "-V"])),
        ("tar", version(&["tar", "--version"])),
        ("depsync", version(&[&super::tools::depsync_path(), "--version"])),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

#[expect(clippy::cast_precision_loss, reason = "sizes are shown with few digits")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tool: &str, run: u32, wall: f64) -> Row {
        let cost = Cost { wall, cpu: 1.0, noise: 0.0, wire: 2_000_000, rss: 1_000_000, exit: 0 };
        let (work, change) = ("mi".to_owned(), "full".to_owned());
        Row { work, change, tool: tool.to_owned(), run, ok: run != 9, cost }
    }

    #[test]
    fn medians_and_ratios() {
        let rows = [
            row("rsync-p", 0, 8.0),
            row("x", 0, 1.0),
            row("rsync-p", 1, 4.0),
            row("x", 1, 3.0),
            row("rsync-p", 9, 6.0),
        ];
        let found = medians(&rows, "rsync-p");
        let [rsync, x] = found.try_into().unwrap();
        assert!((rsync.wall - 6.0).abs() < 1e-9 && (x.wall - 2.0).abs() < 1e-9);
        assert!((rsync.ratio - 1.0).abs() < 1e-9 && (x.ratio - 3.0).abs() < 1e-9);
        assert!(!rsync.ok && x.ok);
        let text = table(&[x], "rsync-p", true);
        assert_eq!(
            text.lines().nth(2),
            Some("| mi | full | x | 2.00 | 3.0 | 1.00 | 2.00 | 1.0 | 0.00 | ok |")
        );
    }
}
