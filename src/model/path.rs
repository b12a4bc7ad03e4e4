//! [`TreePath`]: a checked path below a root, with the one total order of every tree.

use std::cmp::Ordering;
use std::fmt;

use super::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};

/// Why bytes are not a path below a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A component is empty (leading, trailing or doubled slash).
    #[error("path has an empty component")]
    EmptyComponent,
    /// A component is `.` or `..`.
    #[error("path has a component '.' or '..'")]
    DotComponent,
    /// A NUL byte.
    #[error("path holds a NUL byte")]
    Nul,
    /// A component is longer than [`NAME_BYTES_MAX`].
    #[error("path has a component of over {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    /// The path is longer than [`PATH_BYTES_MAX`].
    #[error("path is over {PATH_BYTES_MAX} bytes long")]
    TooLong,
    /// The path is deeper than [`PATH_DEPTH_MAX`].
    #[error("path is over {PATH_DEPTH_MAX} components deep")]
    TooDeep,
    /// The first component is the name of the state directory.
    #[error("'.depsync' at the root is the name of depsync's own state directory")]
    StateDirectory,
}

/// The name that the root of a tree may not hold: depsync's own state directory.
pub const STATE_DIRECTORY: &[u8] = b".depsync";

/// A path below a root, in bytes, without a leading slash; the empty path is the root itself.
///
/// Guarantees: no component is empty, `.`, `..`, holds NUL or is over 255 bytes; at most 4,095 bytes
/// and 128 components; the first component is not `.depsync`. The order compares component by
/// component, so a directory comes right before all that is below it, and walking two sorted
/// trees side by side is a merge.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Box<[u8]>);

impl TreePath {
    /// The root itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks `bytes` and makes them a path. The only way in for paths from outside.
    ///
    /// # Errors
    /// The first rule of [`Error`] that the bytes break.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        check_path(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The path of `bytes`, which [`check_path`] has passed before.
    pub(crate) fn of_checked(bytes: &[u8]) -> Self {
        debug_assert_eq!(check_path(bytes), Ok(()));
        Self(bytes.into())
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    /// As [`TreePath::new`].
    pub fn join(&self, name: &[u8]) -> Result<Self, Error> {
        check_name(name)?;
        if self.is_root() {
            return Self::new(name);
        }
        let mut bytes =
            Vec::with_capacity(self.0.len().saturating_add(name.len()).saturating_add(1));
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        if bytes.len() > PATH_BYTES_MAX {
            return Err(Error::TooLong);
        }
        if self.depth() >= PATH_DEPTH_MAX { Err(Error::TooDeep) } else { Ok(Self(bytes.into())) }
    }

    /// This path below the directories `own` of depsync's own state, outermost first; the root of a tree is the innermost
    /// of them. The only paths that may be a little longer and deeper than a release's.
    #[must_use]
    pub fn in_state(&self, own: &[&[u8]]) -> Self {
        let names = own.iter().copied().chain(self.components());
        Self(names.collect::<Vec<_>>().join(&b'/').into())
    }

    /// The bytes, components separated by single slashes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The names from the root down; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|name| !name.is_empty())
    }

    /// The number of components.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Directory and last name; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, &[u8])> {
        if self.is_root() {
            return None;
        }
        let mut halves = self.0.rsplitn(2, |&b| b == b'/');
        let name = halves.next()?;
        Some((Self(halves.next().unwrap_or_default().into()), name))
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.split_last().map(|(parent, _)| parent)
    }

    /// True if this path is `directory` or lies below it.
    pub fn is_within(&self, directory: &Self) -> bool {
        is_within(&self.0, &directory.0)
    }

    /// This path as seen from `directory`; `None` if it does not lie within.
    pub fn strip_prefix(&self, directory: &Self) -> Option<Self> {
        if directory.is_root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(&*directory.0)? {
            [] => Some(Self::root()),
            [b'/', rest @ ..] => Some(Self(rest.into())),
            _ => None,
        }
    }
}

/// Checks one name: not empty, `.`, `..`; no slash or NUL; not over 255 bytes.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check_name(name: &[u8]) -> Result<(), Error> {
    match name {
        [] => Err(Error::EmptyComponent),
        b"." | b".." => Err(Error::DotComponent),
        _ if name.len() > NAME_BYTES_MAX => Err(Error::NameTooLong),
        _ if name.contains(&0) => Err(Error::Nul),
        _ if name.contains(&b'/') => Err(Error::EmptyComponent),
        _ => Ok(()),
    }
}

/// Checks that `bytes` are a path below a root: nothing for the root itself, else names with single slashes between.
///
/// # Errors
/// The rule that is broken.
pub fn check_path(bytes: &[u8]) -> Result<(), Error> {
    check_path_from(bytes, 0)
}

