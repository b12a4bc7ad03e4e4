//! How many bytes a second the hub reads, checks and packs into batches, for one node.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "benches make the trees they measure, and say what they are"
)]

use criterion::{Criterion, Throughput};

#[path = "parts/batches.rs"]
mod batches;
#[path = "parts/files.rs"]
mod files;
#[path = "parts/reading.rs"]
mod reading;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("encode");
    group.sample_size(20);
    for (name, count, length, digits) in batches::TREES {
        let tree = files::tree(count, length, digits);
        let (source, _) = reading::settled(tree.path());
        let manifest = source.release.manifest().expect("a manifest");
        let wanted = batches::everything(&manifest);
        let encode = || batches::encode(&runtime, &source, &manifest, &wanted);
        let packed: usize = encode().iter().map(|encoded| encoded.bytes.len()).sum();
        println!("{name}: {} bytes, packed {packed}", source.bytes);
        group.throughput(Throughput::Bytes(source.bytes));
        group.bench_function(name, |bencher| bencher.iter(encode));
    }
    group.finish();
    criterion.final_summary();
}
