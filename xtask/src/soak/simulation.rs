//! `cargo xtask soak simulation`: many seeds of `tests/it/simulation`, and many plans of random trees.
//!
//! The tests themselves play the seeds; here they are given out in blocks, and what they came to is added up.

use crate::failure::{Failure, Result};
use crate::{figures, program, workspace};
use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Seeds of the short form, and trees planned in it.
const SHORT: (u64, u64) = (150, 3_000);
/// The same before a release.
const FULL: (u64, u64) = (3_000, 100_000);
/// Seeds played by one process.
const BLOCK: u64 = 500;
/// What is told of, and not a fault.
const NO_FAULTS: [&str; 4] = ["seeds", "units", "passed", "runs"];

/// How much is run, and from where.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// As many seeds as before a release
    #[arg(long)]
    full: bool,
    /// Write what it came to into docs/safety.md
    #[arg(long)]
    record: bool,
    /// The first seed; a short run begins at 0, a full one anywhere
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds; one alone is told move by move
    #[arg(long)]
    seeds: Option<u64>,
}

/// Plays the seeds, then plans the trees.
///
/// # Errors
/// A promise was broken; the seed and all that led there is on the screen.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let (seeds, trees) = if arguments.full { FULL } else { SHORT };
    let seeds = arguments.seeds.unwrap_or(seeds);
    let first = arguments.seed.unwrap_or_else(|| if arguments.full { by_the_clock() } else { 0 });
    println!("soak simulation: --seed {first} --seeds {seeds}");
    let started = Instant::now();
    let mut sums = BTreeMap::new();
    let mut at = 0;
    while at < seeds {
        let count = BLOCK.min(seeds - at);
        let said = test(&["--test", "it", "simulation_short"], first.wrapping_add(at), count)?;
        let line = said.lines().find_map(|line| line.strip_prefix("simulation: "));
        add(&mut sums, line.unwrap_or_default());
        at += count;
        if seeds > BLOCK || count == 1 {
            println!("{}", if count == 1 { &said } else { line.unwrap_or_default() });
        }
    }
    test(&["--lib", "carrying_a_plan_out"], first, trees)?;
    let text = told(&sums, seeds, trees);
    println!("simulation: {text} in {} s", started.elapsed().as_secs());
    if arguments.record { figures::record("simulation", &text) } else { Ok(()) }
}

fn by_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Runs one test over so many seeds; gives what it printed.
fn test(which: &[&str], seed: u64, seeds: u64) -> Result<String> {
    let cargo = workspace::cargo();
    let mut argv = vec![cargo.as_str(), "test", "--quiet", "--package", "depsync"];
    argv.extend(which);
    argv.extend(["--", "--nocapture"]);
    let commit = program::output(&["git", "rev-parse", "--short", "HEAD"]).unwrap_or_default();
    let mut command = program::command(&argv);
    command.env("DEPSYNC_SEED", seed.to_string()).env("DEPSYNC_SEEDS", seeds.to_string());
    command.env("DEPSYNC_COMMIT", commit.trim()).current_dir(workspace::root());
    let done = command
        .output()
        .map_err(|error| Failure::new(format!("{}: {error}", program::shown(&argv))))?;
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if done.status.success() && said.contains("1 passed") {
        return Ok(said);
    }
    println!("{said}");
    Err(Failure::new(format!("a promise was broken, from seed {seed} on, within {seeds}")))
}

/// Adds the counts of a line such as `7 runs, 3 hub dies`.
fn add(sums: &mut BTreeMap<String, u64>, line: &str) {
    for part in line.split(", ") {
        let Some((count, what)) = part.trim().split_once(' ') else { continue };
        if let Ok(count) = count.parse::<u64>() {
            *sums.entry(what.to_owned()).or_default() += count;
        }
    }
}

fn told(sums: &BTreeMap<String, u64>, seeds: u64, trees: u64) -> String {
    let of = |what: &str| sums.get(what).copied().unwrap_or_default();
    let faults = sums
        .iter()
        .filter(|(what, _)| !NO_FAULTS.contains(&what.as_str()) && what.as_str() != "violations");
    let faults: Vec<_> = faults.map(|(what, count)| format!("{count} × {what}")).collect();
    let (runs, units) = (of("runs"), of("units"));
    let faults = faults.join(", ");
    format!(
        "{seeds} seeds, {runs} runs, {units} frames; {faults}; {trees} plans; {} violations",
        of("violations")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_blocks_are_added_up() {
        let mut sums = BTreeMap::new();
        add(&mut sums, "2 seeds, 3 hub dies, 40 units, 5 runs, 0 violations");
        add(&mut sums, "2 seeds, 4 hub dies, 2 units, 6 runs, 0 violations");
        let text = told(&sums, 4, 9);
        assert_eq!(text, "4 seeds, 11 runs, 42 frames; 7 × hub dies; 9 plans; 0 violations");
    }
}
