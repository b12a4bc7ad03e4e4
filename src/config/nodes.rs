//! Which nodes a run is about: the list, and the part of it that `--limit` leaves.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::Error;
use crate::model::limits::{NODES_FILE_BYTES_MAX, NODES_MAX};
use crate::model::nodes_file;
use crate::model::target::{LocalPath, Target};
use crate::model::untrusted::Untrusted;
use crate::os::operator_file;

/// Where the nodes are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// A file with one target a line.
    File(PathBuf),
    /// `[[node]]` tables of the configuration.
    Configured(Vec<ListedNode>),
    /// `--node` options.
    Named(Vec<ListedNode>),
}

/// One listed node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedNode {
    /// The node and the directory on it.
    pub target: Target,
    /// Words that `--limit` matches.
    pub labels: Vec<String>,
    /// A further private key to offer.
    pub identity: Option<PathBuf>,
}

impl ListedNode {
    fn of(target: Target) -> Self {
        Self { target, labels: Vec::new(), identity: None }
    }
}

impl Nodes {
    /// The nodes that `--node` options name; relative local targets start at the working directory.
    ///
    /// # Errors
    /// The first text that is no target, or names one again.
    pub fn from_options(texts: &[String], working_directory: &Path) -> Result<Self, Error> {
        let base = local_path(working_directory)?;
        let mut nodes: Vec<ListedNode> = Vec::new();
        for text in texts {
            let target = Target::parse(text.as_bytes(), &base).map_err(|source| Error::Target {
                text: Untrusted::new(text.as_bytes()).to_string(),
                source,
            })?;
            if nodes.iter().any(|node| node.target == target) {
                return Err(Error::Contradiction {
                    message: format!("the node {target} is given twice"),
                    hint: "give each node once",
                });
            }
            nodes.push(ListedNode::of(target));
        }
        Ok(Self::Named(nodes))
    }

    /// Reads the list.
    pub(super) fn list(&self) -> Result<Vec<ListedNode>, Error> {
        let nodes = match self {
            Self::File(path) => read_nodes_file(path)?.into_iter().map(ListedNode::of).collect(),
            Self::Configured(nodes) | Self::Named(nodes) => nodes.clone(),
        };
        if nodes.len() > NODES_MAX {
            return Err(Error::Contradiction {
                message: format!("there are over {NODES_MAX} nodes"),
                hint: "make several clusters of them",
            });
        }
        Ok(nodes)
    }
}

fn read_nodes_file(path: &Path) -> Result<Vec<Target>, Error> {
    let bytes = operator_file::read_operator_file(path, NODES_FILE_BYTES_MAX)
        .map_err(|source| Error::File { what: "the nodes file", path: path.to_owned(), source })?;
    nodes_file::parse(&bytes, &base_of(path)?)
        .map_err(|source| Error::NodesFile { path: path.to_owned(), source })
}

/// The real path of the directory that holds `file`, where its relative paths start.
pub(super) fn base_of(file: &Path) -> Result<LocalPath, Error> {
    local_path(file.parent().unwrap_or(Path::new("/")))
}

fn local_path(directory: &Path) -> Result<LocalPath, Error> {
    let real = operator_file::real_path(directory)
        .map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
    LocalPath::new(real.as_os_str().as_bytes()).map_err(|source| Error::Target {
        text: Untrusted::new(real.as_os_str().as_bytes()).to_string(),
        source,
    })
}

/// The nodes of which the host, the whole target or a label matches one of `patterns`; all if there is no pattern.
///
/// A pattern may be several with commas between; `*` and `?` stand for any text and any character.
pub(super) fn limit(nodes: Vec<ListedNode>, patterns: &[String]) -> Result<Vec<ListedNode>, Error> {
    let mut globs = Vec::new();
    for pattern in patterns.iter().flat_map(|pattern| pattern.split(',')).map(str::trim) {
        let glob = globset::Glob::new(pattern).map_err(|error| Error::Contradiction {
            message: format!("--limit {}: {}", Untrusted::new(pattern.as_bytes()), error.kind()),
            hint: "a pattern is a host, a target or a label, with * and ? for any text and character",
        })?;
        globs.push((pattern, glob.compile_matcher()));
    }
    for (pattern, glob) in &globs {
        if !nodes.iter().any(|node| matches(node, glob)) {
            return Err(Error::Contradiction {
                message: format!("--limit {} matches no node", Untrusted::new(pattern.as_bytes())),
                hint: "a pattern is a host, a target or a label, with * and ? for any text and character",
            });
        }
    }
    let wanted =
        |node: &ListedNode| globs.is_empty() || globs.iter().any(|(_, glob)| matches(node, glob));
    Ok(nodes.into_iter().filter(wanted).collect())
}

fn matches(node: &ListedNode, glob: &globset::GlobMatcher) -> bool {
    let host = match &node.target {
        Target::Ssh(target) => Some(target.host.as_str()),
        Target::Local(_) => None,
    };
    host.is_some_and(|host| glob.is_match(host))
        || glob.is_match(node.target.to_string())
        || node.labels.iter().any(|label| glob.is_match(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<ListedNode> {
        let Ok(Nodes::Named(mut nodes)) = Nodes::from_options(
            &["u@web-1:/srv/x".to_owned(), "web-2:/srv/x".to_owned(), "/srv/y".to_owned()],
            Path::new("/"),
        ) else {
            panic!("not read")
        };
        nodes[1].labels.push("blue".to_owned());
        nodes
    }

    fn limited(pattern: &str) -> Result<Vec<String>, String> {
        limit(nodes(), &[pattern.to_owned()])
            .map(|nodes| nodes.iter().map(|node| node.target.to_string()).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn limit_matches_hosts_targets_and_labels() {
        assert_eq!(limited("web-1").expect("one"), ["u@web-1:/srv/x"]);
        assert_eq!(limited("web-*").expect("two").len(), 2);
        assert_eq!(limited("blue, /srv/y").expect("two"), ["web-2:/srv/x", "/srv/y"]);
        assert_eq!(limited("*").expect("all").len(), 3);
        assert_eq!(limited("web-1,web-9").expect_err("none"), "--limit web-9 matches no node");
        assert!(limited("[").is_err());
        assert_eq!(limit(nodes(), &[]).expect("all").len(), 3);
    }

    #[test]
    fn a_node_given_twice_is_refused() {
        let twice = Nodes::from_options(&["h:x".to_owned(), "h:~/x".to_owned()], Path::new("/"));
        assert_eq!(twice.expect_err("twice").to_string(), "the node h:x is given twice");
    }
}
