//! Rows, medians and what they were measured on.

use super::measure::Cost;
use super::tools;
use crate::program;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// One run of one tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) work: String,
    pub(super) nodes: u8,
    /// What each node's link was limited to; 0 for no limit.
    pub(super) mbit: u32,
    pub(super) change: String,
    pub(super) tool: String,
    pub(super) run: u32,
    /// The command succeeded and every node's tree is the source's; for a floor, the command succeeded.
    pub(super) ok: bool,
    #[serde(flatten)]
    pub(super) cost: Cost,
}

/// The medians of all runs of one tool.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Median {
    pub(super) work: String,
    pub(super) nodes: u8,
    pub(super) mbit: u32,
    pub(super) change: String,
    pub(super) tool: String,
    pub(super) runs: usize,
    pub(super) wall: f64,
    cpu: f64,
    hub_cpu: Option<f64>,
    wire: f64,
    rss: f64,
    agent: Option<f64>,
    noise: f64,
    pub(super) ok: bool,
    /// Its share of the time that the tool took which it is compared with; none where that was not run.
    wall_of: Option<f64>,
    /// Its share of that tool's bytes on the wire.
    wire_of: Option<f64>,
}

impl Row {
    /// The row as one line for the screen.
    pub(super) fn shown(&self) -> String {
        let cost = &self.cost;
        let verdict = match (self.ok, tools::is_floor(&self.tool)) {
            (true, false) => "ok".to_owned(),
            (true, true) => "floor".to_owned(),
            (false, _) => format!("WRONG exit {}", cost.exit),
        };
        format!(
            "{:12} {:8} {:12} wall {:8.2}s cpu {:8.2}s hub cpu {} wire {:9.2}MB rss {:7.1}MB agent {} \
             noise {:5.2} {verdict}",
            place(&self.work, self.nodes, self.mbit),
            self.change,
            self.tool,
            cost.wall,
            cost.cpu,
            shown(cost.hub_cpu, 2),
            megabytes(cost.wire),
            megabytes(cost.rss),
            shown(cost.agent.map(megabytes), 1),
            cost.noise,
        )
    }

    fn is_beside(&self, other: &Self) -> bool {
        (&self.work, self.nodes, self.mbit, &self.change)
            == (&other.work, other.nodes, other.mbit, &other.change)
    }
}

/// Tree, nodes and limit as they stand in a table.
fn place(work: &str, nodes: u8, mbit: u32) -> String {
    match mbit {
        0 => format!("{work}, {nodes}"),
        _ => format!("{work}, {nodes}, {mbit} Mbit/s"),
    }
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.digits$}"))
}

/// The medians by tree, nodes, limit, change and tool, in the order of the rows. Ratios are to `base`.
pub(super) fn medians(rows: &[Row], base: &str) -> Vec<Median> {
    let mut found: Vec<(usize, Median)> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if rows.iter().take(at).any(|other| other.is_beside(row) && other.tool == row.tool) {
            continue;
        }
        let beside: Vec<&Row> = rows.iter().filter(|other| other.is_beside(row)).collect();
        let of = |tool: &str| -> Vec<&Cost> {
            beside.iter().filter(|other| other.tool == tool).map(|other| &other.cost).collect()
        };
        let place = rows.iter().position(|other| other.is_beside(row)).unwrap_or(at);
        let is_ok = beside.iter().filter(|other| other.tool == row.tool).all(|other| other.ok);
        found.push((place, median(row, &of(&row.tool), &of(base), is_ok)));
    }
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, median)| median).collect()
}

/// The median of the runs of the tool of `row`, beside those of the tool it is compared with.
fn median(row: &Row, own: &[&Cost], base: &[&Cost], ok: bool) -> Median {
    let value = |of: fn(&Cost) -> f64| middle(own.iter().map(|cost| of(cost)).collect());
    let some = |of: fn(&Cost) -> Option<f64>| {
        let values: Vec<f64> = own.iter().filter_map(|cost| of(cost)).collect();
        (!values.is_empty()).then(|| middle(values))
    };
    let share = |of: fn(&Cost) -> f64| {
        let base = middle(base.iter().map(|cost| of(cost)).collect());
        (base > 0.0).then(|| value(of) / base)
    };
    Median {
        work: row.work.clone(),
        nodes: row.nodes,
        mbit: row.mbit,
        change: row.change.clone(),
        tool: row.tool.clone(),
        runs: own.len(),
        wall: value(|cost| cost.wall),
        cpu: value(|cost| cost.cpu),
        hub_cpu: some(|cost| cost.hub_cpu),
        wire: value(|cost| megabytes(cost.wire)),
        rss: value(|cost| megabytes(cost.rss)),
        agent: some(|cost| cost.agent.map(megabytes)),
        noise: value(|cost| cost.noise),
        ok,
        wall_of: share(|cost| cost.wall),
        wire_of: share(|cost| megabytes(cost.wire)),
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    let lower = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
    f64::midpoint(upper, lower)
}

/// The tool that others are compared with: rsync to all nodes at once if it is there, else the first.
pub(super) fn base<'a>(tools: impl IntoIterator<Item = &'a str>) -> &'a str {
    let mut tools = tools.into_iter().peekable();
    let first = tools.peek().copied().unwrap_or_default();
    tools.find(|tool| *tool == "rsync-p").unwrap_or(first)
}

