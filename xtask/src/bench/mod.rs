//! The benchmark: synchronisers side by side on the lab's cluster.
//!
//! A row is measured from the command's start until it returns; then every node's tree is compared with the
//! source, and a tool whose nodes differ is marked WRONG. Tools take turns inside one run, so that drift of
//! the machine hits all alike. Where noise is above 0.3, the wall time is not to be trusted.

mod agents;
mod child;
mod compare;
mod ground;
mod measure;
mod plot;
mod report;
mod results;
mod suites;
mod tools;

use crate::failure::{Failure, Result, at};
use crate::lab::Lab;
use crate::{program, workload, workspace};
use measure::{Group, Hub};
use report::Row;
use results::Results;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use suites::Line;

/// `cargo xtask bench`: one measurement, or what is named.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    act: Option<Act>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// What shows in three minutes whether something is wrong, kept below benches/results
    Quick,
    /// All that docs/performance.md speaks of, kept below benches/results; takes hours
    Full,
    /// What a push cannot do without, beside it: logins, the link, a copy that is on the disk; ten minutes
    Floors,
    /// Growth with nodes and with files, and the pictures of it; a quarter of an hour
    Growth,
    /// Draw the pictures of raw data again, and write its summary
    Plot {
        /// The raw data
        file: PathBuf,
    },
}

/// What to measure.
#[derive(Debug, clap::Args)]
struct Options {
    /// How many nodes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=250))]
    nodes: u8,
    /// Trees: mi, small, big, large, huge, files-N
    #[arg(long, value_delimiter = ',', default_value = "mi")]
    work: Vec<String>,
    /// full, which is always the first, then changes: none, one, percent, rename, edit, recar
    #[arg(long, value_delimiter = ',', default_value = "full,none,one,recar,rename")]
    changes: Vec<String>,
    /// How often each is run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Tools: seed, rsync-p, rsync-z, rsync-sync, depsync, depsync-new, tar; floors: ssh-true, ssh-pipe, tar-sync,
    /// copy-sync, changed-sync, find
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

impl Options {
    /// A line for each tree.
    fn lines(&self) -> Vec<Line> {
        let line = |tree: &String| Line {
            tree: tree.clone(),
            nodes: self.nodes,
            changes: self.changes.clone(),
            tools: self.tools.clone(),
            runs: self.runs,
            mbit: self.mbit,
        };
        self.work.iter().map(line).collect()
    }
}

/// Measures, and prints each row as it is known and the medians at the end; or only draws.
///
/// # Errors
/// Not the super-user (code 2); the cluster cannot be made; a tool left a node WRONG.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let suite = match &arguments.act {
        Some(Act::Plot { file }) => return Results::read(file)?.summarise(file),
        Some(Act::Quick) => Some("quick"),
        Some(Act::Full) => Some("full"),
        Some(Act::Floors) => Some("floors"),
        Some(Act::Growth) => Some("growth"),
        None => None,
    };
    let lines = match suite {
        Some(name) => suites::named(name)?,
        None => arguments.options.lines(),
    };
    suites::check(&lines)?;
    let lab = Lab::for_bench()?;
    require(&lines)?;
    let results = Results::begin(suite)?;
    let path = match suite {
        Some(_) => Some(results::new_path(&results)),
        None => arguments.options.json.clone(),
    };
    let group = Group::join();
    let mut bench = Bench { lab, group, results, path };
    bench.results.machine = report::machine().into_iter().collect();
    let told = bench.group.described().to_owned();
    bench.results.machine.insert("processor time".to_owned(), told);
    let measured = lines.iter().try_for_each(|line| bench.measure(line));
    bench.results.is_whole = measured.is_ok();
    let cleared = ground::clear(&bench.lab);
    let reported = bench.report(suite.is_some() || arguments.options.markdown);
    bench.group.leave();
    measured.and(cleared).and(reported)
}

/// Checks that the machine has what the benchmark needs, and builds what is measured.
fn require(lines: &[Line]) -> Result {
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
    if lines.iter().flat_map(|line| &line.tools).any(|tool| tools::is_depsync(tool))
        && std::env::var_os("DEPSYNC").is_none()
    {
        program::run(&[
            &workspace::cargo(),
            "build",
            "--release",
            "--package",
            "depsync",
            "--bins",
        ])?;
    }
    Ok(())
}

struct Bench {
    lab: Lab,
    group: Group,
    results: Results,
    /// Where the raw data goes as it comes.
    path: Option<PathBuf>,
}

