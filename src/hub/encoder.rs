//! Batches of chunks, each read and compressed once for all nodes that want it.
//!
//! Nodes go at their own pace: what one has just been sent is kept for the others within a bound; one that is far
//! behind makes the hub read again, and slows nobody.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OnceCell, Semaphore};

use super::packer::Packer;
use crate::model::digest::{Digest, Domain, Hasher};
use crate::model::manifest::{Manifest, ReleaseId};
use crate::model::patch::{Cutter, Known, Near};
use crate::model::path::TreePath;
use crate::model::want::Batch;
use crate::model::{delta, limits};
use crate::os::bulk::Bulk;
use crate::os::dir::Dir;
use crate::os::spool::Spool;
use crate::source::release_file::ReleaseFile;
use crate::source::{Content, ReadError};
use crate::wire::message::Packing;

/// Encoded bytes kept in memory for other nodes, the longer ones in memory files.
pub(super) const MEMORY_BYTES: usize = 32 * 1024 * 1024;
/// Each works in a thread and has a history of its own.
const PACKERS_MAX: usize = 2;
/// History ends behind so many cells of the release, so that nodes whose histories differ come together again.
const STRETCH_CELLS: u64 = 128;
/// Manifests are small and read once per node.
const MANIFEST_LEVEL: i32 = 3;

/// Why a batch cannot be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source is no longer what the manifest says.
    #[error("read the source")]
    Source(#[source] Arc<ReadError>),
    /// The release is not what the source is, and the source does not have what a node lacks.
    #[error("the content of {path} is neither on the node nor in the source")]
    Nowhere {
        /// The file.
        path: TreePath,
    },
    /// Out of handles or threads.
    #[error("read the source")]
    Io(#[source] Arc<std::io::Error>),
    /// The manifest cannot be made.
    #[error("make the manifest")]
    Release(#[source] Arc<crate::source::Error>),
    /// zstd failed, which it has no reason to.
    #[error("compress a batch")]
    Compress(#[source] Arc<std::io::Error>),
}

/// Bytes ready to be sent.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// What they are.
    pub packing: Packing,
    /// The bytes.
    pub bytes: Bulk,
    /// Their length before compression.
    pub raw_bytes: usize,
    /// The history of an agent that has got them.
    pub history: History,
}

/// What an agent's decoder has seen: nodes of equal history have got the very same frame so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// The stretch of the release it lies in.
    stretch: u64,
    /// The number of the last compressed batch. No two ever made have the same, even of the same chunks: two streams
    /// that were fed alike need not have written alike.
    last: Option<NonZeroU64>,
}

impl History {
    /// What of it counts for `batch`.
    fn before(self, batch: &Batch) -> Self {
        let stretch = batch.cell / STRETCH_CELLS;
        if stretch == self.stretch { self } else { Self { stretch, last: None } }
    }

    /// True if it lies in an earlier stretch than `other`.
    pub(super) fn is_behind(self, other: Self) -> bool {
        self.stretch < other.stretch
    }

    /// True if nothing was compressed yet.
    pub(super) fn is_empty(self) -> bool {
        self.last.is_none()
    }

    /// The history behind one more compressed batch.
    pub(super) fn next(self) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(1);
        Self { last: NonZeroU64::new(MADE.fetch_add(1, Ordering::Relaxed)), ..self }
    }
}

/// Encodes the batches of one release.
#[derive(Debug)]
pub struct Encoder {
    content: Option<Content>,
    /// What the source does not have was never promised.
    is_source_other: bool,
    cutter: Cutter,
    packers: Mutex<Packers>,
    permits: Semaphore,
    cache: Mutex<Cache>,
    spool: Spool,
    known: Mutex<HashMap<Digest, Weak<Known>>>,
}

#[derive(Debug, Default)]
struct Packers {
    /// The one that has rested longest first.
    at_rest: Vec<Packer>,
    at_work: usize,
}

type Key = Digest;
type Cell = Arc<OnceCell<Encoded>>;

#[derive(Debug, Default)]
struct Cache {
    /// With those that are finished, and counted, marked.
    cells: HashMap<Key, (Cell, bool)>,
    /// Finished cells, oldest first, with their sizes.
    finished: VecDeque<(Key, usize)>,
    bytes: usize,
}

