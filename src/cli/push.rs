//! `depsync push`, `plan`, `verify` and `rollback`: the runs.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;

use super::args::{OptionArgs, OutputArgs, RunArgs};
use super::console::{Console, Screen, Written};
use super::{environment, settings, signals};
use crate::config::{self, Resolved, Settings};
use crate::hub;
use crate::hub::options::{Mode, Origin, RunOptions};
use crate::hub::outcome::{Failure, Monitor, RunOutcome};
use crate::hub::stop::Stop;
use crate::model::target::Target;
use crate::os::operator_file;
use crate::report::{human, json, log};

/// The configuration that is read without being named.
pub(super) const CONFIG_FILE: &str = "depsync.toml";

/// What a command does with the nodes.
#[derive(Debug, Clone)]
pub(super) struct Act {
    pub(super) mode: Mode,
    pub(super) origin: Origin,
    /// Every file is read again.
    pub(super) reread: bool,
    /// Bytes a second that a node reads at most.
    pub(super) read_rate: Option<u64>,
    /// A pinned release may be replaced.
    pub(super) unpin: bool,
    /// SOURCE, where the command takes one.
    pub(super) source: Option<PathBuf>,
}

impl Act {
    /// With the source that the configuration names.
    pub(super) fn new(mode: Mode) -> Self {
        let origin = Origin::Source;
        Self { mode, origin, reread: false, read_rate: None, unpin: false, source: None }
    }

    /// With the source of `run` as it is now.
    pub(super) fn of(mode: Mode, run: &RunArgs) -> Self {
        Self { source: run.source_argument.clone(), ..Self::new(mode) }
    }
}

/// Carries out a run and reports it; gives the exit code.
pub(super) fn run(
    arguments: &OptionArgs,
    matches: Option<&ArgMatches>,
    act: &Act,
    words: &[OsString],
) -> u8 {
    let console = Console::new(arguments.output.color, arguments.output.verbose);
    let prepared = prepare(arguments, matches, act);
    let code_of = |outcome: &RunOutcome| outcome.verdict.exit_code();
    carry_out(prepared, console, &arguments.output, words, code_of)
}

/// Carries out what was prepared and reports it; gives the exit code, which is `code_of` the outcome.
pub(super) fn carry_out(
    prepared: Prepared,
    console: Console,
    output: &OutputArgs,
    words: &[OsString],
    code_of: impl FnOnce(&RunOutcome) -> u8,
) -> u8 {
    let Prepared { log_file, mode, resolved } = prepared;
    let write_log = |lines: &[String]| console.log(log_file.as_deref(), lines);
    let cluster = resolved.as_ref().map_or("-", |resolved| &resolved.cluster);
    let message = resolved.as_ref().ok().and_then(|resolved| resolved.run.message.as_deref());
    let words = words.iter().map(|word| word.as_bytes());
    let started = write_log(&[log::start(cluster, message, words)]);
    let outcome = match resolved {
        Ok(resolved) => follow(&resolved.run, console, output.quiet),
        Err(failure) => stopped(failure),
    };
    let code = code_of(&outcome);
    let ended = write_log(&log::end(&outcome, code));
    let code = started.and(ended).exit_code(code);
    report(console, output, &outcome, mode, code).exit_code(code)
}

/// Runs, with signals heard and progress shown.
fn follow(options: &RunOptions, console: Console, is_quiet: bool) -> RunOutcome {
    let stop = Stop::new();
    signals::listen(stop.clone(), console);
    let screen = Screen::start(options.targets.iter().map(short_name), is_quiet);
    let monitor: Arc<dyn Monitor> = Arc::<Screen>::clone(&screen);
    let outcome = hub::run(options, &monitor, &stop);
    screen.finish();
    outcome
}

/// What a node is called on the line of progress: its host, or its directory if it is local.
pub(super) fn short_name(target: &Target) -> String {
    match target {
        Target::Ssh(ssh) => ssh.host.as_str().to_owned(),
        Target::Local(_) => target.to_string(),
    }
}

/// What is known before a run starts.
pub(super) struct Prepared {
    /// The log, as far as the settings could be read: a run that is refused is logged as well.
    pub(super) log_file: Option<PathBuf>,
    pub(super) mode: Mode,
    pub(super) resolved: Result<Resolved, Failure>,
}

pub(super) fn prepare(arguments: &OptionArgs, matches: Option<&ArgMatches>, act: &Act) -> Prepared {
    let mode = act.mode;
    let environment = match environment::read() {
        Ok(environment) => environment,
        Err(failure) => return Prepared { log_file: None, mode, resolved: Err(failure) },
    };
    let here = &environment.working_directory;
    match merge(arguments, act.source.as_ref(), matches, here) {
        Ok(settings) => {
            let log_file = settings.log_file.clone();
            let mut resolved =
                config::resolve(settings, &environment, mode).map_err(|error| error.failure());
            if let Ok(resolved) = &mut resolved {
                resolved.run.list_changes |= arguments.output.verbose;
                resolved.run.origin = act.origin.clone();
                resolved.run.reread |= act.reread;
                resolved.run.read_rate = act.read_rate;
                resolved.run.unpin |= act.unpin;
            }
            Prepared { log_file, mode, resolved }
        }
        Err(failure) => {
            let log_file = arguments.output.log_file.as_ref().map(|path| here.join(path));
            Prepared { log_file, mode, resolved: Err(failure) }
        }
    }
}

/// Flags and environment over the configuration, if there is one.
fn merge(
    arguments: &OptionArgs,
    source: Option<&PathBuf>,
    matches: Option<&ArgMatches>,
    here: &Path,
) -> Result<Settings, Failure> {
    let flags = settings::of_arguments(arguments, source, matches, here)?;
    over_file(flags, arguments.cluster.place.config.as_ref(), here)
}

/// `flags` over the configuration: the file that was named, or the one in the working directory if there is one.
pub(super) fn over_file(
    flags: Settings,
    named: Option<&PathBuf>,
    here: &Path,
) -> Result<Settings, Failure> {
    let default =
        || Some(PathBuf::from(CONFIG_FILE)).filter(|path| operator_file::exists(&here.join(path)));
    match named.cloned().or_else(default) {
        Some(path) => {
            let file = config::read_file(&here.join(path)).map_err(|error| error.failure())?;
            Ok(flags.over(file))
        }
        None => Ok(flags),
    }
}

/// The outcome of a run that did not get to any node.
pub(super) fn stopped(failure: Failure) -> RunOutcome {
    RunOutcome {
        verdict: failure.verdict,
        release: None,
        nodes: Vec::new(),
        notes: Vec::new(),
        failure: Some(failure),
        duration: Duration::ZERO,
        scan: Duration::ZERO,
        prepare: None,
        commit_window: None,
    }
}

/// Prints the outcome: results on standard output, what went wrong beside it, the sentence last.
fn report(
    console: Console,
    output: &OutputArgs,
    outcome: &RunOutcome,
    mode: Mode,
    code: u8,
) -> Written {
    if output.json {
        let written = console.results(&json::lines(outcome, mode, code));
        console.aside(|style| human::failures(outcome, style));
        return written;
    }
    if output.quiet {
        console.aside(|style| human::failures(outcome, style));
        return Written::Fine;
    }
    let style = console.style;
    let tables = human::changes(outcome, mode, style) + &human::table(outcome, mode, style);
    let written = console.results(&tables);
    console.aside(|style| human::notes(outcome, style) + &human::failures(outcome, style));
    written.and(console.results(&human::summary(outcome, mode, style)))
}
