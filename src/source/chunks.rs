//! [`ReadChunks`]: the bytes of the manifest's chunks when they are shipped; and [`ChunkReader`], which reads them again
//! from the source.

use crate::model::digest::{Digest, Domain};
use crate::model::entry::Chunk;
use crate::model::limits::CHUNK_BYTES_MAX;
use crate::model::path::TreePath;
use crate::os::dir::Dir;
use crate::os::file;

/// Why a chunk cannot be shipped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file can no longer be read.
    #[error("read {path} again")]
    Unreadable {
        /// The file.
        path: TreePath,
        /// Why.
        source: std::io::Error,
    },
    /// The file no longer has the bytes of the manifest.
    #[error("{path} changed after it was read")]
    Changed {
        /// The file.
        path: TreePath,
    },
    /// The release file no longer has them.
    #[error("the content of {path} in {file} is not what it was")]
    Damaged {
        /// The file.
        path: TreePath,
        /// The release file.
        file: String,
    },
}

impl ReadError {
    /// The file.
    pub fn path(&self) -> &TreePath {
        match self {
            Self::Unreadable { path, .. } | Self::Changed { path } | Self::Damaged { path, .. } => {
                path
            }
        }
    }
}

/// Gives chunks of a release, each checked against its digest before it is given out.
pub trait ReadChunks: Send {
    /// Appends the bytes of `chunk`, which stand at `offset` of the file at `path`, to `into`.
    ///
    /// Guarantees: on success what was appended is exactly the bytes of the digest (faults 1 to 3); on failure `into` is
    /// as long as it was.
    ///
    /// # Errors
    /// [`ReadError`] naming the file.
    fn read(
        &mut self,
        path: &TreePath,
        offset: u64,
        chunk: Chunk,
        into: &mut Vec<u8>,
    ) -> Result<(), ReadError>;
}

/// Reads chunks of the source.
///
/// Keeps the last file and its directory open, so chunks are best asked for in the order of the manifest. To read in
/// parallel, make several.
#[derive(Debug)]
pub struct ChunkReader {
    root: Dir,
    parent: Option<(TreePath, Dir)>,
    open: Option<(TreePath, std::os::fd::OwnedFd)>,
}

impl ChunkReader {
    /// A reader of the source at `root`.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn new(root: &Dir) -> std::io::Result<Self> {
        Ok(Self { root: root.try_clone()?, parent: None, open: None })
    }

    fn open_file(&mut self, path: &TreePath) -> std::io::Result<std::os::fd::OwnedFd> {
        let (parent, name) = path.split_last().ok_or(std::io::ErrorKind::IsADirectory)?;
        if !matches!(&self.parent, Some((open, _)) if *open == parent) {
            self.parent = None;
            let directory = self.root.open_path(&parent)?;
            self.parent = Some((parent, directory));
        }
        let Some((_, directory)) = &self.parent else {
            return Err(std::io::ErrorKind::NotFound.into());
        };
        Ok(directory.open_file(name)?.into())
    }
}

impl ReadChunks for ChunkReader {
    fn read(
        &mut self,
        path: &TreePath,
        offset: u64,
        chunk: Chunk,
        into: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let unreadable = |source| ReadError::Unreadable { path: path.clone(), source };
        if chunk.bytes > CHUNK_BYTES_MAX {
            return Err(unreadable(std::io::ErrorKind::InvalidInput.into()));
        }
        let wanted = chunk.bytes as usize;
        if !matches!(&self.open, Some((open, _)) if open == path) {
            self.open = None;
            let fd = self.open_file(path).map_err(unreadable)?;
            self.open = Some((path.clone(), fd));
        }
        let Some((_, fd)) = &self.open else {
            return Err(unreadable(std::io::ErrorKind::NotFound.into()));
        };
        let start = into.len();
        into.resize(start.saturating_add(wanted), 0);
        let own = into.get_mut(start..).unwrap_or_default();
        let count = file::read_at(fd, offset, own);
        if matches!(count, Ok(count) if count == wanted)
            && Digest::of(Domain::Chunk, own) == chunk.digest
        {
            return Ok(());
        }
        into.truncate(start);
        self.open = None;
        match count {
            Err(source) => Err(unreadable(source)),
            Ok(_) => Err(ReadError::Changed { path: path.clone() }),
        }
    }
}
