//! [`Matcher`]: what the ignore rules of a release say of a path. The syntax is gitignore's.
//!
//! The operator's lines stand above every `.depsyncignore`; of those, the deeper one stands above the upper. Within one
//! list the last line that matches decides, and `!` takes a name back in. A name below an ignored directory cannot
//! be taken back in, as the directory is not entered.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::Side;
use crate::model::limits::RULES_BYTES_MAX;
use crate::model::path::TreePath;
use crate::model::rules::Rules;
use crate::os::dir::Dir;
use crate::os::stat::{FileKind, StatId};
use crate::os::{file, meta};

/// The name of the files that hold ignore rules for their directory and below.
pub const RULE_FILE: &[u8] = b".depsyncignore";

/// A line that is no rule.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A pattern that does not parse.
    #[error("{place}, line {line}: bad pattern")]
    Pattern {
        /// The file, or the list of the operator.
        place: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: ignore::Error,
    },
    /// The patterns of one place are too much for one matcher.
    #[error("{place}: the patterns cannot be compiled")]
    Compile {
        /// The file, or the list of the operator.
        place: String,
        /// Why.
        source: ignore::Error,
    },
    /// A `.depsyncignore` that is not a readable regular file of UTF-8 text of bounded size.
    #[error("{place} {why}")]
    File {
        /// The file.
        place: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What the rules say of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it belongs to the tree.
    None,
    /// It is not part of the release and stays as it is on nodes.
    Ignored,
    /// A node keeps it, with all below it, if the release does not have it; what the release has is managed.
    Protected,
}

/// The lines of one `.depsyncignore`, ready to match, with those of the directories above.
#[derive(Debug)]
pub struct Layer {
    above: Option<Arc<Layer>>,
    directory: TreePath,
    lines: Gitignore,
}

/// The rules of a release, ready to match.
#[derive(Debug)]
pub struct Matcher {
    ignore: Gitignore,
    protect: Gitignore,
    files: HashMap<TreePath, Arc<Layer>>,
}

fn compile<'a>(place: &str, lines: impl Iterator<Item = &'a str>) -> Result<Gitignore, Error> {
    let mut builder = GitignoreBuilder::new("");
    for (index, line) in lines.enumerate() {
        let number = index.saturating_add(1);
        builder.add_line(None, line).map_err(|source| Error::Pattern {
            place: place.into(),
            line: number,
            source,
        })?;
    }
    builder.build().map_err(|source| Error::Compile { place: place.into(), source })
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The verdict of one list, if it has one: true for ignored.
fn decide(lines: &Gitignore, below: &[u8], is_directory: bool) -> Option<bool> {
    match lines.matched(as_path(below), is_directory) {
        Match::None => None,
        Match::Ignore(_) => Some(true),
        Match::Whitelist(_) => Some(false),
    }
}

impl Layer {
    /// The lines of the `.depsyncignore` in `directory`, which has the text `text`, below `above`.
    ///
    /// # Errors
    /// [`Error::Pattern`] naming file and line.
    pub fn new(above: Option<Arc<Self>>, directory: &TreePath, text: &str) -> Result<Self, Error> {
        let lines = compile_file(directory, text)?;
        Ok(Self { above, directory: directory.clone(), lines })
    }

    /// The rules that hold in `dir`, which is `directory`: those of its file, if there is one that can be read, and those
    /// `above`.
    pub fn found(above: Option<Arc<Self>>, dir: &Dir, directory: &TreePath) -> Option<Arc<Self>> {
        let text = read_rule_file(dir, directory).ok().flatten();
        let layer = text.and_then(|(text, _)| Self::new(above.clone(), directory, &text).ok());
        layer.map(Arc::new).or(above)
    }

    fn decide(&self, path: &TreePath, is_directory: bool) -> Option<bool> {
        let mut layer = Some(self);
        while let Some(this) = layer {
            let verdict = decide(&this.lines, below(path, &this.directory), is_directory);
            if verdict.is_some() {
                return verdict;
            }
            layer = this.above.as_deref();
        }
        None
    }
}

/// The bytes of `path` after `directory`, which it lies in.
fn below<'a>(path: &'a TreePath, directory: &TreePath) -> &'a [u8] {
    let skipped = match directory.as_bytes().len() {
        0 => 0,
        length => length.saturating_add(1),
    };
    path.as_bytes().get(skipped..).unwrap_or_default()
}

/// The place of the `.depsyncignore` of `directory`, for people.
pub(super) fn place_of(directory: &TreePath) -> String {
    match directory.join(RULE_FILE) {
        Ok(path) => path.to_string(),
        Err(_too_long) => format!("the ignore rules of {directory}"),
    }
}

fn compile_file(directory: &TreePath, text: &str) -> Result<Gitignore, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    compile(&place_of(directory), text.lines())
}

