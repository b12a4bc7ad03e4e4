//! The hub's own state of one cluster: lock, index, what the last release rested on, decisions, manifests.
//!
//! ```text
//! lock               one run at a time; a kernel lock
//! index              what each directory of the source looked like, with its files' content
//! lint               what was found in files of the source, by their content
//! times              which files of the source were given later times than their own
//! standing           the last release, the file system it was read from, the highest fence given out
//! runs               the runs of late, which are over once another has the lock
//! decision/<txid>    commits that were decided and are not yet carried out everywhere
//! manifest/<id>      manifests that deltas start from
//! ssh/               control sockets
//! ```

use std::collections::BTreeSet;
use std::path::Path;

use crate::model::codec::{self, Reader, Writer};
use crate::model::digest::{Digest, Domain};
use crate::model::later::Times;
use crate::model::limits;
use crate::model::manifest::{Manifest, ReleaseId};
use crate::model::untrusted::Untrusted;
use crate::os::dir::Dir;
use crate::os::durable::{self, Replacement};
use crate::os::lock::{self, Attempt, Lock};
use crate::os::root;
use crate::os::spool::Spool;
use crate::scan::index::{Index, RootId};
use crate::source::Source;
use crate::source::lint::Known;
use crate::wire::message::Txid;

use super::encoder::MEMORY_BYTES;

/// Longest file of the state but index and manifests.
pub(super) const STATE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Manifests kept as the start of deltas, however few releases are kept.
const MANIFESTS_MIN: usize = 8;
/// Records of directories that a first look at a source holds in memory: those of a hundred thousand files.
const RECORDS_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Encoded batches that wait on disk for nodes that are behind. PERF: of 16 nodes on two processors the last has just
/// logged in when the first has got 160 MB; without this, each batch was made 4.2 times.
const SPOOL_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Runs remembered: an agent of an older one has long noticed that its hub is gone.
const RUNS_MAX: usize = 32;

// The longest file of later times can be read again.
const _: () = assert!(
    (limits::GIVEN_TIMES_MAX * 64 + limits::GIVEN_PATHS_BYTES_MAX + 4096) as u64 <= STATE_BYTES_MAX
);

/// Why the hub's state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory cannot be opened.
    #[error("open the state directory")]
    Root(#[source] root::Error),
    /// The operating system says no.
    #[error("{act} {name} in the state directory")]
    Io {
        /// What was being done.
        act: &'static str,
        /// To what.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// Another run of this cluster is under way.
    #[error("another run of this cluster is under way: {holder}")]
    Busy {
        /// What it wrote about itself, escaped.
        holder: String,
    },
    /// A decision is damaged, which must not be guessed.
    #[error("the record of a decision, decision/{name}, is damaged")]
    Decision {
        /// The file.
        name: String,
        /// How.
        source: codec::Error,
    },
}

/// The hub's state of one cluster, under its lock.
#[derive(Debug)]
pub struct State {
    dir: Dir,
    decisions: Dir,
    manifests: Dir,
    _lock: Lock,
}

/// What the last release rested on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The release that was decided last.
    pub release: Option<ReleaseId>,
    /// Type and id of the file system that the source was on.
    pub file_system: Option<(u64, u64)>,
    /// The source was the root of a mount.
    pub was_mount_root: bool,
    /// The highest fence given out.
    pub fence: u64,
    /// A rollback led to the release: no push replaces it unasked.
    pub is_pinned: bool,
}

/// A commit that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The transaction.
    pub txid: Txid,
    /// The release.
    pub release: ReleaseId,
    /// The targets, in normal form, that are not known to have carried it out.
    pub pending: BTreeSet<String>,
}

pub(super) fn io(act: &'static str, name: &str) -> impl FnOnce(std::io::Error) -> Error {
    let name = Untrusted::new(name.as_bytes()).to_string();
    move |source| Error::Io { act, name, source }
}

