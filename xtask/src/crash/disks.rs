//! Full disks: `cargo xtask crash disks`. One node of two has a disk with exactly so much room, from none to more than
//! enough.

use std::path::Path;
use std::time::Instant;

use super::Extent;
use super::dice::Dice;
use super::jobs::{self, Tally};
use super::sandbox::{self, Commit, Form, Outcome, Sandbox, Setup};
use super::scenario::Release;
use super::small_disk::{Limit, SmallDisk};
use super::snapshot::Snapshot;
use super::stops;
use crate::failure::{Failure, Result, at};
use crate::{figures, program};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    extent: Extent,
    /// The job of this process
    #[arg(long, hide = true)]
    job: Option<String>,
}

const NODES: usize = 2;
/// The node with the small disk.
const SMALL: usize = 1;
const COMMITS: [(Commit, &str); 2] = [(Commit::InPlace, "in-place"), (Commit::Swap, "swap")];
/// So many steps beyond the least that is enough are tried as well.
const BEYOND: u64 = 6;
/// How many amounts of each limit the short form tries, beside those by which the least is found.
const SHORT: usize = 4;
/// New names of this many files, each longer than the last, need new blocks in their directory.
const LONG_NAMES: usize = 48;

/// A cluster of which one node is short of room.
struct Cramped {
    sandbox: Sandbox,
    disk: SmallDisk,
    limit: Limit,
    new: Snapshot,
    tally: Tally,
}

/// What one push came to.
enum Push {
    Whole,
    None { missing: Option<u64> },
}

/// Fills disks.
///
/// # Errors
/// A promise was broken, or this machine cannot mount images.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if !program::is_root() {
        return Err(Failure::unavailable("only the super-user mounts images"));
    }
    let extent = &arguments.extent;
    let seed = extent.seed();
    if let Some(name) = &arguments.job {
        let count = extent.runs.unwrap_or(usize::MAX);
        let (limit, commit) = parse(name)?;
        return jobs::alone(|directory| {
            let mut cramped = Cramped::create(directory, limit, commit)?;
            cramped.run(count, &mut Dice::new(seed))?;
            Ok(cramped.tally)
        });
    }
    sandbox::build()?;
    let jobs = jobs::wanted(extent, all(extent.full));
    println!(
        "disks: seed {seed}; of each limit: amounts of room, whole releases, commits that a full disk held up"
    );
    let started = Instant::now();
    let tallies = jobs::run("disks", &jobs, seed)?;
    let sum = |at: usize| tallies.values().filter_map(|tally| tally.get(at)).sum::<usize>();
    let text = format!(
        "{} limits, {} amounts of room: {} whole releases, {} none, {} commits held up and completed, in {} s: 0 losses",
        tallies.len(),
        sum(0),
        sum(1),
        sum(0) - sum(1),
        sum(2),
        started.elapsed().as_secs()
    );
    println!("disks: {text}");
    if extent.record { figures::record("disks", &text) } else { Ok(()) }
}

fn all(is_full: bool) -> Vec<(String, usize)> {
    let mut jobs = Vec::new();
    for limit in Limit::ALL {
        for (_, commit) in COMMITS.iter().take(if is_full { COMMITS.len() } else { 1 }) {
            let count = if is_full { usize::MAX } else { SHORT };
            jobs.push((format!("{}/{commit}", limit.name()), count));
        }
    }
    jobs
}

fn parse(name: &str) -> Result<(Limit, Commit)> {
    let unknown = || Failure::unavailable(format!("no such limit: {name}"));
    let (limit, commit) = name.split_once('/').ok_or_else(unknown)?;
    let limit = Limit::ALL.into_iter().find(|it| it.name() == limit).ok_or_else(unknown)?;
    let commit = COMMITS.into_iter().find(|it| it.1 == commit).ok_or_else(unknown)?;
    Ok((limit, commit.0))
}

