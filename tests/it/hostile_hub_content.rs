//! Lies of a hub about what a release is and holds: manifests, deltas, batches, patches.

use depsync::model::digest::{Digest, Domain};
use depsync::model::entry::{Chunk, Content, Kind, Segment};
use depsync::model::limits::{BATCH_BYTES_MAX, CHUNK_BYTES_MAX};
use depsync::model::manifest::Header;
use depsync::model::path::TreePath;
use depsync::wire::message::{FailedClass, ManifestPart, Packing, ToAgent};
use zstd::stream::raw::CParameter;

use crate::hostile_hub::{
    FILES, Lie, Talk, content, entries, entry, file, header, header_bytes, manifest_bytes, packed,
    tell,
};

type Told = Option<(FailedClass, &'static str, &'static str)>;

#[expect(clippy::unnecessary_wraps, reason = "some lies are told nothing")]
const fn broken(words: &'static str) -> Told {
    Some((FailedClass::Integrity, "protocol", words))
}

#[expect(clippy::unnecessary_wraps, reason = "some lies are told nothing")]
const fn damaged(words: &'static str) -> Told {
    Some((FailedClass::Integrity, "state-damaged", words))
}

const PART: Told = Some((FailedClass::Integrity, "protocol", "a part of the manifest"));
const MISMATCH: Told =
    Some((FailedClass::Integrity, "content-mismatch", "do not match its digest"));

const fn lie(name: &'static str, told: Told, act: fn(&mut Talk)) -> Lie {
    Lie { name, told, act }
}

/// Offers `manifest` as what it is, and sends it.
fn offer(talk: &mut Talk, manifest: Vec<u8>) {
    talk.offer.release = Digest::of(Domain::Tree, &manifest);
    talk.manifest = manifest;
    talk.offered();
    talk.send_manifest();
}

/// Offers the honest manifest with one name replaced by another of the same length.
fn renamed(talk: &mut Talk, honest: &str, forged: &[u8]) {
    assert_eq!(honest.len(), forged.len());
    let mut all = entries();
    all.truncate(2);
    all.push(entry(&format!("dir/{honest}"), file(0)));
    let mut bytes = manifest_bytes(&header(), &all);
    let found = bytes.windows(honest.len()).position(|name| name == honest.as_bytes());
    let at = found.expect("the name is there");
    bytes[at..at + forged.len()].copy_from_slice(forged);
    offer(talk, bytes);
}

/// Offers the first two entries with these behind them.
fn listed(talk: &mut Talk, more: &[(&str, Kind)]) {
    let mut all = entries();
    all.truncate(2);
    all.extend(more.iter().map(|(path, kind)| entry(path, kind.clone())));
    offer(talk, manifest_bytes(&header(), &all));
}

fn chunk_of(bytes: u32) -> Kind {
    let digest = Digest([1; 32]);
    Kind::File(Content::new([Segment::Chunk(Chunk { digest, bytes })]))
}