/// The layer of the nearest directory at or above `directory` that has one.
fn nearest(files: &HashMap<TreePath, Arc<Layer>>, directory: &TreePath) -> Option<Arc<Layer>> {
    if files.is_empty() {
        return None;
    }
    let mut at = Some(directory.clone());
    while let Some(here) = at {
        if let Some(layer) = files.get(&here) {
            return Some(Arc::clone(layer));
        }
        at = here.parent();
    }
    None
}

impl Matcher {
    /// Compiles `rules`.
    ///
    /// # Errors
    /// The first line that does not parse, with its place.
    pub fn new(rules: &Rules) -> Result<Self, Error> {
        let lines = |list: &[String]| {
            list.iter().flat_map(|line| line.lines()).map(String::from).collect::<Vec<_>>()
        };
        let ignore = lines(&rules.ignore);
        let protect = lines(&rules.protect);
        let mut files = HashMap::new();
        // Sorted by directory: what is above comes before what is below.
        for (directory, text) in &rules.files {
            let layer = Layer::new(nearest(&files, directory), directory, text)?;
            files.insert(directory.clone(), Arc::new(layer));
        }
        Ok(Self {
            ignore: compile("the operator's ignore rules", ignore.iter().map(String::as_str))?,
            protect: compile("the protect rules", protect.iter().map(String::as_str))?,
            files,
        })
    }

    /// What the rules say of `path` alone, given that no directory above it is ignored or protected. For all but names
    /// met on the way down from a tree's root, ask [`Matcher::covers`].
    pub fn matches(&self, path: &TreePath, is_directory: bool) -> Verdict {
        let Some(directory) = path.parent() else { return Verdict::None };
        let layer = nearest(&self.files, &directory);
        self.verdict(layer.as_deref(), path, is_directory, Side::Node)
    }

    /// True if a node leaves `path` as it is, where `layer` holds in the directory around it, and nothing above is left.
    pub fn leaves(&self, layer: Option<&Layer>, path: &TreePath, is_directory: bool) -> bool {
        self.verdict(layer, path, is_directory, Side::Node) != Verdict::None
    }

    /// What the rules say of `path`, or else of the topmost directory between `tree` and `path` of which they say
    /// anything. The root of a tree itself is never ignored, as it was named.
    pub fn covers(&self, tree: &TreePath, path: &TreePath, is_directory: bool) -> Verdict {
        let mut branch = Vec::new();
        let mut at = Some(path.clone());
        while let Some(here) = at.filter(|here| here != tree && here.is_within(tree)) {
            at = here.parent();
            branch.push(here);
        }
        let verdict = |here: &TreePath| self.matches(here, is_directory || here != path);
        branch.iter().rev().map(verdict).find(|&one| one != Verdict::None).unwrap_or(Verdict::None)
    }

    /// The layer that stands in `directory` itself.
    pub(super) fn layer_in(&self, directory: &TreePath) -> Option<Arc<Layer>> {
        self.files.get(directory).map(Arc::clone)
    }

    /// The layer of the nearest directory above the tree `tree`.
    pub(super) fn layer_above(&self, tree: &TreePath) -> Option<Arc<Layer>> {
        nearest(&self.files, &tree.parent()?)
    }

    /// True if there is no rule that could say anything where `layer` holds.
    pub(super) fn is_silent(&self, layer: Option<&Layer>, side: Side) -> bool {
        let protects = side == Side::Node && !self.protect.is_empty();
        self.ignore.is_empty() && layer.is_none() && !protects
    }

    /// What the rules say of `path` alone, where `layer` holds below its directory.
    pub(super) fn verdict(
        &self,
        layer: Option<&Layer>,
        path: &TreePath,
        is_directory: bool,
        side: Side,
    ) -> Verdict {
        let bytes = path.as_bytes();
        let ignored = decide(&self.ignore, bytes, is_directory)
            .or_else(|| layer?.decide(path, is_directory))
            .unwrap_or(false);
        if ignored {
            return Verdict::Ignored;
        }
        let protected =
            side == Side::Node && decide(&self.protect, bytes, is_directory).unwrap_or(false);
        if protected { Verdict::Protected } else { Verdict::None }
    }
}

