//! What a tree is: everything that a release promises of each of its names.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::failure::{Result, at};

/// The name of a state directory, which may lie in a tree and is no part of it.
const STATE: &str = ".depsync";

/// A tree as it was at one moment; the root itself is the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    names: BTreeMap<PathBuf, Name>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    /// As `ls` shows it: `-`, `d`, `l`, `p`.
    kind: char,
    /// Of a link 0: it has none.
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    /// Of a file its bytes, of a link its text.
    content: Vec<u8>,
    xattrs: BTreeMap<String, Vec<u8>>,
    /// The first name in the tree of the same file.
    first: Option<PathBuf>,
}

impl Snapshot {
    /// Reads everything at and below `root`.
    ///
    /// # Errors
    /// Something cannot be read, or changes meanwhile.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let mut names = BTreeMap::new();
        let mut inodes: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
        let mut open = vec![root.to_path_buf()];
        while let Some(path) = open.pop() {
            let below = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
            if below.starts_with(STATE) {
                continue;
            }
            let meta = std::fs::symlink_metadata(&path).map_err(at("look at", &path))?;
            if meta.is_dir() {
                for entry in std::fs::read_dir(&path).map_err(at("list", &path))? {
                    open.push(entry.map_err(at("list", &path))?.path());
                }
            } else {
                inodes.entry(meta.ino()).or_default().push(below.clone());
            }
            names.insert(below, Name::of(&path, &meta)?);
        }
        for mut group in inodes.into_values().filter(|group| group.len() > 1) {
            group.sort();
            for path in &group {
                if let Some(name) = names.get_mut(path) {
                    name.first = group.first().cloned();
                }
            }
        }
        Ok(Self { names })
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// All names, what is above before what is below.
    pub(crate) fn paths(&self) -> impl DoubleEndedIterator<Item = &Path> {
        self.names.keys().map(PathBuf::as_path)
    }

    /// A line for each name in which `other` is not the same.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, name) in &self.names {
            match other.names.get(path) {
                Some(found) if found == name => {}
                Some(found) => lines.push(format!("{}: {}", path.display(), name.against(found))),
                None => lines.push(format!("{}: missing", path.display())),
            }
        }
        let more = other.names.keys().filter(|path| !self.names.contains_key(*path));
        lines.extend(more.map(|path| format!("{}: should not be there", path.display())));
        lines
    }
}

impl Name {
    fn of(path: &Path, meta: &Metadata) -> Result<Self> {
        let kind = meta.file_type();
        let (kind, content) = if kind.is_dir() {
            ('d', Vec::new())
        } else if kind.is_symlink() {
            let text = std::fs::read_link(path).map_err(at("read", path))?;
            ('l', text.as_os_str().as_bytes().to_vec())
        } else if kind.is_file() {
            ('-', std::fs::read(path).map_err(at("read", path))?)
        } else {
            (if kind.is_fifo() { 'p' } else { 's' }, Vec::new())
        };
        let xattrs = if matches!(kind, '-' | 'd') { xattrs(path)? } else { BTreeMap::new() };
        Ok(Self {
            kind,
            mode: if kind == 'l' { 0 } else { meta.mode() & 0o7777 },
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            content,
            xattrs,
            first: None,
        })
    }

    /// What is not the same, as wanted and as found.
    fn against(&self, found: &Self) -> String {
        let mut words = Vec::new();
        let mut say = |what: &str, wanted: String, found: String| {
            if wanted != found {
                words.push(format!("{what} {found} instead of {wanted}"));
            }
        };
        say("kind", self.kind.into(), found.kind.into());
        say("mode", format!("{:04o}", self.mode), format!("{:04o}", found.mode));
        say("owner", format!("{:?}", self.owner), format!("{:?}", found.owner));
        say("time", format!("{:?}", self.mtime), format!("{:?}", found.mtime));
        say("content", shown(&self.content), shown(&found.content));
        say("attributes", format!("{:?}", self.xattrs), format!("{:?}", found.xattrs));
        say("first name", format!("{:?}", self.first), format!("{:?}", found.first));
        words.join(", ")
    }
}

/// Length, a sum and the start of some bytes.
fn shown(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(5381_u32, |sum, byte| sum.wrapping_mul(33) ^ u32::from(*byte));
    let start: Vec<u8> = bytes.iter().copied().take(24).collect();
    format!("({} bytes, {sum:08x}, \"{}\")", bytes.len(), start.escape_ascii())
}

/// The extended attributes that users set; what the system itself adds is not a tree's.
fn xattrs(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let failed = |error: rustix::io::Errno| at("read the attributes of", path)(error.into());
    let mut list = vec![0_u8; 64 * 1024];
    let count = match rustix::fs::llistxattr(path, &mut list) {
        Ok(count) => count,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(failed(error)),
    };
    list.truncate(count);
    let mut found = BTreeMap::new();
    for key in list.split(|byte| *byte == 0).filter(|key| key.starts_with(b"user.")) {
        let key = String::from_utf8_lossy(key).into_owned();
        let mut value = vec![0_u8; 64 * 1024];
        let count = rustix::fs::lgetxattr(path, key.as_str(), &mut value).map_err(failed)?;
        value.truncate(count);
        found.insert(key, value);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn every_kind_of_difference_is_told() {
        let base = std::env::temp_dir().join(format!("xtask-snapshot-{}", std::process::id()));
        let (one, other) = (base.join("one"), base.join("other"));
        for root in [&one, &other] {
            std::fs::create_dir_all(root.join("d")).unwrap();
            for name in ["content", "mode", "linked", "d/leaf"] {
                std::fs::write(root.join(name), "same").unwrap();
            }
            std::os::unix::fs::symlink("text", root.join("link")).unwrap();
        }
        std::fs::write(other.join("content"), "four").unwrap();
        std::fs::set_permissions(other.join("mode"), Permissions::from_mode(0o711)).unwrap();
        std::fs::remove_file(other.join("linked")).unwrap();
        std::fs::hard_link(other.join("mode"), other.join("linked")).unwrap();
        std::fs::remove_file(other.join("link")).unwrap();
        std::fs::remove_file(other.join("d/leaf")).unwrap();
        std::fs::write(other.join("more"), "").unwrap();
        let (before, after) = (Snapshot::of(&one).unwrap(), Snapshot::of(&other).unwrap());
        let said = before.differences(&after).join("\n");
        std::fs::remove_dir_all(&base).unwrap();
        assert!(before.differences(&before).is_empty());
        for expected in [
            "content (4 bytes",
            "mode 0711 instead of",
            "linked: mode",
            "first name Some(\"linked\")",
            "link: missing",
            "d/leaf: missing",
            "more: should not be there",
        ] {
            assert!(said.contains(expected), "{expected} in {said}");
        }
    }
}