impl Cramped {
    fn create(directory: &Path, limit: Limit, commit: Commit) -> Result<Self> {
        let home = directory.join("box");
        let disk = SmallDisk::create(limit, &directory.join("image"), &home.join("n1"))?;
        let setup = Setup { nodes: NODES, form: Form::Local, commit };
        let sandbox = Sandbox::create(&home, setup)?;
        let new = Snapshot::of(&sandbox.source(Release::New))?;
        Ok(Self { sandbox, disk, limit, new, tally: [0; 3] })
    }

    /// Finds the least room that is enough, tries `count` other amounts up to beyond it, and lets the disk fill up in the
    /// middle of a commit.
    fn run(&mut self, count: usize, dice: &mut Dice) -> Result {
        let (mut too_little, mut enough) = (0, self.limit.enough());
        while enough - too_little > 1 {
            let middle = too_little.midpoint(enough);
            match self.try_room(middle)? {
                Push::Whole => enough = middle,
                Push::None { .. } => too_little = middle,
            }
        }
        if enough == self.limit.enough() {
            return Err(Failure::new(format!("room for {enough} is too little")));
        }
        let mut amounts: Vec<u64> = (0..enough + BEYOND).collect();
        dice.keep(&mut amounts, count);
        for amount in amounts {
            if let Push::None { missing: Some(missing) } = self.try_room(amount)? {
                self.give_what_is_missing(amount, missing)?;
            }
        }
        if matches!(self.limit, Limit::TmpfsInodes | Limit::Ext4Inodes) {
            return Ok(());
        }
        self.fill_in_the_middle()
    }

    /// One push onto so much room: the whole release, or nothing of it.
    fn try_room(&mut self, amount: u64) -> Result<Push> {
        let before = self.look()?;
        self.disk.leave(amount)?;
        let outcome = self.sandbox.push(Release::New)?;
        self.tally[0] += 1;
        let named = |failure: Failure| Failure::new(format!("room for {amount}: {failure}"));
        if outcome.code == Some(0) {
            self.must_be_new().map_err(named)?;
            self.tally[1] += 1;
            self.back_to_old().map_err(named)?;
            return Ok(Push::Whole);
        }
        if self.limit.is_hidden() && is_pending(&outcome) {
            self.tally[2] += 1;
            self.disk.leave_plenty()?;
            self.sandbox.push(Release::New)?.expect("a push with room again", 0).map_err(named)?;
            self.must_be_new().map_err(named)?;
            self.back_to_old().map_err(named)?;
            return Ok(Push::None { missing: None });
        }
        let missing = self.must_be_nothing(&before, &outcome).map_err(named)?;
        Ok(Push::None { missing })
    }

    /// A node that is given what it says is missing takes the release.
    fn give_what_is_missing(&mut self, amount: u64, missing: u64) -> Result {
        // A tmpfs that grows has more to keep for depsync's own files: a sixty-fourth of it.
        let grown = if self.limit == Limit::TmpfsBytes { missing / 60 } else { 0 };
        let more = (missing + grown).div_ceil(self.limit.step());
        match self.try_room(amount + more)? {
            Push::Whole => Ok(()),
            Push::None { .. } => Err(Failure::new(format!(
                "room for {amount}: {missing} {} were said to be missing, and were not enough",
                self.limit.unit()
            ))),
        }
    }

