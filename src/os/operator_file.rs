//! Files that the operator named: configuration, nodes file, lists of patterns (rule S22).
//!
//! They decide where credentials go and what ssh runs, so nobody else may have a say in them: on the way to the file a link is
//! followed only if it belongs to root or to this process's user; the file itself is a regular file that belongs to one of them,
//! that others may not write, and that a group may write only if it is root's or the process's own.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::model::untrusted::Untrusted;

/// Links followed on one path before it counts as a loop.
const LINKS_MAX: u32 = 40;

/// Why a file that the operator named is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is missing, or the system refuses it.
    #[error("cannot read it")]
    Io(#[source] io::Error),
    /// A link on the way belongs to someone else.
    #[error("the link '{}' on the way belongs to another user", Untrusted::new(.0.as_os_str().as_bytes()))]
    ForeignLink(PathBuf),
    /// Links lead in a circle.
    #[error("its links lead in a circle")]
    LinkLoop,
    /// A directory, FIFO, socket or device.
    #[error("it is not a regular file")]
    NotRegular,
    /// It belongs to someone else.
    #[error("it belongs to another user (uid {0})")]
    ForeignOwner(u32),
    /// Others may write it.
    #[error("others may write it (mode {0:04o})")]
    Writable(u32),
    /// It is longer than allowed.
    #[error("it is over {0} bytes long")]
    TooLarge(usize),
}

impl Error {
    /// One action that helps, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Writable(_) => Some("run 'chmod go-w' on it"),
            Self::ForeignOwner(_) => Some("make root or the user who runs depsync its owner"),
            Self::ForeignLink(_) => Some("name the file by its real path"),
            _ => None,
        }
    }

    /// True if there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a file that the operator named, of at most `bytes_max` bytes.
///
/// Guarantee: never waits, whatever the path names.
///
/// # Errors
/// [`Error`], by the rules above.
pub fn read_operator_file(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let file = open_checked(path)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::Io)?;
    if bytes.len() > bytes_max { Err(Error::TooLarge(bytes_max)) } else { Ok(bytes) }
}

/// Opens a file that the operator named, of any length, for reading at places.
///
/// # Errors
/// [`Error`], by the rules above.
pub fn open_operator_file(path: &Path) -> Result<OwnedFd, Error> {
    open_checked(path).map(OwnedFd::from)
}

/// The real path of what `path` names, without links.
///
/// # Errors
/// If it is missing or the system refuses.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

/// True if a file of this name is there, whatever it is.
pub fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Writes a new file, of mode 0600, and makes it durable; an existing one is replaced whole, and only if `replace`.
///
/// # Errors
/// If it exists and may not be replaced, or the system refuses; no file of that name is made then.
pub fn write_operator_file(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    let mut file = NewFile::create(path, replace)?;
    file.write_all(bytes)?;
    file.publish()
}

/// As [`write_operator_file`], with this very `mode`, and with the missing directories above it.
///
/// # Errors
/// As there.
pub fn place_operator_file(path: &Path, bytes: &[u8], mode: u32, replace: bool) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = NewFile::create(path, replace)?;
    file.write_all(bytes)?;
    // The mask of new files has no say in a mode that was asked for.
    file.file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.publish()
}

/// A file in the making, of mode 0600, which is removed unless it is published.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    written: PathBuf,
    path: PathBuf,
    is_published: bool,
}

impl NewFile {
    /// Begins the file at `path`; an existing one stays until it is replaced whole, and is replaced only if `replace`.
    ///
    /// # Errors
    /// If it exists and may not be replaced, or the system refuses.
    pub fn create(path: &Path, replace: bool) -> io::Result<Self> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}", std::process::id()));
        let written = if replace { path.with_file_name(name) } else { path.to_owned() };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&written)?;
        Ok(Self { file, written, path: path.to_owned(), is_published: false })
    }

    /// Makes it durable, under its own name.
    ///
    /// # Errors
    /// If the system refuses; an existing file stands unless the last step, the sync of the directory, failed.
    pub fn publish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.written != self.path {
            std::fs::rename(&self.written, &self.path)?;
        }
        self.is_published = true;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl io::Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_published {
            // What went wrong before is told; a name that stays is seen.
            drop(std::fs::remove_file(&self.written));
        }
    }
}

/// Writes a file of documentation into `directory`, which is made if missing.
///
/// # Errors
/// If the system refuses.
pub fn write_document(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join(name), bytes)
}

