//! File systems made for one task, gone at its end.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::failure::{Result, at};
use crate::program;

/// The image is sparse.
const IMAGE_BYTES: u64 = 512 << 20;

/// A directory for everything that one task makes; removed at its end.
#[derive(Debug)]
pub(crate) struct Workshop {
    directory: PathBuf,
}

/// An empty file system, mounted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Its kind, for people.
    pub(crate) name: &'static str,
    /// Where it is.
    pub(crate) directory: PathBuf,
    is_mounted: bool,
}

impl Workshop {
    /// A new, empty one for `task`.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn open(task: &str) -> Result<Self> {
        let name = format!("depsync-crash-{task}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).map_err(at("create", &directory))?;
        Ok(Self { directory })
    }

    /// The file systems that runs are to be tried on: tmpfs and ext4. Only the super-user mounts; others have the one that
    /// temporary files are on.
    ///
    /// # Errors
    /// One cannot be made.
    pub(crate) fn grounds(&self) -> Result<Vec<Ground>> {
        if !program::is_root() {
            println!("not the super-user: only the file system of temporary files is tried");
            let ground =
                Ground { name: "plain", directory: self.directory.clone(), is_mounted: false };
            return Ok(vec![ground]);
        }
        Ok(vec![Ground::tmpfs(&self.directory)?, Ground::ext4(&self.directory)?])
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            println!("left behind: {}: {error}", self.directory.display());
        }
    }
}

impl Ground {
    fn tmpfs(below: &Path) -> Result<Self> {
        let directory = place(below, "tmpfs")?;
        program::quiet(&["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", &shown(&directory)])?;
        Ok(Self { name: "tmpfs", directory, is_mounted: true })
    }

    fn ext4(below: &Path) -> Result<Self> {
        let directory = place(below, "ext4")?;
        let image = directory.with_extension("image");
        let file = File::create(&image).map_err(at("create", &image))?;
        file.set_len(IMAGE_BYTES).map_err(at("extend", &image))?;
        program::quiet(&["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", &shown(&image)])?;
        program::quiet(&["mount", "-o", "loop,noinit_itable", &shown(&image), &shown(&directory)])?;
        Ok(Self { name: "ext4", directory, is_mounted: true })
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(failure) = program::quiet(&["umount", &shown(&self.directory)])
        {
            println!("left behind: {failure}");
        }
    }
}

fn place(below: &Path, name: &str) -> Result<PathBuf> {
    let directory = below.join(name);
    std::fs::create_dir(&directory).map_err(at("create", &directory))?;
    Ok(directory)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
