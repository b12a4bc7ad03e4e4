//! How large the processes become that work for a tool on the nodes.

use crate::failure::{Failure, Result};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the nodes are looked at. The largest size of a process so far only grows, so what is missed is what a
/// process takes in its last 20 ms.
const EVERY: Duration = Duration::from_millis(20);

/// The names of such processes begin so: depsync's agent, and rsync.
const NAMES: [&str; 2] = ["agent-", "rsync"];

/// Looks at the nodes' processes from a thread of its own.
#[derive(Debug)]
pub(super) struct Agents {
    stop: Sender<()>,
    thread: JoinHandle<Option<u64>>,
}

impl Agents {
    /// Starts to look at all below the `first` process of each node; looks once at least, however soon it ends.
    ///
    /// # Errors
    /// No thread can be had.
    pub(super) fn watch(first: Vec<i32>) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let first = Arc::new(first);
        let look = move || {
            let mut largest = None;
            loop {
                largest = largest.max(first.iter().filter_map(|pid| largest_below(*pid)).max());
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return largest;
                }
            }
        };
        let thread = std::thread::Builder::new().name("agents".to_owned()).spawn(look);
        let thread =
            thread.map_err(|error| Failure::new(format!("watch the nodes' processes: {error}")))?;
        Ok(Self { stop, thread })
    }

    /// Ends the watch: bytes of the largest such process that was seen, if there was one.
    ///
    /// # Errors
    /// The thread has failed.
    pub(super) fn largest(self) -> Result<Option<u64>> {
        drop(self.stop);
        self.thread.join().map_err(|_panic| Failure::new("the watch of the nodes has failed"))
    }
}

/// Bytes of the largest agent below the process `first`.
fn largest_below(first: i32) -> Option<u64> {
    let mut seen = BTreeSet::new();
    let mut open = vec![first];
    let mut largest = None;
    while let Some(pid) = open.pop() {
        if !seen.insert(pid) {
            continue;
        }
        // Processes come and go meanwhile: one that is gone is passed over.
        let read =
            |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        largest = largest.max(agent_bytes(&read("status")));
        let children = read(&format!("task/{pid}/children"));
        open.extend(children.split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
    }
    largest
}

/// The largest size so far of a process, from its status, if it is an agent.
fn agent_bytes(status: &str) -> Option<u64> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let name = field("Name:")?.trim();
    if !NAMES.iter().any(|start| name.starts_with(start)) {
        return None;
    }
    let kilobytes: u64 = field("VmHWM:")?.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::time::Instant;

    #[test]
    fn only_agents_are_counted() {
        let status =
            |name: &str| format!("Name:\t{name}\nVmPeak:\t 90000 kB\nVmHWM:\t   4100 kB\n");
        assert_eq!(agent_bytes(&status("agent-0123456789")), Some(4100 * 1024));
        assert_eq!(agent_bytes(&status("rsync")), Some(4100 * 1024));
        assert_eq!(agent_bytes(&status("sshd-session")), None);
        // What has ended has no size any more.
        assert_eq!(agent_bytes("Name:\trsync\nState:\tZ\n"), None);
    }

    #[test]
    fn agents_are_found_below_the_first_process() {
        let sleep =
            if Path::new("/usr/bin/sleep").exists() { "/usr/bin/sleep" } else { "/bin/sleep" };
        let agent = std::env::temp_dir().join(format!("agent-{}", std::process::id()));
        std::fs::copy(sleep, &agent).unwrap();
        // The shell waits for the agent, as an sshd does, and ends with it.
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "\"$0\" 30; true", &agent.display().to_string()])
            .spawn()
            .unwrap();
        let first = i32::try_from(shell.id()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while largest_below(first).is_none() && Instant::now() < deadline {
            std::thread::sleep(EVERY); // poll: the agent's name
        }
        let own = largest_below(first);
        let agents = Agents::watch(vec![first]).unwrap();
        let largest = agents.largest().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        let child = children.unwrap().split_whitespace().next().unwrap().parse().unwrap();
        let child = rustix::process::Pid::from_raw(child).unwrap();
        rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
        shell.wait().unwrap();
        std::fs::remove_file(&agent).unwrap();
        assert!(own.is_some() && largest >= own, "{own:?} {largest:?}");
        assert_eq!(largest_below(first), None);
    }
}
