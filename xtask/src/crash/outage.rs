//! One outage after the other: a push is stopped after each of its changes, some machines lose power there, and what
//! their disks then hold is what everything goes on with.
//!
//! ```text
//! base/     images before the push: all nodes have the old release
//! box/      the sandbox; n0, n1 and hub are mounted there, each a machine with a disk of its own
//! points/   images as they were at each moment
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::dice::Dice;
use super::image::{self, Disk, Kind, Writes};
use super::jobs::Tally;
use super::sandbox::{Commit, Form, Outcome, Sandbox, Setup};
use super::scenario::Release;
use super::snapshot::Snapshot;
use super::stops;
use crate::failure::{Failure, Result, at};

const NODES: usize = 2;
/// The machines, by the name of what is mounted for them.
const MACHINES: [&str; 3] = ["n0", "n1", "hub"];

/// Which machines lose power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The first node.
    Node,
    /// All nodes.
    Nodes,
    /// The hub, with the run.
    Hub,
    /// All there is.
    All,
}

/// What the kernel has written by itself before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Nothing: the disk has what was synced.
    Bare,
    /// All names, as soon as there are new ones, and no data that may wait.
    Names,
    /// Now and then names, one file, or everything.
    Random,
    /// Nothing, and the disk fails under the run before it loses power.
    Shutdown,
}

/// One kind of outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Job {
    /// The file system of all machines.
    pub(crate) kind: Kind,
    /// How the nodes commit.
    pub(crate) commit: Commit,
    /// Who loses power.
    pub(crate) lost: Lost,
    /// What was written before.
    pub(crate) manner: Manner,
}

/// What the nodes must be when everything runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Promise {
    /// Nothing was decided.
    Old,
    /// Whether the decision had reached the disk is not known: all are the same.
    Same,
    /// It was decided.
    New,
}

/// The disks at one moment.
#[derive(Debug, Clone)]
struct Point {
    /// The last change before it.
    change: String,
    images: [PathBuf; 3],
    promise: Promise,
    /// The run had ended, and said that all is done.
    is_done: bool,
    /// The nodes recover when they boot, before any hub comes.
    is_booted: bool,
}

impl Point {
    fn drop_images(&self) -> Result {
        self.images
            .iter()
            .try_for_each(|image| std::fs::remove_file(image).map_err(at("remove", image)))
    }
}

/// A cluster of three machines.
#[derive(Debug)]
pub(crate) struct Outage {
    directory: PathBuf,
    sandbox: Sandbox,
    job: Job,
    old: [Snapshot; NODES],
    new: Snapshot,
}

/// How far the decision is, as far as it can be seen while the run goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// There is none.
    #[default]
    Open,
    /// It can be seen.
    Decided,
    /// It is on the disk, and may be gone since because all nodes have carried it out.
    Durable,
}

impl Lost {
    fn has(self, machine: usize) -> bool {
        match self {
            Self::Node => machine == 0,
            Self::Nodes => machine < NODES,
            Self::Hub => machine == NODES,
            Self::All => true,
        }
    }
}

impl Progress {
    /// Looks at the hub's decisions, and at what was synced last.
    fn update(&mut self, hub: &Path, change: &str) -> Result {
        let directory = hub.join("decision");
        let entries = std::fs::read_dir(&directory).map_err(at("list", &directory))?;
        let is_there = entries
            .flatten()
            .any(|entry| entry.path().extension().is_none_or(|extension| extension != "new"));
        let is_sync = change.starts_with("fsync(") && change.contains("/decision>) = 0");
        let seen = match (is_there, is_sync) {
            (false, _) if *self == Self::Open => Self::Open,
            (true, false) => Self::Decided,
            (true, true) | (false, _) => Self::Durable,
        };
        *self = seen.max(*self);
        Ok(())
    }

    fn promise(self, is_hub_lost: bool) -> Promise {
        match self {
            Self::Open => Promise::Old,
            Self::Decided if is_hub_lost => Promise::Same,
            Self::Decided | Self::Durable => Promise::New,
        }
    }
}

