//! The program that is uploaded as a node's agent: this very one, known by its BLAKE3 digest.
//!
//! Every run names the agent by its digest, and only one that uploads needs the bytes. So the digest is remembered
//! beside the control sockets, with the stat of the file it was computed from, and the program is read when a node asks
//! for it.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::model::entry::Timestamp;
use crate::model::limits::RACY_WINDOW_MS;
use crate::os::child::Invocation;
use crate::os::dir::Dir;
use crate::os::program::Program;
use crate::os::stat::StatId;
use crate::os::{clock, durable, root};
use crate::scan::settled;

/// The file that remembers the digest.
const MEMORY: &[u8] = b"agent";
/// Longest content of it.
const MEMORY_BYTES_MAX: u64 = 1024;
/// How long packing the program may take.
const PACK_TIMEOUT: Duration = Duration::from_secs(20);
/// All nodes wait for it: 0.2 s of one processor, and a sixth less than the fastest gives.
const ZSTD_LEVEL: i32 = 9;

/// A program to upload, and its digest.
#[derive(Debug, Clone)]
pub struct AgentBinary(Arc<Known>);

#[derive(Debug)]
struct Known {
    program: Program,
    id: StatId,
    digest: blake3::Hash,
    /// No earlier run knew it: nodes are likely to lack it.
    is_new: bool,
    raw: OnceCell<Parcel>,
    zstd: OnceCell<Parcel>,
    gzip: OnceCell<Option<Parcel>>,
}

/// What a node unpacks a program by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packer {
    /// It takes programs as they are.
    None,
    /// Packed by this machine's gzip, if it has one.
    Gzip,
    /// Packed by the library: smaller, and unpacked in a third of the time.
    Zstd,
}

/// A program as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    /// What makes the program of the bytes on the node.
    pub(super) unpack: &'static str,
    /// The bytes.
    pub(super) bytes: Arc<[u8]>,
}

impl AgentBinary {
    /// The program at `path`, or this process's own; its digest is remembered in the directory `memory`.
    ///
    /// Cost: a stat and one small file; where the program is new, or changed, it is read once. Links that are opened at
    /// the same time share what is read.
    ///
    /// # Errors
    /// The system's error if the program cannot be read. A memory that cannot be used costs time, nothing else.
    pub fn open(path: Option<&Path>, memory: &Path) -> io::Result<Self> {
        static LAST: Mutex<Weak<Known>> = Mutex::new(Weak::new());
        let program = Program::open(path)?;
        let id = program.id()?;
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.upgrade().filter(|known| known.id == id) {
            return Ok(Self(known));
        }
        let memory = root::open_private(memory).ok();
        let remembered = memory.as_ref().and_then(|memory| recall(memory, &id));
        let digest = remembered.map_or_else(|| look(&program, &id, memory.as_ref()), Ok)?;
        let (raw, zstd, gzip) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let is_new = remembered.is_none();
        let known = Arc::new(Known { program, id, digest, is_new, raw, zstd, gzip });
        *last = Arc::downgrade(&known);
        Ok(Self(known))
    }

    /// Begins to pack it if nodes are likely to ask for it, while they are still being logged in to. Needs a runtime.
    pub(super) fn prepare(&self) {
        if self.0.is_new {
            let binary = self.clone();
            // An error shows when a node asks.
            drop(tokio::spawn(async move { binary.parcel(Packer::Zstd).await.map(drop) }));
        }
    }

    /// The length of the program in bytes.
    pub fn size(&self) -> u64 {
        self.0.id.size
    }

    /// The BLAKE3 digest of its bytes, unkeyed, in 64 hexadecimal digits.
    pub fn digest_hex(&self) -> String {
        self.0.digest.to_hex().to_string()
    }

    /// The program as it is sent to a node that can unpack by `packer`. Made once for all links that are opened at the
    /// same time.
    ///
    /// # Errors
    /// The system's error if the program cannot be read.
    pub(super) async fn parcel(&self, packer: Packer) -> io::Result<Parcel> {
        match packer {
            Packer::Zstd => return self.0.zstd.get_or_try_init(|| self.zstd()).await.cloned(),
            Packer::Gzip => {
                if let Some(packed) = self.0.gzip.get_or_init(|| self.gzip()).await {
                    return Ok(packed.clone());
                }
            }
            Packer::None => {}
        }
        self.0.raw.get_or_try_init(|| self.raw()).await.cloned()
    }

    async fn zstd(&self) -> io::Result<Parcel> {
        let bytes = self.read(|bytes| zstd::bulk::compress(&bytes, ZSTD_LEVEL)).await?;
        Ok(Parcel { unpack: "zstd -dcq", bytes: bytes.into() })
    }

    /// `None` if this machine has no gzip, or a strange one.
    async fn gzip(&self) -> Option<Parcel> {
        // The fastest: a better ratio saves a twelfth of the bytes, and all nodes wait for it.
        let arguments = vec!["-1".into(), "-c".into()];
        let gzip = Invocation { program: "gzip".into(), arguments, environment: Vec::new() };
        let (status, packed) = gzip.filter(&self.0.program, PACK_TIMEOUT).await.ok()?;
        status.success().then(|| Parcel { unpack: "gzip -dc", bytes: packed.into() })
    }

