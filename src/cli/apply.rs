//! `depsync apply`: this host's directory, brought to a release file.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use super::args::ApplyArgs;
use super::console::Console;
use super::push::{self, Prepared};
use super::{environment, usage};
use crate::config::{self, ListedNode, Nodes, Resolved, Settings};
use crate::hub::options::{Mode, Origin};
use crate::hub::outcome::{Failure, NodeState, RunOutcome, Verdict};
use crate::model::target::{LocalPath, Target};
use crate::source::release_file::ReleaseFile;

/// Applies, or says what that would change; gives the exit code.
pub(super) fn run(arguments: &ApplyArgs, words: &[OsString]) -> u8 {
    let output = &arguments.output;
    let console = Console::new(output.color, output.verbose || arguments.diff);
    let mode = if arguments.check { Mode::Plan } else { Mode::Push };
    let resolved = resolve(arguments, mode);
    let prepared = Prepared { log_file: output.log_file.clone(), mode, resolved };
    let code_of = |outcome: &RunOutcome| code_of(outcome, arguments.detailed_exitcode);
    push::carry_out(prepared, console, output, words, code_of)
}

/// 0 for a directory that is as the release, or with `--check` for one of which is known what would change. If details
/// are wanted, 2 where something changed or would.
fn code_of(outcome: &RunOutcome, is_detailed: bool) -> u8 {
    let has_changed = outcome.nodes.iter().any(|node| node.state == NodeState::Committed);
    match outcome.verdict {
        Verdict::Diff if !is_detailed => Verdict::Done.exit_code(),
        Verdict::Done if is_detailed && has_changed => Verdict::Diff.exit_code(),
        verdict => verdict.exit_code(),
    }
}

fn resolve(arguments: &ApplyArgs, mode: Mode) -> Result<Resolved, Failure> {
    let environment = environment::read()?;
    let here = &environment.working_directory;
    let file = here.join(&arguments.file);
    let target = here.join(&arguments.target);
    let local = LocalPath::new(target.as_os_str().as_bytes()).map_err(|error| {
        let hint = error.hint().map(str::to_owned);
        usage("--target is not a directory that can be one", vec![error.to_string()], hint)
    })?;
    let node = ListedNode { target: Target::Local(local), labels: Vec::new(), identity: None };
    let set = |flag: bool| flag.then_some(true);
    let settings = Settings {
        // The state is the directory's, whichever file it is brought to.
        source: Some(target),
        nodes: Some(Nodes::Named(vec![node])),
        message: arguments.message.clone(),
        make_path: set(arguments.place.mkpath),
        no_delete: set(arguments.place.no_delete),
        max_delete: arguments.max_delete,
        force: set(arguments.force),
        commit: arguments.commit,
        node_state_dir: arguments.state_dir.clone(),
        deadline: arguments.deadline,
        lock_timeout: arguments.lock_timeout,
        ..Settings::default()
    };
    let mut resolved =
        config::resolve(settings, &environment, mode).map_err(|error| error.failure())?;
    let release = ReleaseFile::open(&file).map_err(|error| Failure::from(&error))?;
    resolved.run.origin = Origin::File(Arc::new(release));
    resolved.run.source.root = file;
    resolved.run.list_changes |= arguments.diff || arguments.output.verbose;
    Ok(resolved)
}
