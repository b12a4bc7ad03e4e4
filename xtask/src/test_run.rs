//! Runs all tests and says at the end how many passed, failed and were skipped.

use crate::failure::{Failure, Result, at};
use crate::{prerequisites, program, workspace};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

/// Names the file to which a test that cannot run here appends `SKIPPED <test name>: <reason>`.
const SKIPPED_FILE: &str = "DEPSYNC_SKIPPED_FILE";

/// Names the binary of these tasks, for tests that need the lab.
const XTASK: &str = "DEPSYNC_XTASK";

/// Builds, runs the tests whose names match a filter (all without one) and prints the sums.
///
/// Guarantees: the closing line is `N passed, N failed, N skipped`, and a skipped test counts as skipped
/// only. Where `strict` is set, a skip without a reason is a failure.
///
/// # Errors
/// A test failed, or the tests could not be built or run to their end.
pub(crate) fn run(filters: &[String], strict: bool) -> Result {
    prerequisites::ensure();
    let skipped_path = workspace::target().join("xtask").join("skipped.txt");
    let folder = skipped_path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(at("create", folder))?;
    std::fs::write(&skipped_path, "").map_err(at("empty", &skipped_path))?;

    // Asked before the build, which may replace the file: the path then leads to its successor.
    let own =
        std::env::current_exe().map_err(|error| Failure::new(format!("own path: {error}")))?;
    let cargo = workspace::cargo();
    program::run(&[cargo.as_str(), "build", "--workspace"])?;
    let mut argv = vec![cargo.as_str(), "test", "--workspace", "--no-fail-fast", "--"];
    argv.extend(filters.iter().map(String::as_str));
    let (status, said) = run_shown(&argv, &[(SKIPPED_FILE, &skipped_path), (XTASK, &own)])?;

    let skipped = std::fs::read_to_string(&skipped_path).map_err(at("read", &skipped_path))?;
    let sums = Sums::of(&said, &skipped);
    for (test, reason) in &sums.skipped {
        println!("SKIPPED {test}: {reason}");
    }
    println!("{} passed, {} failed, {} skipped", sums.passed, sums.failed, sums.skipped.len());
    if !status.success() {
        return Err(Failure::new(format!("{}: {status}", program::shown(&argv))));
    }
    if sums.failed > 0 {
        return Err(Failure::new("tests failed"));
    }
    match sums.skipped.iter().find(|(_, reason)| strict && reason.is_empty()) {
        Some((test, _)) => Err(Failure::new(format!("{test} was skipped without a reason"))),
        None => Ok(()),
    }
}

/// Runs a program, copying what it prints to the screen at once, and returns it too.
fn run_shown(argv: &[&str], environment: &[(&str, &Path)]) -> Result<(ExitStatus, String)> {
    let failed = |error| Failure::new(format!("{}: {error}", program::shown(argv)));
    let mut child = program::command(argv)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut pipe = child.stdout.take().expect("invariant: the output was asked for");
    let mut said = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let count = pipe.read(&mut buffer).map_err(failed)?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
        let mut screen = std::io::stdout().lock();
        screen.write_all(part).and_then(|()| screen.flush()).map_err(failed)?;
        said.extend_from_slice(part);
    }
    Ok((child.wait().map_err(failed)?, String::from_utf8_lossy(&said).into_owned()))
}

/// What the tests came to.
#[derive(Debug, PartialEq, Eq)]
struct Sums {
    passed: usize,
    failed: usize,
    /// Test and reason.
    skipped: BTreeMap<String, String>,
}

impl Sums {
    /// Adds up the `test result:` lines; tests that ended early and said so are taken off the passed ones.
    fn of(said: &str, skipped_file: &str) -> Self {
        let mut sums = Self { passed: 0, failed: 0, skipped: BTreeMap::new() };
        for line in skipped_file.lines().filter_map(|line| line.strip_prefix("SKIPPED ")) {
            let (test, reason) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
            sums.skipped.insert(test.to_owned(), reason.to_owned());
        }
        let ended_early = sums.skipped.len();
        for line in said.lines() {
            if let Some(result) = line.strip_prefix("test result: ") {
                sums.passed += count_before(result, " passed");
                sums.failed += count_before(result, " failed");
            } else if let Some((test, reason)) = ignored(line) {
                sums.skipped.insert(test.to_owned(), reason.to_owned());
            }
        }
        sums.passed = sums.passed.saturating_sub(ended_early);
        sums
    }
}

/// The number that stands before a word in a result line.
fn count_before(result: &str, word: &str) -> usize {
    let before = result.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The name and reason of a test that is marked to be ignored.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (test, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let reason = outcome.strip_prefix("ignored")?;
    Some((test, reason.strip_prefix(", ").unwrap_or("ignored")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_and_ignored_tests_are_not_counted_as_passed() {
        let said = "test a::b ... ok\ntest a::c ... ignored, needs a bucket\ntest a::d ... ok\n\
                    test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\n\
                    test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 1 filtered out\n";
        let file = "SKIPPED a::d: no btrfs here: really\nSKIPPED a::d: no btrfs here: really\n";
        let sums = Sums::of(said, file);
        assert_eq!((sums.passed, sums.failed), (4, 2));
        let skipped: Vec<_> = sums.skipped.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(skipped, [("a::c", "needs a bucket"), ("a::d", "no btrfs here: really")]);
    }

    #[test]
    fn no_result_line_means_nothing_passed() {
        let sums = Sums::of("error: could not compile\n", "SKIPPED x\n");
        assert_eq!((sums.passed, sums.failed, sums.skipped.len()), (0, 0, 1));
        assert_eq!(sums.skipped.get("x").map(String::as_str), Some(""));
    }
}
