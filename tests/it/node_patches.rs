//! Small changes of large files: what they cost, and that whatever a node has in their place, it ends up the same.

use std::fs;
use std::os::unix::fs::FileExt as _;

use depsync::model::entry::{Entry, Kind, Meta};
use depsync::model::manifest::{Builder, Header, Manifest};
use depsync::model::patch::{self, Cutter, Known};
use depsync::model::path::TreePath;
use depsync::model::want::Wanted;
use depsync::node::error::Error;
use depsync::node::pieces::{Patcher, Pieces};
use depsync::os::root::{self, Missing};
use depsync::scan::content::content_of;

use crate::cluster::{Cluster, Outcome};

/// Bytes that look random and are the same everywhere.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some((z ^ (z >> 31)).to_le_bytes()[0])
    };
    std::iter::from_fn(next).take(count).collect()
}

fn bytes(outcome: &Outcome, node: usize) -> u64 {
    let count = |what: &str| outcome.node(node)[what].as_u64().expect("a number");
    count("bytes_sent") + count("bytes_received")
}

#[test]
fn an_edit_of_a_large_file_costs_the_pieces_around_it() {
    let cluster = Cluster::new(2);
    let mut content = noise(1, 2_000_000);
    cluster.write("big", &content);
    cluster.push(&[]).expect(0);
    let nothing = bytes(cluster.push(&[]).expect(0), 0);
    content[1_000_000..1_000_010].fill(0);
    cluster.write("big", &content);
    let edited = cluster.push(&[]);
    content.splice(0..0, *b"in front");
    cluster.write("big", &content);
    let inserted = cluster.push(&[]);
    content.truncate(1_900_000);
    fs::remove_file(cluster.at("big")).expect("removed");
    cluster.write("other", &content);
    let renamed_and_cut = cluster.push(&[]);
    for (what, outcome) in
        [("edited", edited), ("inserted", inserted), ("renamed and cut", renamed_and_cut)]
    {
        for node in 0..2 {
            let cost = bytes(outcome.expect(0), node).saturating_sub(nothing);
            // A chunk alone would be 8 to 128 KiB.
            assert!(cost < 8_000, "{what}: {cost} bytes");
        }
    }
    cluster.assert_same();
}

#[test]
fn nodes_that_drifted_apart_get_what_each_of_them_lacks() {
    let cluster = Cluster::new(3);
    for seed in 0..12 {
        let mut content = noise(seed, 300_000);
        cluster.write("file", &content);
        cluster.write("small", &content[..700]);
        cluster.push(&[]).expect(0);
        let at = usize::try_from(seed).expect("small") * 24_000;
        let drifted = fs::OpenOptions::new().write(true).open(cluster.on(1, "file"));
        drifted.expect("open").write_all_at(&[1; 5_000], at as u64 / 2).expect("written");
        cluster.write_on(2, "file", [&content[150_000..], &content[..150_000]].concat());
        content.splice(at..at + 100, noise(seed + 100, at % 500));
        cluster.write("file", &content);
        cluster.write("small", &content[..at % 700]);
        cluster.push(&[]).expect(0);
        cluster.assert_same();
    }
}

/// A manifest of one file.
fn manifest_of(path: &TreePath, content: &[u8]) -> Manifest {
    let mut builder = Builder::new(Header::plain());
    let root = (TreePath::root(), Kind::Directory);
    for (path, kind) in [root, (path.clone(), Kind::File(content_of(content)))] {
        builder.push(&Entry { path, kind, meta: Meta::default() }).expect("an entry");
    }
    builder.finish().expect("a manifest")
}

#[test]
fn a_piece_that_is_no_longer_what_was_named_is_refused_by_the_files_name() {
    let here = tempfile::tempdir().expect("a directory");
    let old = noise(7, 400_000);
    let new = [&old[..200_000], b"new", &old[200_000..]].concat();
    fs::write(here.path().join("file"), &old).expect("written");
    let root = root::open(here.path(), Missing::Refuse).expect("open").dir.expect("there");
    let path = TreePath::new(b"file").expect("a path");
    let manifest = manifest_of(&path, &new);
    let (mut wanted, mut lacking) = (Wanted::default(), Vec::new());
    let mut offset = 0;
    for (ordinal, chunk) in (0..).zip(content_of(&new).chunks()) {
        let end = offset + chunk.bytes as usize;
        if content_of(&old).chunks().all(|have| have != chunk) {
            wanted.push(ordinal);
            lacking.extend_from_slice(&new[offset..end]);
        }
        offset = end;
    }
    let mut pieces = Pieces::new(b"run");
    pieces
        .name(&root, (&manifest).into(), &wanted, |path, _| Some((path.clone(), content_of(&old))));
    assert_eq!(pieces.near.chunks, wanted);
    let patch = patch::diff(&Cutter::new(b"run"), &Known::new(pieces.near.clone()), [&lacking[..]]);
    let patch = patch.expect("most of it is there");
    assert!(patch.len() < 8_000 && patch.len() < lacking.len(), "{} bytes", patch.len());
    let made = |patch: &[u8]| {
        let mut made = Vec::new();
        let done = Patcher::new(Some(&root), &pieces).apply(patch, lacking.len(), &mut made);
        done.map(|()| made)
    };
    assert!(made(&patch).expect("made") == lacking);
    assert!(matches!(made(&patch[..patch.len() - 1]), Err(Error::Protocol { .. })));
    fs::write(here.path().join("file"), vec![1; 400_000]).expect("written");
    for cut in [400_000, 100] {
        let file = fs::OpenOptions::new().write(true).open(here.path().join("file"));
        file.expect("open").set_len(cut).expect("cut");
        let refused = made(&patch).expect_err("other bytes are there");
        assert!(
            matches!(&refused, Error::Refused { kind: "changed-while-copied", message, .. }
                if message.starts_with("file ")),
            "{refused}"
        );
    }
    fs::remove_file(here.path().join("file")).expect("removed");
    assert!(matches!(made(&patch), Err(Error::Io { .. })));
}
