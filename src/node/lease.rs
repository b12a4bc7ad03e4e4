//! The lease of a target: a kernel lock, and in its file who holds it.
//!
//! Where hosts share a file system whose locks do not reach from one to the other (sshfs), the lock is no wall. What
//! the file says is seen from everywhere all the same: two targets of one run that are one directory are found by it, and
//! a run finds out before it commits that another has come after it.

use std::io;
use std::thread;
use std::time::Duration;

use super::error::{Error, io_error};
use crate::model::codec::{Reader, Writer};
use crate::model::untrusted::Untrusted;
use crate::os::clock::Deadline;
use crate::os::dir::Dir;
use crate::os::durable;
use crate::os::lock::{self, Attempt, Lock};
use crate::wire::message::{Open, Txid};

/// The file.
pub(super) const NAME: &[u8] = b"lock";
/// How long another host may take to write who it is once it has the lock.
const WRITES_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks for that.
const READ_AGAIN: Duration = Duration::from_millis(50);
/// Longest that is read of it.
const BYTES_MAX: u64 = 4096;

/// A held lease.
#[derive(Debug)]
pub struct Lease {
    _lock: Lock,
    /// What this run wrote about itself.
    about: Vec<u8>,
    run: Txid,
    number: u32,
    /// Others may have written there in spite of the lock.
    is_watched: bool,
}

/// Who holds a lease, or held it last.
struct Holder {
    run: Txid,
    /// Which of the run's targets.
    number: u32,
    /// For people, escaped.
    shown: String,
}

impl Lease {
    /// Takes the lease of the target with the state directory `state`; `is_watched` where its lock may not reach all hosts
    /// that have the directory.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::SameRun`], [`Error::Io`].
    pub fn take(state: &Dir, open: &Open, is_watched: bool) -> Result<Self, Error> {
        let mut writer = Writer::new();
        writer.raw(&open.run.0);
        writer.u64(u64::from(open.number));
        writer.text(&format!("{}, cluster {}", open.holder, open.cluster));
        let about = writer.finish();
        if is_watched && let Some(before) = read(state)?.as_deref().and_then(holder_in) {
            refuse_same(open.run, open.number, before)?;
        }
        let give_up = Deadline::after(WRITES_WITHIN);
        loop {
            match lock::try_take(state, NAME, &about).map_err(io_error("lock", "the target"))? {
                Attempt::Taken(lock) => {
                    let (run, number) = (open.run, open.number);
                    return Ok(Self { _lock: lock, about, run, number, is_watched });
                }
                // RACE: another host has the lock, and what it writes about itself is not here yet.
                Attempt::Held { by } if is_watched && by.is_empty() && !give_up.is_over() => {
                    thread::park_timeout(READ_AGAIN.min(give_up.left()));
                }
                Attempt::Held { by } => return Err(held(open.run, holder_in(&by))),
            }
        }
    }

    /// Finds out whether it is still this run's, where the lock alone does not say so.
    ///
    /// # Errors
    /// [`Error::Busy`] or [`Error::SameRun`] if another has written over it; [`Error::Io`].
    pub fn check(&self, state: &Dir) -> Result<(), Error> {
        if !self.is_watched {
            return Ok(());
        }
        // A full disk leaves it empty.
        let now = read(state)?.unwrap_or_default();
        if now.is_empty() || now == self.about {
            return Ok(());
        }
        let holder = holder_in(&now);
        match holder {
            Some(holder) if holder.run == self.run => refuse_same(self.run, self.number, holder),
            holder => Err(held(self.run, holder)),
        }
    }
}

fn read(state: &Dir) -> Result<Option<Vec<u8>>, Error> {
    durable::read(state, NAME, BYTES_MAX).map_err(io_error("read", "the lease"))
}

/// Two targets of one run are one directory.
fn refuse_same(run: Txid, number: u32, other: Holder) -> Result<(), Error> {
    if other.run == run && other.number != number {
        return Err(Error::SameRun { holder: other.shown });
    }
    Ok(())
}

fn held(run: Txid, holder: Option<Holder>) -> Error {
    match holder {
        Some(holder) if holder.run == run => Error::SameRun { holder: holder.shown },
        Some(holder) => Error::Busy { holder: holder.shown, run: holder.run },
        None => Error::Busy { holder: String::new(), run: Txid([0; 16]) },
    }
}

/// Who holds the lease of the target with the state directory `state`, escaped; `None` if nobody does.
///
/// # Errors
/// As the operating system says.
pub fn holder(state: &Dir) -> io::Result<Option<String>> {
    let held = lock::holder(state, NAME)?;
    Ok(held.map(|by| holder_in(&by).map_or_else(|| "another run".into(), |holder| holder.shown)))
}

fn holder_in(bytes: &[u8]) -> Option<Holder> {
    let mut reader = Reader::new(bytes, "lock");
    let run = Txid(reader.raw(16).ok()?.try_into().ok()?);
    let number = reader.u32().ok()?;
    let holder = reader.text(4096).ok()?;
    Some(Holder { run, number, shown: Untrusted::new(holder.as_bytes()).to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::Timestamp;
    use crate::os::root::{self, Missing};
    use crate::wire::message::{Mounted, SourcePlace};

    fn open(run: u8, number: u32) -> Open {
        Open {
            run: Txid([run; 16]),
            cluster: "mi".into(),
            holder: "a test".into(),
            directory: b"/srv".to_vec(),
            state_dir: None,
            make_path: false,
            clock: Timestamp { seconds: 0, nanos: 0 },
            read_only: false,
            source: SourcePlace::default(),
            looks_only: false,
            number,
            mounted: Mounted::OWN,
        }
    }

    #[test]
    fn where_locks_reach_no_other_host_what_the_file_says_is_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = root::open(directory.path(), Missing::Refuse).expect("opened").dir;
        let state = state.expect("a directory");
        // A lock that another host does not see is as good as one given back.
        let take = |run, number| Lease::take(&state, &open(run, number), true);
        drop(take(1, 0).expect("taken"));
        assert!(matches!(take(1, 1), Err(Error::SameRun { .. })), "two targets, one directory");
        drop(take(1, 0).expect("the same target, once more"));
        let first = take(2, 0).expect("an earlier run has ended");
        first.check(&state).expect("nobody wrote");
        for (by, is_same) in [(open(2, 1), true), (open(3, 0), false)] {
            drop(first_of(&state, &by));
            match first.check(&state) {
                Err(Error::SameRun { .. }) => assert!(is_same),
                Err(Error::Busy { run, .. }) => assert!(!is_same && run == by.run),
                other => panic!("{other:?}"),
            }
        }
        durable::replace(&state, NAME, b"").expect("emptied");
        first.check(&state).expect("a full disk leaves it empty");
        let unwatched = Lease { is_watched: false, ..first };
        durable::replace(&state, NAME, b"whatever").expect("written");
        unwatched.check(&state).expect("the kernel's lock is enough");
    }

    /// The lease as another host takes it that does not see the lock.
    fn first_of(state: &Dir, by: &Open) -> Lease {
        durable::replace(state, NAME, b"").expect("another file, and so another lock");
        Lease::take(state, by, true).expect("taken")
    }
}
