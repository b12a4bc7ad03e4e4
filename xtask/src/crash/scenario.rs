//! The standard scenario: two releases of about 25 entries that differ in every way in which trees can differ, and what
//! somebody did on the node between them.
//!
//! All six type flips, hard links, extended attributes, deletes, a deep directory, a moved file, a moved directory, an edited larger
//! file, an empty directory, metadata alone, a directory without write permission; on the node one extra and one local edit.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, utimensat};

use super::snapshot::Snapshot;
use crate::failure::{Failure, Result, at};
use crate::program;

/// One of the two releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// What nodes have.
    Old,
    /// What they are to get.
    New,
}

impl Release {
    /// The name of its source in a sandbox.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

/// Writes the source of `release` into the new directory `root`; `xattrs` says whether files carry extended attributes.
///
/// # Errors
/// The file system refuses something.
pub(crate) fn write_source(root: &Path, release: Release, xattrs: bool) -> Result {
    let tree = Tree { root };
    match release {
        Release::Old => tree.older()?,
        Release::New => tree.newer()?,
    }
    if xattrs {
        let is_new = release == Release::New;
        tree.xattr("xattr/file", "user.note", if is_new { "second" } else { "first" })?;
        tree.xattr("xattr", if is_new { "user.added" } else { "user.gone" }, "of a directory")?;
    }
    tree.settle(release)
}

/// Does to a node's tree what somebody did there since the old release.
///
/// # Errors
/// The file system refuses something.
pub(crate) fn drift(root: &Path) -> Result {
    let tree = Tree { root };
    tree.file("extra/local.log", b"written on the node")?;
    tree.file("conf/drifted.xml", b"edited on the node")
}

/// Fails unless both releases are what this module says of them: a tree that changes less would test less.
///
/// # Errors
/// They differ in too little.
pub(crate) fn check(old: &Snapshot, new: &Snapshot) -> Result {
    let differences = old.differences(new).len();
    if old.len() < 25 || new.len() < 25 || differences < 25 {
        return Err(Failure::new(format!(
            "the scenario is too small: {} and {} entries, {differences} differences",
            old.len(),
            new.len()
        )));
    }
    Ok(())
}

/// A tree that is being written.
struct Tree<'a> {
    root: &'a Path,
}

