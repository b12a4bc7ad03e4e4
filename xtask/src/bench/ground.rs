//! A new, empty file system with a new cluster on it for every tool and run.
//!
//! ext4 looks long for a free inode where many were deleted in the last minutes, so on one disk each run would
//! pay for the clean-up of the run before it.

use crate::failure::{Result, at};
use crate::lab::Lab;
use crate::program;
use std::fs::File;
use std::path::PathBuf;

/// The image is sparse: it takes what is written.
const IMAGE_BYTES: u64 = 60 << 30;

/// Brings up `nodes` nodes on a file system of their own, after removing what was there.
///
/// # Errors
/// A part cannot be made.
pub(super) fn lay(lab: &Lab, nodes: u8) -> Result {
    clear(lab)?;
    let image = image(lab);
    let folder = lab.folder();
    std::fs::create_dir_all(folder).map_err(at("create", folder))?;
    let file = File::create(&image).map_err(at("create", &image))?;
    file.set_len(IMAGE_BYTES).map_err(at("extend", &image))?;
    let (image, folder) = (image.display().to_string(), folder.display().to_string());
    program::quiet(&["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", &image])?;
    program::quiet(&["mount", "-o", "loop,noinit_itable", &image, &folder])?;
    lab.up(nodes, None)
}

/// Removes the cluster and its file system.
///
/// # Errors
/// A part cannot be removed.
pub(super) fn clear(lab: &Lab) -> Result {
    lab.stop()?;
    let folder = lab.folder().display().to_string();
    if program::succeeds(&["mountpoint", "-q", &folder]) {
        program::quiet(&["umount", &folder])?;
    }
    lab.down()?;
    for path in [lab.folder().to_path_buf(), image(lab)] {
        let removed =
            if path.is_dir() { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(at("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn image(lab: &Lab) -> PathBuf {
    lab.folder().with_added_extension("img")
}
