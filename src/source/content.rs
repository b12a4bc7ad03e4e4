//! [`Content`]: where the bytes of a release's chunks are.

use std::io;
use std::sync::Arc;

use super::chunks::{ChunkReader, ReadChunks};
use super::release_file::ReleaseFile;
use crate::os::dir::Dir;

/// Where the bytes of a release's chunks are.
#[derive(Debug)]
pub enum Content {
    /// In the tree that the release was read from, unless somebody changed it since.
    Tree(Dir),
    /// In a file that holds the whole release.
    File(Arc<ReleaseFile>),
}

impl Content {
    /// A reader of chunks; to read in parallel, make several.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn reader(&self) -> io::Result<Box<dyn ReadChunks>> {
        Ok(match self {
            Self::Tree(root) => Box::new(ChunkReader::new(root)?),
            Self::File(file) => Box::new(file.reader()),
        })
    }
}
