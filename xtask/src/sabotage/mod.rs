//! Sabotage: defects that somebody could make are made on purpose, and the tests must notice each of them.
//!
//! A test that never failed shows nothing. The table `defects.toml` names mistakes that break one promise each (a sync
//! left out, a check dropped, an order turned round) and the tests that are there to find them. Here each mistake is
//! made in a copy of the workspace, and one of its tests must fail.

mod table;
mod workshop;

use crate::failure::{Failure, Result, at};
use crate::{figures, program, workspace};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use table::{Catcher, Defect};
use workshop::{Ending, Workshop};

/// So many defects are really tried where not all are.
const SAMPLE: usize = 1;
/// So many copies are worked in at once, where there is enough to do: a build is mostly one thread.
const JOBS_MAX: usize = 2;

/// `cargo xtask sabotage`: what is tried.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Try every defect of the table, not a few
    #[arg(long)]
    full: bool,
    /// Write the figures into docs/safety.md
    #[arg(long, requires = "full")]
    record: bool,
    /// Chooses the few; without it, the commit does
    #[arg(long, conflicts_with = "full")]
    seed: Option<u64>,
    /// Try the defects whose names hold this; may be given again
    #[arg(long, value_name = "NAME", conflicts_with_all = ["full", "seed"])]
    only: Vec<String>,
}

/// Tries defects and says of each who noticed.
///
/// # Errors
/// The table is wrong, a catcher fails without any defect, or a defect was missed.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let path = workspace::root().join(table::FILE);
    let text = std::fs::read_to_string(&path).map_err(at("read", &path))?;
    let all = table::read(&text)?;
    check(&all)?;
    println!("{} defects apply to the tree", all.len());
    let chosen = choose(all, arguments)?;
    let jobs = if chosen.len() > SAMPLE { JOBS_MAX.min(chosen.len()) } else { 1 };
    let workshops = (1..=jobs).map(Workshop::open).collect::<Result<Vec<_>>>()?;
    if arguments.full {
        check_catchers(&workshops, &chosen)?;
    }
    let missed = in_turn(&workshops, &chosen, |workshop, defect| {
        match is_caught(workshop, defect) {
            Ok(true) => return None,
            Ok(false) => println!("MISSED  {}: {}", defect.name, defect.what),
            Err(wrong) => println!("WRONG   {}: {wrong}", defect.name),
        }
        Some(defect.name.as_str())
    });
    let figures = format!("{} defects, {} caught", chosen.len(), chosen.len() - missed.len());
    println!("{figures}");
    if !missed.is_empty() {
        return Err(Failure::new(format!("missed: {}", missed.join(", "))));
    }
    if arguments.record { figures::record("sabotage", &figures) } else { Ok(()) }
}

/// Checks that every defect applies to the tree as it is.
fn check(all: &[Defect]) -> Result {
    for defect in all {
        let path = workspace::root().join(&defect.file);
        let text = std::fs::read_to_string(&path).map_err(at("read", &path))?;
        defect.applied(&text)?;
    }
    Ok(())
}

fn choose(all: Vec<Defect>, arguments: &Arguments) -> Result<Vec<Defect>> {
    if arguments.full {
        return Ok(all);
    }
    if !arguments.only.is_empty() {
        let is_named = |one: &Defect| arguments.only.iter().any(|name| one.name.contains(name));
        let named: Vec<Defect> = all.into_iter().filter(is_named).collect();
        let nothing = || Failure::unavailable("no defect is named like that");
        return if named.is_empty() { Err(nothing()) } else { Ok(named) };
    }
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => seed_of_commit()?,
    };
    println!("seed {seed}");
    Ok(sample(all, seed))
}

/// A few defects that tests catch, as `seed` has it; those that only a task catches take too long.
fn sample(all: Vec<Defect>, seed: u64) -> Vec<Defect> {
    let is_quick = |defect: &Defect| !matches!(defect.caught_by.first(), Some(Catcher::Task(_)));
    let mut quick: Vec<Defect> = all.into_iter().filter(is_quick).collect();
    let mut state = seed;
    let mut chosen = Vec::new();
    while chosen.len() < SAMPLE && !quick.is_empty() {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let at = usize::try_from((mixed ^ (mixed >> 31)) % quick.len() as u64);
        chosen.push(quick.swap_remove(at.expect("invariant: it is below a length")));
    }
    chosen
}

