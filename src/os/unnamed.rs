//! Files that have no name: they go with whoever opened them, however that ends.

use std::fs::File;
use std::io;

use super::dir::Dir;

/// A new file in `directory`, to read and to write. Until it is open it is called `name`, which nothing else may be.
///
/// # Errors
/// Whatever the file system says.
pub fn create(directory: &Dir, name: &[u8]) -> io::Result<File> {
    // CRASH: between the two it has a name; the next one to be made removes it.
    directory.remove_all(name)?;
    let file = directory.create_file(name, 0o600)?;
    directory.remove_file(name)?;
    Ok(file)
}
