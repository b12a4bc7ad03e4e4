//! `depsync status`: where every node stands.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use clap::ArgMatches;

use super::args::StatusArgs;
use super::console::{Console, Screen, Written};
use super::push::{self, Act, Prepared};
use super::signals;
use crate::hub::options::{Mode, RunOptions};
use crate::hub::outcome::{Failure, Monitor};
use crate::hub::status::{self, Status};
use crate::hub::stop::Stop;
use crate::os::clock;
use crate::report::{human, log, status as shown};

/// Looks, and reports; gives the exit code.
pub(super) fn run(arguments: &StatusArgs, matches: Option<&ArgMatches>, words: &[OsString]) -> u8 {
    let options = &arguments.run.options;
    let console = Console::new(options.output.color, options.output.verbose);
    let act = Act::of(Mode::Plan, &arguments.run);
    let Prepared { log_file, resolved, .. } = push::prepare(options, matches, &act);
    let cluster = resolved.as_ref().map_or("-", |resolved| &resolved.cluster).to_owned();
    let status = match resolved {
        Ok(resolved) => look(&resolved.run, arguments, console),
        Err(failure) => nothing(failure),
    };
    let code = status.run.verdict.exit_code();
    let words = words.iter().map(|word| word.as_bytes());
    let lines = [vec![log::start(&cluster, None, words)], log::end(&status.run, code)].concat();
    let code = console.log(log_file.as_deref(), &lines).exit_code(code);
    report(console, arguments, &status, code).exit_code(code)
}

fn look(options: &RunOptions, arguments: &StatusArgs, console: Console) -> Status {
    let stop = Stop::new();
    signals::listen(stop.clone(), console);
    let names = options.targets.iter().map(push::short_name);
    let screen = Screen::start(names, arguments.run.options.output.quiet || arguments.offline);
    let monitor: Arc<dyn Monitor> = Arc::<Screen>::clone(&screen);
    let status = status::status(options, &monitor, &stop, arguments.offline);
    screen.finish();
    status
}

fn nothing(failure: Failure) -> Status {
    let run = push::stopped(failure);
    Status { run, nodes: Vec::new(), deployed: None, now: clock::wall().seconds }
}

fn report(console: Console, arguments: &StatusArgs, status: &Status, code: u8) -> Written {
    let (output, style) = (&arguments.run.options.output, console.style);
    let failures = |style| human::failures(&status.run, style);
    if output.json {
        let written = console.results(&shown::lines(status, code));
        console.aside(failures);
        return written;
    }
    if output.quiet {
        console.aside(failures);
        return Written::Fine;
    }
    let written = console.results(&shown::table(status, style));
    console.aside(|style| human::notes(&status.run, style) + &failures(style));
    written.and(console.results(&shown::summary(status, style)))
}
