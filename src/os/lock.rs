//! Kernel locks: held by an open file, gone with its process, whatever killed it (rule S23).

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};

use rustix::fs::{FlockOperation, flock};

use super::dir::Dir;

/// A held lock; dropping it frees it. The file stays: unlinking it would let two hold "the" lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// What an attempt to take a lock found.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Taken(Lock),
    /// Somebody holds it, and wrote these bytes about itself; for people only.
    Held {
        /// What the holder wrote, at most 4 KiB.
        by: Vec<u8>,
    },
}

impl Drop for Lock {
    fn drop(&mut self) {
        // RACE: a child that was forked and has not become its program yet holds the open file as well, and with it a lock
        // that is only closed here. An error leaves what closing does.
        if flock(&self.file, FlockOperation::Unlock).is_err() {}
    }
}

/// Tries to take the lock on the file `name` in `directory` and to write `about` into it.
///
/// Guarantees: what [`Attempt::Held`] gives was written by the holder itself. Waits no longer than another needs to
/// take the lock and write.
///
/// # Errors
/// As the operating system says.
pub fn try_take(directory: &Dir, name: &[u8], about: &[u8]) -> io::Result<Attempt> {
    // RACE: between taking the lock and writing about it, a rival would read of nobody, or of the holder before. On NFS this
    // lock reaches no other host, so that one there may be told so; the lock on the file does.
    flock(directory, FlockOperation::LockExclusive)?;
    let attempt = try_take_alone(directory, name, about);
    flock(directory, FlockOperation::Unlock)?;
    attempt
}

fn try_take_alone(directory: &Dir, name: &[u8], about: &[u8]) -> io::Result<Attempt> {
    let mut file = directory.open_or_create_file(name)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            match file.write_all(about) {
                // A full disk must not keep those out who may free it: the lock is held, only nobody reads by whom.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                    ) =>
                {
                    file.set_len(0)?;
                }
                written => written?,
            }
            Ok(Attempt::Taken(Lock { file }))
        }
        Err(TryLockError::WouldBlock) => {
            let mut by = Vec::new();
            file.take(4096).read_to_end(&mut by)?;
            Ok(Attempt::Held { by })
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// What the holder of the lock on the file `name` in `directory` wrote about itself; `None` if nobody holds it. Nothing is
/// written, and who wants the lock meanwhile gets it.
///
/// # Errors
/// As the operating system says.
pub fn holder(directory: &Dir, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let file = match directory.open_file(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    // RACE: whoever takes the lock does so under this one, and so never meets the look at it.
    flock(directory, FlockOperation::LockExclusive)?;
    let looked = match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| None),
        Err(TryLockError::WouldBlock) => {
            let mut by = Vec::new();
            file.take(4096).read_to_end(&mut by).map(|_length| Some(by))
        }
        Err(TryLockError::Error(error)) => Err(error),
    };
    flock(directory, FlockOperation::Unlock)?;
    looked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::root::{self, Missing};

    #[test]
    fn a_lock_given_back_is_free_though_a_child_still_has_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let opened = root::open(directory.path(), Missing::Refuse).expect("opened");
        let dir = opened.dir.expect("a directory");
        let take = || try_take(&dir, b"lock", b"me").expect("asked");
        let Attempt::Taken(lock) = take() else { panic!("nobody holds it") };
        let of_a_child = lock.file.try_clone().expect("shared");
        assert!(matches!(take(), Attempt::Held { by } if by == b"me"));
        drop(lock);
        assert!(matches!(take(), Attempt::Taken(_)), "held by nobody but a forked child");
        drop(of_a_child);
    }

    #[test]
    fn a_look_at_a_lock_tells_its_holder_and_hinders_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let opened = root::open(directory.path(), Missing::Refuse).expect("opened");
        let dir = opened.dir.expect("a directory");
        let look = || holder(&dir, b"lock").expect("looked");
        assert_eq!(look(), None, "there is no such file, and none is made");
        assert!(dir.find(b"lock").expect("looked").is_none());
        let Attempt::Taken(lock) = try_take(&dir, b"lock", b"me").expect("asked") else {
            panic!("nobody holds it")
        };
        assert_eq!(look().as_deref(), Some(&b"me"[..]));
        drop(lock);
        assert_eq!(look(), None, "what the last holder wrote is still there");
        // As in another process: through one handle the two would hold the directory's lock together.
        let others = root::open(directory.path(), Missing::Refuse).expect("opened");
        let others = others.dir.expect("a directory");
        std::thread::scope(|scope| {
            let look = || holder(&others, b"lock").expect("looked");
            let looking = scope.spawn(move || (0..2_000).for_each(|_| drop(look())));
            while !looking.is_finished() {
                let taken = try_take(&dir, b"lock", b"me").expect("asked");
                assert!(matches!(taken, Attempt::Taken(_)), "refused because of a look");
            }
        });
    }
}
