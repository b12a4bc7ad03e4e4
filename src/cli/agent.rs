//! `depsync agent`: what the hub starts on a node.

use std::io::{stdin, stdout};
use std::path::{Path, PathBuf};

use super::args::AgentArgs;
use super::console::Console;
use super::environment;
use crate::hub::outcome::{Failure, Verdict};
use crate::link::agent_binary;
use crate::node::agent::{self, AgentOptions};
use crate::node::place::Allowed;
use crate::os::file;
use crate::os::root::{self, Missing};

/// Serves one hub on standard input and output; gives the exit code.
pub(super) fn serve(options: &AgentArgs) -> u8 {
    if let Some(expected) = &options.verify {
        let is_expected = agent_binary::verify(expected).unwrap_or(false);
        return u8::from(!is_expected);
    }
    let restrict = match resolved(&options.restrict) {
        Ok(restrict) => restrict,
        Err(failure) => {
            return super::refuse(Console::new(super::args::ColorWhen::Never, false), &failure);
        }
    };
    let home = environment::home().unwrap_or_else(|| PathBuf::from("/"));
    let options = AgentOptions { allowed: Allowed { home, restrict } };
    file::widen_pipe(stdin());
    // What went wrong was told to the hub, which is who can tell a person.
    match agent::serve(stdin(), stdout(), &options) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// The directories that `--restrict` names, with their links resolved, as targets are compared with them.
fn resolved(restrict: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let resolve = |path: &PathBuf| {
        let real = root::absolute(path)
            .map_err(|error| Failure::of(Verdict::Usage, "restrict", &error, None))?;
        let opened = root::open(Path::new(&real), Missing::Refuse)
            .map_err(|error| Failure::of(Verdict::Usage, "restrict", &error, None))?;
        Ok(opened.real_path)
    };
    restrict.iter().map(resolve).collect()
}
