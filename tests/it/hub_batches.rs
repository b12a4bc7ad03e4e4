//! Batches as the hub encodes them, decoded as an agent does.

use std::io;
use std::sync::Arc;

use depsync::hub::encoder::{Encoded, Encoder, History};
use depsync::model::entry::Kind;
use depsync::model::patch::Near;
use depsync::model::want::{Batch, Batches, Wanted};
use depsync::os::root::{self, Missing};
use depsync::os::spool::Spool;
use depsync::source::Source;
use depsync::wire::message::Packing;
use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};

use crate::source_tree::{Tree, read_ok};

/// Bytes in which nothing repeats, as text of `digits` different signs.
fn noise(mut seed: u64, length: usize, digits: u64) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((seed >> 33) % digits).expect("a byte")
    };
    (0..length).map(|_| next()).collect()
}

/// 2.4 MB of files that resemble those 100 places before them.
fn similar_files() -> (Tree, Source) {
    let tree = Tree::new();
    for at in 0..600u64 {
        let mut bytes = format!("file {at}\n").into_bytes();
        bytes.extend(noise(at % 100, 4000, 16));
        tree.write(format!("f{at:03}"), bytes);
    }
    let source = read_ok(&tree.options());
    (tree, source)
}

fn wanted(source: &Source, is_wanted: impl Fn(u64) -> bool) -> Wanted {
    let mut ordinal = 0;
    let mut wanted = Wanted::default();
    for entry in source.release.manifest().expect("made").entries() {
        let Kind::File(content) = entry.kind else { continue };
        for _ in content.chunks() {
            if is_wanted(ordinal) {
                wanted.push(ordinal);
            }
            ordinal += 1;
        }
    }
    wanted
}

/// A node that gets batches: it has a decoder, and the hub knows its history.
struct Node {
    decoder: Decoder<'static>,
    history: History,
}

impl Node {
    fn new() -> Self {
        Self { decoder: Decoder::new().expect("a decoder"), history: History::default() }
    }

    async fn get(&mut self, encoder: &Arc<Encoder>, tree: &Tree, batch: Batch) -> Encoded {
        let sites = batch.sites.clone();
        let encoded = encoder
            .encode(batch, self.history, &encoder.known(Near::default()))
            .await
            .expect("encoded");
        self.history = encoded.history;
        let raw = self.decode(&encoded).expect("decoded");
        let mut whole = Vec::<u8>::new();
        for site in sites {
            let file = std::fs::read(tree.at(site.path.as_bytes())).expect("a file");
            let start = usize::try_from(site.offset).expect("an offset");
            whole.extend_from_slice(&file[start..start + site.chunk.bytes as usize]);
        }
        assert!(raw == whole, "the bytes of the batch");
        encoded
    }

    fn decode(&mut self, encoded: &Encoded) -> io::Result<Vec<u8>> {
        match encoded.packing {
            Packing::Plain | Packing::Patch { .. } => return encoded.bytes.to_vec(),
            Packing::Fresh => self.decoder.reinit()?,
            Packing::Continued => {}
        }
        let mut raw = Vec::with_capacity(encoded.raw_bytes + 1);
        let bytes = encoded.bytes.to_vec()?;
        let mut input = InBuffer::around(&bytes);
        let mut output = OutBuffer::around(&mut raw);
        while input.pos() < bytes.len() {
            self.decoder.run(&mut input, &mut output)?;
        }
        self.decoder.run(&mut input, &mut output)?;
        Ok(raw)
    }
}

#[tokio::test]
async fn what_resembles_an_earlier_batch_costs_next_to_nothing() {
    let (tree, source) = similar_files();
    let encoder = Arc::new(Encoder::new(&source.root, b"run").expect("an encoder"));
    let manifest = source.release.manifest().expect("made");
    let want = wanted(&source, |_| true);
    let mut node = Node::new();
    let mut lengths = Vec::new();
    for batch in Batches::new(&*manifest, &want) {
        lengths.push(node.get(&encoder, &tree, batch).await.bytes.len());
    }
    assert!(lengths.len() >= 5, "{lengths:?}");
    assert!(lengths[0] > 200_000 && lengths[1..].iter().all(|one| *one < 20_000), "{lengths:?}");
}

#[tokio::test]
async fn nodes_of_one_history_are_sent_the_same_bytes() {
    let (tree, source) = similar_files();
    let encoder = Arc::new(Encoder::new(&source.root, b"run").expect("an encoder"));
    let manifest = source.release.manifest().expect("made");
    let want = wanted(&source, |_| true);
    let (mut one, mut other) = (Node::new(), Node::new());
    for batch in Batches::new(&*manifest, &want) {
        let first = one.get(&encoder, &tree, batch.clone()).await;
        let second = other.get(&encoder, &tree, batch).await;
        assert!(first.bytes.is_same_as(&second.bytes));
    }
}

