//! Jobs that run beside each other, each in a process with mounts of its own: they are gone with it, however it ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use super::Extent;
use crate::failure::{Failure, Result, at};
use crate::program;

/// As many at once.
const AT_ONCE: usize = 2;

/// What a job counted; how it is called is the task's business.
pub(crate) type Tally = [usize; 3];

/// Those of `jobs` that `extent` asks for, each with how many runs it is to make.
pub(crate) fn wanted(extent: &Extent, jobs: Vec<(String, usize)>) -> Vec<(String, usize)> {
    let jobs = jobs.into_iter().filter(|(name, _)| extent.is_wanted(name));
    jobs.map(|(name, count)| (name, extent.runs.unwrap_or(count))).collect()
}

/// Runs this program once for each of `jobs`, whose words follow those of `task`; gives what each counted.
///
/// # Errors
/// One of them failed, which was printed with the line that repeats it.
pub(crate) fn run(
    task: &str,
    jobs: &[(String, usize)],
    seed: u64,
) -> Result<BTreeMap<String, Tally>> {
    let (next, done) = (Mutex::new(jobs.iter()), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let job = next.lock().ok().and_then(|mut jobs| jobs.next());
            let Some((name, count)) = job else { return };
            let result = start(task, name, *count, seed);
            match &result {
                Ok(tally) => println!("{task}: {name}: {tally:?}"),
                Err(failure) => {
                    println!("{task}: {name}: FAILED\n{failure}");
                    println!(
                        "again: cargo xtask crash {task} --full --only {name} --seed {seed} --runs {count}"
                    );
                }
            }
            if let Ok(mut done) = done.lock() {
                done.insert(name.clone(), result);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let done = done.into_inner().map_err(|_panic| Failure::new("a thread ended"))?;
    let failed: Vec<&str> =
        done.iter().filter(|(_, result)| result.is_err()).map(|(name, _)| name.as_str()).collect();
    if failed.is_empty() {
        return done.into_iter().map(|(name, result)| Ok((name, result?))).collect();
    }
    Err(Failure::new(format!("{task}: {} of {} failed: {failed:?}", failed.len(), jobs.len())))
}

/// Runs one job in a process of its own; its last line is its tally.
fn start(task: &str, name: &str, count: usize, seed: u64) -> Result<Tally> {
    let own = std::env::current_exe().map_err(at("find", Path::new("this program")))?;
    let own = own.display().to_string();
    let (count, seed) = (count.to_string(), seed.to_string());
    // It ends with this process, and its mounts with it.
    let mut argv = vec!["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount"];
    argv.extend(["--propagation", "private", "--", &own, "crash", task]);
    argv.extend(["--job", name, "--runs", &count, "--seed", &seed]);
    let said = program::output(&argv)?;
    let words: Vec<usize> =
        said.lines().last().unwrap_or_default().split(' ').flat_map(str::parse).collect();
    words.try_into().map_err(|_words| Failure::new(format!("no tally: {said}")))
}

/// Calls `work` with a new directory in memory, and prints the tally as [`run`] reads it.
///
/// # Errors
/// That of `work`, or the directory cannot be made.
pub(crate) fn alone(work: impl FnOnce(&Path) -> Result<Tally>) -> Result {
    let directory = std::env::temp_dir().join(format!("depsync-crash-{}", std::process::id()));
    std::fs::create_dir(&directory).map_err(at("create", &directory))?;
    let shown = directory.display().to_string();
    program::quiet(&["mount", "-t", "tmpfs", "-o", "size=75%", "tmpfs", &shown])?;
    let tally = work(&directory);
    program::quiet(&["umount", "-l", &shown])?;
    std::fs::remove_dir(&directory).map_err(at("remove", &directory))?;
    let [first, second, third] = tally?;
    println!("{first} {second} {third}");
    Ok(())
}