    async fn raw(&self) -> io::Result<Parcel> {
        let bytes = self.read(Ok).await?;
        Ok(Parcel { unpack: "cat", bytes: bytes.into() })
    }

    /// The program's bytes after some work, all of it off the threads that wait.
    async fn read<F>(&self, work: F) -> io::Result<Vec<u8>>
    where
        F: FnOnce(Vec<u8>) -> io::Result<Vec<u8>> + Send + 'static,
    {
        let mut reader = self.0.program.reader()?;
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            work(bytes)
        });
        read.await.map_err(io::Error::other)?
    }
}

/// The digest that `memory` has for a program of this identity.
fn recall(memory: &Dir, id: &StatId) -> Option<blake3::Hash> {
    let content = durable::read(memory, MEMORY, MEMORY_BYTES_MAX).ok()??;
    let content = String::from_utf8(content).ok()?;
    let digest = blake3::Hash::from_hex(content.split(' ').next()?).ok()?;
    (content == record(id, digest)).then_some(digest)
}

// FORMAT: one line of text, the last word being the digest of all before it.
fn record(id: &StatId, digest: blake3::Hash) -> String {
    let StatId { device, inode, size, mtime, ctime } = id;
    let time = |time: &Timestamp| format!("{}.{:09}", time.seconds, time.nanos);
    let text = format!("{digest} {device} {inode} {size} {} {}", time(mtime), time(ctime));
    format!("{text} {}\n", blake3::hash(text.as_bytes()))
}

/// Reads the program, and remembers its digest if that is sure to be one of this very content.
fn look(program: &Program, id: &StatId, memory: Option<&Dir>) -> io::Result<blake3::Hash> {
    let looked_at = clock::wall();
    let digest = digest_of(program)?;
    let window = Duration::from_millis(RACY_WINDOW_MS);
    if let Some(memory) = memory
        && settled::is_settled(id, looked_at, window)
        && program.id()? == *id
    {
        drop(durable::replace_lazily(memory, MEMORY, record(id, digest).as_bytes()));
    }
    Ok(digest)
}

fn digest_of(program: &Program) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(program.reader()?)?;
    Ok(hasher.finalize())
}

/// True if this process's own program has the digest `expected_hex`; then it is on disk as well.
///
/// This is what `depsync agent --verify DIGEST` runs on a node after an upload: exit 0 if true, 1 if not.
///
/// # Errors
/// The system's error if the program cannot be read or synced.
pub fn verify(expected_hex: &str) -> io::Result<bool> {
    let own = Program::open(None)?;
    let is_expected = digest_of(&own)?.to_hex().as_str() == expected_hex;
    if is_expected {
        own.sync()?;
    }
    Ok(is_expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_program_is_known_by_its_digest() {
        let memory = tempfile::tempdir().unwrap();
        let own = AgentBinary::open(None, memory.path()).unwrap();
        assert!(verify(&own.digest_hex()).unwrap());
        assert!(!verify(&blake3::hash(b"").to_hex()).unwrap());
    }

    #[test]
    fn a_digest_is_remembered_for_the_very_file_it_was_computed_from() {
        let id = Program::open(None).unwrap().id().unwrap();
        let digest = blake3::hash(b"program");
        let directory = tempfile::tempdir().unwrap();
        let memory = root::open_private(&directory.path().join("memory")).unwrap();
        let write = |text: &str| durable::replace_lazily(&memory, MEMORY, text.as_bytes()).unwrap();
        assert_eq!(recall(&memory, &id), None, "nothing is remembered yet");
        write(&record(&id, digest));
        assert_eq!(recall(&memory, &id), Some(digest));
        let changes: [fn(&mut StatId); 5] = [
            |id| id.device += 1,
            |id| id.inode += 1,
            |id| id.size += 1,
            |id| id.mtime.nanos ^= 1,
            |id| id.ctime.seconds += 1,
        ];
        for change in changes {
            let mut other = id;
            change(&mut other);
            assert_eq!(recall(&memory, &other), None, "{other:?}");
        }
        let damaged =
            record(&id, digest).replace(&digest.to_string(), &blake3::hash(b"").to_string());
        write(&damaged);
        assert_eq!(recall(&memory, &id), None, "damaged");
    }

    #[tokio::test]
    async fn a_program_is_packed_for_a_node_that_can_unpack_it() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("place");
        let content = vec![b'x'; 1 << 20];
        durable::replace_lazily(&root::open_private(&place).unwrap(), b"program", &content)
            .unwrap();
        let path = place.join("program");
        let binary = AgentBinary::open(Some(&path), directory.path()).unwrap();
        let raw = binary.parcel(Packer::None).await.unwrap();
        assert_eq!((raw.unpack, raw.bytes.len()), ("cat", 1 << 20));
        let (gzip, zstd) = (
            binary.parcel(Packer::Gzip).await.unwrap(),
            binary.parcel(Packer::Zstd).await.unwrap(),
        );
        assert_eq!((gzip.unpack, zstd.unpack), ("gzip -dc", "zstd -dcq"));
        assert!(gzip.bytes.len() < 1 << 14 && zstd.bytes.len() < 1 << 14);
        assert_eq!(zstd::bulk::decompress(&zstd.bytes, 1 << 20).unwrap(), content);
    }
}
