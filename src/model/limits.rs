//! Every bound in one place, with the relations between them checked at compile time.
//!
//! A length or count from outside is compared with one of these before anything is allocated.

/// Longest name of one directory entry (Linux `NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;
/// Longest path below a root (Linux `PATH_MAX` less its NUL).
pub const PATH_BYTES_MAX: usize = 4_095;
/// Deepest nesting below a root.
pub const PATH_DEPTH_MAX: usize = 128;
/// Longest text of a symbolic link.
pub const LINK_TEXT_BYTES_MAX: usize = 4_095;
/// Longest value of one extended attribute (Linux `XATTR_SIZE_MAX`).
pub const XATTR_VALUE_BYTES_MAX: usize = 65_536;
/// Longest list of extended attribute names of one file (Linux `XATTR_LIST_MAX`).
pub const XATTR_NAMES_BYTES_MAX: usize = 65_536;

/// Content-defined chunking: no chunk but a last one is shorter.
pub const CHUNK_BYTES_MIN: u32 = 8 * 1024;
/// Content-defined chunking: the size aimed at.
pub const CHUNK_BYTES_AVG: u32 = 32 * 1024;
/// Content-defined chunking: no chunk is longer.
pub const CHUNK_BYTES_MAX: u32 = 128 * 1024;
/// Zero bytes are told as holes in aligned blocks of this size, whatever the file system stores.
pub const HOLE_BLOCK_BYTES: u32 = 64 * 1024;

/// Pieces, by which a node names the bytes it has in the place of wanted ones: no piece but a last one is shorter.
pub const PIECE_BYTES_MIN: usize = 256;
/// The size aimed at.
pub const PIECE_BYTES_AVG: usize = 512;
/// No piece is longer.
pub const PIECE_BYTES_MAX: usize = 2 * 1024;
/// Bytes that a node names pieces of.
pub const NEAR_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most pieces that a node names: as many as come of that.
pub const PIECES_MAX: usize = 1 << 17;

/// Raw bytes of the chunks that travel together in one compressed batch.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How far back a compressed batch may refer to batches before it, as a power of two: what both sides hold in memory.
pub const HISTORY_BYTES_LOG: u32 = 23;
/// Largest frame on the wire, header included.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a release that a release file packs together, before compression.
pub const SECTION_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest manifest in canonical bytes (about eight million entries).
pub const MANIFEST_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Most entries of one manifest.
pub const ENTRIES_MAX: u64 = 8_000_000;
/// Most places of the base that a manifest delta may refer to.
pub const DELTA_REFERENCES_MAX: usize = 1 << 20;
/// Most trees of one release.
pub const TREES_MAX: usize = 64;
/// Most bytes of ignore rules shipped with one release.
pub const RULES_BYTES_MAX: usize = 1024 * 1024;

/// Files that are given later times than their own.
pub const GIVEN_TIMES_MAX: usize = 1 << 16;
/// Bytes of all their paths.
pub const GIVEN_PATHS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of noise a login shell may print before the agent's preamble.
pub const NOISE_BYTES_MAX: usize = 64 * 1024;
/// Bytes kept of a remote standard error stream; the rest is drained and dropped.
pub const STDERR_BYTES_MAX: usize = 32 * 1024;
/// Longest nodes file and longest configuration file.
pub const NODES_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Most nodes of one cluster.
pub const NODES_MAX: usize = 10_000;

/// How far above the highest fence it met a hub follows a node's: more runs than a hub that lost its state can have made.
/// Without it one lying node could use up all numbers, and no overtaken run were refused any more.
pub const FENCE_AHEAD_OF_HUB_MAX: u64 = 1 << 24;
/// The same for a node that follows a hub: wider, so that no node that lies to a hub can make others refuse it.
pub const FENCE_AHEAD_OF_NODE_MAX: u64 = 1 << 48;

/// How often a file that changes while it is read is read again before the run gives up.
pub const UNSTABLE_READS_MAX: u32 = 3;
/// A time stamp younger than this at the start of a scan is not trusted by the index.
pub const RACY_WINDOW_MS: u64 = 2_000;

const _: () = {
    assert!(CHUNK_BYTES_MIN < CHUNK_BYTES_AVG && CHUNK_BYTES_AVG < CHUNK_BYTES_MAX);
    assert!(PIECE_BYTES_MIN < PIECE_BYTES_AVG && PIECE_BYTES_AVG < PIECE_BYTES_MAX);
    assert!(PIECE_BYTES_MAX < CHUNK_BYTES_MIN as usize && PIECES_MAX * 16 <= FRAME_BYTES_MAX);
    assert!(NEAR_BYTES_MAX == (PIECES_MAX * PIECE_BYTES_AVG) as u64);
    assert!(CHUNK_BYTES_MAX as usize <= BATCH_BYTES_MAX);
    assert!(BATCH_BYTES_MAX * 2 <= FRAME_BYTES_MAX);
    assert!(FENCE_AHEAD_OF_HUB_MAX < FENCE_AHEAD_OF_NODE_MAX);
    assert!(XATTR_VALUE_BYTES_MAX < FRAME_BYTES_MAX);
};
