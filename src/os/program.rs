//! A program as a file: what is uploaded as a node's agent.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use super::meta;
use super::stat::StatId;

/// Where this process's own program is.
///
/// # Errors
/// The system does not say, or the file was removed or replaced since.
pub fn own_path() -> io::Result<PathBuf> {
    let path = std::fs::read_link("/proc/self/exe")?;
    std::fs::metadata(&path).map(|_there| path)
}

/// An open program. Its bytes stay those of this very file, whatever its name stands for later.
#[derive(Debug)]
pub struct Program(File);

impl Program {
    /// The program at `path`; this process's own if it is not given, even if its file was replaced since.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        File::open(path.unwrap_or(Path::new("/proc/self/exe"))).map(Self)
    }

    /// By what it is known to be unchanged.
    ///
    /// # Errors
    /// The system's error.
    pub fn id(&self) -> io::Result<StatId> {
        meta::stat(&self.0).map(|stat| stat.id)
    }

    /// A new reader of all its bytes.
    ///
    /// # Errors
    /// The system's error.
    pub fn reader(&self) -> io::Result<impl Read + use<>> {
        self.reopened()
    }

    /// Waits until it is on disk.
    ///
    /// # Errors
    /// The system's error.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    /// A handle with a position of its own.
    pub(super) fn reopened(&self) -> io::Result<File> {
        File::open(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}
