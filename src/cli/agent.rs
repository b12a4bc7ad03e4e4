//! `depsync agent`: what the hub starts on a node.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::args::AgentArgs;
use super::console::Console;
use crate::agent;
use crate::hub::outcome::{Failure, Verdict};
use crate::model::untrusted::Untrusted;
use crate::node::place::Allowed;
use crate::node::recover::{self, Recovered};
use crate::os::root::{self, Missing};

/// Serves one hub on standard input and output; gives the exit code.
pub(super) fn serve(options: &AgentArgs) -> u8 {
    if let Some(expected) = &options.verify {
        return agent::verify(expected.as_bytes());
    }
    let restrict = match resolved(&options.restrict) {
        Ok(restrict) => restrict,
        Err(failure) => {
            return super::refuse(Console::new(super::args::ColorWhen::Never, false), &failure);
        }
    };
    if options.recover.is_empty() {
        agent::serve(restrict)
    } else {
        recover_all(options, &agent::allowed(restrict))
    }
}

/// Recovers each target that was named, whatever becomes of the others; gives the first code that is not 0.
fn recover_all(options: &AgentArgs, allowed: &Allowed) -> u8 {
    let console = Console::new(super::args::ColorWhen::Auto, false);
    let state_dir = options.state_dir.as_ref().map(|path| path.to_string_lossy().into_owned());
    let recover = |directory: &PathBuf| {
        let path = root::absolute(directory)
            .map_err(|error| Failure::of(Verdict::Usage, "recover", &error, None))?;
        recover::recover_at(path.as_os_str().as_bytes(), state_dir.clone(), allowed)
            .map_err(|error| Failure::from(error.failed()))
    };
    let mut code = 0;
    for directory in &options.recover {
        let name = Untrusted::new(directory.as_os_str().as_bytes());
        match recover(directory) {
            Ok(recovered) => {
                let written = console.results(&format!("{name}: {}\n", told(recovered)));
                code = written.exit_code(code);
            }
            Err(mut failure) => {
                failure.message = format!("{name}: {}", failure.message);
                code = if code == 0 { failure.verdict.exit_code() } else { code };
                console.failure(&failure);
            }
        }
    }
    code
}

fn told(recovered: Recovered) -> String {
    match recovered {
        Recovered::Rested => "nothing was in flight".into(),
        Recovered::Dropped => "what was being staged is dropped; nothing had changed".into(),
        Recovered::Waits(txid) => {
            format!("transaction {txid} is prepared and waits for its hub's decision")
        }
        Recovered::Completed(release) => format!("release {} is live", release.short()),
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
