//! `depsync history` and `history show`: past runs. Reads what is there, beside whatever run is under way.

use clap::ArgMatches;

use super::args::{HistoryArgs, HistoryCommand};
use super::console::{Console, Written};
use super::{environment, push, settings, usage};
use crate::config;
use crate::hub::glance::Glance;
use crate::hub::history::{History, Revision, Run};
use crate::hub::options::{Mode, RunOptions};
use crate::hub::outcome::{Failure, Verdict};
use crate::model::untrusted::Untrusted;
use crate::os::clock;
use crate::report::history::{self as shown, Changes};
use crate::report::json;

/// Runs that are listed if nobody says how many.
const LIMIT: u32 = 20;

/// Reads and reports; gives the exit code.
pub(super) fn run(arguments: &HistoryArgs, matches: Option<&ArgMatches>) -> u8 {
    let output = &arguments.output;
    let console = Console::new(output.color, output.verbose);
    let told = find(arguments, matches).and_then(|options| match &arguments.what {
        None => list(&options, arguments, console),
        Some(HistoryCommand::Show { run }) => show(&options, run, arguments, console),
    });
    match told {
        Ok(text) if output.quiet => drop(text),
        Ok(text) => return console.results(&text).exit_code(Verdict::Done.exit_code()),
        Err(failure) => {
            let code = failure.verdict.exit_code();
            console.failure(&failure);
            if output.json {
                let outcome = push::stopped(failure);
                let _written: Written = console.results(&json::lines(&outcome, Mode::Plan, code));
            }
            return code;
        }
    }
    Verdict::Done.exit_code()
}

/// The cluster whose history it is.
fn find(arguments: &HistoryArgs, matches: Option<&ArgMatches>) -> Result<RunOptions, Failure> {
    let environment = environment::read()?;
    let here = &environment.working_directory;
    let flags = settings::of_place(&arguments.place, None, matches, here)?;
    let settings = push::over_file(flags, arguments.place.config.as_ref(), here)?;
    let resolved = config::resolve(settings, &environment, Mode::Plan);
    resolved.map(|resolved| resolved.run).map_err(|error| error.failure())
}

fn open(options: &RunOptions) -> Result<Option<History>, Failure> {
    History::look(&options.state_dir).map_err(|error| Failure::from(&error))
}

fn list(
    options: &RunOptions,
    arguments: &HistoryArgs,
    console: Console,
) -> Result<String, Failure> {
    let limit = usize::try_from(arguments.limit.unwrap_or(LIMIT)).unwrap_or(usize::MAX);
    let runs = match open(options)? {
        Some(history) => history.runs(limit).map_err(|error| Failure::from(&error))?,
        None => Vec::new(),
    };
    Ok(if arguments.output.json { shown::lines(&runs) } else { shown::table(&runs, console.style) })
}

fn show(
    options: &RunOptions,
    name: &str,
    arguments: &HistoryArgs,
    console: Console,
) -> Result<String, Failure> {
    let history = open(options)?;
    let (history, run) = match history {
        Some(history) => {
            let run = find_run(&history, name)?;
            (history, run)
        }
        None => return Err(unknown(name, vec!["no run is recorded yet".into()])),
    };
    let changes = changes(options, &history, &run)?;
    Ok(if arguments.output.json {
        shown::shown_lines(&run, &changes)
    } else {
        shown::shown(&run, &changes, console.style)
    })
}

fn unknown(name: &str, causes: Vec<String>) -> Failure {
    let name = Untrusted::new(name.as_bytes());
    let hint = "'depsync history' lists the runs and their releases; --limit shows more";
    usage(format!("there is no run '{name}' in the history"), causes, Some(hint.into()))
}

/// The run with this number, else the newest one that made the release of this name live.
fn find_run(history: &History, name: &str) -> Result<Run, Failure> {
    let read = |error| Failure::from(&error);
    if let Ok(number) = name.parse()
        && let Some(run) = history.run(number).map_err(read)?
    {
        return Ok(run);
    }
    let Some(revision) = Revision::parse(name) else { return Err(unknown(name, Vec::new())) };
    let live = history.releases().map_err(read)?;
    let release = revision
        .resolve(&live, &[], clock::wall().seconds)
        .map_err(|error| unknown(name, vec![error.to_string()]))?;
    history.run_of(release).map_err(read)?.ok_or_else(|| unknown(name, Vec::new()))
}

/// What the release of `run` has otherwise than the one that was live before it, by the manifests that the hub has stored.
fn changes(options: &RunOptions, history: &History, run: &Run) -> Result<Changes, Failure> {
    let untold = |before, why: String| Ok(Changes::Untold { before, why });
    let Some(release) = run.release.filter(|_| run.is_live) else {
        return untold(None, "no release was made live by this run".into());
    };
    let before = history.release_before(run.id).map_err(|error| Failure::from(&error))?;
    let Some(before) = before else {
        return untold(None, "no release is known to have been live before this one".into());
    };
    if before == release {
        return untold(Some(before), "the release was live before this run as well".into());
    }
    let glance = Glance::open(&options.state_dir).map_err(|error| Failure::from(&error))?;
    Ok(match glance.changes(before, release) {
        Ok(paths) => Changes::Listed { before, paths },
        Err(missing) => {
            let missing = missing.short();
            let why = format!(
                "which paths changed cannot be told: the manifest of release {missing} is not stored any more"
            );
            Changes::Untold { before: Some(before), why }
        }
    })
}
