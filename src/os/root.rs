//! Opening a root by the path an operator gave: every component looked at, links followed only if trusted.

use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::dir::Dir;
use super::stat::FileKind;

/// The most links followed on the way to a root, as the kernel has it.
const LINKS_MAX: usize = 40;

/// Why a root cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path is not absolute, or names no directory that could be created.
    #[error("{path} is not the absolute path of a directory")]
    NotAbsolute {
        /// The path.
        path: String,
    },
    /// The operating system says no.
    #[error("open {path}")]
    Open {
        /// As far as it got.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A parent is missing.
    #[error("{path} does not exist")]
    ParentMissing {
        /// The first missing directory.
        path: String,
    },
    /// Something on the way is not a directory.
    #[error("{path} is not a directory")]
    NotDirectory {
        /// The path.
        path: String,
    },
    /// A link that neither root, nor this user, nor the owner of its directory made.
    #[error(
        "the link {path} belongs to user {uid}, who is trusted by none of the directories around it"
    )]
    ForeignLink {
        /// The link.
        path: String,
        /// Its owner.
        uid: u32,
    },
    /// Anyone may rename what lies in a parent.
    #[error("{path} may be written by everyone and is not sticky")]
    OpenParent {
        /// The parent.
        path: String,
    },
    /// More links than the kernel would follow.
    #[error("{path} leads through more than {LINKS_MAX} links")]
    Loop {
        /// The path.
        path: String,
    },
}

/// A root with its parent, which alone can create, replace or lock it.
#[derive(Debug)]
pub struct Root {
    /// The directory that holds it; the root itself where it is `/`.
    pub parent: Dir,
    /// Its name there.
    pub name: Box<[u8]>,
    /// The directory itself, if it exists.
    pub dir: Option<Dir>,
    /// The path with every link resolved.
    pub real_path: PathBuf,
    /// Device and inode of each directory from `/` to the root, or to its parent if it does not exist.
    pub ancestry: Vec<(u64, u64)>,
}

impl Root {
    fn new(
        above: &[(Dir, PathBuf)],
        (parent, name, dir): (Dir, Box<[u8]>, Option<Dir>),
        real_path: PathBuf,
    ) -> Result<Self, Error> {
        let chain = above.iter().map(|(dir, _)| dir).chain([&parent]).chain(&dir);
        let ids: io::Result<Vec<_>> =
            chain.map(|dir| dir.stat_self().map(|stat| (stat.id.device, stat.id.inode))).collect();
        let ancestry = ids.map_err(|source| Error::Open { path: shown(&real_path), source })?;
        Ok(Self { parent, name, dir, real_path, ancestry })
    }
}

/// Whether missing directories on the way to a root are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing<'a> {
    /// Only the root itself may be missing.
    Refuse,
    /// Parents are made, mode 0755.
    Create,
    /// Parents are made, mode 0755, but only those that are one of these directories or lie below one.
    CreateWithin(&'a [PathBuf]),
}

impl Missing<'_> {
    fn allows(self, path: &Path) -> bool {
        match self {
            Self::Refuse => false,
            Self::Create => true,
            Self::CreateWithin(allowed) => allowed.iter().any(|allowed| path.starts_with(allowed)),
        }
    }
}

fn shown(path: &Path) -> String {
    crate::model::untrusted::Untrusted::new(path.as_os_str().as_bytes()).to_string()
}

/// Opens the root at the absolute `path`.
///
/// Guarantees: a link on the way, or the root itself as a link, is followed only if root, this user, or the owner of
/// the directory it lies in owns it; no directory above the root is writable by others unless it is sticky.
///
/// # Errors
/// As [`Error`] says; a missing root is none, a missing parent is, unless `missing` makes it.
pub fn open(path: &Path, missing: Missing<'_>) -> Result<Root, Error> {
    if !path.is_absolute() {
        return Err(Error::NotAbsolute { path: shown(path) });
    }
    let mut todo: VecDeque<Box<[u8]>> = names(path.as_os_str().as_bytes()).collect();
    let mut at = slash().map_err(|source| Error::Open { path: "/".into(), source })?;
    let mut real_path = PathBuf::from("/");
    let mut above: Vec<(Dir, PathBuf)> = Vec::new();
    let mut link_count = 0;
    while let Some(name) = todo.pop_front() {
        if &*name == b".." {
            if let Some((dir, path)) = above.pop() {
                (at, real_path) = (dir, path);
            }
            continue;
        }
        let here = real_path.join(std::ffi::OsStr::from_bytes(&name));
        check_parent(&at, &real_path)?;
        let open = |source| Error::Open { path: shown(&here), source };
        let is_last = todo.is_empty();
        match at.find(&name).map_err(open)? {
            Some(stat) if stat.kind == FileKind::Symlink => {
                link_count += 1;
                if link_count > LINKS_MAX {
                    return Err(Error::Loop { path: shown(path) });
                }
                let text = read_trusted_link(&at, &name, &here)?;
                if text.starts_with(b"/") {
                    at = slash().map_err(open)?;
                    real_path = PathBuf::from("/");
                    above.clear();
                }
                for name in names(&text).collect::<Vec<_>>().into_iter().rev() {
                    todo.push_front(name);
                }
            }
            Some(stat) if stat.kind == FileKind::Directory => {
                let child = open_child(&at, &name).map_err(open)?;
                if is_last {
                    return Root::new(&above, (at, name, Some(child)), here);
                }
                above.push((std::mem::replace(&mut at, child), real_path));
                real_path = here;
            }
            Some(_) => return Err(Error::NotDirectory { path: shown(&here) }),
            None if is_last => return Root::new(&above, (at, name, None), here),
            None if !missing.allows(&here) => {
                return Err(Error::ParentMissing { path: shown(&here) });
            }
            None => {
                at.create_dir(&name, 0o755).map_err(open)?;
                let child = at.open_dir(&name).map_err(open)?;
                check_made(&child, &here)?;
                // The process's umask is 077, but servers of other users read below these directories.
                super::meta::set_mode(&child, 0o755).map_err(open)?;
                at.sync().map_err(open)?;
                above.push((std::mem::replace(&mut at, child), real_path));
                real_path = here;
            }
        }
    }
    ended_above(at, real_path, above)
}

