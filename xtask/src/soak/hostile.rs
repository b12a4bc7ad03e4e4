//! Conversations with a hub whose bytes were changed at random: a liar's mutations of an honest one.

use crate::failure::{Failure, Result};
use crate::{figures, program};
use std::time::{SystemTime, UNIX_EPOCH};

const SHORT_SECONDS: u64 = 12;
const FULL_SECONDS: u64 = 120;
const TEST: &str = "fault_145_to_149_and_155_an_agent_stands_every_mutation_of_a_conversation";

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Two minutes instead of twelve seconds
    #[arg(long)]
    full: bool,
    /// Write the figures of the full form into docs/safety.md
    #[arg(long, requires = "full")]
    record: bool,
    /// The first seed; another each time if not given
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs them.
///
/// # Errors
/// The seed of what went wrong is in what the test printed.
pub(super) fn run(arguments: &Arguments) -> Result {
    let Arguments { full, record, seed } = *arguments;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let seed = seed.unwrap_or(now);
    let seconds = if full { FULL_SECONDS } else { SHORT_SECONDS };
    println!("seed {seed}");
    let seed = format!("DEPSYNC_SEED={seed}");
    let seconds = format!("DEPSYNC_SECONDS={seconds}");
    let argv = ["env", &seed, &seconds, "cargo", "test", "--test", "it", TEST, "--", "--nocapture"];
    let said = program::output(&argv)?;
    let summary = said.lines().find(|line| line.ends_with("0 losses"));
    let summary = summary.ok_or_else(|| Failure::new(format!("no summary in:\n{said}")))?;
    println!("{summary}");
    if record { figures::record("hostile", summary) } else { Ok(()) }
}
