//! `depsync release`: the source in one file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::args::ReleaseArgs;
use super::console::{Console, Screen};
use super::{environment, push, settings, signals, usage};
use crate::config::{self, Settings};
use crate::hub::options::Mode;
use crate::hub::outcome::{Failure, Monitor, Verdict};
use crate::hub::package::{self, Packaged};
use crate::hub::stop::Stop;
use crate::model::untrusted::Untrusted;
use crate::os::operator_file;
use crate::report::{json, package as shown};
use crate::source::release_file;

/// The longest it may take if nobody says how long.
const DEADLINE: Duration = Duration::from_hours(1);

/// Writes the file and says what is in it; gives the exit code.
pub(super) fn run(arguments: &ReleaseArgs) -> u8 {
    let output = &arguments.output;
    let console = Console::new(output.color, output.verbose);
    let name = Untrusted::new(arguments.file.as_os_str().as_encoded_bytes()).to_string();
    match write(arguments, &name, console) {
        Ok(packaged) => {
            let text = if output.json {
                shown::line(&name, &packaged)
            } else if output.quiet {
                String::new()
            } else {
                console.aside(|style| shown::notes(&packaged, style));
                shown::text(&name, &packaged)
            };
            console.results(&text).exit_code(Verdict::Done.exit_code())
        }
        Err(failure) => {
            let code = failure.verdict.exit_code();
            console.failure(&failure);
            if output.json {
                let outcome = push::stopped(failure);
                return console.results(&json::lines(&outcome, Mode::Plan, code)).exit_code(code);
            }
            code
        }
    }
}

fn write(arguments: &ReleaseArgs, name: &str, console: Console) -> Result<Packaged, Failure> {
    let here = &environment::read()?.working_directory;
    let path = here.join(&arguments.file);
    let flags = Settings {
        source: arguments.source_argument.as_ref().map(|source| here.join(source)),
        allow_empty: arguments.allow_empty.then_some(true),
        ..settings::of_content(&arguments.content, here)
    };
    let settings = push::over_file(flags, arguments.config.as_ref(), here)?;
    let options = config::resolve_source(&settings).map_err(|error| error.failure())?;
    check_place(&path, name, arguments.force)?;
    let stop = Stop::new();
    signals::listen(stop.clone(), console);
    let screen = Screen::start([name.to_owned()], arguments.output.quiet);
    let monitor: Arc<dyn Monitor> = Arc::<Screen>::clone(&screen);
    let deadline = arguments.deadline.unwrap_or(DEADLINE);
    let packaged = package::package(&options, &path, deadline, &monitor, &stop);
    screen.finish();
    packaged
}

/// Refuses to replace what is not a release file, unless it is `forced`.
fn check_place(path: &Path, name: &str, is_forced: bool) -> Result<(), Failure> {
    if is_forced || !operator_file::exists(path) || release_file::is_one(path) {
        return Ok(());
    }
    let hint = Some("name another file, or replace this one with --force".to_owned());
    Err(usage(format!("{name} exists, and is not a release file"), Vec::new(), hint))
}
