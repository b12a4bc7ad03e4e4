//! A scratch copy of the workspace in which defects are tried: the workspace itself is never touched.
//!
//! ```text
//! target/sabotage/<number>/tree      the files of the workspace; one of them damaged while a defect is tried
//! target/sabotage/<number>/target    its builds
//! target/sabotage/<number>/said      what the command at hand says
//! target/sabotage/<number>/skipped   which tests said that they cannot run here
//! ```
//! A file is written only where its content differs, so that little is built anew; whatever an interrupted run left
//! damaged is mended by the next one.

use super::table::{Catcher, Defect};
use crate::failure::{Failure, Result, at};
use crate::{program, workspace};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A build takes no longer.
const BUILD_SECONDS: u64 = 900;
/// A catcher that is no task takes no longer.
const TEST_SECONDS: u64 = 120;
/// A task takes no longer.
const TASK_SECONDS: u64 = 600;
/// The targets of the workspace's own packages, whose builds are of no use in another directory.
const OWN: [&str; 11] = [
    "depsync",
    "depsync_agent",
    "xtask",
    "it",
    "lab",
    "walk",
    "index",
    "plan",
    "chunking",
    "encode",
    "decode",
];

/// What a catcher came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It found nothing wrong.
    Passed,
    /// It found something wrong.
    Failed,
    /// It did not end.
    Hung,
}

/// One scratch copy.
#[derive(Debug)]
pub(super) struct Workshop {
    place: PathBuf,
}

impl Workshop {
    /// Makes the copy with this number the same as the workspace.
    ///
    /// # Errors
    /// A file cannot be read or written, or git cannot tell which there are.
    pub(super) fn open(number: usize) -> Result<Self> {
        let place = workspace::target().join("sabotage").join(number.to_string());
        let workshop = Self { place };
        workshop.fill()?;
        workshop.seed()?;
        Ok(workshop)
    }

    /// The file in which tests say that they cannot run here.
    fn skipped(&self) -> PathBuf {
        self.place.join("skipped")
    }

    fn tree(&self) -> PathBuf {
        self.place.join("tree")
    }

    /// Copies what differs and removes what is gone.
    fn fill(&self) -> Result {
        let root = workspace::root();
        let listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let place = root.to_string_lossy();
        let listed = program::output(&[&["git", "-C", &place], &listing[..]].concat())?;
        let is_file = |path: &&str| !path.is_empty() && root.join(path).is_file();
        let wanted: BTreeSet<&str> = listed.split('\0').filter(is_file).collect();
        for path in &wanted {
            let (from, to) = (root.join(path), self.tree().join(path));
            let bytes = std::fs::read(&from).map_err(at("read", &from))?;
            if std::fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            let folder = to.parent().unwrap_or(&self.place);
            std::fs::create_dir_all(folder).map_err(at("create", folder))?;
            // With its mode, since some are programs; its times do not come along.
            std::fs::copy(&from, &to).map_err(at("copy", &from))?;
        }
        let mut there = Vec::new();
        files_below(&self.tree(), "", &mut there);
        for path in there.iter().filter(|path| !wanted.contains(path.as_str())) {
            let path = self.tree().join(path);
            std::fs::remove_file(&path).map_err(at("remove", &path))?;
        }
        Ok(())
    }

    /// Takes over the builds of the packages that are not the workspace's own, so that only those are built.
    fn seed(&self) -> Result {
        let (from, to) = (workspace::target().join("debug"), self.place.join("target/debug"));
        if to.exists() {
            return Ok(());
        }
        for name in ["deps", "build", ".fingerprint"] {
            let (from, to) = (from.join(name), to.join(name));
            std::fs::create_dir_all(&to).map_err(at("create", &to))?;
            let Ok(listing) = std::fs::read_dir(&from) else { continue };
            let foreign =
                listing.flatten().filter(|one| !is_own(&one.file_name().to_string_lossy()));
            let paths: Vec<PathBuf> = foreign.map(|one| one.path()).collect();
            // Times must come along: cargo goes by them.
            let words = ["cp", "-a", "--reflink=auto", "-t"].map(PathBuf::from);
            for paths in paths.chunks(500) {
                program::quiet(&[&words[..], std::slice::from_ref(&to), paths].concat())?;
            }
        }
        Ok(())
    }

    /// Damages a file by `defect`; the value that is returned mends it when it is dropped.
    ///
    /// # Errors
    /// As [`Defect::applied`], or the file cannot be read or written.
    pub(super) fn damage(&self, defect: &Defect) -> Result<Damage> {
        let path = self.tree().join(&defect.file);
        let whole = std::fs::read_to_string(&path).map_err(at("read", &path))?;
        std::fs::write(&path, defect.applied(&whole)?).map_err(at("write", &path))?;
        Ok(Damage { path, whole })
    }

    /// Builds what `catcher` needs.
    ///
    /// # Errors
    /// It does not build; the compiler's words are in the message.
    pub(super) fn build(&self, catcher: &Catcher) -> Result {
        let words: &[&str] = match catcher {
            Catcher::Library(_) => &["test", "--lib", "--no-run"],
            Catcher::Integration(_) => &["test", "--test", "it", "--no-run"],
            Catcher::Task(_) => &["build", "--workspace"],
        };
        let (code, said) = self.cargo(words, BUILD_SECONDS)?;
        if code == 0 { Ok(()) } else { Err(Failure::new(format!("it does not build:\n{said}"))) }
    }

