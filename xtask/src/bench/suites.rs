//! What is measured: lines of one tree on so many nodes, given on the command line or by a table of `suites.toml`.

use super::tools;
use crate::failure::{Failure, Result};
use crate::workload;
use serde::Deserialize;
use std::collections::BTreeMap;

const SUITES: &str = include_str!("suites.toml");

/// One tree on so many nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tree: String,
    pub(super) nodes: u8,
    pub(super) changes: Vec<String>,
    pub(super) tools: Vec<String>,
    pub(super) runs: u32,
    /// What each node's link is limited to; 0 for no limit.
    pub(super) mbit: u32,
}

/// A table of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    trees: Vec<String>,
    nodes: Vec<u8>,
    changes: Vec<String>,
    tools: Vec<String>,
    runs: u32,
    #[serde(default)]
    mbit: u32,
}

/// The lines of a suite.
///
/// # Errors
/// As [`check`]; the file is this program's own.
pub(super) fn named(name: &str) -> Result<Vec<Line>> {
    parse(SUITES, name)
}

fn parse(text: &str, name: &str) -> Result<Vec<Line>> {
    let mut suites: BTreeMap<String, Vec<Table>> =
        toml::from_str(text).map_err(|error| Failure::new(format!("suites.toml: {error}")))?;
    let tables = suites
        .remove(name)
        .ok_or_else(|| Failure::unavailable(format!("there is no suite {name}")))?;
    let lines: Vec<Line> = tables.into_iter().flat_map(lines).collect();
    check(&lines)?;
    Ok(lines)
}

/// A line for each tree and number of nodes.
fn lines(table: Table) -> Vec<Line> {
    let Table { trees, nodes, changes, tools, runs, mbit } = table;
    let pairs = trees.iter().flat_map(|tree| nodes.iter().map(move |nodes| (tree, *nodes)));
    pairs
        .map(|(tree, nodes)| Line {
            tree: tree.clone(),
            nodes,
            changes: changes.clone(),
            tools: tools.clone(),
            runs,
            mbit,
        })
        .collect()
}

/// Checks that all that the lines name is there, before anything is measured.
///
/// # Errors
/// There is no such tree or tool, or a number cannot be used (code 2).
pub(super) fn check(lines: &[Line]) -> Result {
    for line in lines {
        if !workload::is_tree(&line.tree) {
            return Err(Failure::unavailable(format!("there is no workload {}", line.tree)));
        }
        for tool in &line.tools {
            if !tools::TOOLS.iter().any(|(name, _)| name == tool) {
                return Err(Failure::unavailable(format!("there is no tool {tool} to compare")));
            }
        }
        let unknown = line.changes.iter().find(|change| !workload::is_change(change));
        if let Some(change) = unknown.filter(|change| *change != "full") {
            return Err(Failure::unavailable(format!("there is no change {change}")));
        }
        if !(1..=250).contains(&line.nodes) || line.runs == 0 {
            return Err(Failure::unavailable(format!("{} needs nodes and runs", line.tree)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "[[a]]\ntrees = [\"mi\", \"files-10\"]\nnodes = [1, 4]\nchanges = [\"full\"]\n\
                         tools = [\"find\"]\nruns = 2\n";

    #[test]
    fn a_table_is_a_line_for_each_tree_and_number_of_nodes() {
        let lines = parse(TABLE, "a").unwrap();
        let told: Vec<_> = lines.iter().map(|line| (line.tree.as_str(), line.nodes)).collect();
        assert_eq!(told, [("mi", 1), ("mi", 4), ("files-10", 1), ("files-10", 4)]);
        assert!(lines.iter().all(|line| (line.runs, line.mbit) == (2, 0)));
        assert_eq!(parse(TABLE, "b").unwrap_err().code, 2);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for (old, new) in [
            ("find", "found"),
            ("files-10", "files-x"),
            ("full", "half"),
            ("runs = 2", "runs = 0"),
            ("[1, 4]", "[0]"),
        ] {
            let text = TABLE.replace(old, new);
            assert_eq!(parse(&text, "a").unwrap_err().code, 2, "{new}");
        }
        assert!(parse(&TABLE.replace("runs", "rnus"), "a").is_err());
    }

    #[test]
    fn the_floors_stand_beside_what_they_are_floors_of() {
        let lines = named("floors").unwrap();
        for line in &lines {
            assert!(
                ["rsync-p", "depsync"].iter().all(|tool| line.tools.iter().any(|one| one == tool))
            );
            assert!(line.tools.iter().any(|tool| tools::is_floor(tool)), "{}", line.tree);
        }
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn the_suites_plot_what_they_should() {
        for (name, nodes, files) in [
            ("quick", [1, 2, 4].as_slice(), [1_000, 10_000].as_slice()),
            ("full", &[1, 2, 4, 8, 16, 32], &[1_000, 10_000, 100_000, 1_000_000]),
            ("growth", &[1, 2, 4, 8, 16, 32], &[1_000, 10_000, 100_000, 1_000_000]),
        ] {
            let lines = named(name).unwrap();
            for tool in ["rsync-p", "depsync"] {
                let of_tool = lines.iter().filter(|line| line.tools.iter().any(|one| one == tool));
                let of_tool: Vec<&Line> = of_tool.collect();
                let has = |tree: &str, nodes: u8| {
                    of_tool.iter().any(|line| (line.tree.as_str(), line.nodes) == (tree, nodes))
                };
                assert!(nodes.iter().all(|nodes| has("mi", *nodes)), "{name} {tool}");
                assert!(files.iter().all(|files| has(&format!("files-{files}"), 1)), "{name}");
            }
        }
    }
}
