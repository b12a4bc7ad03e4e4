//! The corpus of the fuzzed decoders, replayed: what was ever found interesting stays taken or refused as it should.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::decoders::{DECODERS, find};
use crate::hostile_mutations::{Random, variable};

/// No input may take longer, in a debug build on a busy machine.
const INPUT_MAX: Duration = Duration::from_secs(1);
/// More would not be a seed corpus any more.
const FILES_MAX: usize = 40;
const BYTES_MAX: u64 = 500 * 1024;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn names(directory: &Path) -> Vec<String> {
    let listing =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("a plain name");
    let mut names: Vec<_> = listing.map(|entry| name(entry.expect("a name"))).collect();
    names.sort();
    names
}

#[test]
fn fault_136_and_137_and_145_to_149_every_decoder_stands_its_corpus() {
    for (name, decoder) in DECODERS {
        let directory = corpus().join(name);
        let files = names(&directory);
        assert!(!files.is_empty() && files.len() <= FILES_MAX, "{name}: {} files", files.len());
        for file in files {
            let bytes = fs::read(directory.join(&file)).expect("a file");
            let started = Instant::now();
            decoder(&bytes);
            assert!(started.elapsed() < INPUT_MAX, "{name}/{file}: {:?}", started.elapsed());
        }
    }
}

#[test]
fn a_corpus_belongs_to_each_decoder_and_stays_small() {
    let decoders: Vec<_> = DECODERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpus()), decoders, "sorted, one directory each");
    assert!(find("batches").is_some() && find("none").is_none());
    let files = decoders.iter().flat_map(|decoder| {
        let directory = corpus().join(decoder);
        names(&directory).into_iter().map(move |file| directory.join(file))
    });
    let bytes: u64 = files.map(|file| fs::metadata(file).expect("a file").len()).sum();
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
}

/// Every seed, cut at each byte and with each bit turned: none is taken for something else without being canonical.
#[test]
fn fault_136_and_137_every_cut_and_every_flipped_bit_of_the_seeds_is_stood() {
    let mut fed = 0;
    for (name, decoder) in DECODERS {
        let directory = corpus().join(name);
        for file in names(&directory).into_iter().filter(|file| file.starts_with("seed-")) {
            let bytes = fs::read(directory.join(&file)).expect("a file");
            // Each flip costs a whole reading: long seeds are sampled.
            let step = bytes.len() / 300 + 1;
            for at in (0..bytes.len()).step_by(step) {
                decoder(&bytes[..at]);
                let mut flipped = bytes.clone();
                for bit in 0..8 {
                    flipped[at] ^= 1 << bit;
                    decoder(&flipped);
                    flipped[at] ^= 1 << bit;
                }
                fed += 9;
            }
        }
    }
    assert!(fed > 10_000, "{fed}");
}

/// Without a fuzzer: random changes of what the corpus holds. `DEPSYNC_SEED` and `DEPSYNC_SECONDS` are as for the mutations of a
/// conversation.
#[test]
fn fault_137_and_145_to_149_random_changes_of_the_corpus_are_stood() {
    let corpora = DECODERS.iter().map(|(name, decoder)| {
        let directory = corpus().join(name);
        let read = |file: &String| fs::read(directory.join(file)).expect("a file");
        (*name, *decoder, names(&directory).iter().map(read).collect::<Vec<_>>())
    });
    let corpora: Vec<_> = corpora.collect();
    let first = variable("DEPSYNC_SEED").unwrap_or(1);
    let least = Duration::from_secs(variable("DEPSYNC_SECONDS").unwrap_or(0));
    let (started, mut seed) = (Instant::now(), first);
    while seed < first + 200 || started.elapsed() < least {
        for (name, decoder, files) in &corpora {
            let mut random = Random(seed);
            let mut bytes = files[random.next(files.len())].clone();
            for _ in 0..=random.next(8) {
                random.change(&mut bytes);
            }
            let fed = std::panic::catch_unwind(|| decoder(&bytes));
            assert!(fed.is_ok(), "DEPSYNC_SEED={seed}: {name}: {}", bytes.escape_ascii());
        }
        seed += 1;
    }
    println!("{} inputs from seed {first}", (seed - first) * corpora.len() as u64);
}