    /// Runs `catcher` on the copy as it is; it must have been built.
    ///
    /// # Errors
    /// It cannot be run, or it ended neither by finding something nor by finding nothing.
    pub(super) fn run(&self, catcher: &Catcher) -> Result<(Ending, Duration)> {
        let started = Instant::now();
        let (words, seconds): (Vec<&str>, u64) = match catcher {
            Catcher::Library(name) => (vec!["test", "--lib", "--", name], TEST_SECONDS),
            Catcher::Integration(name) => (vec!["test", "--test", "it", "--", name], TEST_SECONDS),
            Catcher::Task(words) => {
                (["xtask"].into_iter().chain(words.split_whitespace()).collect(), TASK_SECONDS)
            }
        };
        let skipped = self.skipped();
        std::fs::write(&skipped, "").map_err(at("empty", &skipped))?;
        let (code, said) = self.cargo(&words, seconds)?;
        let is_task = matches!(catcher, Catcher::Task(_));
        let skips = std::fs::read_to_string(&skipped).map_err(at("read", &skipped))?;
        match ending(code, &[said.as_str(), &skips].concat(), is_task) {
            Some(ending) => Ok((ending, started.elapsed())),
            None => Err(Failure::new(format!("{catcher} ended with {code}:\n{said}"))),
        }
    }

    /// Runs cargo in the copy, for so long at most; gives its code (137 if it was stopped) and what it said.
    fn cargo(&self, words: &[&str], seconds: u64) -> Result<(i32, String)> {
        let said = self.place.join("said");
        let file = File::create(&said).map_err(at("create", &said))?;
        let also = file.try_clone().map_err(at("open", &said))?;
        let (cargo, seconds) = (workspace::cargo(), seconds.to_string());
        // Should this task end first, by an interrupt of the terminal for one, all that it started goes with it.
        let guard =
            ["setpriv", "--pdeathsig", "TERM", "timeout", "--signal=KILL", &seconds, &cargo];
        let argv = [&guard[..], words].concat();
        let status = program::command(&argv)
            .current_dir(self.tree())
            .env("CARGO_TARGET_DIR", self.place.join("target"))
            .env("DEPSYNC_SKIPPED_FILE", self.skipped())
            .stdout(file)
            .stderr(also)
            .status()
            .map_err(|error| Failure::new(format!("cannot start {}: {error}", guard[0])))?;
        let text = std::fs::read(&said).map_err(at("read", &said))?;
        Ok((status.code().unwrap_or(137), String::from_utf8_lossy(&text).into_owned()))
    }
}

/// A file that is damaged; it is whole again when this is dropped.
#[derive(Debug)]
pub(super) struct Damage {
    path: PathBuf,
    whole: String,
}

impl Drop for Damage {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(&self.path, &self.whole) {
            eprintln!("{}: {error}; the next run mends it", self.path.display());
        }
    }
}

/// What a catcher's code and words come to; none if it ended in a way that tells nothing.
fn ending(code: i32, said: &str, is_task: bool) -> Option<Ending> {
    // A test may pass by finding that it cannot run here, and a filter may match none.
    let has_run = || {
        let results = said.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
        results.into_iter().any(|rest| !rest.starts_with("0 passed")) && !said.contains("SKIPPED ")
    };
    match code {
        0 if is_task || has_run() => Some(Ending::Passed),
        1 if is_task => Some(Ending::Failed),
        101 if !is_task && said.contains("test result: FAILED") => Some(Ending::Failed),
        137 => Some(Ending::Hung),
        _ => None,
    }
}

/// True for what a build made of the workspace's own packages.
fn is_own(name: &str) -> bool {
    let stem = name.rsplit_once('-').map_or(name, |(stem, _)| stem);
    OWN.contains(&stem.strip_prefix("lib").unwrap_or(stem))
}

fn files_below(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    let Ok(listing) = std::fs::read_dir(folder) else { return };
    for one in listing.flatten() {
        let path = format!("{prefix}{}", one.file_name().to_string_lossy());
        if one.file_type().is_ok_and(|kind| kind.is_dir()) {
            files_below(&one.path(), &format!("{path}/"), found);
        } else {
            found.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_that_ran_and_failed_has_caught_anything() {
        let (ok, failed) = ("test result: ok. 2 passed; 0 failed", "test result: FAILED. 0 passed");
        assert_eq!(ending(0, ok, false), Some(Ending::Passed));
        assert_eq!(ending(0, "test result: ok. 0 passed; 0 failed", false), None);
        assert_eq!(ending(0, &format!("SKIPPED a: needs b\n{ok}"), false), None);
        assert_eq!(ending(101, failed, false), Some(Ending::Failed));
        assert_eq!(ending(101, "error: could not compile", false), None);
        assert_eq!(ending(137, "", false), Some(Ending::Hung));
        assert_eq!((ending(1, "", true), ending(1, "", false)), (Some(Ending::Failed), None));
        assert_eq!((ending(0, "", true), ending(2, "", true)), (Some(Ending::Passed), None));
    }

    #[test]
    fn own_builds_are_told_from_those_of_dependencies() {
        for own in ["libdepsync-0123456789abcdef.rlib", "it-0123456789abcdef", "xtask-0123.d"] {
            assert!(is_own(own), "{own}");
        }
        for foreign in ["libindexmap-0123.rlib", "either-0123", "build"] {
            assert!(!is_own(foreign), "{foreign}");
        }
    }
}
