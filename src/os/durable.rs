//! Own state files, written so that after a power cut the old or the new content stands, whole.

use std::io::{self, Read as _, Write as _};

use super::dir::{Dir, Rename};

/// Replaces the file `name` in `directory` by `bytes`, mode 0600, durable on return.
///
/// CRASH: before the rename the old file stands and a `.new` beside it, which the next call replaces.
///
/// # Errors
/// As the operating system says; the old file stands unless the last step, the sync of the directory, failed.
pub fn replace(directory: &Dir, name: &[u8], bytes: &[u8]) -> io::Result<()> {
    let new = [name, b".new"].concat();
    directory.remove_all(&new)?;
    let mut file = directory.create_file(&new, 0o600)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    directory.rename(&new, directory, name, Rename::Replace)?;
    directory.sync()
}

/// Replaces `name` as [`replace`] does, but without waiting for the disk: for what can always be rebuilt.
///
/// # Errors
/// As the operating system says.
pub fn replace_lazily(directory: &Dir, name: &[u8], bytes: &[u8]) -> io::Result<()> {
    let new = [name, b".new"].concat();
    directory.remove_all(&new)?;
    directory.create_file(&new, 0o600)?.write_all(bytes)?;
    directory.rename(&new, directory, name, Rename::Replace)
}

/// The content of the own file `name`; `None` if there is none.
///
/// # Errors
/// `InvalidData` if it is longer than `bytes_max`; else as the operating system says.
pub fn read(directory: &Dir, name: &[u8], bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match directory.open_file(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("longer than {bytes_max} bytes"),
        ));
    }
    Ok(Some(bytes))
}

/// Opens the own directory `name`, mode 0700, creating it if it is missing (rule S3).
///
/// # Errors
/// `PermissionDenied` if what is there belongs to another user or is open to others; `NotADirectory` for a link or a
/// file.
pub fn private_dir(parent: &Dir, name: &[u8]) -> io::Result<Dir> {
    match parent.create_dir(name, 0o700) {
        Ok(()) => parent.sync()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let directory = parent.open_dir(name)?;
    // One inherited from the directory around it would be inherited by all that is made in it, and go live with it.
    super::meta::drop_acls(&directory)?;
    let stat = directory.stat_self()?;
    let own = rustix::process::geteuid().as_raw();
    if stat.owner.uid != own || stat.mode & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "it belongs to user {} with mode {:04o}, not to user {own} with mode 0700",
                stat.owner.uid, stat.mode
            ),
        ));
    }
    Ok(directory)
}
