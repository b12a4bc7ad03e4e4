//! The environment, read in one place.
#![expect(clippy::disallowed_methods, reason = "this is the one place")]

use std::path::PathBuf;

use super::args::ColorWhen;
use crate::config::Environment;
use crate::hub::outcome::Failure;
use crate::model::untrusted::Untrusted;
use crate::os::host;

use super::usage;

/// What a configuration needs to know.
///
/// # Errors
/// If the working directory is gone.
pub(super) fn read() -> Result<Environment, Failure> {
    let working_directory = std::env::current_dir()
        .map_err(|error| usage("find the working directory", vec![error.to_string()], None))?;
    let path =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = ["SUDO_USER", "LOGNAME", "USER"].into_iter().find_map(path);
    let user = user.map(|user| Untrusted::new(user.as_os_str().as_encoded_bytes()).to_string());
    Ok(Environment {
        working_directory,
        // A service without HOME has its user's home all the same.
        home: path("HOME").or_else(host::user_home),
        state_home: path("XDG_STATE_HOME"),
        user,
    })
}

/// Whether a stream is coloured, given whether it is a terminal.
pub(super) fn is_colored(when: ColorWhen, is_terminal: bool) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => {
            let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            is_terminal && !is_dumb && !is_set("NO_COLOR")
        }
    }
}
