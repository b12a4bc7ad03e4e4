//! Batches of chunks, each read and compressed once for all nodes that want it.
//!
//! Nodes go at their own pace: what one has just been sent is kept for the others within a bound; one that is far
//! behind makes the hub read again, and slows nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::model::digest::{Digest, Domain, Hasher};
use crate::model::manifest::{Manifest, ReleaseId};
use crate::model::want::Batch;
use crate::model::{delta, limits};
use crate::os::dir::Dir;
use crate::source::{ChunkReader, ReadError};

/// Encoded bytes kept for other nodes.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Fast, and on text already a third; a higher level costs more time than it saves on any link but the slowest.
const LEVEL: i32 = 1;
/// Manifests are small and read once per node.
const MANIFEST_LEVEL: i32 = 3;

/// Why a batch cannot be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source is no longer what the manifest says.
    #[error("read the source")]
    Source(#[source] Arc<ReadError>),
    /// Out of handles or threads.
    #[error("read the source")]
    Io(#[source] Arc<std::io::Error>),
    /// zstd failed, which it has no reason to.
    #[error("compress a batch")]
    Compress(#[source] Arc<std::io::Error>),
}

/// Bytes ready to be sent.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// They are a zstd frame.
    pub is_compressed: bool,
    /// The bytes.
    pub bytes: Arc<[u8]>,
    /// Their length before compression.
    pub raw_bytes: usize,
}

/// Encodes the batches of one release.
#[derive(Debug)]
pub struct Encoder {
    root: Dir,
    readers: Mutex<Vec<ChunkReader>>,
    cache: Mutex<Cache>,
}

type Key = Digest;
type Cell = Arc<OnceCell<Encoded>>;

#[derive(Debug, Default)]
struct Cache {
    cells: HashMap<Key, Cell>,
    /// Finished cells, oldest first, with their sizes.
    finished: VecDeque<(Key, usize)>,
    bytes: usize,
}

impl Encoder {
    /// Encodes from the source at `root`.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn new(root: &Dir) -> std::io::Result<Self> {
        Ok(Self { root: root.try_clone()?, readers: Mutex::default(), cache: Mutex::default() })
    }

    /// The bytes of `batch`, made once however many nodes ask for it at the same time.
    ///
    /// Guarantees: every chunk was checked against its digest after it was read, so that mixed bytes never leave.
    ///
    /// # Errors
    /// [`Error::Source`] naming the file that changed.
    pub async fn encode(self: &Arc<Self>, batch: Batch) -> Result<Encoded, Error> {
        let key = key_of(&batch);
        let cell = Arc::clone(self.cache().cells.entry(key).or_default());
        let made = cell.get_or_try_init(|| {
            let encoder = Arc::clone(self);
            async move {
                let work =
                    tokio::task::spawn_blocking(move || encoder.read_and_compress(&batch)).await;
                work.map_err(|error| Error::Io(Arc::new(error.into())))?
            }
        });
        let encoded = made.await?.clone();
        self.cache().keep(key, encoded.bytes.len());
        Ok(encoded)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_and_compress(&self, batch: &Batch) -> Result<Encoded, Error> {
        let spare = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut reader = match spare {
            Some(reader) => reader,
            None => ChunkReader::new(&self.root).map_err(|error| Error::Io(Arc::new(error)))?,
        };
        let mut raw = Vec::with_capacity(batch.raw_bytes);
        let mut chunk = Vec::new();
        for site in &batch.sites {
            reader
                .read(&site.path, site.offset, site.chunk, &mut chunk)
                .map_err(|error| Error::Source(Arc::new(error)))?;
            raw.extend_from_slice(&chunk);
        }
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        let raw_bytes = raw.len();
        let packed =
            zstd::bulk::compress(&raw, LEVEL).map_err(|error| Error::Compress(Arc::new(error)))?;
        let is_compressed = packed.len() < raw_bytes / 16 * 15;
        let bytes = if is_compressed { packed } else { raw }.into();
        Ok(Encoded { is_compressed, bytes, raw_bytes })
    }
}

fn key_of(batch: &Batch) -> Key {
    let mut hasher = Hasher::new(Domain::State);
    for site in &batch.sites {
        hasher.update(&site.ordinal.to_le_bytes());
    }
    hasher.finish()
}

impl Cache {
    /// Counts a finished cell once, and forgets the oldest beyond the bound.
    fn keep(&mut self, key: Key, bytes: usize) {
        if !self.cells.contains_key(&key) || self.finished.iter().any(|(kept, _)| *kept == key) {
            return;
        }
        self.finished.push_back((key, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        while self.bytes > KEPT_BYTES_MAX
            && let Some((oldest, bytes)) = self.finished.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(bytes);
            self.cells.remove(&oldest);
        }
    }
}

/// A manifest, or the delta to it from one that the node has, in parts ready to be sent.
#[derive(Debug)]
pub struct ManifestParts {
    /// What the delta starts from; the whole manifest if none.
    pub base: Option<ReleaseId>,
    /// Length before compression, and the compressed bytes.
    pub parts: Vec<(usize, Arc<[u8]>)>,
}

impl ManifestParts {
    /// Encodes `manifest`, as a delta if there is a `base`.
    ///
    /// # Errors
    /// [`Error::Compress`].
    pub fn new(manifest: &Manifest, base: Option<&Manifest>) -> Result<Self, Error> {
        let delta = base.map(|base| delta::encode(base, manifest));
        let bytes = delta.as_deref().unwrap_or(manifest.as_bytes());
        let part = |raw: &[u8]| {
            let packed = zstd::bulk::compress(raw, MANIFEST_LEVEL);
            packed
                .map(|packed| (raw.len(), packed.into()))
                .map_err(|error| Error::Compress(Arc::new(error)))
        };
        let parts = bytes.chunks(limits::BATCH_BYTES_MAX).map(part).collect::<Result<_, _>>()?;
        Ok(Self { base: base.map(Manifest::id), parts })
    }
}
