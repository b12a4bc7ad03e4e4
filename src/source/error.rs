//! Why a source cannot be deployed.

use crate::model::codec;
use crate::model::limits::TREES_MAX;
use crate::model::path::{self, TreePath};
use crate::os::root;
use crate::scan::{self, Problem, What, matcher};

/// Why a source cannot be deployed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory is not there.
    #[error("the source {path} does not exist")]
    Missing {
        /// The path, or the first missing part of it.
        path: String,
    },
    /// The way to the directory cannot be gone, or not be trusted.
    #[error("open the source")]
    Root {
        /// Why.
        source: root::Error,
    },
    /// The operating system does not say which directory it is.
    #[error("look at the source {path}")]
    Identify {
        /// The path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// No tree, or too many.
    #[error("a source has 1 to {TREES_MAX} trees, not {count}")]
    TreeCount {
        /// How many there are.
        count: usize,
    },
    /// One tree lies within another.
    #[error("the tree {inner} lies within the tree {outer}")]
    TreesOverlap {
        /// The one.
        outer: TreePath,
        /// The one within it.
        inner: TreePath,
    },
    /// It is neither the home of a server of its kind nor its deployment directory.
    #[error("{}", told_layout(name, deployment, sign.as_ref(), directories))]
    Layout {
        /// The kind of server.
        name: String,
        /// The directory that a home has.
        deployment: TreePath,
        /// What a home has, and this source too.
        sign: Option<TreePath>,
        /// Of which a deployment directory has at least one.
        directories: Vec<TreePath>,
    },
    /// The operator's rules cannot be used, or all rules together are too long.
    #[error("read the ignore rules")]
    Rules {
        /// Why.
        source: matcher::Error,
    },
    /// The trees cannot be walked.
    #[error("walk the source")]
    Scan {
        /// Why.
        source: scan::Error,
    },
    /// Names that cannot be taken as they are.
    #[error("{}", told(problems))]
    Problems {
        /// Every one of them, sorted by path.
        problems: Vec<Problem>,
    },
    /// Links that `--safe-links` refuses.
    #[error("{} leads out of the source{}", shown(links.first()), and_more(links.len()))]
    UnsafeLinks {
        /// Every one of them, sorted.
        links: Vec<TreePath>,
    },
    /// The marker is not there.
    #[error("the marker {marker} is not in the source")]
    MarkerMissing {
        /// Its path below the root.
        marker: TreePath,
    },
    /// There is nothing in it.
    #[error("the source is empty")]
    Empty,
    /// There is something in it, and the rules ignore it all.
    #[error("the ignore rules match everything in the source")]
    AllIgnored,
    /// The index of the source changed under the run that uses it.
    #[error("the index of the source changed while it was in use; run again")]
    IndexChanged,
    /// What was found is more than a manifest can hold.
    #[error("describe the source")]
    Manifest {
        /// Why.
        source: codec::Error,
    },
}

/// What a run makes of an error; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The operator asked for what cannot be (64).
    Usage,
    /// It may well be, but is most likely not meant (5).
    Guard,
    /// The source is not fit to be deployed (1).
    Fail,
}

impl Error {
    /// What a run makes of it.
    pub fn class(&self) -> Class {
        use scan::Error as S;
        match self {
            Self::Missing { .. }
            | Self::Root {
                source:
                    root::Error::NotAbsolute { .. }
                    | root::Error::NotDirectory { .. }
                    | root::Error::ForeignLink { .. }
                    | root::Error::OpenParent { .. }
                    | root::Error::Loop { .. },
            }
            | Self::TreeCount { .. }
            | Self::TreesOverlap { .. }
            | Self::Layout { .. }
            | Self::Rules { .. }
            | Self::Scan {
                source: S::TreeMissing { .. } | S::TreeNotDirectory { .. } | S::Rules(_),
            } => Class::Usage,
            Self::Empty | Self::AllIgnored | Self::MarkerMissing { .. } => Class::Guard,
            Self::Root { .. }
            | Self::Identify { .. }
            | Self::Scan { .. }
            | Self::Problems { .. }
            | Self::UnsafeLinks { .. }
            | Self::Manifest { .. }
            | Self::IndexChanged => Class::Fail,
        }
    }

