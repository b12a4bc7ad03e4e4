//! What is fed to each decoder, and what must hold of whatever it says: one function for each, shared by the fuzzing
//! program and the test that replays the corpus.
//!
//! Beyond "no panic": what is taken is written back as the very same bytes (rule S34), and what is given out stays
//! within its bounds. A decoder behind a checksum is also given bytes whose checksum is right, since guessing one takes
//! a fuzzer for ever.

use std::ops::Range;
use std::path::Path;

use depsync::config;
use depsync::link;
use depsync::model::codec::{Error, Reader, Writer};
use depsync::model::delta;
use depsync::model::digest::{Digest, Domain};
use depsync::model::entry::{Chunk, Content, Entry, Kind, Meta, Segment};
use depsync::model::later::Times;
use depsync::model::limits;
use depsync::model::manifest::{Builder, Header as TreeHeader, Manifest};
use depsync::model::nodes_file;
use depsync::model::patch::{self, Near};
use depsync::model::path::TreePath;
use depsync::model::target::{LocalPath, Target};
use depsync::model::want::{Batches, Wanted};
use depsync::node::incoming::Decompressor;
use depsync::node::journal::{self, Record, Replay};
use depsync::node::kept::KeptList;
use depsync::node::steps::Steps;
use depsync::scan::index::{Index, RootId};
use depsync::source::lint::{self, Found, Known};
use depsync::source::release_file;
use depsync::wire::frame::{self, HEADER_BYTES, Header};
use depsync::wire::message::{ToAgent, ToHub};
use depsync::wire::stream::Receiver;

/// Feeds one decoder, and panics where something does not hold.
pub(crate) type Decoder = fn(&[u8]);

/// Every decoder with its name, which is that of its corpus.
pub(crate) const DECODERS: &[(&str, Decoder)] = &[
    ("batches", batches),
    ("config", config),
    ("delta", delta),
    ("frame", frame),
    ("import", import),
    ("index", index),
    ("journal", journal),
    ("kept", kept),
    ("lint", lint),
    ("manifest", manifest),
    ("mux", mux),
    ("nodes", nodes),
    ("patch", patch),
    ("preamble", preamble),
    ("release", release),
    ("steps", steps),
    ("stream", stream),
    ("target", target),
    ("times", times),
    ("to-agent", to_agent),
    ("to-hub", to_hub),
    ("wanted", wanted),
];

/// The decoder `name`.
pub(crate) fn find(name: &str) -> Option<Decoder> {
    DECODERS.iter().find(|(known, _)| *known == name).map(|(_, decoder)| *decoder)
}

/// The next `N` bytes, with zeros where there are fewer, and the rest.
fn take<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (head, rest) = bytes.split_at(bytes.len().min(N));
    let mut taken = [0; N];
    taken[..head.len()].copy_from_slice(head);
    (taken, rest)
}

fn base() -> LocalPath {
    LocalPath::new(b"/base").expect("a path")
}

/// A small manifest with every kind of entry, for what is read against one.
pub(crate) fn small_manifest() -> Manifest {
    let chunk = |text: &str| Chunk {
        digest: Digest::of(Domain::Chunk, text.as_bytes()),
        bytes: u32::try_from(text.len()).expect("short"),
    };
    let file = |words: &[&str]| {
        Kind::File(Content::new(words.iter().map(|word| match *word {
            "-" => Segment::Hole { bytes: u64::from(limits::HOLE_BLOCK_BYTES) },
            word => Segment::Chunk(chunk(word)),
        })))
    };
    let mut builder = Builder::new(TreeHeader::plain());
    let entries = [
        ("", Kind::Directory),
        ("a", file(&["one", "two"])),
        ("b", Kind::Directory),
        ("b/c", file(&["three", "-", "four"])),
        ("b/d", Kind::Symlink(Box::from(&b"../a"[..]))),
        ("e", file(&["five", "six", "seven", "one"])),
    ];
    for (path, kind) in entries {
        let mode = if matches!(kind, Kind::Symlink(_)) { 0 } else { 0o755 };
        let path = match path {
            "" => TreePath::root(),
            path => TreePath::new(path.as_bytes()).expect("a path"),
        };
        let meta = Meta { mode, ..Meta::default() };
        builder.push(&Entry { path, kind, meta }).expect("no special file");
    }
    builder.finish().expect("a tree")
}

