//! `depsync import`: a configuration from the script, crontab or command that is in use. Reads that file alone, and executes nothing.

mod document;
mod shown;

use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::args::{ColorWhen, ImportArgs};
use super::console::Console;
use super::{environment, push, usage};
use crate::config::import::{self, Finding, Imported, Level, Nodes, Surroundings, TEXT_BYTES_MAX};
use crate::config::{self, Environment};
use crate::hub::options::Mode;
use crate::hub::outcome::Failure;
use crate::model::untrusted::Untrusted;
use crate::os::{foreign_file, operator_file};
use crate::report::json;

/// Imports and says what was found; gives the exit code.
pub(super) fn run(arguments: &ImportArgs) -> u8 {
    let console = Console::new(ColorWhen::Auto, false);
    match import(arguments) {
        Ok(made) => report(arguments, &made, console),
        Err(failure) => {
            let code = failure.verdict.exit_code();
            console.failure(&failure);
            if arguments.json {
                let lines = json::lines(&push::stopped(failure), Mode::Plan, code);
                return console.results(&lines).exit_code(code);
            }
            code
        }
    }
}

/// What was made.
struct Made {
    imported: Imported,
    /// The text of the configuration.
    text: String,
    /// What was read, as it is shown; none for a command.
    from: Option<String>,
    /// Where the configuration is, absolute.
    config: PathBuf,
}

fn report(arguments: &ImportArgs, made: &Made, console: Console) -> u8 {
    if arguments.json {
        return console.results(&shown::lines(made, arguments.print)).exit_code(0);
    }
    if arguments.print {
        console.aside(|style| shown::text(made, None, style));
        return console.results(&made.text).exit_code(0);
    }
    let name = escaped(&arguments.config);
    console.results(&shown::text(made, Some(&name), console.style)).exit_code(0)
}

fn import(arguments: &ImportArgs) -> Result<Made, Failure> {
    let environment = environment::read()?;
    let here = &environment.working_directory;
    let config = here.join(&arguments.config);
    if !arguments.print && !arguments.force && operator_file::exists(&config) {
        return Err(exists(&arguments.config));
    }
    let (from, mut imported) = read_and_understand(arguments, &environment)?;
    note_missing_nodes(&mut imported);
    let text = document::text(&imported)?;
    // What depsync would refuse to read is not written.
    config::read_bytes(&config, text.as_bytes()).map_err(|error| {
        let failure = error.failure();
        let message = "what the script says is no configuration".to_owned();
        Failure { causes: [vec![failure.message], failure.causes].concat(), message, ..failure }
    })?;
    if !arguments.print {
        operator_file::write_operator_file(&config, text.as_bytes(), arguments.force).map_err(
            |error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => exists(&arguments.config),
                _ => usage(
                    format!("write {}", escaped(&arguments.config)),
                    vec![error.to_string()],
                    None,
                ),
            },
        )?;
    }
    Ok(Made { imported, text, from, config })
}

/// What was read, as it is shown, and what it says.
fn read_and_understand(
    arguments: &ImportArgs,
    environment: &Environment,
) -> Result<(Option<String>, Imported), Failure> {
    if let Some(file) = &arguments.file {
        let is_stdin = file == Path::new("-");
        let name = if is_stdin { "standard input".to_owned() } else { escaped(file) };
        let bytes = read(file, &environment.working_directory)?;
        let imported = import::script(&bytes, &surroundings(environment, Some(file))?)
            .map_err(|error| refused(Some(&name), &error))?;
        return Ok((Some(name), imported));
    }
    let words = arguments.command.iter().map(|word| text_of(Path::new(word)));
    let words = words.collect::<Result<Vec<String>, Failure>>()?;
    let imported = import::command(&words, &surroundings(environment, None)?)
        .map_err(|error| refused(None, &error))?;
    Ok((None, imported))
}

/// A path or word as text, which a configuration must be.
fn text_of(path: &Path) -> Result<String, Failure> {
    let refused = || {
        let message = format!("{} is not UTF-8, which a configuration must be", escaped(path));
        usage(message, Vec::new(), None)
    };
    path.to_str().map(str::to_owned).ok_or_else(refused)
}

fn escaped(path: &Path) -> String {
    Untrusted::new(path.as_os_str().as_bytes()).to_string()
}

fn exists(config: &Path) -> Failure {
    let hint =
        Some("pass --force to replace it, or --print to see what would be written".to_owned());
    usage(format!("{} exists already", escaped(config)), Vec::new(), hint)
}

/// The bytes of the script, at most one more than are taken.
fn read(file: &Path, here: &Path) -> Result<Vec<u8>, Failure> {
    let bytes_max = u64::try_from(TEXT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(bytes_max).read_to_end(&mut bytes).map(|_| Some(bytes))
    } else {
        foreign_file::read_regular(&here.join(file), bytes_max)
    };
    let failed = |cause: String| usage(format!("read {}", escaped(file)), vec![cause], None);
    read.map_err(|error| failed(error.to_string()))?
        .ok_or_else(|| failed("there is no such file".into()))
}

fn surroundings(environment: &Environment, file: Option<&Path>) -> Result<Surroundings, Failure> {
    let file = file
        .filter(|file| *file != Path::new("-"))
        .map(|file| environment.working_directory.join(file));
    Ok(Surroundings {
        home: environment.home.as_deref().map(text_of).transpose()?,
        working_directory: text_of(&environment.working_directory)?,
        script_directory: file.as_deref().and_then(Path::parent).map(text_of).transpose()?,
    })
}

fn refused(name: Option<&str>, error: &import::Error) -> Failure {
    let message = name.map_or_else(|| error.to_string(), |name| format!("{name}: {error}"));
    let causes = match error {
        import::Error::Unclear { findings } => {
            let lost = findings.iter().filter(|finding| finding.level == Level::Lost);
            lost.map(|finding| match finding.line {
                Some(line) => format!("line {line}: {}", finding.message),
                None => finding.message.clone(),
            })
            .collect()
        }
        _ => Vec::new(),
    };
    Failure { kind: "import".into(), ..usage(message, causes, Some(error.hint())) }
}

/// A nodes file that is not there is said.
fn note_missing_nodes(imported: &mut Imported) {
    let Nodes::File(file) = &imported.nodes else { return };
    let path = Path::new(file);
    if operator_file::exists(path) {
        return;
    }
    let finding = Finding {
        line: None,
        text: String::new(),
        check: "nodes-file",
        level: Level::Lost,
        message: format!("the nodes file {} is not there", escaped(path)),
        instead: "put it there, or name it by [cluster] nodes: one target a line".into(),
    };
    let at = imported.findings.iter().position(|other| other.level != Level::Lost);
    imported.findings.insert(at.unwrap_or(imported.findings.len()), finding);
}
