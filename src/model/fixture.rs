//! Trees for the tests of this module, made from short lines or from a seed.

use super::digest::{Digest, Domain};
use super::entry::{Chunk, Content, Entry, Kind, Meta, Owner, Segment, Timestamp, Xattr};
use super::limits::HOLE_BLOCK_BYTES;
use super::manifest::{Builder, Header, Manifest};
use super::path::TreePath;

pub(super) fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).expect("a valid path")
}

pub(super) fn chunk(text: &str) -> Chunk {
    let bytes = u32::try_from(text.len()).expect("short");
    Chunk { digest: Digest::of(Domain::Chunk, text.as_bytes()), bytes }
}

/// A file of the chunks that the words of `text` are; a word `-` is a hole.
pub(super) fn content(text: &str) -> Content {
    Content::new(text.split_whitespace().map(|word| match word {
        "-" => Segment::Hole { bytes: u64::from(HOLE_BLOCK_BYTES) },
        word => Segment::Chunk(chunk(word)),
    }))
}

/// An entry from `name kind [content]`, where the kind is `d`, `f`, `l`, `h` or `s`; `name@7` has the time 7.
pub(super) fn entry(line: &str) -> Entry {
    let mut words = line.splitn(3, ' ');
    let (name, kind) = (words.next().expect("a name"), words.next().expect("a kind"));
    let rest = words.next().unwrap_or_default();
    let (name, seconds) = name.split_once('@').unwrap_or((name, "0"));
    let kind = match kind {
        "d" => Kind::Directory,
        "f" => Kind::File(content(rest)),
        "l" => Kind::Symlink(rest.as_bytes().into()),
        "h" => Kind::HardLink(path(rest)),
        _ => Kind::Special,
    };
    let mode = match kind {
        Kind::Directory => 0o755,
        Kind::File(_) => 0o644,
        _ => 0,
    };
    let mtime = Timestamp { seconds: seconds.parse().expect("seconds"), nanos: 0 };
    let meta = if matches!(kind, Kind::HardLink(_)) {
        Meta::default()
    } else {
        Meta { mode, mtime, ..Meta::default() }
    };
    Entry { path: if name == "." { TreePath::root() } else { path(name) }, kind, meta }
}

/// Entries of lines apart by `;`, below a root, sorted.
pub(crate) fn entries(lines: &str) -> Vec<Entry> {
    let lines = lines.split(';').map(str::trim).filter(|line| !line.is_empty());
    let mut all: Vec<Entry> = lines.chain([". d"]).map(entry).collect();
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

pub(super) fn manifest_of(entries: &[Entry], hard_links: bool) -> Manifest {
    let mut header = Header::plain();
    header.capture.hard_links = hard_links;
    header.capture.xattrs = true;
    let mut builder = Builder::new(header);
    for entry in entries {
        builder.push(entry).expect("no special file");
    }
    builder.finish().expect("a tree")
}

/// A number from a seed, and the next seed.
pub(super) fn random(seed: &mut u64, limit: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % limit
}

/// A random tree with every kind of entry.
pub(super) fn random_tree(seed: &mut u64) -> Vec<Entry> {
    let mut all = entries("");
    let mut directories = vec![TreePath::root()];
    for _ in 0..random(seed, 20) {
        let at = usize::try_from(random(seed, directories.len() as u64)).expect("small");
        let name = [b'a' + u8::try_from(random(seed, 5)).expect("small")];
        let path = directories[at].join(&name).expect("short");
        if all.iter().any(|entry| entry.path == path) {
            continue;
        }
        let words = ["one", "two", "three", "one two", "two - one", "-", "", "three three"];
        let pick = usize::try_from(random(seed, words.len() as u64)).expect("small");
        let kind = match random(seed, 4) {
            0 => Kind::Symlink(Box::from(&b"text"[..])),
            1 => Kind::File(content(words[pick])),
            _ if path.depth() < 4 => Kind::Directory,
            _ => Kind::File(content(words[pick])),
        };
        let is_link = matches!(kind, Kind::Symlink(_));
        let mode = if is_link { 0 } else { 0o640 + u16::try_from(random(seed, 3)).expect("small") };
        if kind.is_directory() {
            directories.push(path.clone());
        }
        let xattr = Xattr { name: Box::from(&b"user.x"[..]), value: Box::from(&b"v"[..]) };
        let meta = Meta {
            mode,
            owner: Some(Owner { uid: u32::try_from(random(seed, 2)).expect("small"), gid: 9 }),
            mtime: Timestamp { seconds: random(seed, 3).cast_signed() - 1, nanos: 5 },
            xattrs: if !is_link && random(seed, 4) == 0 { vec![xattr] } else { Vec::new() },
        };
        all.push(Entry { path, kind, meta });
    }
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}
