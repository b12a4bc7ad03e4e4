//! What is left of a target, and of a cluster, when a process, a disk or a machine fails at any moment: `cargo xtask crash`.
//!
//! ```text
//! scenario   the two releases between which every run is stopped
//! snapshot   what a tree is, and how two differ
//! sandbox    source, nodes, hub and the program between them, in one directory
//! ground     file systems made for the purpose
//! trace      what a program changes, and where it can be stopped
//! case       one process to stop, and the ground it is on
//! aftermath  what must hold afterwards
//! image      a file system in a file, which is what a disk has after a power loss
//! outage     a machine that loses power while a push is under way
//! small_disk a disk with exactly so much room
//! image      file systems in images, as they are on the disk at one moment
//! stops      a push that stops after each change
//! outage     machines that lose power there, and what becomes of them
//! small_disk file systems with exactly so much room
//! jobs       parts of a task beside each other, with mounts of their own
//! ```
//! A task drives the built program, never the library. Each prints its seed, and one line of figures in the end.

mod aftermath;
mod case;
mod crew;
mod dice;
mod disks;
mod errors;
mod ground;
mod image;
mod jobs;
mod kill;
mod outage;
mod power;
mod sandbox;
mod scenario;
mod small_disk;
mod snapshot;
mod stops;
mod trace;

use crate::failure::Result;

/// What goes wrong.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Act {
    /// Processes are killed before each of their changes
    Kill(Extent),
    /// Changes fail, once or from one on
    Errors(Extent),
    /// Machines lose power after each change
    Power(power::Arguments),
    /// The disk of one node is full
    Disks(disks::Arguments),
}

/// How much is tried.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Extent {
    /// Every point, instead of a sample of them
    #[arg(long)]
    pub(crate) full: bool,
    /// Write the figures into docs/safety.md
    #[arg(long)]
    pub(crate) record: bool,
    /// Which sample is taken
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// At most so many runs
    #[arg(long)]
    pub(crate) runs: Option<usize>,
    /// Only the points whose line has this text
    #[arg(long)]
    pub(crate) only: Option<String>,
}

impl Extent {
    /// The seed that was given, or the usual one: a run without it can be repeated.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// How many runs there are at most: what was asked for, or every one, or those of the `short` form.
    pub(crate) fn runs(&self, short: usize) -> usize {
        self.runs.unwrap_or(if self.full { usize::MAX } else { short })
    }

    /// Whether `text` is asked for.
    pub(crate) fn is_wanted(&self, text: &str) -> bool {
        self.only.as_ref().is_none_or(|only| text.contains(only.as_str()))
    }
}

/// Carries out one of the tasks.
///
/// # Errors
/// A promise was broken, or the task could not be carried out.
pub(crate) fn run(act: Act) -> Result {
    match act {
        Act::Kill(extent) => kill::run(&extent),
        Act::Errors(extent) => errors::run(&extent),
        Act::Power(arguments) => power::run(&arguments),
        Act::Disks(arguments) => disks::run(&arguments),
    }
}