pub(crate) const MANIFESTS: &[Lie] = &[
    lie("a header that is none", damaged("header"), |talk| {
        talk.offer.header = vec![0xff; 100];
        talk.opened();
        talk.send(&ToAgent::Offer(talk.offer.clone()));
    }),
    lie("a byte behind the header", damaged("follow the end"), |talk| {
        talk.offer.header.push(0);
        talk.opened();
        talk.send(&ToAgent::Offer(talk.offer.clone()));
    }),
    lie("a header that is not the manifest's", broken("not the manifest's"), |talk| {
        talk.offer.header = header_bytes(&Header::plain());
        talk.offered();
        talk.send_manifest();
    }),
    lie("another release than was offered", damaged("digest"), |talk| {
        talk.offer.release = Digest([9; 32]);
        talk.offered();
        talk.send_manifest();
    }),
    lie("a part that is longer than it says", broken("not what it says"), |talk| {
        talk.offered();
        let manifest = talk.manifest.clone();
        talk.part(manifest.len() - 1, &packed(&manifest), true);
    }),
    lie("a part that is shorter than it says", broken("not what it says"), |talk| {
        talk.offered();
        let manifest = talk.manifest.clone();
        talk.part(manifest.len() + 1, &packed(&manifest), true);
    }),
    lie("a part that nothing decompresses", broken("not what it says"), |talk| {
        talk.offered();
        talk.part(1000, &[0xee; 500], true);
    }),
    lie("bytes behind the frame of a part", broken("not what it says"), |talk| {
        talk.offered();
        let manifest = talk.manifest.clone();
        talk.part(manifest.len(), &[&packed(&manifest)[..], b"more"].concat(), true);
    }),
    lie("a part that decompresses to a gibibyte", broken("not what it says"), |talk| {
        talk.offered();
        // A mebibyte of zeros in a few bytes, a thousand times.
        let bomb = packed(&vec![0; BATCH_BYTES_MAX]).repeat(1024);
        talk.part(BATCH_BYTES_MAX, &bomb, true);
    }),
    lie("a manifest cut short", damaged(""), |talk| {
        let mut cut = talk.manifest.clone();
        cut.truncate(cut.len() - 20);
        offer(talk, cut);
    }),
    lie("an empty manifest", damaged("ends early"), |talk| offer(talk, Vec::new())),
    lie("an empty part that is not the last", PART, |talk| {
        talk.offered();
        talk.part(0, &packed(&[]), false);
    }),
    lie("a frame that is skipped behind a part", PART, |talk| {
        talk.offered();
        let skipped = [&0x184d_2a50u32.to_le_bytes()[..], &4u32.to_le_bytes(), b"junk"].concat();
        talk.part(7, &[packed(b"a part "), skipped].concat(), false);
    }),
    lie("a delta where no base is", damaged(""), |talk| {
        talk.offered();
        let base = Some(Digest([5; 32]));
        let part = ManifestPart { base, raw_bytes: 40, is_last: true };
        talk.control(&ToAgent::Manifest(part).encode(), &packed(&[5; 40]));
    }),
    lie("a name that is ..", damaged("bad path"), |talk| renamed(talk, "QZ", b"..")),
    lie("a name that is .", damaged("bad path"), |talk| renamed(talk, "Q", b".")),
    lie("a name with an empty part", damaged("bad path"), |talk| renamed(talk, "QZQ", b"a//")),
    lie("a path that goes up half-way", damaged("bad path"), |talk| {
        renamed(talk, "QZQZQZ", b"../../");
    }),
    lie("an absolute name", damaged("bad path"), |talk| renamed(talk, "QZQZ", b"/etc")),
    lie("a name with NUL", damaged("bad path"), |talk| renamed(talk, "QZQ", b"a\0b")),
    lie("a name twice", damaged("canonical"), |talk| {
        listed(talk, &[("dir/a", file(0)), ("dir/a", file(1))]);
    }),
    lie("names out of order", damaged("canonical"), |talk| {
        listed(talk, &[("dir/b", file(0)), ("dir/a", file(1))]);
    }),
    lie("a file as parent", damaged("canonical"), |talk| {
        listed(talk, &[("f", file(0)), ("f/below", file(1))]);
    }),
    lie("a link as parent", damaged("canonical"), |talk| {
        listed(talk, &[("l", Kind::Symlink(Box::from(&b"/"[..]))), ("l/below", file(1))]);
    }),
    lie("a parent that is not there", damaged("canonical"), |talk| {
        listed(talk, &[("none/below", file(1))]);
    }),
    lie("no root", damaged("canonical"), |talk| {
        offer(talk, manifest_bytes(&header(), &[entry("a", Kind::Directory)]));
    }),
    lie("a hard link to nothing", damaged("canonical"), |talk| {
        let first = TreePath::new(b"zzz").expect("a path");
        listed(talk, &[("l", Kind::HardLink(first))]);
    }),
    lie("a chunk of 2^32 - 1 bytes", damaged(""), |talk| {
        listed(talk, &[("f", chunk_of(u32::MAX))]);
    }),
    lie("a chunk one byte longer than any may be", damaged(""), |talk| {
        listed(talk, &[("f", chunk_of(CHUNK_BYTES_MAX + 1))]);
    }),
    lie("bytes behind the last entry", damaged(""), |talk| {
        let bytes = [&talk.manifest[..], &[0xff; 7]].concat();
        offer(talk, bytes);
    }),
];

