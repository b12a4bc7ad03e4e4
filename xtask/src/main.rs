//! Development tasks: `cargo xtask <task>`.
//!
//! Each task is a file of its own. None of them needs the depsync library, so that they build fast and
//! work when the library does not.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tasks for developers talk to the system and the screen directly"
)]

mod approaches;
mod bench;
mod ci;
mod crash;
mod failure;
mod figures;
mod fuzz;
mod lab;
mod man;
mod policy;
mod prerequisites;
mod program;
mod sabotage;
mod races;
mod soak;
mod test_run;
mod tidy;
mod workload;
mod workspace;

use clap::Parser as _;
use failure::Result;
use std::process::ExitCode;

/// Development tasks of depsync
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// A cluster of real hosts on this machine
    #[command(subcommand)]
    Lab(lab::Act),
    /// What the tests need beyond Rust
    Prerequisites {
        /// Install what is missing
        #[arg(long)]
        install: bool,
    },
    /// Build and run all tests, or those whose names match
    Test {
        /// Parts of names
        filters: Vec<String>,
        /// A test may be skipped only with a reason; the default where CI=true
        #[arg(long)]
        strict: bool,
    },
    /// All that a change must pass
    Ci,
    /// Check the dependencies against deny.toml
    Policy,
    /// Check the rules that the compiler does not know
    Tidy {
        /// Write the present hashes into the documents that carry one
        #[arg(long)]
        bless: bool,
    },
    /// Write the manual pages to target/man
    Man {
        /// Also fail if docs/cli.md is stale
        #[arg(long)]
        check: bool,
    },
    /// Source trees to measure on
    #[command(subcommand)]
    Workload(workload::Act),
    /// Compare synchronisers on a cluster on this machine
    Bench(bench::Arguments),
    /// Make known mistakes in a copy of the workspace, each of which a test must notice
    Sabotage(sabotage::Arguments),
    /// Swap directories, links and files under running pushes
    Races(races::Arguments),
    /// Put the files of depsync recipe to work, in a real cron and under a real systemd
    Approaches(approaches::Arguments),
    /// Stop a push at every point, in every way
    #[command(subcommand)]
    Crash(crash::Act),
    /// Feed the decoders: their corpus, and where cargo-fuzz is there whatever it finds
    Fuzz(fuzz::Arguments),
    /// Long runs of what is random
    #[command(subcommand)]
    Soak(soak::Act),
    /// Write docs/cli.md
    CliReference,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("error: {failure}");
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(task: Task) -> Result {
    match task {
        Task::Lab(act) => lab::Lab::from_environment()?.act(act),
        Task::Prerequisites { install } => prerequisites::run(install),
        Task::Test { filters, strict } => {
            test_run::run(&filters, strict || std::env::var("CI").is_ok_and(|ci| ci == "true"))
        }
        Task::Ci => ci::run(),
        Task::Policy => policy::run(),
        Task::Tidy { bless } => tidy::run(bless),
        Task::Man { check } => man::run(check),
        Task::Workload(act) => workload::act(act),
        Task::Soak(act) => soak::act(&act),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Sabotage(arguments) => sabotage::run(&arguments),
        Task::Races(arguments) => races::run(&arguments),
        Task::Approaches(arguments) => approaches::run(&arguments),
        Task::Crash(act) => crash::run(act),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::CliReference => man::write_reference(),
    }
}