/// Frames one behind the other; and the bytes as the control bytes of a frame whose check is right.
pub(crate) fn frame(bytes: &[u8]) {
    let mut rest = bytes;
    for sequence in 0.. {
        let Some((head, behind)) = rest.split_first_chunk::<HEADER_BYTES>() else { break };
        let Ok(header) = Header::parse(head) else { break };
        assert!(header.control_bytes + header.bulk_bytes <= limits::FRAME_BYTES_MAX);
        let Some((control, behind)) = behind.split_at_checked(header.control_bytes) else { break };
        if header.verify(sequence, control).is_err() {
            break;
        }
        assert_eq!(frame::encode(sequence, control, header.bulk_bytes), [head, control].concat());
        let Some((_, behind)) = behind.split_at_checked(header.bulk_bytes) else { break };
        rest = behind;
    }
    let ([a, b], control) = take::<2>(bytes);
    let bulk_bytes = usize::from(b);
    let framed = frame::encode(a.into(), control, bulk_bytes);
    let head = framed.first_chunk::<HEADER_BYTES>().expect("a head");
    let header = Header::parse(head).expect("it was written");
    assert_eq!((header.control_bytes, header.bulk_bytes), (control.len(), bulk_bytes));
    assert_eq!(header.verify(a.into(), control), Ok(()));
    assert!(header.verify(u32::from(a) + 1, control).is_err());
}

/// A release file; and the bytes as one whose digest is right.
pub(crate) fn release(bytes: &[u8]) {
    let _refused = release_file::decode(bytes);
    let mut sealed = bytes.get(..bytes.len().saturating_sub(32)).unwrap_or_default().to_vec();
    let digest = Digest::of(Domain::State, &sealed);
    sealed.extend(digest.0);
    if let Ok(manifest) = release_file::decode(&sealed) {
        assert_eq!(Manifest::from_bytes(manifest.as_bytes().to_vec()), Ok(manifest));
    }
}

/// All that an agent reads of a hub: greeting, frames, messages.
pub(crate) fn stream(bytes: &[u8]) {
    if let Ok(mut receiver) = Receiver::open(bytes) {
        while receiver.receive(Vec::new()).is_ok() {}
    }
    // The same bytes cut into messages whose frames are right.
    let mut framed = depsync::wire::preamble::HUB.to_vec();
    let mut rest = bytes;
    let mut count = 0u32;
    while let ([length, bulk_bytes], behind @ [_, ..]) = take::<2>(rest) {
        let (control, behind) = behind.split_at(behind.len().min(length.into()));
        let (bulk, behind) = behind.split_at(behind.len().min(bulk_bytes.into()));
        framed.extend(frame::encode(count, control, bulk.len()));
        framed.extend(bulk);
        count += 1;
        rest = behind;
    }
    let mut receiver = Receiver::open(&framed[..]).expect("the greeting is there");
    let mut received = 0;
    while let Ok(one) = receiver.receive(Vec::new()) {
        assert!(one.bulk.len() <= 255);
        received += 1;
    }
    assert!(received <= count);
}

/// A message from the hub.
pub(crate) fn to_agent(bytes: &[u8]) {
    if let Ok(message) = ToAgent::decode(bytes) {
        assert_eq!(message.encode(), bytes, "{message:?}");
    }
}

/// A message from the agent.
pub(crate) fn to_hub(bytes: &[u8]) {
    if let Ok(message) = ToHub::decode(bytes) {
        assert_eq!(message.encode(), bytes, "{message:?}");
    }
}

