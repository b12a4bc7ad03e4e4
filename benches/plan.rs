//! What a node has to do for 100,000 entries of which one in a hundred is not as the release says.
#![expect(clippy::disallowed_methods, reason = "benches make the trees they measure")]

use criterion::{Criterion, Throughput};
use depsync::model::manifest::{Builder, Manifest, Part};
use depsync::model::plan::{Plan, Policy, Want, plan};
use depsync::node::difference::{Difference, Owners};
use depsync::node::inspect::as_have;

#[path = "parts/names.rs"]
mod names;
#[path = "parts/reading.rs"]
mod reading;

const NAMES: u64 = 100_000;

/// The release with another time for one entry in a hundred.
fn changed(manifest: &Manifest) -> Manifest {
    let mut builder = Builder::new(manifest.header().clone());
    for (number, mut entry) in manifest.entries().enumerate() {
        if number % 100 == 1 {
            entry.meta.mtime.seconds += 1;
        }
        builder.push(&entry).expect("no special file");
    }
    builder.finish().expect("a tree")
}

fn planned(difference: &Difference, manifest: &Manifest) -> Plan {
    let have = as_have(&difference.found);
    let want = Want {
        release: Part::new(manifest, difference.picked.as_ref()),
        same_files: difference.same_files,
    };
    plan(&have, want, &Policy { owners: true, ..Policy::default() }, &mut |_change| {})
}

fn main() {
    let tree = names::tree(NAMES);
    let (source, _) = reading::settled(tree.path());
    let manifest = changed(&source.release.manifest().expect("a manifest"));
    let owners = Owners { compared: true, all: None };
    let compare = || {
        Difference::between(&source.listing, &manifest, owners, false).expect("the index as it was")
    };
    let difference = compare();
    let count = planned(&difference, &manifest).counts.total();
    assert_eq!(count, (source.entries - 1).div_ceil(100));

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Elements(source.entries)).sample_size(20);
    group.bench_function("compared", |bencher| bencher.iter(compare));
    group.bench_function("planned", |bencher| bencher.iter(|| planned(&difference, &manifest)));
    group.finish();
    criterion.final_summary();
}