impl State {
    /// Opens the state at `path`, making it if missing, and takes the lock; `about` tells people who holds it.
    ///
    /// # Errors
    /// [`Error::Busy`] at once if another run holds it.
    pub fn open(path: &Path, about: &str) -> Result<Self, Error> {
        let path = root::absolute(path).map_err(io("open", "."))?;
        let dir = root::open_private(&path).map_err(Error::Root)?;
        let taken = lock::try_take(&dir, b"lock", about.as_bytes()).map_err(io("lock", "lock"))?;
        let lock = match taken {
            Attempt::Taken(lock) => lock,
            Attempt::Held { by } => {
                return Err(Error::Busy { holder: Untrusted::new(&by).to_string() });
            }
        };
        let sub = |name: &'static str| {
            durable::private_dir(&dir, name.as_bytes()).map_err(io("open", name))
        };
        let (decisions, manifests) = (sub("decision")?, sub("manifest")?);
        Ok(Self { dir, decisions, manifests, _lock: lock })
    }

    /// The index of the source whose root is `root`; empty if it is missing, damaged, or of another directory.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened at all.
    pub fn index(&self, root: RootId) -> Result<Index, Error> {
        match self.dir.open_file(b"index") {
            Ok(file) => Ok(Index::open(file, root).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Index::empty()),
            Err(error) => Err(io("read", "index")(error)),
        }
    }

    /// `index` with room beside it for what a walk finds anew.
    ///
    /// # Errors
    /// [`Error::Io`] out of file descriptors.
    pub fn with_room(&self, index: Index) -> Result<Index, Error> {
        let directory = self.dir.try_clone().map_err(io("open", "index"))?;
        Ok(index.beside(directory, RECORDS_BYTES_MAX))
    }

    /// Room for what is sent to many nodes, each at its own pace.
    ///
    /// # Errors
    /// [`Error::Io`] out of file descriptors.
    pub fn spool(&self) -> Result<Spool, Error> {
        let directory = self.dir.try_clone().map_err(io("open", "spool"))?;
        Ok(Spool::beside(directory, MEMORY_BYTES, SPOOL_BYTES_MAX))
    }

    /// Writes the index of `source`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_index(&self, source: &Source) -> Result<(), Error> {
        Replacement::start(&self.dir, b"index")
            .and_then(|out| source.write_index(out))
            .and_then(Replacement::finish)
            .map_err(io("write", "index"))
    }

    /// What was found in files of the source; nothing if the file is missing, damaged, or another version's.
    pub fn lint(&self) -> Known {
        read_lint(&self.dir)
    }

    /// Writes what was found in files of the source.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_lint(&self, known: &Known) -> Result<(), Error> {
        let mut writer = Writer::new();
        known.encode(&mut writer);
        durable::replace_lazily(&self.dir, b"lint", &seal(writer.finish()))
            .map_err(io("write", "lint"))
    }

    /// Which files of the source were given later times; none if the file is missing, damaged, or another version's.
    pub fn times(&self) -> Times {
        read_times(&self.dir)
    }

    /// Writes which files of the source were given later times; durable on return.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_times(&self, times: &Times) -> Result<(), Error> {
        if times.files.is_empty() {
            return self.dir.remove_all(b"times").map_err(io("remove", "times"));
        }
        let mut writer = Writer::new();
        times.encode(&mut writer);
        durable::replace(&self.dir, b"times", &seal(writer.finish())).map_err(io("write", "times"))
    }

    /// What the last release rested on; nothing if there was none, or the file is damaged.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read at all.
    pub fn standing(&self) -> Result<Standing, Error> {
        read_standing(&self.dir)
    }

    /// Writes what the last release rested on; durable on return.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_standing(&self, standing: &Standing) -> Result<(), Error> {
        durable::replace(&self.dir, b"standing", &standing.encode())
            .map_err(io("write", "standing"))
    }

    /// Notes that `run` begins, and gives those that began before it: they are over, since this one holds the lock.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(&self, run: Txid) -> Result<Vec<Txid>, Error> {
        let bytes =
            durable::read(&self.dir, b"runs", STATE_BYTES_MAX).map_err(io("read", "runs"))?;
        let before = bytes.and_then(|bytes| decode_runs(&bytes).ok()).unwrap_or_default();
        let mut all = before.clone();
        all.push(run);
        let surplus = all.len().saturating_sub(RUNS_MAX);
        all.drain(..surplus);
        let mut writer = Writer::new();
        writer.list(&all, |w, run| w.raw(&run.0));
        durable::replace_lazily(&self.dir, b"runs", &seal(writer.finish()))
            .map_err(io("write", "runs"))?;
        Ok(before)
    }

    /// All decisions not yet carried out everywhere. What a run has left that died while it wrote one is removed.
    ///
    /// # Errors
    /// [`Error::Io`]. [`Error::Decision`] for a damaged one: whether a commit was decided must not be guessed.
    pub fn decisions(&self) -> Result<Vec<Decision>, Error> {
        let mut decisions = Vec::new();
        for (name, _) in self.decisions.names().map_err(io("list", "decision"))? {
            let shown = Untrusted::new(&name).to_string();
            // CRASH: a run died before it had decided. Nobody will write a file of this name again, which is the
            // transaction's, so that it would lie there for ever.
            if name.ends_with(b".new") {
                self.decisions.remove_all(&name).map_err(io("remove", &shown))?;
                continue;
            }
            let bytes = durable::read(&self.decisions, &name, STATE_BYTES_MAX)
                .map_err(io("read", &shown))?;
            let decision = Decision::decode(&bytes.unwrap_or_default())
                .map_err(|source| Error::Decision { name: shown, source })?;
            decisions.push(decision);
        }
        Ok(decisions)
    }

    /// Makes `decision` durable; one with nothing pending is dropped.
    ///
    /// CRASH: this is the moment of promise 5. Before it returns, every node is dropped at next contact; after it, every
    /// node is committed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_decision(&self, decision: &Decision) -> Result<(), Error> {
        let name = decision.txid.to_string();
        if decision.pending.is_empty() {
            return self.decisions.remove_all(name.as_bytes()).map_err(io("remove", &name));
        }
        durable::replace(&self.decisions, name.as_bytes(), &decision.encode())
            .map_err(io("write", &name))
    }

    /// The stored manifest of `release`, if it is there and whole.
    pub fn manifest(&self, release: ReleaseId) -> Option<Manifest> {
        read_manifest(&self.manifests, release)
    }

    /// True if the manifest of `release` is stored.
    pub fn has_manifest(&self, release: ReleaseId) -> bool {
        matches!(self.manifests.find(release.to_string().as_bytes()), Ok(Some(_)))
    }

    /// The releases whose manifests are stored.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn releases(&self) -> Result<Vec<ReleaseId>, Error> {
        let names = self.manifests.names().map_err(io("list", "manifest"))?;
        let parse = |name: &[u8]| std::str::from_utf8(name).ok().and_then(Digest::parse);
        Ok(names.iter().filter_map(|(name, _)| parse(name)).collect())
    }

    /// Stores `manifest`, for rollbacks and as the start of later deltas; of all that are stored, the newest `count` stay, and
    /// what is deployed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_manifest(&self, manifest: &Manifest, count: usize) -> Result<(), Error> {
        let name = manifest.id().to_string();
        durable::replace_lazily(&self.manifests, name.as_bytes(), manifest.as_bytes())
            .map_err(io("write", &name))?;
        let mut stored = Vec::new();
        for (name, _) in self.manifests.names().map_err(io("list", "manifest"))? {
            let stat = self.manifests.stat(&name).map_err(io("look at", "a manifest"))?;
            stored.push((stat.id.mtime, name));
        }
        stored.sort();
        let deployed = self.standing()?.release.map(|release| release.to_string().into_bytes());
        let surplus = stored.len().saturating_sub(count.max(MANIFESTS_MIN));
        for (_, name) in stored.into_iter().take(surplus) {
            if deployed.as_deref() == Some(&*name) {
                continue;
            }
            self.manifests.remove_all(&name).map_err(io("remove", "a manifest"))?;
        }
        Ok(())
    }
}