/// A manifest.
pub(crate) fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::from_bytes(bytes.to_vec()) else { return };
    let mut builder = Builder::new(manifest.header().clone());
    let mut before: Option<TreePath> = None;
    for entry in manifest.entries() {
        assert!(before.as_ref().is_none_or(|before| *before < entry.path), "out of order");
        assert!(entry.path.is_root() || TreePath::new(entry.path.as_bytes()).is_ok());
        builder.push(&entry).expect("it was an entry");
        before = Some(entry.path);
    }
    let again = builder.finish().expect("it was a manifest");
    assert_eq!(again.as_bytes(), bytes);
    assert_eq!(again.id(), manifest.id());
}

/// The digest that is promised, then a delta to [`small_manifest`].
pub(crate) fn delta(bytes: &[u8]) {
    let base = small_manifest();
    let (expected, told) = take::<32>(bytes);
    let expected = Digest(expected);
    let whole = delta::apply(&base, told, expected);
    // With the right base in front a fuzzer need not guess its digest.
    let led = [&base.id().0[..], told].concat();
    for made in [whole, delta::apply(&base, &led, expected)].into_iter().flatten() {
        assert_eq!(made.id(), expected);
        let again = Manifest::from_bytes(made.as_bytes().to_vec()).expect("it is a manifest");
        assert_eq!(again.id(), expected);
        let told = delta::encode(&base, &made);
        assert_eq!(delta::apply(&base, &told, expected).expect("its own delta").id(), expected);
    }
}

/// A length, then a patch of bytes of that length.
pub(crate) fn patch(bytes: &[u8]) {
    let ([a, b, c], told) = take::<3>(bytes);
    let length = usize::from(u16::from_le_bytes([a, b])) | usize::from(c & 0xf) << 16;
    let mut into = Vec::new();
    let copy = |numbers: Range<usize>, room: usize, into: &mut Vec<u8>| {
        assert!(numbers.start < numbers.end && numbers.end <= limits::PIECES_MAX);
        for number in numbers {
            let bytes = 1 + number % 7;
            if into.len() + bytes > length || bytes > room {
                return Err(Error::NotCanonical { what: "fuzzed patch" });
            }
            into.extend(std::iter::repeat_n(b'p', bytes));
        }
        Ok(())
    };
    let made = patch::apply::<Error>(told, length, copy, &mut into);
    assert!(into.len() <= length && into.capacity() <= length.max(8) * 2);
    if made.is_ok() {
        assert_eq!(into.len(), length);
    }
}

/// Wanted chunks, and what is near.
pub(crate) fn wanted(bytes: &[u8]) {
    let mut reader = Reader::new(bytes, "wanted chunks");
    if let Ok(wanted) = Wanted::decode(&mut reader) {
        let read = bytes.len() - reader.rest().len();
        let mut writer = Writer::new();
        wanted.encode(&mut writer);
        assert_eq!(writer.finish(), bytes[..read]);
        assert!(wanted.ranges().is_sorted_by(|one, next| one.end < next.start));
        let manifest = small_manifest();
        let mut before = None;
        for site in Batches::new(&manifest, &wanted).flat_map(|batch| batch.sites) {
            assert!(wanted.contains(site.ordinal) && before < Some(site.ordinal));
            before = Some(site.ordinal);
        }
        assert!(before < Some(8), "a chunk that the manifest does not have");
    }
    let mut reader = Reader::new(bytes, "near");
    if let Ok(near) = Near::decode(&mut reader) {
        assert!(near.pieces.len() <= limits::PIECES_MAX);
        let read = bytes.len() - reader.rest().len();
        let mut writer = Writer::new();
        near.encode(&mut writer);
        assert_eq!(writer.finish(), bytes[..read]);
    }
}

