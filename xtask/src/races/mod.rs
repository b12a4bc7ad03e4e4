//! Races: somebody swaps what a push works on while it works, and nothing outside of the target may come to harm.
//!
//! ```text
//! <ground>/source/{a,b}   two releases, pushed in turn
//!          node/tree      the target        node/.depsync/tree   its state
//!          outside/       canaries, which links and hard links lead to
//!          spare/, attic/ what is swapped in, and what was swapped out for good
//! ```
//! Start at [`run`]; what is swapped is in `classes`, how often in `flipper`, what must not change in `canaries`.

mod canaries;
mod classes;
mod flipper;
mod ground;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result, at};
use crate::{figures, program, workspace};
use classes::{CLASSES, Class};
use flipper::Flipper;
use ground::{Ground, User};

/// Time for each class in the short form, and in the long one on each file system.
const SHORT: Duration = Duration::from_millis(700);
const FULL: Duration = Duration::from_mins(1);

/// Swaps files and directories under running pushes, and fails if anything outside of the target changes
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// 60 s a class on ext4, tmpfs and xfs, instead of 0.7 s a class on one of the first two
    #[arg(long)]
    full: bool,
    /// Write the figures into docs/safety.md
    #[arg(long)]
    record: bool,
    /// Repeat the choices of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// Seconds of each class, on each file system
    #[arg(long)]
    seconds: Option<u64>,
    /// Only classes whose names contain this
    #[arg(long)]
    class: Option<String>,
}

/// What a race came to.
#[derive(Debug, Default)]
struct Tally {
    time: Duration,
    flips: u64,
    pushes: u64,
    commits: u64,
}

/// One race: what is swapped, where, and as whom the program runs.
#[derive(Debug, Clone, Copy)]
struct Round {
    class: &'static Class,
    file_system: &'static str,
    user: User,
    time: Duration,
    seed: u64,
}

/// Holds the races that `arguments` ask for.
///
/// # Errors
/// A canary changed, a push died, or the tree did not converge afterwards; also where this is not the super-user.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if !program::is_root() {
        return Err(Failure::unavailable(
            "races need the super-user: they mount and change owners",
        ));
    }
    let built = build()?;
    let seed = arguments.seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let mut all = Tally::default();
    for file_system in ["tmpfs", "ext4", "xfs"] {
        let rounds = rounds(arguments, file_system, seed);
        if rounds.is_empty() {
            continue;
        }
        let home = Home::new(file_system)?;
        std::fs::copy(&built, home.path.join("depsync")).map_err(at("copy", &built))?;
        for round in rounds {
            let tally = race(&round, &home.path).map_err(|failure| {
                let again = format!("--class {} --seed {seed}", round.class.name);
                Failure::new(format!("{failure}\nrepeat with: cargo xtask races {again}"))
            })?;
            all.time += tally.time;
            all.flips += tally.flips;
            all.pushes += tally.pushes;
            all.commits += tally.commits;
        }
    }
    if all.commits == 0 {
        return Err(Failure::new("not one push was committed: nothing was raced"));
    }
    let figures = format!(
        "{} s of races, {} classes, {} flips, {} pushes ({} committed), 0 escapes",
        all.time.as_secs(),
        CLASSES.len(),
        all.flips,
        all.pushes,
        all.commits
    );
    println!("{figures}");
    if arguments.record { figures::record("races", &figures) } else { Ok(()) }
}

/// The races on one file system: in the short form each class is run once, by turns as root and as the owner.
fn rounds(arguments: &Arguments, file_system: &'static str, seed: u64) -> Vec<Round> {
    let usual = if arguments.full { FULL } else { SHORT };
    let time = arguments.seconds.map_or(usual, Duration::from_secs);
    let mut rounds = Vec::new();
    for (at, class) in CLASSES.iter().enumerate() {
        let is_asked = arguments.class.as_ref().is_none_or(|part| class.name.contains(&**part));
        if !is_asked {
            continue;
        }
        let mut add = |user, time| {
            rounds.push(Round { class, file_system, user, time, seed: seed ^ (at as u64) << 32 });
        };
        if arguments.full {
            add(User::Root, time / 2);
            add(User::Owner, time / 2);
        } else if arguments.class.is_some() {
            // Asked for by name: all that the short form could do with it.
            let is_short = file_system != "xfs";
            [User::Root, User::Owner]
                .into_iter()
                .filter(|_| is_short)
                .for_each(|user| add(user, time));
        } else if file_system == ["tmpfs", "ext4"][at % 2] {
            add(if at / 2 % 2 == 0 { User::Root } else { User::Owner }, time);
        }
    }
    rounds
}

