//! Long runs of what is random: each has a short form for every change, and a full one before a release.

mod hostile;
mod simulation;

use crate::failure::Result;

/// What can be run for long.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Act {
    /// Whole clusters in virtual time, over links that an adversary owns, and plans of random trees
    Simulation(simulation::Arguments),
    /// Conversations with a hub whose bytes were changed at random
    Hostile(hostile::Arguments),
}

/// Runs it to its end.
///
/// # Errors
/// A promise was broken, or the tests could not be built or run.
pub(crate) fn act(act: &Act) -> Result {
    match act {
        Act::Simulation(arguments) => simulation::run(arguments),
        Act::Hostile(arguments) => hostile::run(arguments),
    }
}
