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

mod bench;
mod ci;
mod failure;
mod lab;
mod man;
mod policy;
mod prerequisites;
mod program;
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
        Task::Bench(arguments) => bench::run(&arguments),
        Task::CliReference => man::write_reference(),
    }
}
