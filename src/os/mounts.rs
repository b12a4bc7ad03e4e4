//! What is mounted where on this host, and what is meant to be: `/proc/self/mountinfo`, `/etc/fstab`, units of systemd.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Where an administrator's and the system's own units of mounts lie.
const UNIT_DIRECTORIES: [&str; 3] =
    ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// Longest table or unit that is read.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most units that are read in one directory.
const UNITS_MAX: usize = 256;

/// A file system at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Its kind, as `mount -t` takes it.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Options of the mount and of the file system.
    pub options: Vec<String>,
}

impl Mount {
    /// True if `option` is set.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }

    /// The value of the option `name`, if it has a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = |option: &String| option.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
        self.options.iter().find_map(value)
    }
}

/// The file system that `path`, with its links resolved, lies on.
///
/// # Errors
/// As the operating system says.
pub fn over(path: &Path) -> io::Result<Option<Mount>> {
    let table = read(Path::new("/proc/self/mountinfo"))?;
    // Of two at one place the later one is seen.
    let around = table.split(|byte| *byte == b'\n').filter_map(mounted);
    let around = around.filter(|mount| path.starts_with(&mount.point));
    Ok(around.max_by_key(|mount| mount.point.as_os_str().len()))
}

/// The nearest directory at or above `path` where `/etc/fstab` or a unit of systemd has a file system mounted, whether it is
/// now or not.
pub fn intended(path: &Path) -> Option<PathBuf> {
    let fstab = read(Path::new("/etc/fstab")).unwrap_or_default();
    let units = UNIT_DIRECTORIES.iter().flat_map(|directory| units(Path::new(directory)));
    let points = fstab.split(|byte| *byte == b'\n').filter_map(point_of_line).chain(units);
    points
        .filter(|point| point != Path::new("/") && path.starts_with(point))
        .max_by_key(|point| point.as_os_str().len())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn units(directory: &Path) -> Vec<PathBuf> {
    let Ok(names) = fs::read_dir(directory) else { return Vec::new() };
    let is_mount = |path: &PathBuf| path.extension() == Some(OsStr::new("mount"));
    let units = names.filter_map(Result::ok).map(|entry| entry.path()).filter(is_mount);
    units.take(UNITS_MAX).filter_map(|unit| point_of_unit(&read(&unit).ok()?)).collect()
}

/// A line of mountinfo: see proc(5).
fn mounted(line: &[u8]) -> Option<Mount> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = words.iter().position(|word| *word == b"-")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(&unescaped(bytes)).into_owned();
    let mut options: Vec<String> = Vec::new();
    for list in [words.get(5)?, words.get(dash.checked_add(3)?)?] {
        options.extend(text(list).split(',').map(str::to_owned));
    }
    Some(Mount {
        point: path(words.get(4)?),
        kind: text(words.get(dash.checked_add(1)?)?),
        source: text(words.get(dash.checked_add(2)?)?),
        options,
    })
}

/// The mount point of a line of fstab: see fstab(5).
fn point_of_line(line: &[u8]) -> Option<PathBuf> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let source = words.next()?;
    let point = path(words.next()?);
    (!source.starts_with(b"#") && point.is_absolute()).then_some(point)
}

fn point_of_unit(unit: &[u8]) -> Option<PathBuf> {
    let value = |line: &[u8]| line.trim_ascii().strip_prefix(b"Where=").map(<[u8]>::to_vec);
    let point = unit.split(|byte| *byte == b'\n').find_map(value)?;
    // Trailing slashes are no part of the name.
    Some(Path::new(OsStr::from_bytes(&point)).components().collect())
}

fn path(escaped: &[u8]) -> PathBuf {
    let bytes = std::ffi::OsString::from_vec(unescaped(escaped));
    Path::new(&bytes).components().collect()
}

/// Both tables write blanks and the backslash as three octal digits.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            plain.push(byte);
            rest = after.get(3..).unwrap_or_default();
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_blanks_and_options() {
        let line = br"36 35 98:0 / /srv/a\040b rw,relatime shared:1 - nfs4 10.0.0.1:/deploy rw,vers=4.1,soft,acregmax=600";
        let mount = mounted(line).expect("read");
        assert_eq!(mount.point, Path::new("/srv/a b"));
        assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("nfs4", "10.0.0.1:/deploy"));
        assert!(mount.has("soft") && mount.has("relatime") && !mount.has("hard"));
        assert_eq!((mount.number("acregmax"), mount.number("acdirmax")), (Some(600), None));
        for cut in [&b"36 35"[..], b"36 35 98:0 / /srv rw -", b""] {
            assert_eq!(mounted(cut), None, "{:?}", String::from_utf8_lossy(cut));
        }
    }

    #[test]
    fn mount_points_that_are_meant_are_read_from_both_tables() {
        let point = |line: &str| point_of_line(line.as_bytes());
        assert_eq!(point("h:/x /srv/deploy/ nfs4 hard 0 0"), Some("/srv/deploy".into()));
        assert_eq!(point("h:/x\t/srv/a\\040b nfs4"), Some("/srv/a b".into()));
        for other in ["# h:/x /srv nfs4", "/dev/sda2 none swap sw 0 0", "h:/x", ""] {
            assert_eq!(point(other), None, "{other}");
        }
        let unit = b"[Mount]\nWhat=h:/x\n Where=/srv/deploy/\n";
        assert_eq!(point_of_unit(unit), Some("/srv/deploy".into()));
        assert_eq!(point_of_unit(b"[Mount]\nWhat=h:/x\n"), None);
    }

    #[test]
    fn what_this_host_has_mounted_is_found_by_the_nearest_point() {
        let proc = over(Path::new("/proc/self/fd")).expect("read").expect("mounted");
        assert_eq!((proc.kind.as_str(), proc.point.as_path()), ("proc", Path::new("/proc")));
        let root = over(Path::new("/nowhere/at/all")).expect("read").expect("mounted");
        assert_eq!(root.point, Path::new("/"));
    }
}