/// An index as it is; and records and a foot, whose length comes first, with the trailer that belongs to them.
pub(crate) fn index(bytes: &[u8]) {
    let root = RootId { device: 1, inode: 2, roams: false };
    let walk = |bytes: Vec<u8>| {
        let length = bytes.len();
        let Ok(index) = Index::from_bytes(bytes, root) else { return };
        assert!(index.len() <= length);
        if let Ok((count, _)) = index.walk(root.device) {
            assert!(count <= index.len());
        }
    };
    walk(bytes.to_vec());
    let ([a, b], rest) = take::<2>(bytes);
    let foot = usize::from(u16::from_le_bytes([a, b])).min(rest.len());
    let digest = Digest::of(Domain::State, &rest[rest.len() - foot..]);
    walk([rest, &(foot as u64).to_le_bytes(), &digest.0].concat());
}

/// A journal as it is; and payloads, each behind its length, in records whose checks are right.
pub(crate) fn journal(bytes: &[u8]) {
    if let Ok(replay) = Replay::of(bytes) {
        assert!(replay.length <= bytes.len() as u64);
        let whole = usize::try_from(replay.length).expect("short");
        let again = Replay::of(&bytes[..whole]).expect("whole records");
        assert_eq!((again.standing, again.length), (replay.standing, replay.length));
    }
    let (mut framed, mut rest) = (Vec::new(), bytes);
    for sequence in 1.. {
        let Some((length, behind)) = rest.split_first() else { break };
        let (payload, behind) = behind.split_at(behind.len().min(usize::from(*length)));
        if let Ok(record) = Record::decode(payload) {
            assert_eq!(record.encode(), payload, "{record:?}");
        }
        framed.extend(journal::frame(sequence, payload));
        rest = behind;
    }
    if let Ok(replay) = Replay::of(&framed) {
        assert_eq!(replay.length, framed.len() as u64, "a whole record was cut off");
    }
}

/// A list of steps, whose digest is right.
pub(crate) fn steps(bytes: &[u8]) {
    if let Ok(steps) = Steps::decode(bytes, Steps::digest(bytes)) {
        assert_eq!(steps.encode(), bytes, "{steps:?}");
    }
}

/// A list of what was kept, as it is and with the digest that belongs to it.
pub(crate) fn kept(bytes: &[u8]) {
    let digest = Digest::of(Domain::State, bytes);
    for bytes in [bytes.to_vec(), [bytes, &digest.0].concat()] {
        if let Ok(list) = KeptList::decode(&bytes) {
            assert_eq!(list.encode().expect("no special file"), bytes, "{list:?}");
        }
    }
}

