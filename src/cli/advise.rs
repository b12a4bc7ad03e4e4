//! `depsync advise`: which approach fits this cluster. Takes no lock, contacts no node and changes nothing.

use std::path::Path;
use std::sync::Arc;

use clap::ArgMatches;

use super::args::AdviseArgs;
use super::console::{Console, Screen, Written};
use super::{environment, push, settings, signals, usage};
use crate::config::{self, Resolved};
use crate::hub::advise::{self, Approach, Facts};
use crate::hub::options::{Mode, RunOptions};
use crate::hub::outcome::{Failure, Monitor, Verdict};
use crate::hub::stop::Stop;
use crate::model::target::Target;
use crate::model::untrusted::Untrusted;
use crate::os::clock;
use crate::recipe::quote;
use crate::report::advise::{self as shown, Advised, Step};
use crate::report::json;

/// Looks and reports; gives the exit code.
pub(super) fn run(arguments: &AdviseArgs, matches: Option<&ArgMatches>) -> u8 {
    let output = &arguments.output;
    let console = Console::new(output.color, output.verbose);
    match told(arguments, matches, console) {
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

fn told(
    arguments: &AdviseArgs,
    matches: Option<&ArgMatches>,
    console: Console,
) -> Result<String, Failure> {
    let environment = environment::read()?;
    let here = &environment.working_directory;
    let flags = settings::of_place(&arguments.place, None, matches, here)?;
    let settings = push::over_file(flags, arguments.place.config.as_ref(), here)?;
    let config = settings.config_file.clone();
    let resolved = config::resolve(settings, &environment, Mode::Plan);
    let Resolved { cluster, run } = resolved.map_err(|error| error.failure())?;
    let facts = gather(&run, arguments, console)?;
    let advice = advise::advise(&facts);
    let steps_to = |approach| steps(approach, config.as_deref(), &cluster, &run);
    let advised = Advised {
        cluster: &cluster,
        facts: &facts,
        advice,
        steps: steps_to(advice.approach),
        other_steps: advice.other.map(steps_to).unwrap_or_default(),
    };
    Ok(if arguments.output.json {
        shown::line(&advised)
    } else {
        shown::text(&advised, console.style)
    })
}

fn gather(run: &RunOptions, arguments: &AdviseArgs, console: Console) -> Result<Facts, Failure> {
    let now = clock::wall().seconds;
    let since = arguments.since.map(|since| {
        since.moment(now).ok_or_else(|| {
            let hint = Some("give a day at least, such as --since 7d".to_owned());
            usage("--since is less than a day ago, which says nothing of a rate", Vec::new(), hint)
        })
    });
    let since = since.transpose()?;
    let stop = Stop::new();
    signals::listen(stop.clone(), console);
    let screen = Screen::start([], arguments.output.quiet);
    let monitor: Arc<dyn Monitor> = Arc::<Screen>::clone(&screen);
    let facts = advise::gather(run, since, now, &monitor, &stop);
    screen.finish();
    facts
}

/// The commands that set `approach` up for this configuration; where there is none, one is to be written first.
fn steps(approach: Approach, config: Option<&Path>, cluster: &str, run: &RunOptions) -> Vec<Step> {
    let word = |bytes: &[u8]| quote::shell(&Untrusted::new(bytes).to_string());
    let file = config.map_or_else(
        || push::CONFIG_FILE.to_owned(),
        |path| word(path.as_os_str().as_encoded_bytes()),
    );
    let with = |command: &str, why| Step { command: format!("depsync {command} -c {file}"), why };
    let mut steps = Vec::new();
    if config.is_none() {
        let why = "a configuration, which all that follows goes by";
        steps.push(Step { command: "depsync init".into(), why });
    }
    match approach {
        Approach::OnChange => {
            steps.push(with("push", "by hand, or as the last step of the job that builds"));
        }
        Approach::EachMinute => {
            steps.push(with("recipe systemd", "a service and a timer; --install puts them there"));
            steps.push(with("recipe cron", "a crontab instead, where there is no systemd"));
        }
        Approach::Shared => {
            let why = "exports of the server, mounts of the nodes";
            steps.push(with("recipe nfs --server HOST --export DIR", why));
            steps.push(with(
                "doctor",
                "with approach = \"shared\" in [storage]: the mounts of the nodes",
            ));
        }
        Approach::ReleaseFiles => {
            let release = word(format!("{cluster}.depsync").as_bytes());
            let write = format!("release {release}");
            steps.push(with(&write, "the release as one file, on this host"));
            let command = format!("depsync apply {release} -t {}", directory(run, &word));
            steps.push(Step { command, why: "on each node, by what configures it" });
            let why = "the files for that; or puppet, chef, kubernetes";
            steps.push(with("recipe ansible", why));
        }
    }
    steps
}

/// The directory of all targets, if they have the same.
fn directory(run: &RunOptions, word: &impl Fn(&[u8]) -> String) -> String {
    let mut directories = run.targets.iter().map(Target::directory);
    let first = directories.next();
    match first.filter(|first| directories.all(|other| other == *first)) {
        Some(directory) => word(directory),
        None => "DIR".to_owned(),
    }
}