/// Pushes two releases in turn while `round.class` is swapped, looks at the canaries after each, and in the end pushes
/// undisturbed.
fn race(round: &Round, home: &std::path::Path) -> Result<Tally> {
    let class = round.class;
    let ground = Ground::make(home, round.user)?;
    let named = format!("{} on {} as {:?}", class.name, round.file_system, round.user);
    let before = ground.canaries(class)?;
    let mut tally = Tally::default();
    let start = Instant::now();
    let flipper = Flipper::start(&ground, class, round.seed);
    while start.elapsed() < round.time {
        tally.pushes += 1;
        flipper.next_push(tally.pushes);
        let ended = ground.push(["a", "b"][usize::from(tally.pushes % 2 == 0)], &[])?;
        tally.commits += u64::from(ended.says("committed"));
        let _still = flipper.hold();
        let checked = before.check(&ground.canaries(class)?).and_then(|()| ended.check_alive());
        checked.and_then(|()| ground.find_secret(class)).map_err(|failure| {
            Failure::new(format!("{named}, push {}: {failure}\n{}", tally.pushes, ended.text()))
        })?;
    }
    tally.flips = flipper.stop();
    tally.time = start.elapsed();
    let settled = classes::settle(&ground, class).and_then(|()| converges(&ground));
    settled.map_err(|failure| Failure::new(format!("{named}, after the race: {failure}")))?;
    if tally.flips == 0 {
        return Err(Failure::new(format!("{named}: nothing was swapped")));
    }
    println!(
        "{named}: {} flips, {} pushes, {} committed",
        tally.flips, tally.pushes, tally.commits
    );
    Ok(tally)
}

/// One push without a fault reaches the release, and the next finds nothing to do.
fn converges(ground: &Ground) -> Result {
    for state in ["committed", "unchanged"] {
        // The release that the last push did not push, or did not reach.
        let ended = ground.push("last", &[])?;
        if ended.code() != Some(0) || !ended.says(state) {
            return Err(Failure::new(format!("a push was not {state}:\n{}", ended.text())));
        }
        ground.assert_is("last")?;
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    let cargo = workspace::cargo();
    program::run(&[&*cargo, "build", "--quiet", "--package", "depsync", "--bin", "depsync"])?;
    Ok(workspace::target().join("debug").join("depsync"))
}

/// A file system of its own, unmounted with the value.
#[derive(Debug)]
struct Home {
    path: PathBuf,
    folder: PathBuf,
}

impl Home {
    fn new(kind: &str) -> Result<Self> {
        let base = std::path::Path::new("/dev/shm");
        let base = if base.is_dir() { base.to_path_buf() } else { std::env::temp_dir() };
        let folder = base.join(format!("depsync-races-{}-{kind}", std::process::id()));
        let home = Self { path: folder.join("mounted"), folder };
        std::fs::create_dir_all(&home.path).map_err(at("create", &home.path))?;
        let path = home.path.display().to_string();
        if kind == "tmpfs" {
            program::quiet(&[
                "mount",
                "-t",
                "tmpfs",
                "-o",
                "size=256m,mode=755,strictatime",
                "races",
                &path,
            ])?;
            return Ok(home);
        }
        // In memory, so that the disk does not decide how often a push races; xfs takes no less.
        let image = home.folder.join("image");
        let file = std::fs::File::create(&image).map_err(at("create", &image))?;
        file.set_len(512 << 20).map_err(at("create", &image))?;
        let image = image.display().to_string();
        program::quiet(&[&format!("mkfs.{kind}"), "-q", &image])?;
        program::quiet(&["mount", "-o", "loop,strictatime", &image, &path])?;
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // It may not have been mounted at all; what is left shows by its name.
        let _unmounted = program::succeeds(&["umount", &self.path.display().to_string()]);
        let _removed =
            std::fs::remove_dir(&self.path).and_then(|()| std::fs::remove_dir_all(&self.folder));
    }
}