/// A file of each kind that is looked into, and what was remembered of such.
pub(crate) fn lint(bytes: &[u8]) {
    let read = |at: u64, into: &mut [u8]| {
        let rest = bytes.get(usize::try_from(at).expect("64 bits")..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    };
    for kind in [lint::Kind::Car, lint::Kind::War, lint::Kind::Zip, lint::Kind::Xml] {
        match lint::judge(kind, bytes.len() as u64, &read).expect("it can be read") {
            Found::Fine => assert_ne!(kind, lint::Kind::Car),
            Found::Application(found) => {
                assert!(!found.name.is_empty() && !found.version.is_empty());
            }
            Found::Fault(why) => assert_shown(&why),
        }
    }
    let mut reader = Reader::new(bytes, "lint");
    if let Ok(known) = Known::decode(&mut reader) {
        let mut writer = Writer::new();
        known.encode(&mut writer);
        assert_eq!(writer.finish(), bytes[..bytes.len() - reader.rest().len()]);
    }
}

/// What is remembered of later times.
pub(crate) fn times(bytes: &[u8]) {
    let mut reader = Reader::new(bytes, "times");
    if let Ok(times) = Times::decode(&mut reader) {
        let mut writer = Writer::new();
        times.encode(&mut writer);
        assert_eq!(writer.finish(), bytes[..bytes.len() - reader.rest().len()]);
        assert!(times.files.len() <= limits::GIVEN_TIMES_MAX);
        assert!(times.files.is_sorted_by(|one, next| one.path < next.path));
    }
}

/// A nodes file.
pub(crate) fn nodes(bytes: &[u8]) {
    match nodes_file::parse(bytes, &base()) {
        Ok(targets) => {
            assert!(!targets.is_empty() && targets.len() <= limits::NODES_MAX);
            targets.iter().for_each(check_target);
        }
        Err(error) => assert_shown(&error.to_string()),
    }
}

/// A target.
pub(crate) fn target(bytes: &[u8]) {
    match Target::parse(bytes, &base()) {
        Ok(target) => check_target(&target),
        Err(error) => assert_shown(&error.to_string()),
    }
}

/// A target is told by a text that is read as the same target, unless the text had to be escaped.
fn check_target(target: &Target) {
    let shown = target.to_string();
    assert_shown(&shown);
    assert!(!target.directory().is_empty() && !target.directory().contains(&0));
    if let Target::Ssh(_) = target {
        assert!(!shown.starts_with('-'), "{shown}");
    }
    if !shown.contains('\\') {
        assert_eq!(Target::parse(shown.as_bytes(), &base()).as_ref(), Ok(target), "{shown}");
    }
}

fn assert_shown(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// A configuration file.
pub(crate) fn config(bytes: &[u8]) {
    if let Err(error) = config::read_bytes(Path::new("/base/depsync.toml"), bytes) {
        let failure = error.failure();
        assert!(!failure.message.is_empty());
        // It shows the line at fault on lines of its own.
        let shown = |character: char| character == '\n' || !character.is_control();
        assert!(failure.message.chars().all(shown), "{failure:?}");
        assert!(failure.causes.iter().flat_map(|cause| cause.chars()).all(shown), "{failure:?}");
    }
}

/// A script, a crontab or a file of commands.
pub(crate) fn import(bytes: &[u8]) {
    let at = config::import::Surroundings {
        home: Some("/home/me".into()),
        working_directory: "/base".into(),
        script_directory: Some("/base/bin".into()),
    };
    match config::import::script(bytes, &at) {
        Ok(imported) => {
            assert!(imported.source.as_ref().is_none_or(|source| source.starts_with('/')));
            for finding in &imported.findings {
                assert_shown(&finding.message);
                assert_shown(&finding.instead);
            }
            if let config::import::Nodes::Listed(targets) = &imported.nodes {
                assert!(!targets.is_empty() && targets.len() <= limits::NODES_MAX);
                for target in targets {
                    check_target(&Target::parse(target.as_bytes(), &base()).expect("a target"));
                }
            }
        }
        Err(error) => {
            assert_shown(&error.to_string());
            assert_shown(&error.hint());
        }
    }
}

/// Batches, each behind its length, the length it decompresses to, and whether history begins anew.
pub(crate) fn batches(bytes: &[u8]) {
    let (mut decompressor, mut batch, mut rest) = (Decompressor::default(), Vec::new(), bytes);
    while let ([a, b, c, d], behind @ [_, ..]) = take::<4>(rest) {
        let length = usize::from(u16::from_le_bytes([a, b])).min(behind.len());
        let raw_bytes = usize::from(c) << 8 | usize::from(d & 0x7f);
        let (packed, behind) = behind.split_at(length);
        if decompressor.decode(packed, raw_bytes, d & 0x80 != 0, &mut batch).is_err() {
            break;
        }
        assert!(batch.len() <= limits::FRAME_BYTES_MAX);
        rest = behind;
    }
}

/// What a login shell prints before an agent speaks.
pub(crate) fn preamble(bytes: &[u8]) {
    let (signs, skipped, rest) = link::scan(bytes);
    // The shortest sign: a script's word, and the end of its line.
    assert!(skipped + rest.len() + signs * 15 <= bytes.len());
    assert!(skipped <= limits::NOISE_BYTES_MAX + 8192);
}

/// What a control socket of OpenSSH answers.
pub(crate) fn mux(bytes: &[u8]) {
    if let Ok((packets, left)) = link::packets(bytes) {
        let cut: usize = packets.iter().map(|length| length + 4).sum();
        assert_eq!(cut + left, bytes.len());
        assert!(packets.iter().all(|length| *length <= 64 * 1024));
    }
}
