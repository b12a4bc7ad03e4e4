//! How long a walk of 10,000 files takes: of a tree that nothing is known of, and of one that the index knows.
#![expect(clippy::disallowed_methods, reason = "benches make the trees they measure")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use criterion::{Criterion, Throughput};
use depsync::model::path::TreePath;
use depsync::model::rules::Rules;
use depsync::scan::index::Index;
use depsync::scan::matcher::Matcher;
use depsync::scan::{self, Progress, Scan, ScanOptions, Side};
use depsync::source::Source;

#[path = "parts/files.rs"]
mod files;
#[path = "parts/reading.rs"]
mod reading;

const FILES: u64 = 10_000;
const FILE_BYTES: usize = 2_000;

fn walk(source: &Source, index: &Arc<Index>) -> Scan {
    let (progress, stop) = (Progress::default(), AtomicBool::new(false));
    let options = ScanOptions { owner: true, ..ScanOptions::new(Side::Source, &progress, &stop) };
    let matcher = Matcher::new(&Rules::default()).expect("no rules");
    scan::scan(&source.root, &[TreePath::root()], &matcher, index, &options).expect("a tree")
}

fn main() {
    let tree = files::tree(FILES, FILE_BYTES, 64);
    let (source, known) = reading::settled(tree.path());
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("walk");
    group.throughput(Throughput::Elements(source.entries)).sample_size(20);
    assert_eq!(walk(&source, &Arc::default()).files_read, FILES);
    group.bench_function("unknown", |bencher| bencher.iter(|| walk(&source, &Arc::default())));
    assert_eq!(walk(&source, &known).files_read, 0);
    group.bench_function("known", |bencher| bencher.iter(|| walk(&source, &known)));
    group.finish();
    criterion.final_summary();
}
