//! [`Digest`]: BLAKE3-256, full length, separated by domain (rule S13).

use std::fmt;

/// What a digest is of; equal bytes in two domains give different digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// The bytes of one chunk, and so of a file that is one chunk.
    Chunk,
    /// The segments of a file of several.
    File,
    /// The canonical bytes of a manifest: the release id.
    Tree,
    /// A record or a file of depsync's own state.
    State,
    /// One frame on the wire.
    Frame,
    /// The key under which the pieces of one run are named.
    Piece,
}

impl Domain {
    // FORMAT: these bytes enter every digest.
    const fn key(self) -> &'static [u8; 32] {
        match self {
            Self::Chunk => b"depsync 1 chunk ................",
            Self::File => b"depsync 1 file .................",
            Self::Tree => b"depsync 1 tree .................",
            Self::State => b"depsync 1 state ................",
            Self::Frame => b"depsync 1 frame ................",
            Self::Piece => b"depsync 1 piece ................",
        }
    }
}

/// A BLAKE3-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Bytes of a digest.
    pub const BYTES: usize = 32;

    /// The digest of `bytes` in `domain`.
    pub fn of(domain: Domain, bytes: &[u8]) -> Self {
        Self(blake3::keyed_hash(domain.key(), bytes).into())
    }

    /// The digest of `bytes` under a key of one's own.
    pub fn keyed(key: &Self, bytes: &[u8]) -> Self {
        Self(blake3::keyed_hash(&key.0, bytes).into())
    }

    /// The first twelve hexadecimal digits, as people see releases.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }

    /// Parses 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(hash.into()))
    }
}

/// Takes bytes piece by piece and ends in a [`Digest`].
#[derive(Debug, Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts a digest in `domain`.
    pub fn new(domain: Domain) -> Self {
        Self(blake3::Hasher::new_keyed(domain.key()))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken.
    pub fn finish(&self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}