fn seed_of_commit() -> Result<u64> {
    let place = workspace::root();
    let place = place.to_string_lossy();
    let id = program::output(&["git", "-C", &place, "rev-parse", "--short=12", "HEAD"])?;
    let word = id.trim().get(..12).unwrap_or_default();
    u64::from_str_radix(word, 16)
        .map_err(|error| Failure::new(format!("the commit {}: {error}", id.trim())))
}

/// Has the workshops work at `items`, each at one at a time; gives what `work` gave for them, in no order.
fn in_turn<'i, T: Sync, R: Send>(
    workshops: &[Workshop],
    items: &'i [T],
    work: impl Fn(&Workshop, &'i T) -> Option<R> + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work_in = |workshop: &Workshop| {
        let mut given = Vec::new();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            given.extend(work(workshop, item));
        }
        given
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            workshops.iter().map(|workshop| scope.spawn(|| work_in(workshop))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<R>>| {
            thread.join().expect("invariant: no workshop panics")
        };
        threads.into_iter().flat_map(join).collect()
    })
}

/// Runs every catcher on the copies as they are: one that fails, or that tests nothing here, would prove nothing.
fn check_catchers(workshops: &[Workshop], chosen: &[Defect]) -> Result {
    let catchers: BTreeSet<&Catcher> = chosen.iter().flat_map(|one| &one.caught_by).collect();
    let catchers: Vec<&Catcher> = catchers.into_iter().collect();
    println!("{} catchers, without any defect", catchers.len());
    let wrong = in_turn(workshops, &catchers, |workshop, catcher| {
        let ran = workshop.build(catcher).and_then(|()| workshop.run(catcher));
        match ran {
            Ok((Ending::Passed, _)) => None,
            Ok((ending, _)) => Some(format!("{catcher} fails without any defect ({ending:?})")),
            Err(failure) => Some(failure.message),
        }
    });
    if wrong.is_empty() { Ok(()) } else { Err(Failure::new(wrong.join("\n"))) }
}

/// Makes the defect in the copy and runs its catchers until one notices.
///
/// # Errors
/// The defect does not build, or a catcher ended in a way that tells nothing: the table is wrong.
fn is_caught(workshop: &Workshop, defect: &Defect) -> Result<bool> {
    let started = Instant::now();
    let _damage = workshop.damage(defect)?;
    for catcher in &defect.caught_by {
        workshop.build(catcher)?;
        let (ending, took) = workshop.run(catcher)?;
        if ending == Ending::Failed || (ending == Ending::Hung && defect.hangs) {
            println!(
                "caught  {:<44} {:>5.1} s of {:>5.1} s by {catcher}",
                defect.name,
                took.as_secs_f64(),
                started.elapsed().as_secs_f64()
            );
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_chooses_the_same_few_and_no_task() {
        let entry = |name: &str, by: &str| {
            format!(
                "[[defect]]\nname = '{name}'\nwhat = 'x'\nfile = 'a'\nfind = 'a'\nput = 'b'\ncaught_by = ['{by}']\n"
            )
        };
        let text: String = (0..9)
            .map(|at| entry(&format!("d{at}"), if at % 2 == 0 { "lib a" } else { "task a" }))
            .collect();
        let all = table::read(&text).expect("a table");
        let names = |seed| -> Vec<String> {
            sample(all.clone(), seed).into_iter().map(|one| one.name).collect()
        };
        assert_eq!(names(7), names(7));
        assert_eq!(names(7).len(), SAMPLE);
        for seed in 0..20 {
            assert!(
                names(seed).iter().all(|name| ["d0", "d2", "d4", "d6", "d8"].contains(&&**name))
            );
        }
    }
}
