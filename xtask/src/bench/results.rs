//! Files of results: the raw data as it comes, and what is made of it.
//!
//! ```text
//! benches/results/DATE-SUITE.json       every row, command lines, machine, commit
//! benches/results/DATE-SUITE.md         medians
//! benches/results/DATE-SUITE-nodes.svg  growth with nodes
//! benches/results/DATE-SUITE-files.svg  growth with files
//! ```

use super::plot;
use super::report::{self, Row};
use crate::failure::{Failure, Result, at};
use crate::{program, workspace};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All that was measured in one go.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Results {
    /// The suite's name; none for a measurement of the command line.
    pub(super) suite: Option<String>,
    pub(super) date: String,
    pub(super) commit: String,
    /// False as long as rows are missing.
    pub(super) is_whole: bool,
    pub(super) machine: BTreeMap<String, String>,
    /// The command line of each tool, as last used.
    pub(super) commands: BTreeMap<String, String>,
    pub(super) rows: Vec<Row>,
}

impl Results {
    /// Empty results of this day and of the commit that is checked out.
    ///
    /// # Errors
    /// The day cannot be told.
    pub(super) fn begin(suite: Option<&str>) -> Result<Self> {
        let date = program::output(&["date", "-u", "+%F"])?.trim().to_owned();
        let root = workspace::root().display().to_string();
        let described = program::output(&[
            "git",
            "-C",
            &root,
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
        ]);
        let commit =
            described.map_or_else(|_absent| "unknown".to_owned(), |text| text.trim().to_owned());
        let suite = suite.map(str::to_owned);
        Ok(Self { suite, date, commit, ..Self::default() })
    }

    /// Reads raw data.
    ///
    /// # Errors
    /// It cannot be read or is something else.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(at("read", path))?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
    }

    /// Replaces the file at `path` as a whole, so that there is valid data whenever the benchmark is broken off.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result {
        let folder = path.parent().unwrap_or(path);
        std::fs::create_dir_all(folder).map_err(at("create", folder))?;
        let medians = report::medians(&self.rows, self.base());
        let mut all = serde_json::json!(self);
        if let Some(all) = all.as_object_mut() {
            all.insert("medians".to_owned(), serde_json::json!(medians));
        }
        let new = path.with_added_extension("new");
        std::fs::write(&new, format!("{all:#}\n")).map_err(at("write", &new))?;
        std::fs::rename(&new, path).map_err(at("rename", &new))
    }

    /// The tool that others are compared with.
    pub(super) fn base(&self) -> &str {
        report::base(self.rows.iter().map(|row| row.tool.as_str()))
    }

    /// Writes the summary and the plots beside the raw data at `path`.
    ///
    /// # Errors
    /// One of them cannot be made.
    pub(super) fn summarise(&self, path: &Path) -> Result {
        let summary = path.with_extension("md");
        std::fs::write(&summary, self.summary()).map_err(at("write", &summary))?;
        println!("wrote {}", summary.display());
        plot::draw(&self.rows, path)
    }

    fn summary(&self) -> String {
        let base = self.base();
        let suite = self.suite.as_deref().unwrap_or("benchmark");
        let state = if self.is_whole { "" } else { " It was broken off: rows are missing." };
        let table = report::table(&report::medians(&self.rows, base), base, true);
        let named = |values: &BTreeMap<String, String>, mark: &str| -> String {
            let lines = values.iter().map(|(name, value)| format!("- {name}: {mark}{value}{mark}"));
            lines.collect::<Vec<_>>().join("\n")
        };
        let (machine, commands) = (named(&self.machine, ""), named(&self.commands, "`"));
        format!(
            "# {suite}, {}\n\nCommit {}.{state} Medians of so many runs; `of {base}` is the share of what {base} took \
             in the same place: lower is better.\n`hub cpu` is what depsync's process on the hub used, without ssh. \
             `agent MB` is the largest process of the tool on any node,\nlooked at every 20 ms. A floor leaves something \
             out, and what does all can hardly be faster.\n\n{table}\n## Machine\n{machine}\n\n## Command lines\n{commands}\n",
            self.date, self.commit
        )
    }
}

/// The file for the raw data of a suite that begins now; what is there is left alone.
pub(super) fn new_path(results: &Results) -> PathBuf {
    let folder = workspace::root().join("benches").join("results");
    let suite = results.suite.as_deref().unwrap_or_default();
    let named = |more: &str| folder.join(format!("{}-{suite}{more}.json", results.date));
    let mut path = named("");
    let mut number = 1;
    while path.exists() {
        number += 1;
        path = named(&format!("-{number}"));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::row;
    use super::*;

    #[test]
    fn raw_data_survives_the_round_trip_and_is_summarised() {
        let folder = std::env::temp_dir().join(format!("xtask-results-{}", std::process::id()));
        let path = folder.join("2026-01-02-quick.json");
        let mut results = Results {
            suite: Some("quick".to_owned()),
            date: "2026-01-02".to_owned(),
            rows: vec![row("mi", 1, "depsync", 1.0), row("mi", 1, "rsync-p", 4.0)],
            ..Results::default()
        };
        results.write(&path).unwrap();
        results.rows.push(row("mi", 2, "depsync", 2.0));
        results.write(&path).unwrap();
        let read = Results::read(&path).unwrap();
        assert_eq!((read.rows.len(), read.base(), read.is_whole), (3, "rsync-p", false));
        assert_eq!(read.rows[0].cost.agent, Some(4_000_000));
        read.summarise(&path).unwrap();
        let summary = std::fs::read_to_string(path.with_extension("md")).unwrap();
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(summary.contains("broken off"), "{summary}");
        assert!(summary.contains("| mi, 1 | full | depsync | 1 | 1.00 | 0.25 |"), "{summary}");
        // There is nothing about files to be plotted.
        let kinds = ["-nodes.svg", ".json", ".md"].map(|end| format!("2026-01-02-quick{end}"));
        assert_eq!(files, kinds);
    }
}