#[tokio::test]
async fn nodes_that_want_different_chunks_each_get_theirs() {
    let (tree, source) = similar_files();
    let encoder = Arc::new(Encoder::new(&source.root, b"run").expect("an encoder"));
    let manifest = source.release.manifest().expect("made");
    // More than there are packers, so that each has to start afresh now and then.
    let wants: Vec<_> = (0..5).map(|node| wanted(&source, |at| at % 5 != node)).collect();
    let mut nodes: Vec<_> =
        wants.iter().map(|want| (Node::new(), Batches::new(&*manifest, want).peekable())).collect();
    while nodes.iter_mut().any(|(_, batches)| batches.peek().is_some()) {
        for (node, batches) in &mut nodes {
            if let Some(batch) = batches.next() {
                node.get(&encoder, &tree, batch).await;
            }
        }
    }
}

#[tokio::test]
async fn bytes_that_do_not_shrink_travel_as_they_are_and_leave_history_alone() {
    let tree = Tree::new();
    for at in 0..200u64 {
        let is_text = !(50..150).contains(&at);
        let digits = if is_text { 16 } else { 256 };
        tree.write(format!("f{at:03}"), noise(at, 8000, digits));
    }
    let source = read_ok(&tree.options());
    let encoder = Arc::new(Encoder::new(&source.root, b"run").expect("an encoder"));
    let manifest = source.release.manifest().expect("made");
    // One node at the text alone, another at all of it, so that packers are taken from one another.
    let all = wanted(&source, |_| true);
    let text = wanted(&source, |at| !(50..150).contains(&at));
    let (mut one, mut other) = (Node::new(), Node::new());
    let mut packings = Vec::new();
    let mut texts = Batches::new(&*manifest, &text);
    for batch in Batches::new(&*manifest, &all) {
        packings.push(one.get(&encoder, &tree, batch).await.packing);
        if let Some(batch) = texts.next() {
            other.get(&encoder, &tree, batch).await;
        }
    }
    assert!(packings.contains(&Packing::Plain) && packings.contains(&Packing::Continued));
}

/// Sends the same to three nodes, two of them behind, and says how many batches each got as the first did.
async fn in_turn(spool: Spool) -> (usize, [usize; 3]) {
    let tree = Tree::new();
    for at in 0..400u64 {
        tree.write(format!("f{at:03}"), noise(at / 2, 100_000, 16));
    }
    let source = read_ok(&tree.options());
    let encoder = Encoder::new(&source.root, b"run").expect("an encoder");
    let encoder = Arc::new(encoder.keeping(spool));
    let want = wanted(&source, |_| true);
    let manifest = source.release.manifest().expect("made");
    let batches: Vec<_> = Batches::new(&*manifest, &want).collect();
    let mut nodes = [Node::new(), Node::new(), Node::new()];
    let behind = [0, batches.len() / 4, batches.len() / 2];
    let mut first = Vec::new();
    let mut alike = [0; 3];
    for at in 0..batches.len() * 2 {
        for (node, (behind, alike)) in nodes.iter_mut().zip(behind.iter().zip(&mut alike)) {
            let Some(at) = at.checked_sub(*behind) else { continue };
            let Some(batch) = batches.get(at) else { continue };
            let bytes = node.get(&encoder, &tree, batch.clone()).await.bytes;
            if first.len() == at {
                first.push(bytes.clone());
            }
            *alike += usize::from(first[at].is_same_as(&bytes));
        }
    }
    (batches.len(), alike)
}

#[tokio::test]
async fn each_batch_is_made_once_for_nodes_not_too_far_apart() {
    let (batches, alike) = in_turn(Spool::in_memory(16 << 20)).await;
    assert!(batches > 30);
    assert_eq!(alike, [batches; 3]);
}

#[tokio::test]
async fn what_waits_on_disk_is_not_made_again_for_a_node_far_behind() {
    let place = tempfile::tempdir().expect("a directory");
    let opened = root::open(place.path(), Missing::Refuse).expect("opened");
    let spool = Spool::beside(opened.dir.expect("a directory"), 1 << 20, 1 << 30);
    let (batches, alike) = in_turn(spool).await;
    assert_eq!(alike, [batches; 3]);
}

#[tokio::test]
async fn a_node_far_behind_has_its_batches_made_again() {
    let (batches, alike) = in_turn(Spool::in_memory(1 << 20)).await;
    assert_eq!(alike[0], batches);
    assert!(alike[1..].iter().all(|alike| *alike < batches / 4), "{alike:?} of {batches}");
}