impl Tree<'_> {
    fn older(&self) -> Result {
        self.file("flip/file-dir", b"a file that becomes a directory")?;
        self.file("flip/dir-file/below/leaf", b"in a directory that becomes a file")?;
        self.file("flip/file-link", b"a file that becomes a link")?;
        self.link("flip/link-file", "file-link")?;
        self.file("flip/dir-link/leaf", b"in a directory that becomes a link")?;
        self.link("flip/link-dir", "dir-link")?;
        self.file("hard/one", b"two names of one file")?;
        self.hard_link("hard/one", "hard/two")?;
        self.file("deleted/file", b"goes")?;
        self.file("deleted/below/file", b"goes with its directory")?;
        self.file("deep/a/b/c/d/e/f/leaf", b"far below, first")?;
        self.file("move/here.bin", &pattern(20_000, 1))?;
        self.file("move/folder/in/leaf", b"moves with its directory")?;
        self.file("move/folder/beside", b"as well")?;
        self.file("big.bin", &pattern(300_000, 2))?;
        self.directory("empty-before")?;
        self.file("conf/mode", b"the mode changes")?;
        self.file("conf/time", b"the time changes")?;
        self.file("conf/drifted.xml", b"as released")?;
        self.file("conf/same", b"stays as it is")?;
        self.file("closed/leaf", b"in a directory nobody may write, first")?;
        self.file("closed/gone", b"goes from there")?;
        self.file("xattr/file", b"with an attribute")?;
        self.mode("conf/mode", 0o640)?;
        self.mode("closed", 0o555)
    }

    fn newer(&self) -> Result {
        self.file("flip/file-dir/leaf", b"in what was a file")?;
        self.file("flip/dir-file", b"a file that was a directory")?;
        self.link("flip/file-link", "dir-file")?;
        self.file("flip/link-file", b"a file that was a link")?;
        self.link("flip/dir-link", "file-dir")?;
        self.file("flip/link-dir/leaf", b"in what was a link")?;
        self.file("hard/one", b"three names of one file")?;
        self.hard_link("hard/one", "hard/two")?;
        self.hard_link("hard/one", "hard/below/three")?;
        self.file("deep/a/b/c/d/e/f/leaf", b"far below, second")?;
        self.file("deep/a/b/added", b"on the way there")?;
        self.file("move/there/here.bin", &pattern(20_000, 1))?;
        self.file("move/there/folder/in/leaf", b"moves with its directory")?;
        self.file("move/there/folder/beside", b"as well")?;
        let mut big = pattern(300_000, 2);
        big.splice(150_000..150_010, *b"edited here, and longer");
        self.file("big.bin", &big)?;
        self.directory("empty-after")?;
        self.file("conf/mode", b"the mode changes")?;
        self.file("conf/time", b"the time changes")?;
        self.file("conf/drifted.xml", b"as released")?;
        self.file("conf/same", b"stays as it is")?;
        self.file("closed/leaf", b"in a directory nobody may write, second")?;
        self.file("xattr/file", b"with an attribute")?;
        self.file("secret", b"for its owner alone")?;
        self.mode("conf/mode", 0o600)?;
        self.mode("secret", 0o400)?;
        self.mode("closed", 0o555)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn directory(&self, name: &str) -> Result {
        let path = self.at(name);
        std::fs::create_dir_all(&path).map_err(at("create", &path))
    }

    fn parents(&self, path: &Path) -> Result {
        let parent = path.parent().unwrap_or(self.root);
        std::fs::create_dir_all(parent).map_err(at("create", parent))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result {
        let path = self.at(name);
        self.parents(&path)?;
        std::fs::write(&path, bytes).map_err(at("write", &path))?;
        self.mode(name, 0o644)
    }

    fn link(&self, name: &str, text: &str) -> Result {
        let path = self.at(name);
        self.parents(&path)?;
        symlink(text, &path).map_err(at("link", &path))
    }

    fn hard_link(&self, first: &str, name: &str) -> Result {
        let path = self.at(name);
        self.parents(&path)?;
        std::fs::hard_link(self.at(first), &path).map_err(at("link", &path))
    }

    fn mode(&self, name: &str, mode: u32) -> Result {
        let path = self.at(name);
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(at("chmod", &path))
    }

    fn xattr(&self, name: &str, key: &str, value: &str) -> Result {
        let path = self.at(name);
        rustix::fs::setxattr(&path, key, value.as_bytes(), XattrFlags::empty())
            .map_err(|error| at("set an attribute of", &path)(error.into()))
    }

    /// Gives every entry a time of its own, the same in every sandbox, and some an owner if that may be given.
    fn settle(&self, release: Release) -> Result {
        let owned = self.at("conf/mode");
        if program::is_root() {
            let id = Some(if release == Release::New { 1235 } else { 1234 });
            std::os::unix::fs::chown(&owned, id, id).map_err(at("chown", &owned))?;
        }
        for (number, path) in (0..).zip(Snapshot::of(self.root)?.paths().rev()) {
            let path = self.root.join(path);
            let moves = ["here.bin", "folder"];
            let is_moved = path.iter().any(|name| moves.iter().any(|moves| name == *moves));
            let is_kept = is_moved || path.ends_with("conf/same");
            let start =
                if is_kept || release == Release::Old { 1_600_000_000 } else { 1_700_000_000 };
            let seconds = if is_kept { start } else { start + number };
            let time = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| at("set the time of", &path)(error.into()))?;
        }
        Ok(())
    }
}

/// Bytes that do not repeat at once, the same every time.
fn pattern(count: usize, start: u64) -> Vec<u8> {
    let mut state = start;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}
