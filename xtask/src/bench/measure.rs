//! One run of one tool: how long it took and what it used.

use super::agents::Agents;
use super::child;
use crate::failure::{Failure, Result, at};
use crate::lab::Lab;
use crate::program;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What one run took. The fields' names are those of the JSON output.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Cost {
    /// Seconds from the command's start until it returned.
    pub(super) wall: f64,
    /// Seconds of processor that hub and nodes used.
    pub(super) cpu: f64,
    /// Seconds of processor that depsync's own process on the hub used, without ssh; none for other tools.
    pub(super) hub_cpu: Option<f64>,
    /// Processors that others on the machine kept busy meanwhile.
    pub(super) noise: f64,
    /// Bytes over all nodes' links, in both directions.
    pub(super) wire: u64,
    /// Bytes of the largest process of the hub.
    pub(super) rss: u64,
    /// Bytes of the largest process that worked for the tool on a node, as far as it was seen.
    pub(super) agent: Option<u64>,
    /// The exit code; -1 for a signal.
    pub(super) exit: i32,
}

/// Whose processor time is told apart from that of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hub {
    /// The command itself is the hub.
    IsCommand,
    /// A shell starts what works.
    IsBelow,
}

/// Runs a command line and measures it. What it prints goes to `log`.
///
/// # Errors
/// It cannot be started, or a counter cannot be read.
pub(super) fn run(argv: &[String], hub: Hub, lab: &Lab, group: &Group, log: &Path) -> Result<Cost> {
    program::quiet(&["sync"])?;
    let agents = Agents::watch(lab.first_processes()?)?;
    let before = (lab.counters()?, group.used()?, busy()?);
    let ran = child::run(argv, log);
    let after = (lab.counters()?, group.used()?, busy()?);
    let agent = agents.largest()?;
    let ran = ran?;
    let sum = |counters: &std::collections::BTreeMap<u8, crate::lab::Counters>| -> u64 {
        counters.values().map(|counted| counted.to_node + counted.from_node).sum()
    };
    let cpu = after.1 - before.1;
    Ok(Cost {
        wall: ran.wall,
        cpu,
        hub_cpu: ran.own_cpu.filter(|_| hub == Hub::IsCommand),
        noise: (after.2 - before.2 - cpu) / ran.wall,
        wire: sum(&after.0).saturating_sub(sum(&before.0)),
        rss: ran.rss,
        agent,
        exit: ran.exit,
    })
}

/// The whole machine's busy seconds so far.
fn busy() -> Result<f64> {
    let path = Path::new("/proc/stat");
    let text = std::fs::read_to_string(path).map_err(at("read", path))?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> =
        line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // The fourth and fifth are idle and waiting for disks; guests' time is in the first two already.
    let counted = ticks.iter().take(8).enumerate().filter(|(index, _)| ![3, 4].contains(index));
    let ticks: u64 = counted.map(|(_, ticks)| ticks).sum();
    Ok(seconds(ticks, rustix::param::clock_ticks_per_second()))
}

/// A control group for this program and all it starts, nodes too, so that their use of the processor can be
/// told from that of others on the machine. Without one, all of the machine's is taken for theirs.
#[derive(Debug)]
pub(super) struct Group {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The first kind of control groups: the folders joined, and the file that counts nanoseconds.
    First(Vec<PathBuf>),
    /// The second kind: the folder joined.
    Second(PathBuf),
    Machine,
}

const NAME: &str = "depsync-bench";

impl Group {
    /// Joins a group of its own, with a larger share of the processor, as far as this machine has such.
    pub(super) fn join() -> Self {
        let own = std::process::id().to_string();
        let first: Vec<PathBuf> = ["cpuacct", "cpu"]
            .into_iter()
            .map(|controller| PathBuf::from("/sys/fs/cgroup").join(controller).join(NAME))
            .filter(|folder| {
                folder.parent().is_some_and(Path::exists)
                    && std::fs::create_dir_all(folder).is_ok()
                    && std::fs::write(folder.join("cgroup.procs"), &own).is_ok()
            })
            .collect();
        if let Some(cpu) = first.iter().find(|folder| folder.join("cpu.shares").exists()) {
            // Without the larger share the figures are only noisier.
            drop(std::fs::write(cpu.join("cpu.shares"), "8192"));
        }
        if first.iter().any(|folder| folder.join("cpuacct.usage").exists()) {
            return Self { kind: Kind::First(first) };
        }
        let second = PathBuf::from("/sys/fs/cgroup").join(NAME);
        let is_second = Path::new("/sys/fs/cgroup/cgroup.procs").exists();
        if is_second
            && std::fs::create_dir_all(&second).is_ok()
            && std::fs::write(second.join("cgroup.procs"), &own).is_ok()
        {
            return Self { kind: Kind::Second(second) };
        }
        Self { kind: Kind::Machine }
    }

    /// Seconds of processor used so far.
    fn used(&self) -> Result<f64> {
        let read = |path: PathBuf| std::fs::read_to_string(&path).map_err(at("read", &path));
        let number = |text: &str| -> Result<u64> {
            text.trim()
                .parse()
                .map_err(|error| Failure::new(format!("processor time {text}: {error}")))
        };
        match &self.kind {
            Kind::Machine => busy(),
            Kind::First(folders) => {
                let counting = folders.iter().map(|folder| folder.join("cpuacct.usage"));
                let path = counting.into_iter().find(|path| path.exists()).unwrap_or_default();
                Ok(seconds(number(&read(path)?)?, 1_000_000_000))
            }
            Kind::Second(folder) => {
                let text = read(folder.join("cpu.stat"))?;
                let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
                Ok(seconds(number(used.unwrap_or_default())?, 1_000_000))
            }
        }
    }

    /// How the processor's time was told, for the report.
    pub(super) fn described(&self) -> &'static str {
        match self.kind {
            Kind::Machine => "the whole machine's",
            Kind::First(_) | Kind::Second(_) => "that of hub and nodes, by a control group",
        }
    }

    /// Goes back where processes without a group are, and removes the group.
    pub(super) fn leave(self) {
        let folders = match self.kind {
            Kind::Machine => Vec::new(),
            Kind::First(folders) => folders,
            Kind::Second(folder) => vec![folder],
        };
        for folder in folders {
            let parent = folder.parent().unwrap_or(&folder).join("cgroup.procs");
            // A group that stays behind costs nothing and is used again by the next benchmark.
            drop(std::fs::write(parent, std::process::id().to_string()));
            drop(std::fs::remove_dir(&folder));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "times are shown with few digits")]
pub(super) fn seconds(count: u64, per_second: u64) -> f64 {
    count as f64 / per_second as f64
}