    /// Somebody else takes all the room once the hub has decided.
    fn fill_in_the_middle(&mut self) -> Result {
        self.disk.leave_plenty()?;
        let source = self.sandbox.source(Release::New);
        for number in 0..LONG_NAMES {
            let path = source.join("deep").join(format!("{number:0>200}"));
            std::fs::write(&path, "with a long name").map_err(at("write", &path))?;
        }
        self.new = Snapshot::of(&source)?;
        let decisions = self.sandbox.hub_state().join("decision");
        let mut is_full = false;
        let outcome = stops::push(&self.sandbox, |_change| {
            let is_decided = std::fs::read_dir(&decisions).is_ok_and(|entries| {
                entries.flatten().any(|entry| entry.path().extension().is_none())
            });
            if is_decided && !is_full {
                is_full = true;
                self.disk.leave(0)?;
            }
            Ok(())
        })?;
        if !is_full {
            return Err(Failure::new("the run was never seen to decide"));
        }
        match outcome.code {
            Some(0) => {}
            Some(3) if is_pending(&outcome) || self.limit.is_hidden() => {
                self.tally[2] += 1;
                let again = self.sandbox.push(Release::New)?;
                // Under a full quota not even the lease can be taken.
                if !self.limit.is_hidden() {
                    again.expect("a push while the disk is still full", 3)?;
                } else if again.code == Some(0) {
                    return Err(Failure::new("a push under a full quota was told done"));
                }
            }
            _ => {
                let what = format!("a commit on a full disk: {:?}\n{}", outcome.code, outcome.said);
                return Err(Failure::new(what));
            }
        }
        self.disk.leave_plenty()?;
        self.sandbox.push(Release::New)?.expect("a push with room again", 0)?;
        self.must_be_new()
    }

    fn look(&self) -> Result<Vec<Snapshot>> {
        (0..NODES).map(|node| self.sandbox.snapshot(node)).collect()
    }

    fn must_be_new(&self) -> Result {
        for (node, found) in self.look()?.iter().enumerate() {
            let differences = self.new.differences(found);
            if !differences.is_empty() {
                return Err(Failure::new(format!("n{node}: {}", differences.join("\n  "))));
            }
        }
        Ok(())
    }

    fn back_to_old(&self) -> Result {
        self.disk.leave_plenty()?;
        self.sandbox.push(Release::Old)?.expect("a push of the old release", 0).map(drop)
    }

    /// Exit code, trees, stages, decisions, and what the node says is missing.
    fn must_be_nothing(&self, before: &[Snapshot], outcome: &Outcome) -> Result<Option<u64>> {
        outcome.expect("a push onto too little room", 1)?;
        for (node, (before, after)) in before.iter().zip(self.look()?).enumerate() {
            let differences = before.differences(&after);
            if !differences.is_empty() {
                return Err(Failure::new(format!("n{node}: {}", differences.join("\n  "))));
            }
            must_be_empty(&self.sandbox.state(node).join("stage"))?;
        }
        must_be_empty(&self.sandbox.hub_state().join("decision"))?;
        let ending = format!("/n{SMALL}/tree");
        let words = format!(" {} too few on the file system of", self.limit.unit());
        let line =
            outcome.said.lines().find(|line| line.contains(&ending) && line.contains("error"));
        let line = line.unwrap_or_default();
        if let Some((start, _)) = line.split_once(&words) {
            let digits = start.rsplit(|c: char| !c.is_ascii_digit()).next();
            return Ok(digits.and_then(|digits| digits.parse().ok()));
        }
        let is_told = ["No space left on device", "quota exceeded"];
        if is_told.iter().any(|words| outcome.said.contains(words)) {
            return Ok(None);
        }
        Err(Failure::new(format!("nobody says what is missing\n{}", outcome.said)))
    }
}

/// Whether the node's commit is held up, and told so.
fn is_pending(outcome: &Outcome) -> bool {
    let state = outcome.states.get(SMALL).and_then(Option::as_deref);
    outcome.code == Some(3) && state == Some("pending")
}

/// A directory that is not there is empty as well.
fn must_be_empty(directory: &Path) -> Result {
    let Ok(mut entries) = std::fs::read_dir(directory) else { return Ok(()) };
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Failure::new(format!("left behind in {}", directory.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_of_either_form_is_one() {
        assert_eq!((all(true).len(), all(false).len()), (10, 5));
        for (name, _) in all(true) {
            assert!(parse(&name).is_ok(), "{name}");
        }
        assert!(parse("floppy/in-place").is_err());
    }
}
