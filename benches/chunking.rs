//! How many bytes a second are cut into chunks and hashed.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "benches make the trees they measure"
)]

use criterion::{Criterion, Throughput};
use depsync::scan::content::{content_of, read_content};

#[path = "parts/files.rs"]
mod files;

const BYTES: usize = 32 * 1024 * 1024;

fn main() {
    let noise = files::noise(1, BYTES, 256);
    let tree = files::tree(1, BYTES, 256);
    let file = std::fs::File::open(tree.path().join("d00000/f0.xml")).expect("a file");

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("chunking");
    group.throughput(Throughput::Bytes(BYTES as u64)).sample_size(20);
    group.bench_function("memory", |bencher| bencher.iter(|| content_of(&noise)));
    group.bench_function("file", |bencher| {
        bencher.iter(|| read_content(&file, BYTES as u64).expect("read"));
    });
    let zeros = vec![0; BYTES];
    group.bench_function("holes", |bencher| bencher.iter(|| content_of(&zeros)));
    group.finish();
    criterion.final_summary();
}
