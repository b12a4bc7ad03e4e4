//! Why a task ended without success, and the exit code that says so.

use std::fmt;
use std::io;
use std::path::Path;

/// A task's result.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// A task that did not succeed: one message for the screen and an exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// 1: something went wrong; 2: not available here, or asked for wrongly; else a program's own code.
    pub(crate) code: u8,
    /// Shown after `error: `; empty where the program that failed has said enough.
    pub(crate) message: String,
}

impl Failure {
    /// Something went wrong.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// The request is wrong, or this machine or this user cannot do it.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// A program that ran in this task's place has failed with `code` and has said why.
    pub(crate) fn silent(code: u8) -> Self {
        Self { code, message: String::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Turns an input/output error into a failure that names the act and the path.
pub(crate) fn at(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_path_buf();
    move |error| Failure::new(format!("{act} {}: {error}", path.display()))
}