impl Encoder {
    /// Encodes from the source at `root` for the run with the id `run`.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn new(root: &Dir, run: &[u8]) -> std::io::Result<Self> {
        Ok(Self { is_source_other: false, ..Self::of_stored(Some(root), run)? })
    }

    /// As [`Encoder::new`], for a release that the source, if it is there, may no longer be.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn of_stored(root: Option<&Dir>, run: &[u8]) -> std::io::Result<Self> {
        let tree = root.map(Dir::try_clone).transpose()?.map(Content::Tree);
        Ok(Self { is_source_other: true, ..Self::of(tree, run) })
    }

    /// As [`Encoder::new`], from a file that holds the whole release.
    pub fn of_file(file: &Arc<ReleaseFile>, run: &[u8]) -> Self {
        Self::of(Some(Content::File(Arc::clone(file))), run)
    }

    fn of(content: Option<Content>, run: &[u8]) -> Self {
        Self {
            content,
            is_source_other: false,
            cutter: Cutter::new(run),
            packers: Mutex::default(),
            permits: Semaphore::new(PACKERS_MAX),
            cache: Mutex::default(),
            spool: Spool::in_memory(MEMORY_BYTES),
            known: Mutex::default(),
        }
    }

    /// Keeps encoded bytes for other nodes in `spool`, as many as it says.
    #[must_use]
    pub fn keeping(self, spool: Spool) -> Self {
        Self { spool, ..self }
    }

    /// What a node has `near`, to encode batches by; one for all nodes of which it is the same.
    pub fn known(&self, near: Near) -> Arc<Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = near.digest();
        if let Some(known) = known.get(&digest).and_then(Weak::upgrade) {
            return known;
        }
        let made = Arc::new(Known::new(near));
        known.insert(digest, Arc::downgrade(&made));
        made
    }

    /// The bytes of `batch` for a node with `history` and what is `known`, made once however many such nodes ask for it at
    /// the same time.
    ///
    /// Guarantees: every chunk was checked against its digest after it was read, so that mixed bytes never leave.
    ///
    /// # Errors
    /// [`Error::Source`] naming the file that changed.
    pub async fn encode(
        self: &Arc<Self>,
        batch: Batch,
        history: History,
        known: &Arc<Known>,
    ) -> Result<Encoded, Error> {
        let history = history.before(&batch);
        let is_near = known.is_near(batch.sites.iter().map(|site| site.ordinal));
        let known = is_near.then(|| Arc::clone(known));
        let key = key_of(&batch, history, known.as_deref());
        let cell = Arc::clone(&self.cache().cells.entry(key).or_default().0);
        let made = cell.get_or_try_init(|| {
            let encoder = Arc::clone(self);
            async move {
                let _permit = self.permits.acquire().await;
                let work = tokio::task::spawn_blocking(move || {
                    encoder.read_and_pack(&batch, history, known.as_deref())
                });
                work.await.map_err(|error| Error::Io(Arc::new(error.into())))?
            }
        });
        let encoded = made.await?.clone();
        self.cache().keep(key, encoded.bytes.len(), self.spool.bytes_max());
        Ok(encoded)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn packers(&self) -> std::sync::MutexGuard<'_, Packers> {
        self.packers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_and_pack(
        &self,
        batch: &Batch,
        history: History,
        known: Option<&Known>,
    ) -> Result<Encoded, Error> {
        let near = known.map(|known| (&self.cutter, known));
        let packer = self.packers().take(history);
        let packer = match (packer, &self.content) {
            (Some(packer), _) => Ok(packer),
            (None, Some(content)) => Packer::new(content),
            (None, None) => Err(nowhere(batch.sites.first().map(|site| &*site.path))),
        };
        let packed = packer
            .and_then(|mut packer| {
                packer.pack(batch, history, near, &self.spool).map(|encoded| (encoded, packer))
            })
            .map_err(|error| match error {
                Error::Source(error) if self.is_source_other => nowhere(Some(error.path())),
                error => error,
            });
        let mut packers = self.packers();
        packers.at_work -= 1;
        let (encoded, packer) = packed?;
        packers.at_rest.push(packer);
        Ok(encoded)
    }
}

fn nowhere(path: Option<&TreePath>) -> Error {
    Error::Nowhere { path: path.cloned().unwrap_or_default() }
}

impl Packers {
    /// The packer that has `history`, or that rests in an earlier stretch, whose history few will ask for any more; a new
    /// one if `None`. Where nodes are at more places than there may be packers, batches lose some of their history and
    /// nobody waits. As many work as there are permits.
    fn take(&mut self, history: History) -> Option<Packer> {
        let position = |is_fit: &dyn Fn(&Packer) -> bool| self.at_rest.iter().position(is_fit);
        let fitting = position(&|packer| packer.continues(history))
            .or_else(|| position(&|packer| packer.is_behind(history)));
        let is_full = self.at_rest.len() + self.at_work >= PACKERS_MAX;
        self.at_work += 1;
        let at = fitting.or(is_full.then_some(0)).filter(|at| *at < self.at_rest.len());
        at.map(|at| self.at_rest.remove(at))
    }
}

fn key_of(batch: &Batch, before: History, known: Option<&Known>) -> Key {
    let mut hasher = Hasher::new(Domain::State);
    hasher.update(&known.map(|known| known.digest().0).unwrap_or_default());
    hasher.update(&before.last.map_or(0, NonZeroU64::get).to_le_bytes());
    for site in &batch.sites {
        hasher.update(&site.ordinal.to_le_bytes());
    }
    hasher.finish()
}

impl Cache {
    /// Counts a finished cell once, and forgets the oldest beyond `bytes_max`.
    fn keep(&mut self, key: Key, bytes: usize, bytes_max: usize) {
        match self.cells.get_mut(&key) {
            Some((_, is_counted)) if !*is_counted => *is_counted = true,
            _ => return,
        }
        self.finished.push_back((key, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        while self.bytes > bytes_max
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
    pub parts: Vec<(usize, Bulk)>,
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
                .map(|packed| (raw.len(), Bulk::new(&packed)))
                .map_err(|error| Error::Compress(Arc::new(error)))
        };
        let parts = bytes.chunks(limits::BATCH_BYTES_MAX).map(part).collect::<Result<_, _>>()?;
        Ok(Self { base: base.map(Manifest::id), parts })
    }
}
