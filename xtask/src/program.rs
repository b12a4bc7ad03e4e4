//! Other programs: run, asked for their output, or only asked whether they succeed.

use crate::failure::{Failure, Result};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A command without standard input, so that nothing can wait for an answer.
pub(crate) fn command<S: AsRef<OsStr>>(argv: &[S]) -> Command {
    let (name, arguments) = argv.split_first().expect("invariant: a command line has a program");
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a program with its output on this program's own.
///
/// # Errors
/// The program cannot be started or did not succeed.
pub(crate) fn run<S: AsRef<OsStr>>(argv: &[S]) -> Result {
    let status = command(argv).status().map_err(|error| cannot_start(argv, &error))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("{}: {status}", shown(argv)))) }
}

/// Whether a program starts and succeeds; its output is dropped.
pub(crate) fn succeeds<S: AsRef<OsStr>>(argv: &[S]) -> bool {
    command(argv)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What a program prints.
///
/// # Errors
/// The program cannot be started or did not succeed; its standard error is in the message.
pub(crate) fn output<S: AsRef<OsStr>>(argv: &[S]) -> Result<String> {
    let done = captured(argv)?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(Failure::new(format!("{}: {}: {}", shown(argv), done.status, said.trim())));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs a program for its effect and shows what it says only if it fails.
///
/// # Errors
/// As [`output`].
pub(crate) fn quiet<S: AsRef<OsStr>>(argv: &[S]) -> Result {
    output(argv).map(drop)
}

/// Runs a program to its end and returns all it said, whether it succeeded or not.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn captured<S: AsRef<OsStr>>(argv: &[S]) -> Result<Output> {
    command(argv).output().map_err(|error| cannot_start(argv, &error))
}

/// Whether a program of this name can be found, on the path or where the system's own programs live.
pub(crate) fn exists(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|folder| is_executable(&folder.join(name)))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Whether the calling user is the super-user.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command line as a person would read it.
pub(crate) fn shown<S: AsRef<OsStr>>(argv: &[S]) -> String {
    let words: Vec<_> = argv.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    words.join(" ")
}

fn cannot_start<S: AsRef<OsStr>>(argv: &[S], error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot start {}: {error}", shown(argv)))
}
