//! The command line: arguments in, exit code out, and all printing in between. Holds no logic of a run.
//!
//! Start at [`main`]; one file for each command.

mod advise;
mod agent;
mod apply;
mod args;
mod console;
mod doctor;
mod environment;
mod generate;
mod history;
mod init;
mod import;
mod push;
mod recipe;
mod release;
mod settings;
mod signals;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches as _;

use crate::hub::history::Revision;
use crate::hub::options::{Mode, Origin};
use crate::hub::outcome::{Failure, Verdict};
use crate::os::process;

use args::{Cli, Command};
use console::Console;
use push::Act;

/// Bytes a second that a deep look reads on each node if nothing else is said: a live server keeps most of its disk.
const DEEP_READ_RATE: u64 = 100 << 20;

/// Runs the program with its arguments, the first of which is its name, and gives the exit code.
///
/// The codes are those of the reference: 64 for usage, whatever the parser of arguments would say.
pub fn main(arguments: &[OsString]) -> ExitCode {
    process::prepare();
    let parsed = args::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refuse_usage(&error),
    };
    let details = matches.subcommand().map(|(_, details)| details);
    let code = match cli.command {
        Command::Push(push) => {
            let mode = if push.dry_run { Mode::Plan } else { Mode::Push };
            let act = Act { unpin: push.unpin, ..Act::of(mode, &push.run) };
            push::run(&push.run.options, details, &act, arguments)
        }
        Command::Plan(run) => {
            push::run(&run.options, details, &Act::of(Mode::Plan, &run), arguments)
        }
        Command::Verify(verify) => {
            let mode = if verify.repair { Mode::Push } else { Mode::Verify };
            let act = Act {
                origin: Origin::Deployed,
                reread: verify.deep,
                read_rate: verify.read_rate.or(verify.deep.then_some(DEEP_READ_RATE)),
                ..Act::of(mode, &verify.run)
            };
            push::run(&verify.run.options, details, &act, arguments)
        }
        Command::Rollback(rollback) => {
            let mode = if rollback.dry_run { Mode::Plan } else { Mode::Push };
            let origin = Origin::Earlier(rollback.release.unwrap_or(Revision::Back(1)));
            let act = Act { origin, ..Act::new(mode) };
            push::run(&rollback.run, details, &act, arguments)
        }
        Command::Doctor(run) => doctor::run(&run, details, arguments),
        Command::Status(status) => status::run(&status, details, arguments),
        Command::History(history) => history::run(&history, details),
        Command::Release(release) => release::run(&release),
        Command::Apply(apply) => apply::run(&apply, arguments),
        Command::Init(init) => init::run(&init),
        Command::Recipe(recipe) => recipe::run(&recipe),
        Command::Import(import) => import::run(&import),
        Command::Advise(advise) => advise::run(&advise, details),
        Command::Completions { shell } => generate::completions(shell),
        Command::Agent(options) => agent::serve(&options),
        Command::Generate { what } => generate::run(&what),
    };
    ExitCode::from(code)
}

/// Prints what the parser of arguments has to say: help and version with 0, a mistake with 64.
fn refuse_usage(error: &clap::Error) -> ExitCode {
    let is_mistake = error.use_stderr();
    let written = error.print();
    if is_mistake {
        return ExitCode::from(Verdict::Usage.exit_code());
    }
    ExitCode::from(console::Written::of(written).exit_code(Verdict::Done.exit_code()))
}

/// Prints why there is no run at all, and gives its exit code.
fn refuse(console: Console, failure: &Failure) -> u8 {
    console.failure(failure);
    failure.verdict.exit_code()
}

/// A mistake of usage that is not the configuration's.
fn usage(message: impl Into<String>, causes: Vec<String>, hint: Option<String>) -> Failure {
    Failure { verdict: Verdict::Usage, kind: "usage".into(), message: message.into(), causes, hint }
}