/// See [`State::standing`]; `dir` is the state directory.
pub(super) fn read_standing(dir: &Dir) -> Result<Standing, Error> {
    let bytes = durable::read(dir, b"standing", STATE_BYTES_MAX).map_err(io("read", "standing"))?;
    Ok(bytes.and_then(|bytes| Standing::decode(&bytes).ok()).unwrap_or_default())
}

/// See [`State::lint`]; `dir` is the state directory.
pub(super) fn read_lint(dir: &Dir) -> Known {
    read_or_none(dir, "lint", Known::decode)
}

/// See [`State::times`]; `dir` is the state directory.
pub(super) fn read_times(dir: &Dir) -> Times {
    read_or_none(dir, "times", Times::decode)
}

/// The file `name`; nothing if it is missing, or `decode` does not take it whole.
fn read_or_none<T: Default>(
    dir: &Dir,
    name: &'static str,
    decode: impl FnOnce(&mut Reader<'_>) -> codec::Result<T>,
) -> T {
    let bytes = durable::read(dir, name.as_bytes(), STATE_BYTES_MAX).ok().flatten();
    let decode = |bytes: &[u8]| {
        let mut reader = unseal(bytes, name)?;
        let value = decode(&mut reader)?;
        reader.finish().map(|()| value)
    };
    decode(&bytes.unwrap_or_default()).unwrap_or_default()
}

/// See [`State::manifest`]; `manifests` is the directory of that name.
pub(super) fn read_manifest(manifests: &Dir, release: ReleaseId) -> Option<Manifest> {
    let name = release.to_string();
    let bytes = durable::read(manifests, name.as_bytes(), limits::MANIFEST_BYTES_MAX).ok()??;
    Manifest::from_stored(bytes, release).ok()
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let digest = Digest::of(Domain::State, &bytes);
    bytes.extend_from_slice(&digest.0);
    bytes
}

fn unseal<'a>(bytes: &'a [u8], what: &'static str) -> codec::Result<Reader<'a>> {
    let (bytes, digest) = bytes.split_last_chunk().ok_or(codec::Error::Truncated { what })?;
    if Digest::of(Domain::State, bytes) != Digest(*digest) {
        return Err(codec::Error::Digest { what });
    }
    Ok(Reader::new(bytes, what))
}

fn decode_runs(bytes: &[u8]) -> codec::Result<Vec<Txid>> {
    let mut reader = unseal(bytes, "runs")?;
    let runs = reader.list(RUNS_MAX, |r| {
        let id = r.raw(16)?.try_into().map_err(|_error| r.not_canonical())?;
        Ok(Txid(id))
    })?;
    reader.finish()?;
    Ok(runs)
}

impl Standing {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.option(self.release, |w, release| w.digest(&release));
        writer.option(self.file_system, |w, (kind, id)| {
            w.u64(kind);
            w.u64(id);
        });
        writer.bool(self.was_mount_root);
        writer.u64(self.fence);
        writer.bool(self.is_pinned);
        seal(writer.finish())
    }

    pub(super) fn decode(bytes: &[u8]) -> codec::Result<Self> {
        let mut reader = unseal(bytes, "standing")?;
        let standing = Self {
            release: reader.option(Reader::digest)?,
            file_system: reader.option(|r| Ok((r.u64()?, r.u64()?)))?,
            was_mount_root: reader.bool()?,
            fence: reader.u64()?,
            is_pinned: reader.bool()?,
        };
        reader.finish()?;
        Ok(standing)
    }
}

impl Decision {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(&self.txid.0);
        writer.digest(&self.release);
        let pending: Vec<&String> = self.pending.iter().collect();
        writer.list(&pending, |w, target| w.text(target));
        seal(writer.finish())
    }

    pub(super) fn decode(bytes: &[u8]) -> codec::Result<Self> {
        let mut reader = unseal(bytes, "decision")?;
        let txid = reader.raw(16)?.try_into().map_err(|_error| reader.not_canonical())?;
        let release = reader.digest()?;
        let pending = reader.list(limits::NODES_MAX, |r| r.text(limits::PATH_BYTES_MAX * 8))?;
        reader.finish()?;
        Ok(Self { txid: Txid(txid), release, pending: pending.into_iter().collect() })
    }
}