/// The medians as a table, in columns or as Markdown.
pub(super) fn table(medians: &[Median], base: &str, markdown: bool) -> String {
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "{line}").expect("invariant: writing to a string succeeds");
    };
    if markdown {
        line(format_args!(
            "| tree, nodes | change | tool | runs | wall s | of {base} | cpu s | hub cpu s | wire MB | of {base} \
             | hub MB | agent MB | noise | |"
        ));
        line(format_args!("|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"));
    } else {
        line(format_args!("medians; `of` is the share of what {base} took"));
    }
    for m in medians {
        let verdict = match (m.ok, tools::is_floor(&m.tool)) {
            (true, false) => "ok",
            (true, true) => "floor",
            (false, _) => "WRONG",
        };
        let place = place(&m.work, m.nodes, m.mbit);
        let (change, tool, runs) = (&m.change, &m.tool, m.runs);
        let (wall_of, wire_of) = (shown(m.wall_of, 2), shown(m.wire_of, 3));
        let (hub_cpu, agent) = (shown(m.hub_cpu, 2), shown(m.agent, 1));
        if markdown {
            line(format_args!(
                "| {place} | {change} | {tool} | {runs} | {:.2} | {wall_of} | {:.2} | {hub_cpu} | {:.2} | {wire_of} \
                 | {:.1} | {agent} | {:.2} | {verdict} |",
                m.wall, m.cpu, m.wire, m.rss, m.noise
            ));
        } else {
            line(format_args!(
                "{place:12} {change:8} {tool:12} wall {:8.2} (of {wall_of:>5}) cpu {:8.2} hub {hub_cpu:>6} wire {:9.2} \
                 (of {wire_of:>6}) rss {:7.1} agent {agent:>6} noise {:5.2} {verdict}",
                m.wall, m.cpu, m.wire, m.rss, m.noise
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
pub(super) mod tests {
    use super::*;

    /// A run of `tool` on so many nodes, of the tree `work`.
    pub(in super::super) fn row(work: &str, nodes: u8, tool: &str, wall: f64) -> Row {
        let cost = Cost {
            wall,
            cpu: 1.0,
            hub_cpu: (tool == "depsync").then_some(wall / 4.0),
            noise: 0.0,
            wire: if tool == "depsync" { 500_000 } else { 2_000_000 },
            rss: 1_000_000,
            agent: (tool != "tar").then_some(4_000_000),
            exit: 0,
        };
        let (work, change, tool) = (work.to_owned(), "full".to_owned(), tool.to_owned());
        Row { work, nodes, mbit: 0, change, tool, run: 0, ok: true, cost }
    }

    #[test]
    fn the_middle_of_an_even_number_is_halfway() {
        for (values, expected) in
            [(vec![3.0], 3.0), (vec![5.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 2.0, 9.0], 3.0)]
        {
            assert!((middle(values) - expected).abs() < 1e-9);
        }
        assert!(middle(Vec::new()).is_nan());
    }

    #[test]
    fn medians_and_ratios() {
        let mut wrong = row("mi", 4, "rsync-p", 6.0);
        wrong.ok = false;
        let rows = [
            row("mi", 4, "rsync-p", 8.0),
            row("mi", 4, "depsync", 1.0),
            row("mi", 4, "rsync-p", 4.0),
            row("mi", 4, "depsync", 3.0),
            wrong,
        ];
        let found = medians(&rows, "rsync-p");
        let [rsync, depsync] = found.try_into().unwrap();
        assert!(!rsync.ok && depsync.ok);
        let text = table(&[rsync, depsync], "rsync-p", true);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| mi, 4 | full | rsync-p | 3 | 6.00 | 1.00 | 1.00 |  | 2.00 | 1.000 | 1.0 | 4.0 | 0.00 | WRONG |",
                "| mi, 4 | full | depsync | 2 | 2.00 | 0.33 | 1.00 | 0.50 | 0.50 | 0.250 | 1.0 | 4.0 | 0.00 | ok |",
            ]
        );
        let columns = text.lines().map(|line| line.matches('|').count()).collect::<Vec<_>>();
        assert_eq!(columns, [15; 4]);
    }

    #[test]
    fn rows_of_other_nodes_or_limits_are_not_compared() {
        let mut slow = row("mi", 4, "depsync", 9.0);
        slow.mbit = 100;
        let rows = [row("mi", 4, "rsync-p", 8.0), row("mi", 2, "depsync", 1.0), slow];
        let found = medians(&rows, "rsync-p");
        assert_eq!(found.len(), 3);
        assert!(found.iter().skip(1).all(|median| median.wall_of.is_none()));
        assert!(
            table(&found, "rsync-p", true)
                .contains("| mi, 4, 100 Mbit/s | full | depsync | 1 | 9.00 |  |")
        );
    }

    #[test]
    fn floors_and_the_tool_compared_with_are_named() {
        let floor = medians(&[row("mi", 4, "find", 1.0)], "rsync-p");
        assert!(table(&floor, "rsync-p", true).ends_with("| floor |\n"));
        assert_eq!(base(["depsync", "rsync-p"]), "rsync-p");
        assert_eq!(base(["tar", "depsync"]), "tar");
    }
}
