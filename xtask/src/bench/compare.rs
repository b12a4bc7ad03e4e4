//! Whether a node's tree is the source's: type, mode, size, modification time and content of every entry.

use crate::failure::{Failure, Result, at};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a synchroniser may keep for itself at the root of a target.
const OWN: &str = ".depsync";

/// Finds the first difference between two trees; none if they are equal.
///
/// Times count in whole seconds, as not every tool measured here carries more, and only those of files. The
/// roots' own attributes do not count.
///
/// # Errors
/// A tree cannot be read.
pub(super) fn first_difference(source: &Path, target: &Path) -> Result<Option<String>> {
    let mut wanted = children(source)?;
    let mut found = if target.is_dir() { children(target)? } else { BTreeMap::new() };
    wanted.remove(OsString::from(OWN).as_os_str());
    found.remove(OsString::from(OWN).as_os_str());
    compare_children(source, target, &wanted, &found)
}

type Children = BTreeMap<OsString, Metadata>;

fn compare_folders(source: &Path, target: &Path) -> Result<Option<String>> {
    compare_children(source, target, &children(source)?, &children(target)?)
}

fn compare_children(
    source: &Path,
    target: &Path,
    wanted: &Children,
    found: &Children,
) -> Result<Option<String>> {
    if let Some(name) = found.keys().find(|name| !wanted.contains_key(*name)) {
        return Ok(Some(format!("{} is there and should not be", target.join(name).display())));
    }
    for (name, want) in wanted {
        let (from, to) = (source.join(name), target.join(name));
        let Some(have) = found.get(name) else {
            return Ok(Some(format!("{} is missing", to.display())));
        };
        if let Some(difference) = attributes(want, have) {
            return Ok(Some(format!("{}: {difference}", to.display())));
        }
        let inner = if want.is_dir() {
            compare_folders(&from, &to)?
        } else if want.is_symlink() {
            let links = [&from, &to].map(|path| std::fs::read_link(path).map_err(at("read", path)));
            let [want, have] = links;
            (want? != have?).then(|| format!("{}: another link", to.display()))
        } else if want.is_file() {
            (!same_content(&from, &to)?).then(|| format!("{}: other content", to.display()))
        } else {
            None
        };
        if inner.is_some() {
            return Ok(inner);
        }
    }
    Ok(None)
}

fn attributes(want: &Metadata, have: &Metadata) -> Option<String> {
    if want.file_type() != have.file_type() {
        return Some("another type".to_owned());
    }
    if want.is_symlink() {
        return None;
    }
    if want.mode() != have.mode() {
        return Some(format!("mode {:o}, not {:o}", have.mode(), want.mode()));
    }
    if want.is_file() && want.len() != have.len() {
        return Some(format!("{} bytes, not {}", have.len(), want.len()));
    }
    (want.is_file() && want.mtime() != have.mtime())
        .then(|| format!("modified at {}, not {}", have.mtime(), want.mtime()))
}

fn children(folder: &Path) -> Result<Children> {
    let listing = std::fs::read_dir(folder).map_err(at("read", folder))?;
    let attributes = listing.map(|entry| {
        let entry = entry.map_err(at("read", folder))?;
        let attributes = entry.metadata().map_err(at("read", &entry.path()))?;
        Ok((entry.file_name(), attributes))
    });
    attributes.collect::<Result<_>>()
}

fn same_content(one: &Path, other: &Path) -> Result<bool> {
    const PART: usize = 1 << 17;
    let mut files = [one, other].map(|path| File::open(path).map_err(at("open", path)));
    let mut buffers = [vec![0; PART], vec![0; PART]];
    loop {
        let mut counts = [0, 0];
        for ((file, buffer), count) in files.iter_mut().zip(&mut buffers).zip(&mut counts) {
            let file = file.as_mut().map_err(|failure: &mut Failure| failure.clone())?;
            *count = fill(file, buffer).map_err(at("read", one))?;
        }
        let [a, b] = &buffers;
        let [a_count, b_count] = counts;
        if a.get(..a_count) != b.get(..b_count) {
            return Ok(false);
        }
        if a_count < PART {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    fn tree(root: &Path) {
        std::fs::create_dir_all(root.join("d/e")).unwrap();
        let path = root.join("d/f");
        std::fs::write(&path, "content").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
        symlink("f", root.join("d/l")).unwrap();
    }

    /// What the comparer says after a change to an equal tree.
    fn after(name: &str, spoil: impl FnOnce(&Path)) -> Option<String> {
        let base: PathBuf =
            std::env::temp_dir().join(format!("xtask-compare-{}-{name}", std::process::id()));
        let (source, target) = (base.join("s"), base.join("t"));
        tree(&source);
        tree(&target);
        spoil(&target);
        let found = first_difference(&source, &target).unwrap();
        std::fs::remove_dir_all(&base).unwrap();
        found.map(|text| text.rsplit('/').next().unwrap_or_default().to_owned())
    }

    fn keep_time(path: &Path, text: &str) {
        let time = std::fs::metadata(path).unwrap().modified().unwrap();
        std::fs::write(path, text).unwrap();
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn equal_trees_are_equal() {
        assert_eq!(after("equal", |_| {}), None);
        assert_eq!(after("own", |root| std::fs::create_dir(root.join(OWN)).unwrap()), None);
    }

    #[test]
    fn every_difference_is_seen() {
        let said =
            |name, spoil: fn(&Path)| after(name, spoil).expect("the difference was not seen");
        let f = |root: &Path| root.join("d/f");
        assert_eq!(
            said("content", |root| keep_time(&root.join("d/f"), "CONTENT")),
            "f: other content"
        );
        assert_eq!(said("size", |root| keep_time(&root.join("d/f"), "x")), "f: 1 bytes, not 7");
        assert!(
            said("time", |root| std::fs::write(root.join("d/f"), "content").unwrap())
                .contains("modified")
        );
        assert_eq!(
            said("gone", |root| std::fs::remove_dir(root.join("d/e")).unwrap()),
            "e is missing"
        );
        assert!(
            said("more", |root| std::fs::create_dir(root.join("d/g")).unwrap())
                .contains("should not be")
        );
        assert_eq!(said("none", |root| std::fs::remove_dir_all(root).unwrap()), "d is missing");
        let link = said("link", |root| {
            std::fs::remove_file(root.join("d/l")).unwrap();
            symlink("g", root.join("d/l")).unwrap();
        });
        assert_eq!(link, "l: another link");
        let kind = said("kind", |root| {
            std::fs::remove_dir(root.join("d/e")).unwrap();
            std::fs::write(root.join("d/e"), "").unwrap();
        });
        assert_eq!(kind, "e: another type");
        let mode = after("mode", |root| {
            std::fs::set_permissions(f(root), std::fs::Permissions::from_mode(0o600)).unwrap();
        });
        assert!(mode.is_some_and(|text| text.contains("mode 100600")));
    }
}