impl Outage {
    /// Makes the machines, in the new directory `directory`, and gives the nodes the old release.
    ///
    /// # Errors
    /// A file system cannot be made, or the old release cannot be pushed.
    pub(crate) fn create(directory: &Path, job: Job) -> Result<Self> {
        for part in ["base", "box", "points", "live"] {
            let path = directory.join(part);
            std::fs::create_dir_all(&path).map_err(at("create", &path))?;
        }
        let home = directory.join("box");
        let mut disks = Vec::new();
        for machine in MACHINES {
            let image = directory.join("base").join(machine);
            disks.push(Disk::create(job.kind, &image, &home.join(machine))?);
        }
        let setup = Setup { nodes: NODES, form: Form::Local, commit: job.commit };
        let sandbox = Sandbox::create(&home, setup)?;
        let old = [sandbox.snapshot(0)?, sandbox.snapshot(1)?];
        let new = Snapshot::of(&sandbox.source(Release::New))?;
        for disk in disks {
            disk.unmount()?;
        }
        Ok(Self { directory: directory.to_path_buf(), sandbox, job, old, new })
    }

    /// Lets the power fail at each moment of a push, and goes on from at most `states_max` of the states it left. Counts
    /// changes, different states, and those gone on from.
    ///
    /// # Errors
    /// A promise was broken: the message names the moment.
    pub(crate) fn run(&self, states_max: usize, dice: &mut Dice) -> Result<Tally> {
        if self.job.manner == Manner::Shutdown {
            return self.shut_down_at_some(states_max, dice);
        }
        let (changes, states, points) = self.collect(states_max.saturating_sub(1), dice)?;
        for point in &points {
            self.go_on(point)?;
        }
        Ok([changes, states, points.len()])
    }

    /// The disks as they were at moments of one push at which they differ from those before: a sample of `count` of them,
    /// and the end. They lie in memory, which bounds how many there may be.
    fn collect(&self, count: usize, dice: &mut Dice) -> Result<(usize, usize, Vec<Point>)> {
        let disks = self.start()?;
        let mut progress = Progress::default();
        let mut points: Vec<Point> = Vec::new();
        let count = count.min(self.job.kind.copies_max());
        let (mut changes, mut states) = (0, 0);
        let mut known = BTreeSet::new();
        let outcome = stops::push(&self.sandbox, |change| {
            changes += 1;
            progress.update(&self.sandbox.hub_state(), change)?;
            self.write_back(&disks, dice)?;
            let promise = progress.promise(self.job.lost.has(NODES));
            let state = (self.writes(&disks)?, promise);
            if !known.insert(state) {
                return Ok(());
            }
            states += 1;
            // Each state is among the sample with the same chance, however many come (Vitter, algorithm R, 1985).
            let seat = if states <= count { points.len() } else { dice.below(states) };
            if let Some(left) = (seat < count && seat < points.len()).then(|| points.remove(seat)) {
                left.drop_images()?;
            }
            if seat < count {
                points.push(self.point(&disks, states, change, promise)?);
            }
            Ok(())
        })?;
        let mut last = self.point(&disks, states + 1, "the end of the run", Promise::New)?;
        last.is_done = true;
        outcome.expect("a push that was stopped again and again", 0)?;
        points.push(last);
        for disk in disks {
            disk.unmount()?;
        }
        Ok((changes, states + 1, points))
    }

    /// Mounts copies of the base images.
    fn start(&self) -> Result<Vec<Disk>> {
        let copied = MACHINES.map(|machine| {
            let image = self.directory.join("live").join(machine);
            let base = self.directory.join("base").join(machine);
            image::copy(&base, &image).map_err(at("copy", &base)).map(|()| image)
        });
        let [one, two, hub] = copied;
        self.mount(&[one?, two?, hub?])
    }

    fn mount(&self, images: &[PathBuf; 3]) -> Result<Vec<Disk>> {
        let home = self.sandbox.directory();
        let pairs = MACHINES.iter().zip(images);
        pairs
            .map(|(machine, image)| Disk::mount(self.job.kind, image, &home.join(machine)))
            .collect()
    }

