use super::super::fixture::{entries, entry, manifest_of, path, random_tree};
use super::*;
use crate::model::entry::{Content, Kind, Segment, Timestamp};

fn build(entries: &[Entry]) -> Result<Manifest> {
    let mut header = Header::plain();
    header.capture.hard_links = true;
    let mut builder = Builder::new(header);
    for entry in entries {
        builder.push(entry)?;
    }
    builder.finish()
}

#[test]
fn decoding_what_was_encoded_gives_the_same_and_back() {
    for start in 0..2_000 {
        let mut seed = start;
        let tree = random_tree(&mut seed);
        let manifest = manifest_of(&tree, false);
        let read = Manifest::from_bytes(manifest.as_bytes().to_vec()).expect("it was checked");
        assert_eq!((&read, read.id()), (&manifest, manifest.id()), "seed {start}");
        assert_eq!(read.entries().collect::<Vec<_>>(), tree, "seed {start}");
        assert_eq!(manifest_of(&tree, false).as_bytes(), manifest.as_bytes());
    }
}

#[test]
fn fault_137_every_flipped_bit_gives_an_error_or_another_release() {
    let mut tree = entries("a f one - two; d@9 d; d/b h a; d/c@-5 f three; d/l l text");
    tree[1].meta.mtime = Timestamp { seconds: i64::MIN, nanos: 999_999_999 };
    let manifest = manifest_of(&tree, true);
    for bit in 0..manifest.as_bytes().len() * 8 {
        let mut bytes = manifest.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = Manifest::from_bytes(bytes.clone()) {
            assert_ne!(other.id(), manifest.id(), "bit {bit}");
            let again: Vec<_> = other.entries().collect();
            let mut builder = Builder::new(other.header().clone());
            for entry in &again {
                builder.push(entry).expect("an entry");
            }
            assert_eq!(builder.finish().expect("a tree").as_bytes(), bytes, "bit {bit}: canonical");
        }
    }
}

#[test]
fn fault_136_a_manifest_cut_anywhere_is_refused_or_another_release() {
    let manifest = manifest_of(&entries("a f one two; d d; d/b f three"), false);
    let bytes = manifest.as_bytes();
    let cuts = (0..bytes.len()).filter_map(|at| Manifest::from_bytes(bytes[..at].to_vec()).ok());
    let ids: Vec<_> = cuts.map(|cut| cut.id()).collect();
    assert_eq!(ids.len(), 3, "it can only be cut between entries");
    assert!(!ids.contains(&manifest.id()));
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(Manifest::from_bytes(longer).is_err());
}

#[test]
fn fault_147_names_out_of_order_twice_or_below_no_directory_are_refused() {
    for lines in [
        &[". d", "b f x", "a f x"][..],
        &[". d", "a f x", "a f x"],
        &[". d", "a f x", "a/b f x"],
        &[". d", "a l t", "a/b f x"],
        &[". d", "a/b f x"],
        &[". d", "d d", "d/e/f f x"],
        &["a f x"],
        &[],
        &[". d", "b h a"],
        &[". d", "a h b", "b f x"],
        &[". d", "a d", "b h a"],
        &[". d", "a l t", "b h a"],
        &[". d", "a f x", "b h a", "c h b"],
        &[". d", ". d"],
    ] {
        let all: Vec<_> = lines.iter().map(|line| entry(line)).collect();
        assert!(build(&all).is_err(), "{lines:?}");
    }
    assert!(build(&[entry(". d"), entry("a f x"), entry("b h a"), entry("c h a")]).is_ok());
    assert!(build(&[entry(". d"), entry("a s")]).is_err(), "a special file");
}

/// A body of one root and one file whose path is `name`, whatever that is.
fn with_name(name: &[u8]) -> Result<Manifest> {
    let mut writer = Writer::new();
    Header::plain().encode(&mut writer);
    for (kind, name) in [(0u8, &b""[..]), (1, name)] {
        writer.u8(kind | 1 << 3);
        writer.u64(0);
        writer.bytes(name);
        writer.u64(0o644);
        writer.i64(0);
        writer.u64(0);
        if kind == 1 {
            writer.u64(0);
        }
    }
    Manifest::from_bytes(writer.finish())
}

