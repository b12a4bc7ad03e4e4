//! This process: what it lets others see, and what it may use.

use std::io;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
};
use signal_hook::consts::SIGXFSZ;

/// Sets this process up, as every program of depsync does first.
pub fn prepare() {
    harden();
    raise_open_files();
    survive_file_size_limit();
}

/// Makes new files private to their owner and forbids core dumps, which would hold what the process knows (rule S21).
fn harden() {
    umask(Mode::RWXG | Mode::RWXO);
    // A program that the system gives dumps to gets them whatever the limit is; and who may not have a dump may not look
    // into the memory or the environment of the running process either. Where the system refuses, the limit is left.
    let _unchanged = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // A lower limit is always allowed; if the system still refuses, nothing else of the run depends on it.
    let _unchanged = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Takes as many open files as the system lets this process have: a run holds a few for every node until the decision,
/// and the usual soft limit of 1,024 is there for programs that use `select`.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised stays as it is; a run that needs more says so.
    let _unchanged =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Makes a write beyond the limit of a file's size an error like any other, not the end of the process: whatever is
/// staged is dropped and told, on the hub as on a node. Programs started from here get the default back.
fn survive_file_size_limit() {
    let reached = std::sync::Arc::default();
    if signal_hook::flag::register(SIGXFSZ, reached).is_err() {
        // The limit then ends the process, as a crash does: recovery finds the old tree.
    }
}

/// How many files this process may have open; `None` if there is no bound.
pub fn open_files_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Finds out whether `count` more files can be opened now (row 68), for what would panic without them.
///
/// # Errors
/// What the system says where they cannot.
pub fn require_spare_files(count: usize) -> io::Result<()> {
    let one = |_| eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from);
    (0..count).map(one).collect::<io::Result<Vec<_>>>().map(drop)
}

/// The signals that this process ignores, as a mask with signal 1 in the lowest bit; `None` if the system does not say.
pub fn ignored_signals() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn rust_programs_ignore_sigpipe() {
        let mask = super::ignored_signals().expect("the system says");
        assert_eq!(mask >> 12 & 1, 1, "SIGPIPE is signal 13");
    }
}