/// As [`check_path`], where the first `passed` bytes begin a path that was checked.
///
/// # Errors
/// The rule that is broken.
pub fn check_path_from(bytes: &[u8], passed: usize) -> Result<(), Error> {
    if bytes.is_empty() {
        return Ok(());
    }
    if bytes.len() > PATH_BYTES_MAX {
        return Err(Error::TooLong);
    }
    // The name that the two parts share is looked at whole.
    let (before, _) = bytes.split_at_checked(passed).unwrap_or_default();
    let start = before.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at.saturating_add(1));
    let news = bytes.get(start..).unwrap_or_default();
    if news.contains(&0) {
        return Err(Error::Nul);
    }
    for name in news.split(|&byte| byte == b'/') {
        match name {
            [] => return Err(Error::EmptyComponent),
            b"." | b".." => return Err(Error::DotComponent),
            _ if name.len() > NAME_BYTES_MAX => return Err(Error::NameTooLong),
            _ => {}
        }
    }
    if start == 0 && is_within(bytes, STATE_DIRECTORY) {
        return Err(Error::StateDirectory);
    }
    let is_deep =
        bytes.len() > PATH_DEPTH_MAX && bytes.split(|&byte| byte == b'/').count() > PATH_DEPTH_MAX;
    if is_deep { Err(Error::TooDeep) } else { Ok(()) }
}

/// True if the path `path` is `directory` or lies below it.
pub fn is_within(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Which of `tops` `path` is, or lies within; they are sorted, and none lies within another.
pub fn covering<'t>(tops: &'t [TreePath], path: &TreePath) -> Option<&'t TreePath> {
    let at = tops.partition_point(|top| top <= path);
    at.checked_sub(1).and_then(|at| tops.get(at)).filter(|top| path.is_within(top))
}

/// The directory around `path`; none for the root.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    let end = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    path.get(..end)
}

/// How many bytes two paths begin with alike.
pub fn shared_prefix(one: &[u8], other: &[u8]) -> usize {
    let (words, _) = one.as_chunks::<8>();
    let (other_words, _) = other.as_chunks::<8>();
    let words = words.iter().zip(other_words);
    // PERF: neighbours have long prefixes in common.
    let same = words.take_while(|(a, b)| a == b).count().saturating_mul(8);
    let rest = one.iter().zip(other).skip(same);
    same.saturating_add(rest.take_while(|(a, b)| a == b).count())
}

/// The order of all trees: by components, a directory before what is below it.
pub fn order(one: &[u8], other: &[u8]) -> Ordering {
    // A slash sorts before every other byte, which makes byte order the order by components.
    let key = |byte: u8| if byte == b'/' { 0u8 } else { byte };
    let same = shared_prefix(one, other);
    match (one.get(same), other.get(same)) {
        (Some(&a), Some(&b)) => key(a).cmp(&key(b)),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Shows the path with everything escaped that could move a terminal; the root shows as `.`.
impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            f.write_str(".")
        } else {
            super::untrusted::Untrusted::new(&self.0).fmt(f)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).expect("a valid path")
    }

    #[test]
    fn order_puts_a_directory_right_before_what_is_below_it() {
        let mut paths = ["a-b", "a", "a/b/c", "a.b", "a/b", "b", ""].map(path);
        paths.sort();
        assert_eq!(paths, ["", "a", "a/b", "a/b/c", "a-b", "a.b", "b"].map(path));
    }

    #[test]
    fn fault_147_names_that_could_leave_the_root_are_refused() {
        for (bytes, error) in [
            (&b"/etc"[..], Error::EmptyComponent),
            (b"a//b", Error::EmptyComponent),
            (b"a/", Error::EmptyComponent),
            (b"..", Error::DotComponent),
            (b"a/../b", Error::DotComponent),
            (b"./a", Error::DotComponent),
            (b"a\0b", Error::Nul),
        ] {
            assert_eq!(TreePath::new(bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn fault_012_and_013_lengths_up_to_the_limits_are_taken() {
        let name = [b'n'; NAME_BYTES_MAX];
        assert!(TreePath::new(&name).is_ok());
        assert_eq!(TreePath::new(&[b'n'; NAME_BYTES_MAX + 1]), Err(Error::NameTooLong));
        let deep = vec![&b"d"[..]; PATH_DEPTH_MAX].join(&b'/');
        let deepest = TreePath::new(&deep).expect("128 components");
        assert_eq!(deepest.join(b"x"), Err(Error::TooDeep));
        assert_eq!(TreePath::new(&vec![b'a'; PATH_BYTES_MAX + 1]), Err(Error::TooLong));
    }

    #[test]
    fn fault_016_the_state_directory_is_refused_at_the_root_alone() {
        assert_eq!(TreePath::new(b".depsync"), Err(Error::StateDirectory));
        assert_eq!(TreePath::root().join(b".depsync"), Err(Error::StateDirectory));
        assert!(TreePath::new(b"a/.depsync").is_ok());
    }

    #[test]
    fn within_and_prefix_respect_component_bounds() {
        assert!(path("a/b").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
        assert_eq!(path("a/b/c").strip_prefix(&path("a/b")), Some(path("c")));
        assert_eq!(path("a").split_last(), Some((TreePath::root(), &b"a"[..])));
    }
}
