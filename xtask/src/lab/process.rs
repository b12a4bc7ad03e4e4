//! A process that was started earlier, recognised for certain: its number may by now be someone else's.

use crate::failure::{Failure, Result, at};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::{Duration, Instant};

/// A process, by its number, the moment it started and the boot of the machine it started in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pid: i32,
    started_ticks: u64,
    boot: String,
}

impl Identity {
    /// The process that has this number now; none if there is none, or only its remains.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let (started_ticks, state) = start_and_state(pid)?;
        (state != "Z" && state != "X").then(|| Self { pid, started_ticks, boot: boot() })
    }

    /// The process recorded in a file; none if there is no readable record.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let mut words = text.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        let started_ticks = words.next()?.parse().ok()?;
        Some(Self { pid, started_ticks, boot: words.next()?.to_owned() })
    }

    /// Records the process in a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result {
        let text = format!("{} {} {}\n", self.pid, self.started_ticks, self.boot);
        std::fs::write(path, text).map_err(at("write", path))
    }

    /// Whether this very process still runs.
    pub(super) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// The process's number, if it still runs.
    pub(super) fn live_pid(&self) -> Option<i32> {
        self.is_alive().then_some(self.pid)
    }

    /// The first child of the process, if it still runs and has one.
    pub(super) fn first_child(&self) -> Option<Self> {
        let pid = self.live_pid()?;
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        Self::of(children.split_whitespace().next()?.parse().ok()?)
    }

    /// Kills the process at once; nothing happens if it is gone.
    pub(super) fn kill(&self) {
        if let Some(pid) = self.live_pid().and_then(Pid::from_raw) {
            // It may have ended between the look and the signal, which is what was wanted.
            let _gone = kill_process(pid, Signal::KILL);
        }
    }
}

/// The start time in clock ticks since boot and the state letter of a process.
fn start_and_state(pid: i32) -> Option<(u64, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold blanks and parentheses: the fields count from the last one.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some((fields.get(19)?.parse().ok()?, (*fields.first()?).to_owned()))
}

fn boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Waits until `done` holds.
///
/// # Errors
/// It does not hold within `limit`; the message names `what` was waited for.
pub(super) fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Result {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("waited {limit:?} for {what}")));
        }
        std::thread::sleep(Duration::from_millis(20)); // poll: the condition itself decides
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_alive_and_a_reused_number_is_not() {
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        let other = Identity { started_ticks: own.started_ticks + 1, ..own.clone() };
        assert!(!other.is_alive());
        assert_eq!(other.live_pid(), None);
    }

    #[test]
    fn record_survives_the_round_trip() {
        let path = std::env::temp_dir().join(format!("xtask-identity-{}", std::process::id()));
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        own.write(&path).unwrap();
        assert_eq!(Identity::read(&path), Some(own));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Identity::read(&path), None);
    }

    #[test]
    fn a_dead_child_is_not_alive_though_not_yet_waited_for() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let seen = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(seen.is_alive());
        seen.kill();
        wait_until("the child's death", Duration::from_secs(10), || !seen.is_alive()).unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
