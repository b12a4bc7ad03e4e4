//! A program that stops after each of its changes, so that the disks can be looked at while nothing moves.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::sandbox::{Outcome, Sandbox, Wrap};
use super::scenario::Release;
use crate::failure::{Failure, Result, at};
use crate::program;

/// Every call that changes what a disk holds. What creates a file is left out: what is done to it next is not.
const CHANGES: &str = "?write,?writev,?pwrite64,?pwritev,?pwritev2,?rename,?renameat,?renameat2,?link,?linkat,\
    ?symlink,?symlinkat,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,?chmod,?fchmod,?fchmodat,?fchmodat2,?chown,?fchown,\
    ?lchown,?fchownat,?utimensat,?fsetxattr,?fremovexattr,?fsync,?fdatasync,?syncfs,?ftruncate,?fallocate,\
    ?copy_file_range";
/// A thread that does not stop within this time was not asked to: another one's stop was taken back with its own.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);
const END: &str = "end of the run";

/// Pushes the new release, and calls `on_stop` with the last change whenever the program has stopped.
///
/// # Errors
/// The program cannot be traced, or `on_stop` fails; the run is over in either case.
pub(crate) fn push(sandbox: &Sandbox, mut on_stop: impl FnMut(&str) -> Result) -> Result<Outcome> {
    let log = sandbox.directory().join("stops");
    if !log.exists() {
        program::quiet(&[Path::new("mkfifo"), log.as_path()])?;
    }
    let words = ["strace", "-f", "-qq", "-y", "-s", "0", "-o"].map(String::from);
    let mut hub = words.to_vec();
    hub.extend([log.display().to_string(), "-e".into(), format!("trace={CHANGES}")]);
    hub.extend(["-e".into(), format!("inject={CHANGES}:signal=STOP")]);
    let wrap = Wrap { hub, agent: Vec::new() };
    // Both ends are held, so that opening it waits for nobody.
    let held = File::options().read(true).write(true).open(&log).map_err(at("open", &log))?;
    let mut writer = held.try_clone().map_err(at("share", &log))?;
    std::thread::scope(|scope| {
        let run = scope.spawn(move || {
            let outcome = sandbox.run("push", Release::New, &wrap);
            writeln!(writer, "\n{END}").map_err(at("write", Path::new("the log of stops")))?;
            outcome
        });
        let mut failed = None;
        let mut last: BTreeMap<u32, String> = BTreeMap::new();
        for line in BufReader::new(held).lines() {
            let line = line.map_err(at("read", &log))?;
            if line == END {
                break;
            }
            let Some((thread, rest)) = split(&line) else { continue };
            if !rest.starts_with("--- SIGSTOP") {
                if !rest.starts_with("---") {
                    let whole = joined(last.get(&thread), rest);
                    last.insert(thread, whole);
                }
                continue;
            }
            let call = last.get(&thread).map_or("", String::as_str);
            let Some(process) = process_of(thread) else { continue };
            if failed.is_none() && is_on_disk(call) && has_stopped(process) {
                failed = on_stop(call).err();
            } else {
                has_stopped(process);
            }
            // One that is gone needs no more.
            if rustix::process::kill_process(process, Signal::CONT).is_err() {}
        }
        let outcome = run.join().map_err(|_panic| Failure::new("the run's thread ended"))?;
        failed.map_or(outcome, Err)
    })
}

/// The thread of a line of the log, and the rest.
fn split(line: &str) -> Option<(u32, &str)> {
    let (thread, rest) = line.split_once(' ')?;
    Some((thread.parse().ok()?, rest.trim_start()))
}

/// The call of a line that ends what another thread's line had cut.
fn joined(before: Option<&String>, rest: &str) -> String {
    let start = before.and_then(|before| before.split_once(" <unfinished ...>"));
    let end = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>"));
    match (start, end) {
        (Some((start, _)), Some((_, end))) => format!("{start}{end}"),
        _ => rest.to_owned(),
    }
}

/// Whether a call concerns files, and not a pipe or a socket.
fn is_on_disk(call: &str) -> bool {
    let handle = call.split_once('<').map(|(_, rest)| rest);
    handle.is_none_or(|rest| rest.starts_with('/')) && !call.contains("printed>")
}

fn process_of(thread: u32) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    Pid::from_raw(line.trim().parse().ok()?)
}

/// Waits until no thread of `process` moves; false if one still does when the time is over.
fn has_stopped(process: Pid) -> bool {
    let deadline = Instant::now() + STOP_TIME_MAX;
    loop {
        if threads(process).iter().all(|state| "tTZX".contains(*state)) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200)); // poll: the states themselves decide
    }
}

/// The state of each thread, by its letter.
fn threads(process: Pid) -> Vec<char> {
    let directory = format!("/proc/{}/task", process.as_raw_nonzero());
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let stats = entries.flatten().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next())
    });
    stats.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_file_is_told_from_one_of_a_pipe() {
        assert!(is_on_disk("fsync(4</box/n0/journal>) = 0"));
        assert!(is_on_disk("renameat2(4</box>, \"n0\", 5</box>, \"a\", 0) = 0"));
        let cut = "fsync(4</box/n0/decision> <unfinished ...>".to_owned();
        assert_eq!(
            joined(Some(&cut), "<... fsync resumed>) = 0"),
            "fsync(4</box/n0/decision>) = 0"
        );
        assert_eq!(joined(None, "fsync(4</a>) = 0"), "fsync(4</a>) = 0");
        assert!(!is_on_disk("write(1<pipe:[12]>, \"\", 1) = 1"));
        assert_eq!(split("12  --- SIGSTOP {}"), Some((12, "--- SIGSTOP {}")));
        assert_eq!(split(END), None);
    }
}
