use std::collections::HashMap;

use super::*;
use crate::model::entry::{Content as Segments, Entry, Kind, Meta};
use crate::model::manifest::{Builder, Header};

/// Gives chunks from memory.
struct Memory(HashMap<Digest, Vec<u8>>);

impl ReadChunks for Memory {
    fn read(
        &mut self,
        _path: &TreePath,
        _offset: u64,
        chunk: Chunk,
        into: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        into.extend_from_slice(&self.0[&chunk.digest]);
        Ok(())
    }
}

/// A release of the files with these names and chunks, and what its chunks are.
fn release(files: &[(&str, &[&[u8]])]) -> (Manifest, Memory) {
    let mut builder = Builder::new(Header::plain());
    let meta = |mode| Meta { mode, ..Meta::default() };
    let root = Entry { path: TreePath::root(), kind: Kind::Directory, meta: meta(0o755) };
    builder.push(&root).expect("a root");
    let mut memory = HashMap::new();
    for (name, chunks) in files {
        let segments = chunks.iter().map(|bytes| {
            let digest = Digest::of(Domain::Chunk, bytes);
            memory.insert(digest, bytes.to_vec());
            Segment::Chunk(Chunk { digest, bytes: u32::try_from(bytes.len()).expect("short") })
        });
        let kind = Kind::File(Segments::new(segments));
        let path = TreePath::new(name.as_bytes()).expect("a path");
        builder.push(&Entry { path, kind, meta: meta(0o644) }).expect("a file");
    }
    (builder.finish().expect("a tree"), Memory(memory))
}

fn bytes_of(manifest: &Manifest, memory: &mut Memory) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = write(manifest, memory, &mut bytes, &mut |_bytes| true).expect("written");
    assert_eq!(written.file_bytes, bytes.len() as u64);
    bytes
}

fn small() -> (Manifest, Vec<u8>) {
    let (manifest, mut memory) = release(&[
        ("a", &[b"one", b"two"]),
        ("b", &[b"three", b"one"]),
        ("c", &[]),
        ("d", &[b"one"]),
    ]);
    let bytes = bytes_of(&manifest, &mut memory);
    (manifest, bytes)
}

fn opened(bytes: &[u8]) -> Result<Arc<ReleaseFile>, Error> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.depsync");
    operator_file::write_operator_file(&path, bytes, false).expect("written");
    ReleaseFile::open(&path).map(Arc::new)
}

/// Every chunk that the reader gives, in the order of the manifest.
fn read_all(file: &Arc<ReleaseFile>) -> Vec<Result<Vec<u8>, ReadError>> {
    let mut reader = file.reader();
    let mut views = file.manifest().views();
    let mut read = Vec::new();
    while let Some(view) = views.next() {
        let KindView::File(content) = view.kind else { continue };
        for segment in content.segments() {
            let Segment::Chunk(chunk) = segment else { continue };
            let mut bytes = Vec::new();
            let path = TreePath::of_checked(view.path);
            read.push(reader.read(&path, 0, chunk, &mut bytes).map(|()| bytes));
        }
    }
    read
}

#[test]
fn what_is_written_is_read_and_each_chunk_stands_in_it_once() {
    let (manifest, bytes) = small();
    assert_eq!(decode(&bytes).expect("a release file"), manifest);
    let file = opened(&bytes).expect("a release file");
    assert_eq!(file.sections.len(), 1);
    assert_eq!(file.sections[0].raw, 11, "one, two, three");
    let read: Vec<_> = read_all(&file).into_iter().map(|read| read.expect("a chunk")).collect();
    assert_eq!(read, [&b"one"[..], b"two", b"three", b"one", b"one"]);
}

