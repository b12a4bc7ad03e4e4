//! `depsync doctor`: a look at hub and nodes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use clap::ArgMatches;

use super::args::{OptionArgs, RunArgs};
use super::console::{Console, Written};
use super::push::{self, Act, Prepared};
use super::signals;
use crate::hub::examine::{self, Examination};
use crate::hub::options::Mode;
use crate::hub::stop::Stop;
use crate::report::{findings, human, log};

/// Looks and reports; gives the exit code.
pub(super) fn run(run: &RunArgs, matches: Option<&ArgMatches>, words: &[OsString]) -> u8 {
    let arguments = &run.options;
    let console = Console::new(arguments.output.color, arguments.output.verbose);
    let Prepared { log_file, resolved, .. } =
        push::prepare(arguments, matches, &Act::of(Mode::Verify, run));
    let cluster = resolved.as_ref().map_or("-", |resolved| &resolved.cluster);
    let start = log::start(cluster, None, words.iter().map(|word| word.as_bytes()));
    let examination = match &resolved {
        Ok(resolved) => {
            let stop = Stop::new();
            signals::listen(stop.clone(), console);
            examine::run(&resolved.run, &stop)
        }
        Err(failure) => {
            Examination { outcome: push::stopped(failure.clone()), findings: Vec::new() }
        }
    };
    let code = examination.outcome.verdict.exit_code();
    let mut lines = vec![start];
    lines.extend(findings::log(&examination));
    // What became of a node is told by its findings.
    let end = log::end(&examination.outcome, code);
    lines.extend(end.into_iter().filter(|line| !line.starts_with("node ")));
    let code = console.log(log_file.as_deref(), &lines).exit_code(code);
    report(console, arguments, &examination, code).exit_code(code)
}

fn report(
    console: Console,
    arguments: &OptionArgs,
    examination: &Examination,
    code: u8,
) -> Written {
    let written = if arguments.output.json {
        console.results(&findings::lines(examination, code))
    } else if arguments.output.quiet {
        console.aside(|style| findings::text(examination, true, style));
        Written::Fine
    } else {
        let style = console.style;
        let text = findings::text(examination, false, style);
        console.results(&(text + &findings::summary(examination, style)))
    };
    console.aside(|style| human::failures(&examination.outcome, style));
    written
}