/// Stages, and sends the first batch as `packing` of `bulk` makes it.
fn first_batch(talk: &mut Talk, packing: Packing, bulk: impl FnOnce(&[u8]) -> Vec<u8>) {
    let batches = talk.staging();
    talk.batch(packing, &bulk(&batches[0]));
}

/// A frame of `bytes` that says it needs 128 MiB to be read.
fn wide(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.set_parameter(CParameter::WindowLog(27)).expect("a window");
    std::io::Write::write_all(&mut encoder, bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

pub(crate) const BATCHES: &[Lie] = &[
    lie("a chunk that is not the manifest's", MISMATCH, |talk| {
        first_batch(talk, Packing::Plain, |batch| {
            let mut batch = batch.to_vec();
            batch[150_000] ^= 1;
            batch
        });
    }),
    lie("the chunks of another batch", MISMATCH, |talk| {
        first_batch(talk, Packing::Plain, |batch| content(FILES + 1).repeat(batch.len() / 100_000));
    }),
    lie("a batch one byte short", broken("another length"), |talk| {
        first_batch(talk, Packing::Plain, |batch| batch[1..].to_vec());
    }),
    lie("a batch one byte long", broken("another length"), |talk| {
        first_batch(talk, Packing::Plain, |batch| [batch, b"x"].concat());
    }),
    lie("an empty batch", broken("another length"), |talk| {
        first_batch(talk, Packing::Plain, |_| Vec::new());
    }),
    lie("a compressed batch that makes more", broken("another length"), |talk| {
        first_batch(talk, Packing::Fresh, |batch| packed(&[batch, b"x"].concat()));
    }),
    lie("a compressed batch that makes less", broken("another length"), |talk| {
        first_batch(talk, Packing::Fresh, |batch| packed(&batch[1..]));
    }),
    lie("a compressed batch that makes 128 MiB", broken("another length"), |talk| {
        first_batch(talk, Packing::Fresh, |_| packed(&vec![0; 128 << 20]));
    }),
    lie("a batch that nothing decompresses", broken("cannot be decompressed"), |talk| {
        first_batch(talk, Packing::Fresh, |_| vec![0xee; 5000]);
    }),
    lie("a frame that refers back 128 MiB", broken("cannot be decompressed"), |talk| {
        first_batch(talk, Packing::Fresh, wide);
    }),
    lie("bytes behind the frame of a batch", broken("cannot be decompressed"), |talk| {
        first_batch(talk, Packing::Fresh, |batch| [&packed(batch)[..], b"trailing"].concat());
    }),
    lie("a batch that goes on with what never began", broken("never began"), |talk| {
        first_batch(talk, Packing::Continued, packed);
    }),
    lie("a patch that makes another length than it says", broken("patch"), |talk| {
        first_batch(talk, Packing::Patch { bytes: 100 }, |_| packed(&[0; 99]));
    }),
    lie("a patch that decompresses to a gibibyte", broken("cannot be decompressed"), |talk| {
        first_batch(talk, Packing::Patch { bytes: BATCH_BYTES_MAX }, |_| {
            packed(&vec![0; BATCH_BYTES_MAX]).repeat(1024)
        });
    }),
    lie("a patch of pieces that are not there", broken(""), |talk| {
        // One piece, number 0.
        first_batch(talk, Packing::Patch { bytes: 3 }, |_| packed(&[2, 3, 0]));
    }),
    lie(
        "a patch of more literal bytes than it has",
        Some((FailedClass::Integrity, "protocol", "")),
        |talk| {
            first_batch(talk, Packing::Patch { bytes: 3 }, |_| packed(&[1, 100, 0]));
        },
    ),
    lie("the second batch before the first", broken("another length"), |talk| {
        let batches = talk.staging();
        talk.batch(Packing::Plain, &batches[1]);
    }),
    lie("a batch twice", broken("another length"), |talk| {
        let batches = talk.staging();
        talk.batch(Packing::Plain, &batches[0]);
        talk.batch(Packing::Plain, &batches[0]);
    }),
];

#[test]
fn fault_136_and_147_and_155_lies_about_a_release() {
    tell(MANIFESTS);
}

#[test]
fn fault_146_and_155_lies_about_its_content() {
    tell(BATCHES);
}
