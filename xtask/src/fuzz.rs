//! The decoders under a fuzzer: the corpus replayed, then each of them for a while where cargo-fuzz is there.

use crate::failure::{Failure, Result, at};
use crate::{figures, program, workspace};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const SHORT_SECONDS: u64 = 2;
const FULL_SECONDS: u64 = 20;
/// Seconds that one input may take.
const INPUT_SECONDS: u64 = 1;
/// What the fuzzer itself and its corpus take, and 64 MiB.
const RSS_MIB_MAX: u64 = 192;
const PROGRAM: &str = "fuzz/target/x86_64-unknown-linux-gnu/release/decoders";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Twenty seconds for each decoder instead of two
    #[arg(long)]
    full: bool,
    /// Write the figures of the full form into docs/safety.md
    #[arg(long, requires = "full")]
    record: bool,
    /// Seconds for each decoder
    #[arg(long)]
    seconds: Option<u64>,
    /// Where the fuzzer's random numbers begin; another place each time if not given
    #[arg(long)]
    seed: Option<u32>,
}

/// What one or all decoders came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    executions: u64,
    slowest_seconds: u64,
    peak_rss_mib: u64,
}

/// Replays and fuzzes.
///
/// # Errors
/// A decoder panicked, took too long or too much memory: where its input was left is in the message.
pub(crate) fn run(arguments: &Arguments) -> Result {
    program::run(&["cargo", "test", "--quiet", "--test", "it", "fuzz_corpus"])?;
    let can_fuzz = program::succeeds(&["cargo", "+nightly", "--version"])
        && program::succeeds(&["cargo", "+nightly", "fuzz", "--version"]);
    if !can_fuzz {
        if arguments.full {
            return Err(Failure::new("the nightly toolchain or cargo-fuzz is not there"));
        }
        println!(
            "replayed only: the nightly toolchain or cargo-fuzz is not there; 0 executions fuzzed"
        );
        return Ok(());
    }
    let root = workspace::root();
    let place = root.to_string_lossy();
    let fuzz = format!("{place}/fuzz");
    program::run(&["cargo", "+nightly", "fuzz", "build", "-s", "none", "--fuzz-dir", &fuzz])?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.subsec_nanos());
    let seed = arguments.seed.unwrap_or(now);
    println!("seed {seed}");
    let default = if arguments.full { FULL_SECONDS } else { SHORT_SECONDS };
    let seconds = arguments.seconds.unwrap_or(default);
    let mut all = Figures::default();
    let decoders = decoders(&root.join("fuzz/corpus"))?;
    for decoder in &decoders {
        let one = fuzz_one(&root, decoder, seconds, seed)?;
        println!("{decoder:10} {:>12} executions, {} MiB", one.executions, one.peak_rss_mib);
        all.add(&one);
    }
    let figures = format!(
        "{} decoders, {} executions fuzzed, slowest input under {} s, peak rss {} MiB, 0 crashes, 0 losses",
        decoders.len(),
        all.executions,
        all.slowest_seconds + 1,
        all.peak_rss_mib
    );
    println!("{figures}");
    if arguments.record { figures::record("fuzz", &figures) } else { Ok(()) }
}

fn decoders(corpus: &Path) -> Result<Vec<String>> {
    let listing = std::fs::read_dir(corpus).map_err(at("read", corpus))?;
    let names = listing.filter_map(std::result::Result::ok);
    let mut names: Vec<_> =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn fuzz_one(root: &Path, decoder: &str, seconds: u64, seed: u32) -> Result<Figures> {
    // New inputs go to the first directory, which is the build's; the corpus stays as it is.
    let found = root.join("fuzz/target/found").join(decoder);
    let left = root.join("fuzz/artifacts");
    for directory in [&found, &left] {
        std::fs::create_dir_all(directory).map_err(at("create", directory))?;
    }
    let argv = [
        "env".to_owned(),
        format!("DEPSYNC_FUZZ={decoder}"),
        root.join(PROGRAM).display().to_string(),
        format!("-max_total_time={seconds}"),
        format!("-timeout={INPUT_SECONDS}"),
        format!("-rss_limit_mb={RSS_MIB_MAX}"),
        format!("-seed={seed}"),
        format!("-artifact_prefix={}/{decoder}-", left.display()),
        "-print_final_stats=1".to_owned(),
        "-verbosity=1".to_owned(),
        found.display().to_string(),
        root.join("fuzz/corpus").join(decoder).display().to_string(),
    ];
    let done = program::captured(&argv)?;
    let said = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        let start = said.len().saturating_sub(4000);
        let end = said.get(start..).unwrap_or(&said);
        return Err(Failure::new(format!("{decoder}, seed {seed}: {}\n{end}", done.status)));
    }
    Figures::parse(&said).ok_or_else(|| Failure::new(format!("{decoder}: no figures in:\n{said}")))
}

impl Figures {
    /// Reads what libFuzzer prints at its end.
    fn parse(said: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        Some(Self {
            executions: value("stat::number_of_executed_units:")?,
            slowest_seconds: value("stat::slowest_unit_time_sec:")?,
            peak_rss_mib: value("stat::peak_rss_mb:")?,
        })
    }

    fn add(&mut self, other: &Self) {
        self.executions += other.executions;
        self.slowest_seconds = self.slowest_seconds.max(other.slowest_seconds);
        self.peak_rss_mib = self.peak_rss_mib.max(other.peak_rss_mib);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_fuzzer_are_read_and_added_up() {
        let said = "Done 7 runs\nstat::number_of_executed_units: 7\n\
                    stat::average_exec_per_sec:     3\nstat::slowest_unit_time_sec:    0\n\
                    stat::peak_rss_mb:              41\n";
        let mut all = Figures::parse(said).unwrap_or_default();
        assert_eq!(all, Figures { executions: 7, slowest_seconds: 0, peak_rss_mib: 41 });
        all.add(&Figures { executions: 3, slowest_seconds: 1, peak_rss_mib: 5 });
        assert_eq!(all, Figures { executions: 10, slowest_seconds: 1, peak_rss_mib: 41 });
        assert_eq!(Figures::parse("Done 7 runs\n"), None);
    }
}