#[test]
fn fault_147_names_that_lead_elsewhere_are_refused() {
    assert!(with_name(b"a").is_ok());
    let long = [b'x'; 256];
    for name in [
        &b".."[..],
        b".",
        b"a/..",
        b"../a",
        b"/a",
        b"a/",
        b"a//b",
        b"a\0b",
        b"",
        b".depsync",
        b".depsync/x",
        &long,
    ] {
        assert!(with_name(name).is_err(), "{}", name.escape_ascii());
    }
}

#[test]
fn fault_148_lengths_and_counts_out_of_all_bounds_are_refused_without_memory() {
    let header = || {
        let mut writer = Writer::new();
        Header::plain().encode(&mut writer);
        writer
    };
    for count in [1u64 << 31, 1 << 32, 1 << 63, u64::MAX] {
        let mut writer = header();
        writer.u8(1);
        writer.u64(0);
        writer.u64(count); // the length of a name
        assert!(Manifest::from_bytes(writer.finish()).is_err());
        let mut content = Writer::new();
        content.u64(count); // the number of segments
        assert!(decode_content(&mut Reader::new(&content.finish(), "content")).is_err());
        let mut content = Writer::new();
        content.u64(1);
        content.u64(count | 1); // the length of a hole
        content.u64(count); // of which there is no more
        let bytes = content.finish();
        let mut reader = Reader::new(&bytes, "content");
        let is_refused = decode_content(&mut reader).is_err() || reader.finish().is_err();
        assert!(is_refused, "{count}");
    }
    let chunk_max = u64::from(limits::CHUNK_BYTES_MAX);
    for (bytes, is_taken) in [(0, false), (1, true), (chunk_max, true), (chunk_max + 1, false)] {
        let mut content = Writer::new();
        content.u64(1);
        content.u64(bytes << 1);
        content.digest(&Digest([7; Digest::BYTES]));
        let read = decode_content(&mut Reader::new(&content.finish(), "content"));
        assert_eq!(read.is_ok(), is_taken, "a chunk of {bytes}");
    }
    let mut writer = header();
    writer.u8(0b10_0000); // a tag that no writer writes
    assert!(Manifest::from_bytes(writer.finish()).is_err());
}

#[test]
fn contents_have_one_encoding() {
    let hole = |bytes| Segment::Hole { bytes };
    let round_trip = |content: &Content| {
        let mut writer = Writer::new();
        encode_content(&mut writer, content);
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes, "content");
        let read = decode_content(&mut reader)?;
        reader.finish().map(|()| read)
    };
    for content in
        [Content::default(), Content::new([hole(1 << 40)]), Content::new([hole(65_536), hole(1)])]
    {
        assert_eq!(round_trip(&content).as_ref(), Ok(&content));
    }
    assert!(round_trip(&Content::new([hole(65_535)])).is_err(), "a short hole is a chunk");
    let mut two_holes = Writer::new();
    two_holes.list(&[65_536u64, 65_536], |writer, bytes| writer.u64(bytes << 1 | 1));
    assert!(decode_content(&mut Reader::new(&two_holes.finish(), "content")).is_err());
}

#[test]
fn headers_round_trip_and_trees_lie_apart() {
    let header = Header {
        trees: vec![path("a"), path("b/c")],
        capture: Capture { xattrs: true, acls: false, hard_links: true },
        owner: OwnerPolicy::Named { user: "wso2".into(), group: None },
        rules: Rules {
            ignore: vec!["*.log".into()],
            files: vec![(path("a"), "x\n".into()), (path("b"), "y".into())],
            protect: vec!["z".into()],
        },
    };
    let encode = |header: &Header| {
        let mut writer = Writer::new();
        header.encode(&mut writer);
        writer.finish()
    };
    let bytes = encode(&header);
    assert_eq!(Header::decode(&mut Reader::new(&bytes, "header")), Ok(header.clone()));
    for trees in
        [vec![], vec![path("b"), path("a")], vec![path("a"), path("a/b")], vec![path("a"); 2]]
    {
        let bytes = encode(&Header { trees, ..header.clone() });
        assert!(Header::decode(&mut Reader::new(&bytes, "header")).is_err());
    }
    let unsorted = Rules {
        files: vec![(path("b"), String::new()), (path("a"), String::new())],
        ..Rules::default()
    };
    let bytes = encode(&Header { rules: unsorted, ..header });
    assert!(Header::decode(&mut Reader::new(&bytes, "header")).is_err());
    assert!(matches!(entry("a f x").kind, Kind::File(_)));
}
