//! Flags, environment and `depsync.toml`, made into the checked options of a run.
//!
//! [`Settings`] is what one source says, every field optional; flags stand over the environment (both come from the command
//! line's parser), that over the file, that over the defaults. [`resolve()`] ends in [`RunOptions`]. Stages take their own
//! options, never a configuration.
//!
//! [`RunOptions`]: crate::hub::options::RunOptions

pub mod values;
pub mod presets;
pub mod import;
mod cluster;
mod document;
mod nodes;
mod resolve;
mod settings;

use std::io;
use std::path::{Path, PathBuf};

use crate::hub::outcome::{Failure, Verdict};
use crate::model::nodes_file;
use crate::model::target;
use crate::model::untrusted::Untrusted;
use crate::os::operator_file;

pub use document::{KEYS, read_bytes, read_file};
pub use nodes::{ListedNode, Nodes};
pub use resolve::{Resolved, resolve, resolve_source};
pub use settings::Settings;

/// What the environment says beside `DEPSYNC_*`, read once.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The working directory.
    pub working_directory: PathBuf,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// Who is at work, for people: `SUDO_USER`, `LOGNAME` or `USER`.
    pub user: Option<String>,
}

/// Why there are no options for a run. Always the operator's to mend: usage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that the operator named is not read.
    #[error("read {what} {}", shown(.path))]
    File {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: operator_file::Error,
    },
    /// A directory that is named is not there.
    #[error("find the directory {}", shown(.path))]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A place in the configuration.
    #[error("{}:{}: {}", shown(&.0.file), .0.line, .0.message)]
    Document(Box<Place>),
    /// The nodes file.
    #[error("{}", shown(.path))]
    NodesFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: nodes_file::Error,
    },
    /// A target of the command line.
    #[error("'{text}' is not a target")]
    Target {
        /// The text, escaped.
        text: String,
        /// Why.
        source: target::Error,
    },
    /// A line of a list of patterns.
    #[error("{}:{line}", shown(.path))]
    PatternLine {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: values::Error,
    },
    /// Something is missing, given twice, or does not go together.
    #[error("{message}")]
    Contradiction {
        /// What.
        message: String,
        /// What to do.
        hint: &'static str,
    },
}

/// A place in the configuration, and what is wrong there.
#[derive(Debug)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The line's text and a mark below the place.
    pub excerpt: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    Untrusted::new(path.as_os_str().as_bytes()).to_string()
}

impl Error {
    /// The error as the report takes it. A message may have further lines: the excerpt, or all bad lines at once.
    pub fn failure(&self) -> Failure {
        let mut message = self.to_string();
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // Each of these errors escapes what came from outside itself.
            causes.push(error.to_string());
            cause = error.source();
        }
        let mut kind = "configuration";
        match self {
            Self::Document(place) => message = format!("{message}\n{}", place.excerpt),
            Self::NodesFile { source, .. } => {
                kind = "nodes-file";
                message = format!("{message}: {source}");
                causes.clear();
                if let nodes_file::Error::BadLines(bad) = source {
                    for line in bad {
                        message = format!("{message}\n  {line}");
                    }
                }
            }
            Self::Target { .. } => kind = "target",
            Self::File { .. } | Self::Directory { .. } => kind = "file",
            Self::PatternLine { .. } | Self::Contradiction { .. } => {}
        }
        Failure { verdict: Verdict::Usage, kind: kind.into(), message, causes, hint: self.hint() }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Document(place) => place.hint.clone(),
            Self::File { source, .. } => source.hint().map(str::to_owned),
            Self::Target { source, .. } => source.hint().map(str::to_owned),
            Self::Contradiction { hint, .. } => Some((*hint).to_owned()),
            Self::Directory { .. } | Self::NodesFile { .. } | Self::PatternLine { .. } => None,
        }
    }
}
