//! The benchmark: synchronisers side by side on the lab's cluster.
//!
//! A row is measured from the command's start until it returns; then every node's tree is compared with the
//! source, and a tool whose nodes differ is marked WRONG. Tools take turns inside one run, so that drift of
//! the machine hits all alike. Where noise is above 0.3, the wall time is not to be trusted.

mod compare;
mod ground;
mod measure;
mod report;
mod tools;

use crate::failure::{Failure, Result, at};
use crate::lab::Lab;
use crate::{program, workload, workspace};
use measure::Group;
use report::Row;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many nodes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=250))]
    nodes: u8,
    /// Trees: mi, small, big, large, huge
    #[arg(long, value_delimiter = ',', default_value = "mi")]
    work: Vec<String>,
    /// full, which is always the first, then changes: none, one, percent, rename, edit, recar
    #[arg(long, value_delimiter = ',', default_value = "full,none,one,recar,rename")]
    changes: Vec<String>,
    /// How often each is run
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Tools: seed, rsync-p, rsync-z, depsync, depsync-new, tar
    #[arg(long, value_delimiter = ',', default_value = "rsync-p,depsync,depsync-new,tar")]
    tools: Vec<String>,
    /// Limit each node's link to this many megabits a second
    #[arg(long, default_value_t = 0)]
    mbit: u32,
    /// Also write rows, medians, command lines and machine to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Print the medians as a Markdown table
    #[arg(long)]
    markdown: bool,
}

/// Measures, and prints each row as it is known and the medians at the end.
///
/// # Errors
/// Not the super-user (code 2); the cluster cannot be made; a tool left a node WRONG.
pub(crate) fn run(options: &Options) -> Result {
    let lab = Lab::for_bench()?;
    if !program::is_root() {
        return Err(Failure::unavailable(
            "the benchmark needs the super-user, for its network and disks",
        ));
    }
    if !Path::new("/usr/bin/time").exists() {
        return Err(Failure::unavailable(
            "the benchmark needs the package time: cargo xtask prerequisites",
        ));
    }
    for tool in &options.tools {
        if !tools::TOOLS.iter().any(|(name, _)| name == tool) {
            return Err(Failure::unavailable(format!("there is no tool {tool} to compare")));
        }
    }
    if options.tools.iter().any(|tool| tools::is_depsync(tool))
        && std::env::var_os("DEPSYNC").is_none()
    {
        program::run(&[&workspace::cargo(), "build", "--release", "--bin", "depsync"])?;
    }
    let group = Group::join();
    let mut bench = Bench { options, lab, group, rows: Vec::new(), commands: BTreeMap::new() };
    let measured = bench.measure();
    let cleared = ground::clear(&bench.lab);
    let reported = bench.report();
    bench.group.leave();
    measured.and(cleared).and(reported)
}

struct Bench<'a> {
    options: &'a Options,
    lab: Lab,
    group: Group,
    rows: Vec<Row>,
    /// The command line of each tool, as last used.
    commands: BTreeMap<String, String>,
}

impl Bench<'_> {
    fn measure(&mut self) -> Result {
        for work in &self.options.work {
            let base = workspace::target().join("workload").join(work);
            if !base.exists() {
                println!("making {}", base.display());
                workload::make(work, &base)?;
            }
            for run in 0..self.options.runs {
                for tool in &self.options.tools {
                    self.one_turn(work, &base, tool, run)?;
                }
            }
        }
        Ok(())
    }

    /// One tool with all changes, on a new cluster.
    fn one_turn(&mut self, work: &str, base: &Path, tool: &str, run: u32) -> Result {
        let (options, lab) = (self.options, &self.lab);
        ground::lay(lab, options.nodes)?;
        if options.mbit > 0 {
            (1..=options.nodes).try_for_each(|node| lab.limit(node, options.mbit))?;
        }
        let source = lab.folder().join("_work");
        program::quiet(&["cp", "-a", &base.to_string_lossy(), &source.to_string_lossy()])?;
        let log = std::env::temp_dir().join(format!("bench-{}-{tool}.log", std::process::id()));
        for change in &options.changes {
            if tool == "tar" && change == "rename" {
                println!("{work:6} {change:8} {tool:12} not run: a bare copy deletes nothing");
                break;
            }
            if change != "full" {
                workload::change(work, change, &source, run + 1)?;
            }
            let argv = tools::command_line(tool, lab, &source)?;
            self.commands.insert(tool.to_owned(), program::shown(&argv));
            let cost = measure::run(&argv, lab, &self.group, &log)?;
            let mut wrong = None;
            for node in 1..=options.nodes {
                let target = lab.node_folder(node, "opt/server");
                wrong = wrong.or(compare::first_difference(&source, &target)?);
            }
            let ok = cost.exit == 0 && wrong.is_none();
            let (work, change, tool) = (work.to_owned(), change.clone(), tool.to_owned());
            let row = Row { work, change, tool, run, ok, cost };
            println!("{}", row.shown());
            if !ok {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(5).collect();
                println!("  {}", wrong.unwrap_or_default());
                last.iter().rev().for_each(|line| println!("  > {line}"));
            }
            self.rows.push(row);
        }
        for left in [log.with_extension("rss"), log] {
            std::fs::remove_file(&left).map_err(at("remove", &left))?;
        }
        Ok(())
    }

    fn report(&self) -> Result {
        let tools = &self.options.tools;
        let first = tools.first().map_or("", String::as_str);
        let base = if tools.iter().any(|tool| tool == "rsync-p") { "rsync-p" } else { first };
        let medians = report::medians(&self.rows, base);
        println!("\n{}", report::table(&medians, base, self.options.markdown));
        for (tool, command) in &self.commands {
            let meaning = tools::TOOLS.iter().find(|(name, _)| name == tool);
            println!("{tool}: {}\n    {command}", meaning.map_or("", |(_, meaning)| meaning));
        }
        let mut machine = report::machine();
        machine.push(("nodes".to_owned(), self.options.nodes.to_string()));
        let limit = self.options.mbit;
        let limit = if limit == 0 { "none".to_owned() } else { format!("{limit} Mbit/s each") };
        machine.push(("link limit".to_owned(), limit));
        machine.push(("processor time".to_owned(), self.group.described().to_owned()));
        for (name, value) in &machine {
            println!("{name}: {value}");
        }
        if let Some(path) = &self.options.json {
            let machine: BTreeMap<_, _> = machine.into_iter().collect();
            let all = serde_json::json!({
                "rows": self.rows, "medians": medians, "commands": self.commands, "machine": machine,
            });
            std::fs::write(path, format!("{all:#}\n")).map_err(at("write", path))?;
        }
        match self.rows.iter().filter(|row| !row.ok).count() {
            0 => Ok(()),
            wrong => Err(Failure::new(format!("{wrong} runs were WRONG"))),
        }
    }
}