/// The path ended in `..`, or is `/`: the directory reached last is the root.
fn ended_above(at: Dir, real_path: PathBuf, mut above: Vec<(Dir, PathBuf)>) -> Result<Root, Error> {
    let name = real_path.file_name().map(|name| Box::from(name.as_bytes()));
    match (above.pop(), name) {
        (Some((parent, _)), Some(name)) => Root::new(&above, (parent, name, Some(at)), real_path),
        _ => Err(Error::NotAbsolute { path: shown(&real_path) }),
    }
}

fn names(path: &[u8]) -> impl Iterator<Item = Box<[u8]>> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".").map(Box::from)
}

fn slash() -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Dir::from_fd(rustix::fs::open(c"/", flags, Mode::empty())?))
}

/// Opens a directory above a root; mount points are crossed here, and only here.
fn open_child(at: &Dir, name: &[u8]) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Dir::from_fd(fd)),
        // A parent may be passable without being readable.
        Err(rustix::io::Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(Dir::from_fd(rustix::fs::openat(at, name, flags, Mode::empty())?))
        }
        Err(error) => Err(error.into()),
    }
}

/// The text of the link `name`, if whoever made it is trusted.
///
/// RACE: owner and text are those of one inode, whatever somebody else puts in its place meanwhile.
fn read_trusted_link(at: &Dir, name: &[u8], path: &Path) -> Result<Box<[u8]>, Error> {
    let open = |source| Error::Open { path: shown(path), source };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let link =
        rustix::fs::openat(at, name, flags, Mode::empty()).map_err(|error| open(error.into()))?;
    let uid = super::meta::stat(&link).map_err(open)?.owner.uid;
    let around = at.stat_self().map_err(open)?.owner.uid;
    if ![0, super::host::user_id(), around].contains(&uid) {
        return Err(Error::ForeignLink { path: shown(path), uid });
    }
    let text = rustix::fs::readlinkat(&link, c"", Vec::new());
    Ok(text.map_err(|error| open(error.into()))?.into_bytes().into())
}

/// RACE: what stands under the name of a directory that was just made may be another's by now; that one's mode is not set.
fn check_made(child: &Dir, path: &Path) -> Result<(), Error> {
    let open = |source| Error::Open { path: shown(path), source };
    if child.stat_self().map_err(open)?.owner.uid == super::host::user_id() {
        return Ok(());
    }
    Err(open(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "another user's directory took its place",
    )))
}

fn check_parent(at: &Dir, path: &Path) -> Result<(), Error> {
    let stat = at.stat_self().map_err(|source| Error::Open { path: shown(path), source })?;
    let is_open = stat.mode & 0o002 != 0 && stat.mode & 0o1000 == 0;
    if is_open { Err(Error::OpenParent { path: shown(path) }) } else { Ok(()) }
}

/// Opens the directory at `path` as the operator's own choice of a place for state, making it (0700) if missing.
///
/// # Errors
/// As [`open`]; [`Error::Open`] if the directory belongs to another user or is open to others.
pub fn open_private(path: &Path) -> Result<Dir, Error> {
    let root = open(path, Missing::Create)?;
    super::durable::private_dir(&root.parent, &root.name)
        .map_err(|source| Error::Open { path: shown(&root.real_path), source })
}

/// `path` as an absolute path, by the working directory; neither looked at nor simplified.
///
/// # Errors
/// The working directory is gone.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

/// A path from bytes that arrived from elsewhere.
pub fn path_from_bytes(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}
