//! The tool that is measured, as a child of time(1), and what can be learnt of it only while it is there.
//!
//! time(1) stands between, as the size of a child of this program's own would be reported as no less than this
//! program's. It is stopped while the tool runs, so that the tool's remains stay to be looked at.

use crate::failure::{Failure, Result, at};
use crate::program;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

/// What one run of a tool was.
#[derive(Debug)]
pub(super) struct Ran {
    /// Seconds until the tool had ended.
    pub(super) wall: f64,
    /// The exit code; -1 for a signal.
    pub(super) exit: i32,
    /// Bytes of the largest process that the tool was or waited for.
    pub(super) rss: u64,
    /// Seconds of processor that the tool's own process used, without those it started; none if it ended too soon to be
    /// looked at.
    pub(super) own_cpu: Option<f64>,
}

/// Runs a command line to its end. What it prints goes to `log`.
///
/// # Errors
/// It cannot be started, or what it used cannot be told.
pub(super) fn run(argv: &[String], log: &Path) -> Result<Ran> {
    let memory = log.with_extension("rss");
    let output = std::fs::File::create(log).map_err(at("create", log))?;
    let errors = output.try_clone().map_err(at("create", log))?;
    let memory_shown = memory.display().to_string();
    let mut whole =
        ["/usr/bin/time", "-q", "-f", "%M", "-o", &memory_shown].map(str::to_owned).to_vec();
    whole.extend_from_slice(argv);
    let mut command = program::command(&whole);
    command.stdout(output).stderr(errors);
    let start = Instant::now();
    let mut timer = command
        .spawn()
        .map_err(|error| Failure::new(format!("{}: {error}", program::shown(&whole))))?;
    let watched = watch(&timer);
    // In any case time(1) goes on, and so ends.
    let resumed = pid_of(&timer).and_then(|pid| signal(pid, Signal::CONT));
    let status = timer.wait().map_err(at("wait for", Path::new("/usr/bin/time")))?;
    let wall = start.elapsed().as_secs_f64();
    resumed?;
    let said = std::fs::read_to_string(&memory).map_err(at("read", &memory))?;
    let kilobytes: Option<u64> = said.split_whitespace().last().and_then(|last| last.parse().ok());
    Ok(Ran {
        wall,
        exit: status.code().unwrap_or(-1),
        rss: kilobytes.ok_or_else(|| Failure::new(format!("time(1) said: {said}")))? * 1024,
        own_cpu: watched?,
    })
}

/// Waits until the only child of `timer` has ended, and says how long the processor worked for it. Its parent is left
/// stopped.
fn watch(timer: &Child) -> Result<Option<f64>> {
    let parent = pid_of(timer)?;
    let Some(tool) = first_child(parent)? else { return Ok(None) };
    signal(parent, Signal::STOP)?;
    // RACE: it may have ended, and been waited for, before its parent was stopped.
    let Ok(handle) = pidfd_open(tool, PidfdFlags::empty()) else { return Ok(None) };
    loop {
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], None) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure::new(format!("wait for the tool: {error}"))),
        }
    }
    let path = Path::new("/proc").join(tool.to_string()).join("stat");
    let stat = std::fs::read_to_string(&path).map_err(at("read", &path))?;
    own_seconds(&stat, rustix::param::clock_ticks_per_second())
        .map(Some)
        .ok_or_else(|| Failure::new(format!("{} says: {stat}", path.display())))
}

fn pid_of(child: &Child) -> Result<Pid> {
    let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    raw.ok_or_else(|| Failure::new("a process without a number"))
}

fn signal(pid: Pid, signal: Signal) -> Result {
    kill_process(pid, signal).map_err(|error| Failure::new(format!("signal time(1): {error}")))
}

/// The first child of a process that is about to start one; none if both have ended.
fn first_child(parent: Pid) -> Result<Option<Pid>> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let path = format!("/proc/{parent}/task/{parent}/children");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let children = std::fs::read_to_string(&path).unwrap_or_default();
        let first = children.split_whitespace().next().and_then(|word| word.parse().ok());
        if let Some(pid) = first.and_then(Pid::from_raw) {
            return Ok(Some(pid));
        }
        let stat = std::fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
        if stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z')) {
            return Ok(None);
        }
        if Instant::now() > deadline {
            return Err(Failure::new("time(1) starts nothing"));
        }
        std::thread::yield_now();
    }
}

/// The seconds that all threads of a process were run for, from its line in /proc.
fn own_seconds(stat: &str, ticks_per_second: u64) -> Option<f64> {
    // The name in parentheses may itself hold blanks and parentheses: the fields count from the last one.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(super::measure::seconds(user + system, ticks_per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_time_of_a_process_is_found_behind_any_name() {
        let stat = "17 (a) b (c) Z 1 1 1 0 -1 4 5 6 7 8 120 30 900 900 20 0 1 0 5";
        assert_eq!(own_seconds(stat, 100), Some(1.5));
        assert_eq!(own_seconds("17 (a", 100), None);
        assert_eq!(own_seconds("17 (a) Z 1", 100), None);
    }

    #[test]
    fn a_tool_is_measured_without_those_it_starts() {
        if !Path::new("/usr/bin/time").exists() {
            return;
        }
        let log = std::env::temp_dir().join(format!("xtask-child-{}.log", std::process::id()));
        let burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let run_script = |script: &str| {
            let argv = ["sh", "-c", script].map(str::to_owned);
            run(&argv, &log).unwrap()
        };
        let own = run_script(&format!("{burn}; exit 7"));
        let others = run_script(&format!("({burn}); true"));
        let said = std::fs::read_to_string(&log).unwrap();
        for left in [log.with_extension("rss"), log.clone()] {
            std::fs::remove_file(left).unwrap();
        }
        assert_eq!((own.exit, others.exit, said.as_str()), (7, 0, ""));
        let (mine, theirs) = (own.own_cpu.unwrap(), others.own_cpu.unwrap());
        assert!(own.rss > 100_000 && own.wall > mine / 2.0, "{own:?}");
        assert!(mine > 0.02 && theirs < mine / 2.0, "{own:?} {others:?}");
    }
}
