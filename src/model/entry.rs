//! [`Entry`]: one name of a tree with all that must be equal on every node.

use super::digest::{Digest, Domain, Hasher};
use super::path::TreePath;

/// One name of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands below the root.
    pub path: TreePath,
    /// What it is, with its content.
    pub kind: Kind,
    /// Mode, owner, times, extended attributes. Default for [`Kind::HardLink`], whose first name tells them.
    pub meta: Meta,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link with its text, which is never followed.
    Symlink(Box<[u8]>),
    /// A further name of the file whose first name, in the order of paths, is given.
    HardLink(TreePath),
    /// A FIFO, socket or device: found on nodes, refused in sources, in no manifest.
    Special,
}

impl Kind {
    /// True for a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory)
    }

    /// True if `other` is the same type of file, whatever its content.
    pub fn same_type(&self, other: &Self) -> bool {
        let class = |kind: &Self| match kind {
            Self::Directory => 0,
            Self::File(_) | Self::HardLink(_) => 1,
            Self::Symlink(_) => 2,
            Self::Special => 3,
        };
        class(self) == class(other)
    }
}

/// What a file system keeps beside content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky (`0o7777`); 0 for links.
    pub mode: u16,
    /// Numeric owner, where the release keeps owners.
    pub owner: Option<Owner>,
    /// Time of the last modification.
    pub mtime: Timestamp,
    /// Extended attributes, sorted by name; empty where the release does not keep them.
    pub xattrs: Vec<Xattr>,
}

/// User and group by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A point in time to the nanosecond, before or after 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds since the epoch, rounded down.
    pub seconds: i64,
    /// The rest, below 1,000,000,000.
    pub nanos: u32,
}

impl std::fmt::Display for Timestamp {
    /// As RFC 3339 has it, in UTC, without fractions of a second.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_second(self.seconds) {
            Ok(time) => write!(f, "{time}"),
            // Beyond the years that have four digits.
            Err(_) => write!(f, "@{}", self.seconds),
        }
    }
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Name with its namespace, without NUL.
    pub name: Box<[u8]>,
    /// Value.
    pub value: Box<[u8]>,
}

/// The content of a regular file: a pure function of its bytes, whatever the file system stores as holes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    segments: Vec<Segment>,
}

/// A run of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// Bytes known by their digest.
    Chunk(Chunk),
    /// Zero bytes.
    Hole {
        /// How many.
        bytes: u64,
    },
}

/// A piece of content known by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chunk {
    /// Digest of the bytes in [`Domain::Chunk`].
    pub digest: Digest,
    /// How many bytes: 1 to `CHUNK_BYTES_MAX`.
    pub bytes: u32,
}

impl Content {
    /// Content made of `segments`; neighbouring holes are joined.
    pub fn new(segments: impl IntoIterator<Item = Segment>) -> Self {
        let mut joined: Vec<Segment> = Vec::new();
        for segment in segments {
            match (joined.last_mut(), segment) {
                (Some(Segment::Hole { bytes }), Segment::Hole { bytes: more }) => {
                    *bytes = bytes.saturating_add(more);
                }
                _ => joined.push(segment),
            }
        }
        joined.shrink_to_fit();
        Self { segments: joined }
    }

    /// The runs in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The chunks in order, without holes.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Chunk(chunk) => Some(*chunk),
            Segment::Hole { .. } => None,
        })
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.segments.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.bytes()))
    }

    /// Bytes that need room on a disk.
    pub fn data_bytes(&self) -> u64 {
        self.chunks().fold(0, |sum: u64, chunk| sum.saturating_add(u64::from(chunk.bytes)))
    }

    /// The digest of the whole content: of its only chunk, or else of the list of its segments.
    ///
    /// Guarantee: two contents have the same digest only if their bytes are the same.
    pub fn digest(&self) -> Digest {
        if let [Segment::Chunk(chunk)] = self.segments.as_slice() {
            return chunk.digest;
        }
        let mut hasher = Hasher::new(Domain::File);
        for segment in &self.segments {
            match segment {
                Segment::Chunk(chunk) => {
                    hasher.update(&[0]);
                    hasher.update(&chunk.bytes.to_le_bytes());
                    hasher.update(&chunk.digest.0);
                }
                Segment::Hole { bytes } => {
                    hasher.update(&[1]);
                    hasher.update(&bytes.to_le_bytes());
                }
            }
        }
        hasher.finish()
    }
}

impl Segment {
    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Chunk(chunk) => u64::from(chunk.bytes),
            Self::Hole { bytes } => *bytes,
        }
    }
}
