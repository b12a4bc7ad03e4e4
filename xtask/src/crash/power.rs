//! Power loss: `cargo xtask crash power`.

use std::time::Instant;

use super::Extent;
use super::dice::Dice;
use super::image::Kind;
use super::jobs;
use super::outage::{Job, Lost, Manner, Outage};
use super::sandbox::{self, Commit};
use crate::failure::{Failure, Result};
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

const COMMITS: [(Commit, &str); 2] = [(Commit::InPlace, "in-place"), (Commit::Swap, "swap")];
const LOST: [(Lost, &str); 4] =
    [(Lost::Node, "node"), (Lost::Nodes, "nodes"), (Lost::Hub, "hub"), (Lost::All, "all")];
const MANNERS: [(Manner, &str); 4] = [
    (Manner::Bare, "bare"),
    (Manner::Names, "names"),
    (Manner::Random, "random"),
    (Manner::Shutdown, "shutdown"),
];
/// What the short form does, and from how many states each goes on.
const SHORT: [(&str, usize); 9] = [
    ("ext4/in-place/nodes/bare", 10),
    ("ext4/in-place/all/names", 10),
    ("ext4/in-place/all/random", 10),
    ("ext4/in-place/all/bare", 10),
    ("ext4/swap/node/names", 6),
    ("ext4/in-place/nodes/shutdown", 5),
    ("ext4-writeback/in-place/nodes/names", 6),
    ("xfs/in-place/nodes/bare", 4),
    ("btrfs/in-place/nodes/bare", 8),
];

/// Lets the power fail.
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
        let job = parse(name)?;
        return jobs::alone(|directory| {
            Outage::create(directory, job)?.run(count, &mut Dice::new(seed))
        });
    }
    sandbox::build()?;
    let short = || SHORT.iter().map(|(name, states)| ((*name).to_owned(), *states)).collect();
    let jobs = jobs::wanted(extent, if extent.full { all() } else { short() });
    println!(
        "power: seed {seed}; of each kind of outage: changes, states they left, states recovered from"
    );
    let started = Instant::now();
    let tallies = jobs::run("power", &jobs, seed)?;
    let sum = |at: usize| tallies.values().filter_map(|tally| tally.get(at)).sum::<usize>();
    let text = format!(
        "{} kinds of outage, {} changes, {} states of disks, {} recovered from in {} s: 0 losses",
        tallies.len(),
        sum(0),
        sum(1),
        sum(2),
        started.elapsed().as_secs()
    );
    println!("power: {text}");
    if extent.record { figures::record("power", &text) } else { Ok(()) }
}

/// Everything that the long form does. Where there are more states than this, chance decides which are gone on from.
fn all() -> Vec<(String, usize)> {
    let mut jobs = Vec::new();
    for kind in Kind::ALL {
        for (commit, commit_name) in COMMITS {
            for (lost, lost_name) in LOST {
                for (manner, name) in MANNERS {
                    let states = match (kind, commit, manner) {
                        (_, _, Manner::Shutdown) if !kind.can_shut_down() => continue,
                        // It writes what is synced alone, so that this would be the same as nothing.
                        (Kind::Btrfs, _, Manner::Names) => continue,
                        (_, _, Manner::Bare) => usize::MAX,
                        (Kind::Ext4, Commit::InPlace, Manner::Names)
                            if matches!(lost, Lost::Nodes | Lost::All) =>
                        {
                            usize::MAX
                        }
                        (Kind::Ext4, Commit::InPlace, _) => 40,
                        _ => 12,
                    };
                    jobs.push((
                        format!("{}/{commit_name}/{lost_name}/{name}", kind.name()),
                        states,
                    ));
                }
            }
        }
    }
    jobs
}

fn parse(name: &str) -> Result<Job> {
    let unknown = || Failure::unavailable(format!("no such kind of outage: {name}"));
    let words: Vec<&str> = name.split('/').collect();
    let [kind, commit, lost, manner] = words[..] else { return Err(unknown()) };
    Ok(Job {
        kind: Kind::ALL.into_iter().find(|it| it.name() == kind).ok_or_else(unknown)?,
        commit: COMMITS.into_iter().find(|it| it.1 == commit).ok_or_else(unknown)?.0,
        lost: LOST.into_iter().find(|it| it.1 == lost).ok_or_else(unknown)?.0,
        manner: MANNERS.into_iter().find(|it| it.1 == manner).ok_or_else(unknown)?.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_of_either_form_is_one() {
        let all = all();
        assert!(all.len() > 100);
        for (name, states) in SHORT {
            assert!(states > 1 && all.iter().any(|(known, _)| known == name), "{name}");
        }
        for (name, _) in &all {
            assert!(parse(name).is_ok(), "{name}");
        }
        assert!(parse("ext4/in-place/nodes").is_err());
    }
}