    /// Those that keep their power lose nothing; on the others something is written by itself.
    fn write_back(&self, disks: &[Disk], dice: &mut Dice) -> Result {
        for (machine, disk) in disks.iter().enumerate() {
            if !self.job.lost.has(machine) {
                disk.sync()?;
                continue;
            }
            let act = match self.job.manner {
                Manner::Bare | Manner::Shutdown => 0,
                Manner::Names => 1,
                Manner::Random => dice.below(12),
            };
            match act {
                1 => disk.sync_names()?,
                2 => disk.sync()?,
                3 | 4 => {
                    let files = files_below(disk.place())?;
                    if let Some(path) = dice.pick(&files) {
                        Disk::sync_file(path)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What tells one state of the disks from another. Of a hub that keeps its power only the decision counts.
    fn writes(&self, disks: &[Disk]) -> Result<Vec<Writes>> {
        let counted = if self.job.lost.has(NODES) { disks.len() } else { NODES };
        disks.iter().take(counted).map(Disk::writes).collect()
    }

    fn point(
        &self,
        disks: &[Disk],
        number: usize,
        change: &str,
        promise: Promise,
    ) -> Result<Point> {
        let images = MACHINES
            .map(|machine| self.directory.join("points").join(format!("{number}-{machine}")));
        for (disk, image) in disks.iter().zip(&images) {
            disk.copy_to(image)?;
        }
        let is_booted = number.is_multiple_of(2);
        Ok(Point { change: change.to_owned(), images, promise, is_done: false, is_booted })
    }

    /// Shuts the disks down at `count` moments, each of a push of its own.
    fn shut_down_at_some(&self, count: usize, dice: &mut Dice) -> Result<Tally> {
        let mut all = 0_usize;
        let disks = self.start()?;
        stops::push(&self.sandbox, |_change| {
            all += 1;
            Ok(())
        })?
        .expect("a push that was stopped again and again", 0)?;
        drop(disks);
        let mut moments: Vec<usize> = (0..all).collect();
        dice.keep(&mut moments, count);
        for moment in &moments {
            self.shut_down_at(*moment)?;
        }
        Ok([all, moments.len(), moments.len()])
    }

    fn shut_down_at(&self, moment: usize) -> Result {
        let disks = self.start()?;
        let (mut number, mut progress) = (0, Progress::default());
        let mut point = Point {
            change: String::from("the end of the run"),
            images: MACHINES.map(|machine| self.directory.join("live").join(machine)),
            promise: Promise::New,
            is_done: true,
            is_booted: moment.is_multiple_of(2),
        };
        let outcome = stops::push(&self.sandbox, |change| {
            // Behind its moment the hub may go on to decide, if it is not lost: the last state is what counts.
            if number <= moment || !self.job.lost.has(NODES) {
                progress.update(&self.sandbox.hub_state(), change)?;
            }
            if number == moment {
                change.clone_into(&mut point.change);
                for (machine, disk) in disks.iter().enumerate() {
                    if self.job.lost.has(machine) { disk.shut_down()? } else { disk.sync()? }
                }
            }
            number += 1;
            Ok(())
        })?;
        if number > moment {
            // A run that does not need the disk any more may succeed, and then it is held to that.
            point.is_done = outcome.code == Some(0);
            let promise = progress.promise(self.job.lost.has(NODES));
            point.promise = if point.is_done { Promise::New } else { promise };
            must_be_honest(&outcome).map_err(|failure| named(&point, &failure))?;
        }
        for disk in disks {
            disk.unmount()?;
        }
        self.go_on(&point)
    }

    /// The machines run again: recovery, the next push, and one more.
    fn go_on(&self, point: &Point) -> Result {
        let disks = self.mount(&point.images).map_err(|failure| named(point, &failure))?;
        self.check(point).map_err(|failure| named(point, &failure))?;
        for disk in disks {
            disk.unmount()?;
        }
        if self.job.manner != Manner::Shutdown {
            for image in &point.images {
                std::fs::remove_file(image).map_err(at("remove", image))?;
            }
        }
        Ok(())
    }

    fn check(&self, point: &Point) -> Result {
        if point.is_done {
            for node in 0..NODES {
                self.must_be_new(node, "right after the end, before any recovery")?;
            }
        }
        if point.is_booted {
            self.sandbox.recover(&[])?.expect("recovery without a hub", 0)?;
            self.are_whole("after recovery without a hub")?;
        }
        let plan = self.sandbox.plan(Release::New)?;
        if !matches!(plan.code, Some(0 | 2)) {
            return Err(Failure::new(format!("recovery: {:?}\n{}", plan.code, plan.said)));
        }
        let is_new = self.are_whole("after recovery")?;
        let is_kept = match point.promise {
            Promise::Old => is_new.iter().all(|is_new| !is_new),
            Promise::Same => is_new.iter().all(|one| Some(one) == is_new.first()),
            Promise::New => is_new.iter().all(|is_new| *is_new),
        };
        if !is_kept {
            let what =
                format!("promised {:?}, but new are {is_new:?}\n{}", point.promise, plan.said);
            return Err(Failure::new(what));
        }
        self.converges()
    }

    /// Fails unless each node is exactly old or exactly new; gives which of them are new.
    fn are_whole(&self, when: &str) -> Result<Vec<bool>> {
        let mut are_new = Vec::new();
        for (node, old) in self.old.iter().enumerate() {
            let found = self.sandbox.snapshot(node)?;
            are_new.push(found == self.new);
            if found != *old && found != self.new {
                let (from_old, from_new) = (old.differences(&found), self.new.differences(&found));
                return Err(Failure::new(format!(
                    "n{node} is neither old nor new {when}\nfrom old: {}\nfrom new: {}",
                    from_old.join("\n  "),
                    from_new.join("\n  ")
                )));
            }
        }
        Ok(are_new)
    }

    fn converges(&self) -> Result {
        self.sandbox.push(Release::New)?.expect("the next push", 0)?;
        for node in 0..NODES {
            self.must_be_new(node, "after the next push")?;
        }
        let stamps = || (0..NODES).map(|node| stamps(&self.sandbox.node(node))).collect();
        let before: Result<Vec<_>> = stamps();
        let before = before?;
        self.sandbox.push(Release::New)?.expect("the push after that", 0)?;
        let after: Result<Vec<_>> = stamps();
        if before == after? { Ok(()) } else { Err(Failure::new("the push after that wrote")) }
    }

    fn must_be_new(&self, node: usize, when: &str) -> Result {
        let differences = self.new.differences(&self.sandbox.snapshot(node)?);
        if differences.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("n{node} {when}:\n  {}", differences.join("\n  "))))
    }
}

/// A run whose disks failed ends in time, and by a code that it has words for.
fn must_be_honest(outcome: &Outcome) -> Result {
    match outcome.code {
        Some(0 | 1 | 3 | 8) if !outcome.is_late => Ok(()),
        _ => Err(Failure::new(format!("exit code {:?}\n{}", outcome.code, outcome.said))),
    }
}

fn named(point: &Point, failure: &Failure) -> Failure {
    Failure::new(format!("after {}: {failure}", point.change))
}

/// Every regular file at and below `root`.
fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut open) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).map_err(at("list", &path))? {
            let entry = entry.map_err(at("list", &path))?;
            let kind = entry.file_type().map_err(at("look at", &entry.path()))?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Inode and time of the last change of every name, by which any touch is seen.
fn stamps(root: &Path) -> Result<BTreeMap<PathBuf, (u64, i64, i64)>> {
    let tree = Snapshot::of(root)?;
    let stamp = |path: &Path| {
        let meta = std::fs::symlink_metadata(root.join(path)).map_err(at("look at", path))?;
        Ok((path.to_path_buf(), (meta.ino(), meta.ctime(), meta.ctime_nsec())))
    };
    tree.paths().map(stamp).collect()
}
