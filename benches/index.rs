//! A million entries: the index written, opened and read through, the manifest made and checked.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "benches make the trees they measure, and say what they are"
)]

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput};
use depsync::model::manifest::{Builder, Manifest};
use depsync::scan::index::Index;
use depsync::scan::listing::Listing;
use depsync::source::Source;

#[path = "parts/names.rs"]
mod names;
#[path = "parts/reading.rs"]
mod reading;

const NAMES: u64 = 1_000_000;

/// As hub and node write it, but for the rename and the sync.
fn store(source: &Source, path: &Path) {
    let file = File::create(path).expect("a file");
    drop(source.write_index(BufWriter::new(file)).expect("written"));
}

/// Every record that the listing has in its index.
fn read_through(listing: &Listing) -> u64 {
    let mut cursor = listing.cursor();
    let mut count = 0;
    while cursor.next().expect("the index as it was").is_some() {
        count += 1;
    }
    count
}

fn manifests(group: &mut BenchmarkGroup<'_, WallTime>, manifest: &Manifest) {
    group.bench_function("manifest made", |bencher| {
        bencher.iter(|| {
            let mut builder = Builder::new(manifest.header().clone());
            let mut views = manifest.views();
            while let Some(view) = views.next() {
                builder.push_view(&view).expect("no special file");
            }
            builder.finish().expect("a tree")
        });
    });
    group.bench_function("manifest checked", |bencher| {
        let bytes = || manifest.as_bytes().to_vec();
        let check = |bytes| Manifest::from_bytes(bytes).expect("own bytes");
        bencher.iter_batched(bytes, check, BatchSize::LargeInput);
    });
    group.bench_function("manifest walked", |bencher| {
        bencher.iter(|| {
            let mut views = manifest.views();
            std::iter::from_fn(|| views.next().map(|view| view.path.len())).sum::<usize>()
        });
    });
}

fn main() {
    let tree = names::tree(NAMES);
    let (settled, _) = reading::settled(tree.path());
    let place = tempfile::tempdir().expect("a directory");
    let (path, other) = (place.path().join("index"), place.path().join("other"));
    store(&settled, &path);
    let root = settled.identity.root;
    let open = || Index::open(File::open(&path).expect("the index"), root).expect("own bytes");
    let directories = open().len() as u64;
    // As in a run, its records are in the file and are read as the walk comes to them.
    let source = reading::read(tree.path(), &Arc::new(open()));
    let bytes = std::fs::metadata(&path).expect("the index").len();
    let manifest = source.release.manifest().expect("a manifest");
    println!(
        "{} entries: index {bytes} bytes, manifest {}",
        source.entries,
        manifest.as_bytes().len()
    );

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("index");
    group.throughput(Throughput::Elements(source.entries)).sample_size(10);
    group.bench_function("stored", |bencher| bencher.iter(|| store(&source, &other)));
    group.throughput(Throughput::Elements(directories));
    group.bench_function("opened, by directories", |bencher| bencher.iter(open));
    group.throughput(Throughput::Elements(source.entries));
    assert_eq!(read_through(&source.listing), source.entries);
    group.bench_function("read through", |bencher| {
        bencher.iter(|| read_through(&source.listing));
    });
    manifests(&mut group, &manifest);
    group.finish();
    criterion.final_summary();
}