#[test]
fn content_is_parted_into_sections_that_no_chunk_crosses() {
    let chunks: Vec<Vec<u8>> =
        (0..70u32).map(|number| number.to_le_bytes().repeat(128 * 1024 / 4)).collect();
    let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    let (manifest, mut memory) = release(&[("a", &[&b"odd"[..]]), ("b", &chunks)]);
    let bytes = bytes_of(&manifest, &mut memory);
    assert_eq!(bytes, bytes_of(&manifest, &mut memory), "the same release is the same bytes");
    let file = opened(&bytes).expect("a release file");
    let raw: Vec<usize> = file.sections.iter().map(|section| section.raw as usize).collect();
    assert_eq!(raw, [3 + 63 * 128 * 1024, 7 * 128 * 1024]);
    let read: Vec<_> = read_all(&file).into_iter().map(|read| read.expect("a chunk")).collect();
    assert!(read[1..].iter().eq(chunks.iter()));
}

#[test]
fn a_release_without_content_is_a_file_as_well() {
    let (manifest, mut memory) = release(&[("empty", &[])]);
    let bytes = bytes_of(&manifest, &mut memory);
    assert_eq!(decode(&bytes).expect("a release file"), manifest);
}

#[test]
fn fault_136_and_137_every_cut_and_every_turned_bit_is_refused() {
    let (_, bytes) = small();
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
    }
    for at in 0..bytes.len() * 8 {
        let mut turned = bytes.clone();
        turned[at / 8] ^= 1 << (at % 8);
        assert!(decode(&turned).is_err(), "bit {at}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(matches!(decode(&longer), Err(Damage::Longer)));
    let mut other = bytes;
    other[16] = 9;
    assert!(matches!(decode(&other), Err(Damage::Version(9))));
}

/// A file with a right digest whose sections are `manifest` and `content`.
fn forged(manifest: &[&[u8]], content: &[&[u8]]) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    for sections in [manifest, content] {
        for raw in sections {
            let packed = zstd::bulk::compress(raw, 1).expect("packed");
            for length in [packed.len(), raw.len()] {
                bytes.extend(u32::try_from(length).expect("short").to_le_bytes());
            }
            bytes.extend(packed);
        }
        bytes.extend([0; 8]);
    }
    let digest = Digest::of(Domain::State, &bytes);
    bytes.extend(digest.0);
    bytes
}

#[test]
fn fault_137_and_148_a_right_digest_around_wrong_content_is_refused() {
    let (manifest, _) = release(&[("a", &[b"one", b"two"])]);
    let tree = manifest.as_bytes();
    assert_eq!(decode(&forged(&[tree], &[b"onetwo"])).expect("as if written"), manifest);
    let contents: [&[&[u8]]; 5] =
        [&[], &[b"one"], &[b"onetwo3"], &[b"on", b"etwo"], &[b"onetwo", b"more"]];
    for content in contents {
        assert!(matches!(decode(&forged(&[tree], content)), Err(Damage::Content)), "{content:?}");
    }
    assert!(decode(&forged(&[tree], &[b"one", b"two"])).is_ok(), "sections may be smaller");
    assert!(matches!(decode(&forged(&[b"no tree"], &[])), Err(Damage::Manifest(_))));
    assert!(matches!(decode(&forged(&[], &[])), Err(Damage::Manifest(_))));
    let mut huge = forged(&[tree], &[b"onetwo"]);
    huge[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(decode(&huge), Err(Damage::Bounds)), "nothing is allocated for it");

    // Only who asks for a chunk sees that its bytes are others.
    let lying = opened(&forged(&[tree], &[b"oneTWO"])).expect("its lengths are right");
    let read = read_all(&lying);
    assert_eq!(read[0].as_deref().expect("a true chunk"), b"one");
    assert!(matches!(&read[1], Err(ReadError::Damaged { path, .. }) if path.as_bytes() == b"a"));
}

#[test]
fn whoever_stops_the_writing_is_obeyed() {
    let (manifest, mut memory) = release(&[("a", &[b"one"])]);
    let stopped = write(&manifest, &mut memory, &mut Vec::new(), &mut |bytes| bytes != 3);
    assert!(matches!(stopped, Err(WriteError::Stopped)));
}