fn open_checked(path: &Path) -> Result<File, Error> {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let file = open_walking(path, user)?;
    let stat = rustix::fs::fstat(&file).map_err(|error| Error::Io(error.into()))?;
    if file_type(&stat) != FileType::RegularFile {
        return Err(Error::NotRegular);
    }
    if stat.st_uid != 0 && stat.st_uid != user {
        return Err(Error::ForeignOwner(stat.st_uid));
    }
    let own_group = stat.st_gid == 0 || stat.st_gid == group;
    let refused = if own_group { 0o002 } else { 0o022 };
    if stat.st_mode & refused != 0 {
        return Err(Error::Writable(stat.st_mode & 0o7777));
    }
    Ok(file)
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens `path` component by component; no link is followed by the kernel.
fn open_walking(path: &Path, user: u32) -> Result<File, Error> {
    let io_error = |error: rustix::io::Errno| Error::Io(error.into());
    let walk = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open_directory = |name: &str| rustix::fs::open(name, walk, Mode::empty()).map_err(io_error);
    let mut names = components(path);
    let mut directory: OwnedFd = open_directory(if path.is_absolute() { "/" } else { "." })?;
    let mut seen = PathBuf::new();
    let mut links = 0u32;
    while let Some(name) = names.pop_front() {
        let found = rustix::fs::openat(&directory, &name, walk, Mode::empty()).map_err(io_error)?;
        let stat = rustix::fs::fstat(&found).map_err(io_error)?;
        if file_type(&stat) == FileType::Symlink {
            if stat.st_uid != 0 && stat.st_uid != user {
                return Err(Error::ForeignLink(seen.join(name)));
            }
            links = links.saturating_add(1);
            if links > LINKS_MAX {
                return Err(Error::LinkLoop);
            }
            let text = rustix::fs::readlinkat(&found, "", Vec::new()).map_err(io_error)?;
            let text = PathBuf::from(OsString::from_vec(text.into_bytes()));
            if text.is_absolute() {
                directory = open_directory("/")?;
            }
            for name in components(&text).into_iter().rev() {
                names.push_front(name);
            }
            continue;
        }
        seen.push(&name);
        if names.is_empty() {
            return open_last(&directory, &name, &stat);
        }
        directory = found;
    }
    Err(Error::NotRegular)
}

/// Opens the last component for reading, if it is still the regular file that was looked at.
fn open_last(directory: &OwnedFd, name: &OsString, looked_at: &Stat) -> Result<File, Error> {
    if file_type(looked_at) != FileType::RegularFile {
        return Err(Error::NotRegular);
    }
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| Error::Io(error.into()))
}

fn components(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    let mut names: VecDeque<OsString> = path.components().filter_map(name).collect();
    if path.as_os_str().as_bytes().ends_with(b"/") {
        names.push_back(OsString::from("."));
    }
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    }

    #[test]
    fn own_links_are_followed_and_the_file_is_read() {
        let directory = directory();
        std::fs::create_dir(directory.path().join("real")).expect("mkdir");
        std::fs::write(directory.path().join("real/file"), b"text").expect("write");
        set_mode(&directory.path().join("real/file"), 0o600);
        symlink("real", directory.path().join("link")).expect("symlink");
        symlink(directory.path().join("link/../real/file"), directory.path().join("again"))
            .expect("symlink");
        for name in ["real/file", "link/file", "again", "link/../again"] {
            let read = read_operator_file(&directory.path().join(name), 4);
            assert_eq!(read.expect(name), b"text", "{name}");
        }
        let long = read_operator_file(&directory.path().join("again"), 3);
        assert!(matches!(long, Err(Error::TooLarge(3))), "{long:?}");
    }

    #[test]
    fn fault_135_what_others_could_change_is_refused() {
        let directory = directory();
        let at = |name: &str| directory.path().join(name);
        let read = |name: &str| read_operator_file(&at(name), 100);
        std::fs::write(at("open"), b"").expect("write");
        set_mode(&at("open"), 0o666);
        assert!(matches!(read("open"), Err(Error::Writable(0o666))));
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0)
            .expect("mkfifo");
        assert!(matches!(read("fifo"), Err(Error::NotRegular)), "and it did not wait for a writer");
        assert!(matches!(read("."), Err(Error::NotRegular)));
        assert!(matches!(read_operator_file(Path::new("/dev/null"), 1), Err(Error::NotRegular)));
        assert!(read("missing").is_err_and(|error| error.is_missing()));
        symlink("loop", at("loop")).expect("symlink");
        assert!(matches!(read("loop"), Err(Error::LinkLoop)));
        if rustix::process::geteuid().is_root() {
            std::fs::write(at("mine"), b"").expect("write");
            set_mode(&at("mine"), 0o644);
            symlink("mine", at("foreign")).expect("symlink");
            std::os::unix::fs::lchown(at("foreign"), Some(65_534), None).expect("lchown");
            assert!(matches!(read("foreign"), Err(Error::ForeignLink(_))));
            std::os::unix::fs::chown(at("mine"), Some(65_534), None).expect("chown");
            assert!(matches!(read("mine"), Err(Error::ForeignOwner(65_534))));
            std::os::unix::fs::chown(at("mine"), Some(0), Some(65_534)).expect("chown");
            set_mode(&at("mine"), 0o664);
            assert!(matches!(read("mine"), Err(Error::Writable(0o664))));
        }
    }

    #[test]
    fn an_existing_file_is_replaced_only_if_told() {
        let directory = directory();
        let path = directory.path().join("new");
        write_operator_file(&path, b"one", false).expect("a new file");
        let again = write_operator_file(&path, b"two", false);
        assert_eq!(again.expect_err("exists").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).expect("read"), b"one");
        write_operator_file(&path, b"two", true).expect("replaced");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("list").count(),
            1,
            "nothing is left over"
        );
    }
}
