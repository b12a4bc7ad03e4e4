//! The log file: lines with time and process, appended under a lock, bounded by rotation (`log`, `log.1` … `log.5`).

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file grows no further than this.
const BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Older files kept.
const KEPT: u32 = 5;
/// Longest wait for another run that writes its lines.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// A log file by name; opened anew for each append, so that rotation by anyone is seen.
#[derive(Debug, Clone)]
pub struct LogFile {
    path: PathBuf,
    bytes_max: u64,
}

impl LogFile {
    /// The log file at `path`, made when first written.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), bytes_max: BYTES_MAX }
    }

    /// Appends `lines` together, each with the time and this process in front.
    ///
    /// Guarantees: lines of other runs do not come between; the file is a regular file of mode 0600 when made here; nothing is
    /// followed or appended to that is a link, has a second name, or belongs to another user; waits two seconds at most.
    ///
    /// # Errors
    /// If the file is not such a file, another run holds it too long, or the system refuses.
    pub fn append(&self, lines: &[String]) -> io::Result<()> {
        let time = jiff::Timestamp::now();
        let mut text = String::new();
        for line in lines {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{time:.3} [{}] {line}", std::process::id());
        }
        let mut file = self.open_locked()?;
        let bytes = file.metadata()?.len();
        if bytes > 0 && bytes.saturating_add(text.len() as u64) > self.bytes_max {
            self.rotate()?;
            // The old file's lock is kept until the new one is ours, so that no one rotates in between.
            let next = self.open_locked()?;
            file = next;
        }
        file.write_all(text.as_bytes())
    }

    /// Opens and locks the file that has the name once the lock is held.
    fn open_locked(&self) -> io::Result<File> {
        let started = Instant::now();
        loop {
            let file = self.open()?;
            match file.try_lock() {
                Ok(()) if self.is_current(&file)? => return Ok(file),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_WAIT => {
                    // No lock can be waited for with a limit: the lock itself decides when this ends.
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    fn open(&self) -> io::Result<File> {
        use rustix::fs::OFlags;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
            .open(&self.path)?;
        let found = file.metadata()?;
        let refused =
            |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what.to_owned()));
        if !found.is_file() {
            return refused("it is not a regular file");
        }
        if found.uid() != 0 && found.uid() != rustix::process::geteuid().as_raw() {
            return refused("it belongs to another user");
        }
        if found.nlink() > 1 {
            return refused("it has a second name");
        }
        Ok(file)
    }

    /// True if `file` still has the name; a rotation may have taken it away.
    fn is_current(&self, file: &File) -> io::Result<bool> {
        let (open, named) = (file.metadata()?, std::fs::symlink_metadata(&self.path));
        Ok(named.is_ok_and(|named| named.dev() == open.dev() && named.ino() == open.ino()))
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number.saturating_add(1))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn lines_are_appended_and_files_rotate() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = LogFile { path: directory.path().join("log"), bytes_max: 200 };
        for number in 0..40 {
            log.append(&[format!("first {number}"), format!("second {number}")]).expect("appended");
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect(name);
        assert!(read("log").contains("second 39"));
        assert!(
            read("log.1").lines().all(|line| line.contains(&format!("[{}]", std::process::id())))
        );
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("list").count(),
            6,
            "log and five older ones"
        );
        for name in ["log", "log.1", "log.5"] {
            let meta = std::fs::metadata(directory.path().join(name)).expect(name);
            assert!(meta.len() <= 200 && meta.mode() & 0o777 == 0o600, "{name}: {meta:?}");
        }
    }

    #[test]
    fn what_is_not_a_log_of_ours_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), b"").expect("write");
        symlink("file", at("link")).expect("symlink");
        assert!(LogFile::new(&at("link")).append(&["x".to_owned()]).is_err());
        std::fs::hard_link(at("file"), at("second")).expect("link");
        assert!(LogFile::new(&at("second")).append(&["x".to_owned()]).is_err());
        assert!(LogFile::new(Path::new("/dev/null")).append(&["x".to_owned()]).is_err());
        assert!(LogFile::new(&at("missing/log")).append(&["x".to_owned()]).is_err());
        assert_eq!(std::fs::read(at("file")).expect("read"), b"");
    }

    #[test]
    fn runs_that_write_at_once_do_not_mix_their_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = LogFile { path: directory.path().join("log"), bytes_max: BYTES_MAX };
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let log = &log;
                scope.spawn(move || {
                    for _ in 0..20 {
                        log.append(&[format!("{writer} a"), format!("{writer} b")])
                            .expect("appended");
                    }
                });
            }
        });
        let text = std::fs::read_to_string(directory.path().join("log")).expect("read");
        let lines: Vec<&str> = text.lines().filter_map(|line| line.split("] ").nth(1)).collect();
        assert_eq!(lines.len(), 8 * 20 * 2);
        for pair in lines.chunks(2) {
            assert_eq!(pair[0].replace('a', "b"), pair[1]);
        }
    }
}
