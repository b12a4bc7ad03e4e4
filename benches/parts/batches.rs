//! A whole release as the batches that the hub makes of it.

use std::sync::Arc;

use depsync::hub::encoder::{Encoded, Encoder, History};
use depsync::model::manifest::Manifest;
use depsync::model::patch::Near;
use depsync::model::want::{Batches, Wanted};
use depsync::source::Source;

/// What a node wants that has nothing.
pub(crate) fn everything(manifest: &Manifest) -> Wanted {
    let mut wanted = Wanted::default();
    let mut views = manifest.views();
    let mut ordinal = 0;
    while let Some(view) = views.next() {
        let entry = view.to_entry();
        if let depsync::model::entry::Kind::File(content) = entry.kind {
            for _ in content.chunks() {
                wanted.push(ordinal);
                ordinal += 1;
            }
        }
    }
    wanted
}

/// The batches of all that is `wanted`, one after the other as for one node, by an encoder that has made none before.
pub(crate) fn encode(
    runtime: &tokio::runtime::Runtime,
    source: &Source,
    manifest: &Manifest,
    wanted: &Wanted,
) -> Vec<Encoded> {
    let encoder = Arc::new(Encoder::new(&source.root, b"run").expect("an encoder"));
    let known = encoder.known(Near::default());
    runtime.block_on(async {
        let mut all = Vec::new();
        let mut history = History::default();
        for batch in Batches::new(manifest, wanted) {
            let encoded = encoder.encode(batch, history, &known).await.expect("encoded");
            history = encoded.history;
            all.push(encoded);
        }
        all
    })
}

/// What is encoded and decoded: a name, and the tree's files, their length and how many signs their text has.
pub(crate) const TREES: [(&str, u64, usize, u64); 2] =
    [("text", 4_000, 8_000, 64), ("noise", 4, 8 * 1024 * 1024, 256)];
