//! A program as a file: what is uploaded as a node's agent.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::meta;
use super::stat::{FileKind, Stat, StatId};

/// Where this process's own program is.
///
/// # Errors
/// The system does not say, or the file was removed or replaced since.
pub fn own_path() -> io::Result<PathBuf> {
    let path = std::fs::read_link("/proc/self/exe")?;
    std::fs::metadata(&path).map(|_there| path)
}

/// The program `name` in the directory of this process's own, and by what it is known to be unchanged, if it is a regular
/// file that is trusted as much as `own` is: it belongs to the same user or to root, and nobody may write it who may not
/// write `own`.
///
/// `None` for whatever else is there, or cannot be opened: it is for those who can do without it.
pub fn beside(own: &Stat, name: &str) -> Option<(Program, StatId)> {
    // If the own file was replaced since, its name is not this one; its directory is.
    let path = std::fs::read_link("/proc/self/exe").ok()?.with_file_name(name);
    // What is no file must not make this wait.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let program = Program(rustix::fs::open(path, flags, Mode::empty()).ok()?.into());
    let stat = program.stat().ok()?;
    (stat.kind == FileKind::File && is_trusted_as(own, &stat)).then_some((program, stat.id))
}

fn is_trusted_as(own: &Stat, other: &Stat) -> bool {
    const GROUP: u16 = 0o020;
    const OTHERS: u16 = 0o002;
    let writable = other.mode & (GROUP | OTHERS);
    (other.owner.uid == own.owner.uid || other.owner.uid == 0)
        && writable & !own.mode == 0
        && (writable & GROUP == 0 || other.owner.gid == own.owner.gid)
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

    /// Looks at it.
    ///
    /// # Errors
    /// The system's error.
    pub fn stat(&self) -> io::Result<Stat> {
        meta::stat(&self.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_beside_is_trusted_no_more_than_the_own() {
        let own = Program::open(None).unwrap().stat().unwrap();
        let check = |own_mode, mode, change: fn(&mut Stat), expected| {
            let own = Stat { mode: own_mode, ..own };
            let mut other = Stat { mode, ..own };
            change(&mut other);
            assert_eq!(is_trusted_as(&own, &other), expected, "{own_mode:o} {mode:o} {other:?}");
        };
        check(0o755, 0o755, |_| (), true);
        check(0o755, 0o644, |_| (), true);
        check(0o755, 0o775, |_| (), false);
        check(0o755, 0o757, |_| (), false);
        check(0o775, 0o777, |_| (), false);
        check(0o775, 0o775, |_| (), true);
        check(0o775, 0o775, |other| other.owner.gid += 1, false);
        check(0o755, 0o755, |other| other.owner.gid += 1, true);
        check(0o755, 0o755, |other| other.owner.uid = 0, true);
        check(0o755, 0o755, |other| other.owner.uid += 1, false);
    }
}
