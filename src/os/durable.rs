//! Own state files, written so that after a power cut the old or the new content stands, whole; and [`Behind`], which has
//! much of what is staged on the disk before anyone waits for it.

use std::io::{self, Read as _, Write as _};
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use super::dir::{Dir, Rename};

/// Replaces the file `name` in `directory` by `bytes`, mode 0600, durable on return.
///
/// CRASH: before the rename the old file stands and a `.new` beside it, which the next call replaces.
///
/// # Errors
/// As the operating system says; the old file stands unless the last step, the sync of the directory, failed.
pub fn replace(directory: &Dir, name: &[u8], bytes: &[u8]) -> io::Result<()> {
    let new = new_name(name);
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
    let new = new_name(name);
    directory.remove_all(&new)?;
    directory.create_file(&new, 0o600)?.write_all(bytes)?;
    directory.rename(&new, directory, name, Rename::Replace)
}

/// Writes the file `name` anew, without waiting for the disk: for what is known by its digest, so that half of it is none.
///
/// # Errors
/// As the operating system says; what stands under the name then is not what was there.
pub fn put(directory: &Dir, name: &[u8], bytes: &[u8]) -> io::Result<()> {
    directory.remove_all(name)?;
    directory.create_file(name, 0o600)?.write_all(bytes)
}

/// What is written into it replaces a file as [`replace_lazily`] does once it is [finished](Replacement::finish), and truly
/// lazily: where a file is replaced by a rename, ext4 begins at once to write the new one to the disk, and the next sync of
/// anything waits for that. So the old one is removed first.
///
/// CRASH: between the two there is neither. One that is not finished leaves a `.new`, which the next replaces.
#[derive(Debug)]
pub struct Replacement {
    directory: Dir,
    name: Vec<u8>,
    out: io::BufWriter<std::fs::File>,
}

impl Replacement {
    /// Starts to replace the file `name` in `directory`, mode 0600.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn start(directory: &Dir, name: &[u8]) -> io::Result<Self> {
        let new = new_name(name);
        directory.remove_all(&new)?;
        let file = directory.create_file(&new, 0o600)?;
        let out = io::BufWriter::with_capacity(256 * 1024, file);
        Ok(Self { directory: directory.try_clone()?, name: name.to_vec(), out })
    }

    /// Puts it in the place of the old file.
    ///
    /// # Errors
    /// As the operating system says; the old file stands unless the rename failed.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.directory.remove_all(&self.name)?;
        let new = new_name(&self.name);
        self.directory.rename(&new, &self.directory, &self.name, Rename::Replace)
    }
}

impl io::Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn new_name(name: &[u8]) -> Vec<u8> {
    [name, b".new"].concat()
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

/// Writes to the disk from behind, in a thread of its own, what is being made on a file system.
///
/// It is a help, no barrier: who needs one still calls [`Dir::sync_file_system`], which then has little left to do.
/// PERF: 4 nodes of 150 MB on one disk: the barrier at the end took 1.3 to 1.9 s of 4.3 s without it.
#[derive(Debug)]
pub struct Behind {
    /// Bytes made since the thread was last told.
    bytes: u64,
    tell: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

/// So much is made before it is written.
const BEHIND_BYTES: u64 = 16 * 1024 * 1024;
/// What a name costs the disk beside its bytes.
const NAME_COST_BYTES: u64 = 4096;

impl Behind {
    /// Starts to write what is made on the file system of `directory`.
    ///
    /// # Errors
    /// Out of threads or file descriptors.
    pub fn start(directory: &Dir) -> io::Result<Self> {
        let directory = directory.try_clone()?;
        let (tell, told) = mpsc::sync_channel(1);
        let work = move || told.iter().try_for_each(|()| directory.sync_file_system());
        let thread = thread::Builder::new().name("behind".into()).spawn(work)?;
        Ok(Self { bytes: 0, tell, thread })
    }

    /// A file of `bytes` new bytes was made, or so much of one.
    pub fn made(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes).saturating_add(NAME_COST_BYTES);
        if self.bytes >= BEHIND_BYTES {
            self.bytes = 0;
            // One round is under way and another waits behind it: that one will take these bytes as well.
            let _told = self.tell.try_send(());
        }
    }

    /// Ends the thread behind the round that it is at.
    ///
    /// # Errors
    /// That of any round: the system tells an error of the disk once for each handle, and the barrier may not hear of
    /// it again.
    pub fn finish(self) -> io::Result<()> {
        drop(self.tell);
        self.thread.join().unwrap_or_else(|_panic| Err(io::Error::other("the thread ended")))
    }
}

/// Opens the own directory `name`, mode 0700, creating it if it is missing (rule S3).
///
/// # Errors
/// `PermissionDenied` if what is there belongs to another user or is open to others; `NotADirectory` for a link or a
/// file.
pub fn private_dir(parent: &Dir, name: &[u8]) -> io::Result<Dir> {
    let (directory, is_new) = private_dir_lazily(parent, name)?;
    if is_new {
        parent.sync()?;
    }
    Ok(directory)
}

/// As [`private_dir`], without waiting for the disk; also says whether the directory was created.
///
/// # Errors
/// As [`private_dir`].
pub fn private_dir_lazily(parent: &Dir, name: &[u8]) -> io::Result<(Dir, bool)> {
    let is_new = match parent.create_dir(name, 0o700) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    let directory = parent.open_dir(name)?;
    let own = rustix::process::geteuid().as_raw();
    let check = |forbidden: u16| match directory.stat_self()? {
        stat if stat.owner.uid == own && stat.mode & forbidden == 0 => Ok(()),
        stat => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "it belongs to user {} with mode {:04o}, not to user {own} with mode 0700",
                stat.owner.uid, stat.mode
            ),
        )),
    };
    // Nothing of a stranger's directory is changed, its access lists neither.
    check(0)?;
    // One inherited from the directory around it would be inherited by all that is made in it, and go live with it.
    super::meta::drop_acls(&directory)?;
    check(0o077)?;
    Ok((directory, is_new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::root::{self, Missing};

    #[test]
    fn what_is_made_is_written_from_behind_and_the_thread_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let opened = root::open(directory.path(), Missing::Refuse).expect("opened");
        let opened = opened.dir.expect("it is there");
        let mut behind = Behind::start(&opened).expect("a thread");
        behind.made(BEHIND_BYTES - NAME_COST_BYTES - 1);
        assert_eq!(behind.bytes, BEHIND_BYTES - 1, "nobody was told yet");
        for _ in 0..10 {
            behind.made(BEHIND_BYTES);
            assert_eq!(behind.bytes, 0, "the thread was told, or had been before");
        }
        behind.finish().expect("every round");
    }
}
