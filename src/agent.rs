//! The agent as a program: what `depsync agent` and the slim `depsync-agent` have in common, and the slim one itself.
//!
//! The slim program is what the hub uploads. It does what the scripts of the bootstrap start, and nothing else: all that
//! a node never needs, such as the command line's parser, the history and the templates, is not linked into it. So this
//! module stands below whatever waits for many nodes.

use std::ffi::OsString;
use std::io::{self, Write as _, stderr, stdin, stdout};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::node::agent::{self, AgentOptions};
use crate::node::place::Allowed;
use crate::os::program::Program;
use crate::os::{file, process};

/// The slim program's file, which lies beside that of the whole one.
pub const NAME: &str = "depsync-agent";
/// Stands in the slim program of this very build, and in no other's: its digest of the sources (`build.rs`).
pub const MARK: &str = concat!("depsync-agent ", env!("DEPSYNC_STAMP"));
/// What the slim program says to whoever starts it by hand; with [`MARK`], so that the linker keeps it.
const USAGE: &str = concat!(
    "depsync-agent ",
    env!("DEPSYNC_STAMP"),
    ": depsync uploads this program to its nodes and starts it there; to be run by hand is depsync\n"
);
/// The exit code of a usage that is none, as `depsync` has it.
const EXIT_USAGE: u8 = 64;

/// Runs the slim program with its arguments, its name not among them, and gives the exit code: that of
/// [`serve`] for `agent`, that of [`verify`] for `agent --verify DIGEST`, 64 for anything else.
pub fn main(arguments: &[OsString]) -> ExitCode {
    process::prepare();
    let words: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    let code = match words[..] {
        [b"agent"] => serve(Vec::new()),
        [b"agent", b"--verify", digest] => verify(digest),
        _ => {
            let _unseen = stderr().write_all(USAGE.as_bytes());
            EXIT_USAGE
        }
    };
    ExitCode::from(code)
}

/// Serves one hub on standard input and output, in the directories of `restrict` alone if there are any; gives the exit
/// code.
pub fn serve(restrict: Vec<PathBuf>) -> u8 {
    let options = AgentOptions { allowed: allowed(restrict), ..AgentOptions::default() };
    file::widen_pipe(stdin());
    // What went wrong was told to the hub, which is who can tell a person.
    match agent::serve(stdin(), stdout(), &options) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Where an agent may work that is a process of its own: relative targets start at `HOME`.
#[expect(clippy::disallowed_methods, reason = "an agent is told nothing by arguments")]
pub fn allowed(restrict: Vec<PathBuf>) -> Allowed {
    let home = std::env::var_os("HOME").filter(|value| !value.is_empty());
    let home = home.map_or_else(|| PathBuf::from("/"), PathBuf::from);
    Allowed { home, restrict, confines: true }
}

/// Says whether this process's own program has the digest `expected_hex`: 0 if it has, and then it is on disk as well; 1
/// if not, or if it cannot be read or synced. The hub asks it of what it has uploaded.
pub fn verify(expected_hex: &[u8]) -> u8 {
    let is_expected = || {
        let own = Program::open(None)?;
        let is_expected = digest_of(&own)?.to_hex().as_bytes() == expected_hex;
        if is_expected {
            own.sync()?;
        }
        io::Result::Ok(is_expected)
    };
    u8::from(!is_expected().unwrap_or(false))
}

/// The BLAKE3 of a program's bytes, unkeyed.
///
/// # Errors
/// The system's error if it cannot be read.
pub fn digest_of(program: &Program) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(program.reader()?)?;
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_is_one_line_that_carries_the_mark() {
        assert!(USAGE.starts_with(MARK) && USAGE.matches('\n').count() == 1, "{USAGE}");
    }

    #[test]
    fn the_own_program_is_known_by_its_digest() {
        let own = digest_of(&Program::open(None).unwrap()).unwrap().to_hex();
        assert_eq!(verify(own.as_bytes()), 0);
        assert_eq!(verify(blake3::hash(b"").to_hex().as_bytes()), 1);
        assert_eq!(verify(own.to_uppercase().as_bytes()), 1);
    }
}