/// The text of the `.depsyncignore` in `dir`, which is `directory`, with the identity it was read at; `None` if it is
/// gone or changed meanwhile.
///
/// # Errors
/// [`Error::File`] if it is not readable text of bounded size in a regular file.
pub(super) fn read_rule_file(
    dir: &Dir,
    directory: &TreePath,
) -> Result<Option<(String, StatId)>, Error> {
    let bad = |why| Error::File { place: place_of(directory), why };
    match dir.find(RULE_FILE) {
        Ok(Some(stat)) if stat.kind == FileKind::File => {}
        Ok(Some(_)) => return Err(bad("is not a regular file")),
        Ok(None) => return Ok(None),
        Err(_error) => return Err(bad("cannot be read")),
    }
    let read = || {
        let file = dir.open_file(RULE_FILE)?;
        let before = meta::stat(&file)?.id;
        let mut bytes = vec![0; RULES_BYTES_MAX.saturating_add(1)];
        let count = file::read_at(&file, 0, &mut bytes)?;
        bytes.truncate(count);
        let is_same = meta::stat(&file)?.id == before && before.size == count as u64;
        Ok::<_, std::io::Error>((bytes, before, is_same))
    };
    let (bytes, id, is_same) = read().map_err(|_error| bad("cannot be read"))?;
    if id.size > RULES_BYTES_MAX as u64 {
        return Err(bad("is too long for a file of ignore rules"));
    }
    if !is_same {
        return Ok(None);
    }
    let text = String::from_utf8(bytes).map_err(|_error| bad("is not UTF-8 text"))?;
    Ok(Some((text, id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &[u8]) -> TreePath {
        TreePath::new(text).expect("a valid path")
    }

    fn matcher(ignore: &[&str], files: &[(&str, &str)], protect: &[&str]) -> Matcher {
        let lines = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let files =
            files.iter().map(|(dir, text)| (path(dir.as_bytes()), (*text).into())).collect();
        Matcher::new(&Rules { ignore: lines(ignore), files, protect: lines(protect) })
            .expect("good rules")
    }

    #[test]
    fn the_syntax_is_that_of_gitignore() {
        let rules =
            matcher(&["*.log", "!keep.log", "/top", "dir/", "a/**/z", "# no", ""], &[], &[]);
        for (text, is_directory, verdict) in [
            (&b"x.log"[..], false, Verdict::Ignored),
            (b"deep/x.log", false, Verdict::Ignored),
            (b"deep/keep.log", false, Verdict::None),
            (b"top", false, Verdict::Ignored),
            (b"deep/top", false, Verdict::None),
            (b"dir", true, Verdict::Ignored),
            (b"dir", false, Verdict::None),
            (b"a/b/c/z", false, Verdict::Ignored),
            (b"# no", false, Verdict::None),
        ] {
            let shown = text.escape_ascii();
            assert_eq!(rules.matches(&path(text), is_directory), verdict, "{shown}");
        }
    }

    #[test]
    fn fault_010_names_that_are_not_utf_8_match() {
        let rules = matcher(&["*.tmp"], &[("d", "x?")], &[]);
        assert_eq!(rules.matches(&path(b"d/\xff\xfe.tmp"), false), Verdict::Ignored);
        assert_eq!(rules.matches(&path(b"d/\xff"), false), Verdict::None);
    }

    #[test]
    fn operator_stands_above_files_and_deeper_files_above_upper_ones() {
        let rules = matcher(
            &["!important.txt", "/b/secret"],
            &[("", "*.txt\n"), ("b", "!*.txt\n!secret\n/only\r\n"), ("b/c", "*.txt")],
            &[],
        );
        let ignored = |text: &[u8]| rules.matches(&path(text), false) == Verdict::Ignored;
        assert!(ignored(b"a.txt"));
        assert!(!ignored(b"important.txt"), "the operator took it back in");
        assert!(!ignored(b"b/a.txt"), "the deeper file took it back in");
        assert!(ignored(b"b/c/a.txt"));
        assert!(ignored(b"b/c/d/a.txt"), "files hold for all that is below");
        assert!(ignored(b"b/secret"));
        assert!(ignored(b"b/only"));
        assert!(!ignored(b"b/d/only"), "a leading slash is the file's own directory");
    }

    #[test]
    fn what_lies_below_an_ignored_directory_is_covered_but_no_tree_is() {
        let rules = matcher(&["build/", "!build/kept", "repository"], &[], &["/data"]);
        let root = TreePath::root();
        assert_eq!(rules.covers(&root, &path(b"build/kept"), false), Verdict::Ignored);
        assert_eq!(rules.covers(&root, &path(b"data/x"), false), Verdict::Protected);
        assert_eq!(rules.covers(&root, &path(b"x/data"), true), Verdict::None);
        let tree = path(b"repository");
        assert_eq!(rules.covers(&tree, &path(b"repository/x"), false), Verdict::None);
        assert_eq!(rules.covers(&root, &path(b"repository/x"), false), Verdict::Ignored);
    }

    #[test]
    fn a_bad_pattern_is_named_with_file_and_line() {
        let rules = Rules { files: vec![(path(b"etc"), "ok\n{a\n".into())], ..Rules::default() };
        let error = Matcher::new(&rules).expect_err("an unclosed group");
        assert_eq!(error.to_string(), "etc/.depsyncignore, line 2: bad pattern");
    }

    #[test]
    fn protect_lines_hold_on_nodes_alone() {
        let rules = matcher(&[], &[], &["data/"]);
        let data = path(b"data");
        assert_eq!(rules.verdict(None, &data, true, Side::Source), Verdict::None);
        assert_eq!(rules.verdict(None, &data, true, Side::Node), Verdict::Protected);
    }
}
