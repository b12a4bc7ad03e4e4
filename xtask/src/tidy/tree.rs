//! The text files of the repository, or a fabricated tree of them.

use crate::{program, workspace};
use std::collections::BTreeMap;
use std::path::Path;

/// Text files by their path from the root, with `/` between its parts.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<String, String>);

impl Tree {
    /// The files that are, or could next be, committed; what is not text is left out.
    ///
    /// Where `git` cannot tell, as in a copy without its repository, these are all files but the build's.
    pub(super) fn of_workspace() -> Self {
        let root = workspace::root();
        let place = root.to_string_lossy();
        let listing =
            ["git", "-C", &place, "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let listed = if root.join(".git").exists() { program::output(&listing).ok() } else { None };
        let paths = listed.map_or_else(
            || {
                let mut paths = Vec::new();
                walk(&root, "", &mut paths);
                paths
            },
            |text| text.split('\0').map(str::to_owned).collect(),
        );
        let read =
            |path: String| std::fs::read_to_string(root.join(&path)).ok().map(|text| (path, text));
        Self(paths.into_iter().filter_map(read).collect())
    }

    #[cfg(test)]
    pub(super) fn fabricated(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    /// The text of a file.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// All files, by path.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The Rust files below a folder.
    pub(super) fn rust_below(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        let is_rust = |path: &str| Path::new(path).extension().is_some_and(|end| end == "rs");
        self.files().filter(move |(path, _)| path.starts_with(folder) && is_rust(path))
    }
}

/// All files but those of the repository itself and of the build.
fn walk(folder: &Path, prefix: &str, paths: &mut Vec<String>) {
    let Ok(listing) = std::fs::read_dir(folder) else { return };
    for entry in listing.filter_map(std::result::Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_file() => paths.push(path),
            Ok(kind) if kind.is_dir() && name != ".git" && path != "target" => {
                walk(&entry.path(), &format!("{path}/"), paths);
            }
            _ => {}
        }
    }
}
