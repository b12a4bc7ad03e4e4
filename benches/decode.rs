//! How many bytes a second a node takes from the stream and unpacks, up to where it writes them.
#![expect(clippy::disallowed_methods, reason = "benches make the trees they measure")]

use std::io::{self, Cursor};
use std::sync::{Arc, Mutex};

use criterion::{BatchSize, Criterion, Throughput};
use depsync::hub::encoder::Encoded;
use depsync::model::entry::{Chunk, Kind};
use depsync::model::manifest::Manifest;
use depsync::model::want::Wanted;
use depsync::node::agent::Hub;
use depsync::node::incoming::Incoming;
use depsync::node::pieces::{Patcher, Pieces};
use depsync::node::stage::ChunkStream as _;
use depsync::wire::message::ToAgent;
use depsync::wire::stream::Sender;
use depsync::wire::{frame, preamble};

#[path = "parts/batches.rs"]
mod batches;
#[path = "parts/files.rs"]
mod files;
#[path = "parts/reading.rs"]
mod reading;

/// The bytes that the hub sends.
fn stream(encoded: &[Encoded]) -> Vec<u8> {
    let mut stream = preamble::HUB.to_vec();
    for (sequence, batch) in encoded.iter().enumerate() {
        let message = ToAgent::Batch { packing: batch.packing }.encode();
        let sequence = u32::try_from(sequence).expect("few");
        stream.extend(frame::encode(sequence, &message, batch.bytes.len()));
        stream.extend(batch.bytes.to_vec().expect("read"));
    }
    stream
}

/// Takes all chunks from `stream`, and gives the number of their bytes.
fn decode(stream: Vec<u8>, manifest: &Manifest, wanted: &Wanted, chunks: &[Chunk]) -> u64 {
    let pieces = Pieces::new(b"run");
    let output = Box::new(io::sink()) as Box<dyn io::Write + Send>;
    let outbox = Arc::new(Mutex::new(Sender::open(output).expect("never full")));
    let hub = Hub::listen(Cursor::new(stream), outbox);
    let mut incoming = Incoming::new(&hub, manifest.into(), wanted, Patcher::new(None, &pieces));
    let (mut rest, mut total) = (chunks, 0);
    while !rest.is_empty() {
        let mut given = incoming.next(rest).expect("own batches").len() as u64;
        total += given;
        while let Some((first, others)) = rest.split_first().filter(|_| given > 0) {
            given -= u64::from(first.bytes);
            rest = others;
        }
    }
    incoming.finish().expect("no more than wanted");
    total
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(20);
    for (name, count, length, digits) in batches::TREES {
        let tree = files::tree(count, length, digits);
        let (source, _) = reading::settled(tree.path());
        let manifest = source.release.manifest().expect("a manifest");
        let wanted = batches::everything(&manifest);
        let stream = stream(&batches::encode(&runtime, &source, &manifest, &wanted));
        let entries = manifest.entries().filter_map(|entry| match entry.kind {
            Kind::File(content) => Some(content),
            _ => None,
        });
        let chunks: Vec<Chunk> =
            entries.flat_map(|file| file.chunks().collect::<Vec<_>>()).collect();
        let run = |stream| decode(stream, &manifest, &wanted, &chunks);
        assert_eq!(run(stream.clone()), source.bytes);
        group.throughput(Throughput::Bytes(source.bytes));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| stream.clone(), run, BatchSize::LargeInput);
        });
    }
    group.finish();
    criterion.final_summary();
}