    /// A stable word for machines.
    pub fn kind(&self) -> &'static str {
        use scan::Error as S;
        match self {
            Self::Missing { .. } => "source-missing",
            Self::Root { .. } | Self::Identify { .. } => "source-unreachable",
            Self::TreeCount { .. }
            | Self::TreesOverlap { .. }
            | Self::Scan { source: S::TreeMissing { .. } | S::TreeNotDirectory { .. } } => {
                "source-trees"
            }
            Self::Layout { .. } => "source-layout",
            Self::IndexChanged => "index-changed",
            Self::Rules { .. } | Self::Scan { source: S::Rules(_) } => "ignore-rules",
            Self::Scan { source: S::Stopped } => "stopped",
            Self::Scan { .. } => "source-unreadable",
            Self::Problems { problems } => problems.first().map_or("source-unreadable", kind_of),
            Self::UnsafeLinks { .. } => "source-links",
            Self::MarkerMissing { .. } => "source-marker",
            Self::Empty => "source-empty",
            Self::AllIgnored => "source-all-ignored",
            Self::Manifest { .. } => "source-too-large",
        }
    }

    /// What to do about it, if one thing is likely to help.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Empty => Some("is it mounted? if it is meant to be empty, give --allow-empty"),
            Self::AllIgnored => Some(
                "look at --exclude and .depsyncignore; if nodes are meant to be emptied, give --allow-empty",
            ),
            Self::MarkerMissing { .. } => {
                Some("is the source mounted? the marker is set by `guard.marker`")
            }
            Self::Layout { .. } => Some(
                "name the home or the deployment directory as the source; or give 'trees', or take 'preset' out",
            ),
            Self::UnsafeLinks { .. } => {
                Some("make the links relative and stay inside, or leave --safe-links out")
            }
            Self::Problems { problems } => problems.first().and_then(hint_of),
            _ => None,
        }
    }
}

fn kind_of(problem: &Problem) -> &'static str {
    match &problem.what {
        What::Unstable | What::DirectoryChanged => "source-unstable",
        What::Special => "source-special",
        What::MountPoint => "source-mount-point",
        What::BadName { source: path::Error::StateDirectory, .. } => "source-state-directory",
        What::BadName { .. } => "source-path",
        What::Unreadable { .. } | What::Opaque { .. } | What::NotDirectory => "source-unreadable",
    }
}

fn hint_of(problem: &Problem) -> Option<&'static str> {
    match &problem.what {
        What::Unstable | What::DirectoryChanged => {
            Some("wait until nothing writes to the source, or exclude what is always written to")
        }
        What::Special => Some("exclude it, or give --skip-specials"),
        What::MountPoint => Some("exclude it, or give it as a source of its own"),
        What::BadName { source: path::Error::StateDirectory, .. } => Some(
            "'.depsync' at the root is depsync's own state directory on nodes; rename it, or take it out of the source",
        ),
        What::BadName { .. } => Some("shorten it, or exclude the directory"),
        What::Unreadable { .. } => Some("let this user read it, or exclude it"),
        What::Opaque { .. } | What::NotDirectory => None,
    }
}

fn shown(path: Option<&TreePath>) -> String {
    path.map(ToString::to_string).unwrap_or_default()
}

fn and_more(count: usize) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        more => format!(", and {more} more"),
    }
}

fn told_layout(
    name: &str,
    deployment: &TreePath,
    sign: Option<&TreePath>,
    directories: &[TreePath],
) -> String {
    if let Some(sign) = sign {
        return format!(
            "the source is a home of {name}, as it has {sign}, but {deployment} is not there"
        );
    }
    let names: Vec<String> = directories.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    format!(
        "the source is no home of {name}, as {deployment} is not there, nor its deployment directory, as none of {names} is"
    )
}

fn told(problems: &[Problem]) -> String {
    let Some(first) = problems.first() else { return String::new() };
    let cause = std::error::Error::source(first).map(|cause| format!(": {cause}"));
    format!("{first}{}{}", cause.unwrap_or_default(), and_more(problems.len()))
}