impl Bench {
    fn measure(&mut self, line: &Line) -> Result {
        let base = workspace::target().join("workload").join(&line.tree);
        if !base.exists() {
            println!("making {}", base.display());
            workload::make(&line.tree, &base)?;
        }
        for run in 0..line.runs {
            for tool in &line.tools {
                self.one_turn(line, &base, tool, run)?;
            }
        }
        Ok(())
    }

    /// One tool with all changes, on a new cluster.
    fn one_turn(&mut self, line: &Line, base: &Path, tool: &str, run: u32) -> Result {
        ground::lay(&self.lab, line.nodes)?;
        if line.mbit > 0 {
            (1..=line.nodes).try_for_each(|node| self.lab.limit(node, line.mbit))?;
        }
        let source = self.lab.folder().join("_work");
        program::quiet(&["cp", "-a", &base.to_string_lossy(), &source.to_string_lossy()])?;
        let log = std::env::temp_dir().join(format!("bench-{}-{tool}.log", std::process::id()));
        for change in &line.changes {
            let tree = &line.tree;
            if tool == "tar" && change == "rename" {
                println!("{tree:6} {change:8} {tool:12} not run: a bare copy deletes nothing");
                break;
            }
            if change != "full" {
                workload::change(tree, change, &source, run + 1)?;
            }
            self.one_run(line, &source, (tool, change, run), &log)?;
        }
        for left in [log.with_extension("rss"), log] {
            std::fs::remove_file(&left).map_err(at("remove", &left))?;
        }
        Ok(())
    }

    /// One row: measured, compared, printed and kept.
    fn one_run(
        &mut self,
        line: &Line,
        source: &Path,
        (tool, change, run): (&str, &str, u32),
        log: &Path,
    ) -> Result {
        let lab = &self.lab;
        let argv = tools::command_line(tool, lab, source)?;
        let shown = without_places(&program::shown(&argv), lab);
        self.results.commands.insert(tool.to_owned(), shown);
        let hub = if tools::is_depsync(tool) { Hub::IsCommand } else { Hub::IsBelow };
        let cost = measure::run(&argv, hub, lab, &self.group, log)?;
        let mut wrong = None;
        for node in (1..=line.nodes).filter(|_| !tools::is_floor(tool)) {
            let target = lab.node_folder(node, "opt/server");
            wrong = wrong.or(compare::first_difference(source, &target)?);
        }
        let ok = cost.exit == 0 && wrong.is_none();
        let (work, change, tool) = (line.tree.clone(), change.to_owned(), tool.to_owned());
        let row = Row { work, nodes: line.nodes, mbit: line.mbit, change, tool, run, ok, cost };
        println!("{}", row.shown());
        if !ok {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            println!("  {}", wrong.unwrap_or_default());
            last.iter().rev().for_each(|line| println!("  > {line}"));
        }
        self.results.rows.push(row);
        self.path.as_ref().map_or(Ok(()), |path| self.results.write(path))
    }

    fn report(&self, markdown: bool) -> Result {
        let results = &self.results;
        let medians = report::medians(&results.rows, results.base());
        println!("\n{}", report::table(&medians, results.base(), markdown));
        for (tool, command) in &results.commands {
            let meaning = tools::TOOLS.iter().find(|(name, _)| name == tool);
            println!("{tool}: {}\n    {command}", meaning.map_or("", |(_, meaning)| meaning));
        }
        for (name, value) in &results.machine {
            println!("{name}: {value}");
        }
        if let Some(path) = &self.path {
            results.write(path)?;
            println!("wrote {}", path.display());
            if results.suite.is_some() {
                results.summarise(path)?;
            }
        }
        match results.rows.iter().filter(|row| !row.ok).count() {
            0 => Ok(()),
            wrong => Err(Failure::new(format!("{wrong} runs were WRONG"))),
        }
    }
}

/// A command line without the places that are only this machine's.
fn without_places(command: &str, lab: &Lab) -> String {
    let shown = |path: &Path| path.display().to_string();
    let places: BTreeMap<String, &str> = [
        (tools::depsync_path(), "depsync"),
        (shown(lab.folder()), "LAB"),
        (shown(&workspace::root()), "."),
    ]
    .into();
    // The longest first, as one may lie below another.
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|(place, _)| std::cmp::Reverse(place.len()));
    places.iter().fold(command.to_owned(), |text, (place, name)| text.replace(place, name))
}
