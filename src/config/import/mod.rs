//! What keeps nodes alike today, a shell script, a crontab or a command line of rsync, as a configuration of depsync.
//!
//! Nothing is executed and no file is read: [`script()`] and [`command`] are pure functions of bytes to [`Imported`]. What is not
//! certain without executing the script is a [`Finding`], never a guess without a word.
//!
//! Bytes become tokens (`shell`), those commands and loops (`items`), whose words are expanded (`scope`) while they are gone
//! through (`script`, `crontab`); each rsync is read (`rsync`, by the table of `options`; `remote_shell`, `pattern`), and what they
//! copy becomes one configuration (`combine`).

mod combine;
mod crontab;
mod finding;
mod notes;
mod options;
mod pattern;
mod shell;
mod items;
mod scope;
mod remote_shell;
mod rsync;
mod copies;
mod script;

pub use crontab::Entry;
pub use finding::{Finding, Level};
pub use notes::{Keys, Value};

use scope::Field;

/// The longest text that is taken.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// What must be known beside the text.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The home directory that `~` stands for.
    pub home: Option<String>,
    /// Where relative paths start if the text does not say; absolute.
    pub working_directory: String,
    /// The directory the script lies in; none if it came from elsewhere.
    pub script_directory: Option<String>,
}

/// Where the nodes are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nodes {
    /// Nowhere that is certain.
    None,
    /// In this file, which is not read.
    File(String),
    /// In the text: targets that are taken by [`Target::parse`](crate::model::target::Target::parse).
    Listed(Vec<String>),
}

/// A configuration, as far as the text says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The directory that is copied, or the home of the trees; none if that is not certain.
    pub source: Option<String>,
    /// The trees below it.
    pub trees: Vec<String>,
    /// The nodes.
    pub nodes: Nodes,
    /// Further keys.
    pub keys: Keys,
    /// What is said of the lines: what is lost, the faults, the notes.
    pub findings: Vec<Finding>,
    /// The lines of a crontab.
    pub cron: Vec<Entry>,
    /// An rsync deletes what the source does not have.
    pub deletes: bool,
    /// The commands were read from a text that is to be replaced.
    pub is_script: bool,
}

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Over [`TEXT_BYTES_MAX`].
    #[error("it is over {TEXT_BYTES_MAX} bytes long")]
    TooLarge,
    /// NUL bytes.
    #[error("it is not a text")]
    Binary,
    /// A quote or bracket without an end.
    #[error("line {line}: the {what} that opens here is not closed")]
    Unterminated {
        /// The line, from 1.
        line: usize,
        /// What opens.
        what: &'static str,
    },
    /// Substitutions within substitutions without end.
    #[error("line {line}: brackets and quotes are nested too deep")]
    Nested {
        /// The line, from 1.
        line: usize,
    },
    /// The values of variables grow without bounds.
    #[error("its variables grow too large")]
    TooMuch,
    /// No rsync.
    #[error("this is not a script that syncs with rsync")]
    NotRsync {
        /// A script that is called, which may be the one, escaped.
        calls: Option<String>,
    },
    /// It fetches from another host.
    #[error("it fetches from another host; depsync runs where the source is, and pushes")]
    Fetches,
    /// Neither source nor target is certain.
    #[error("neither what its rsync copies nor where to is certain")]
    Unclear {
        /// What was found.
        findings: Vec<Finding>,
    },
}

impl Error {
    /// One action that helps.
    pub fn hint(&self) -> String {
        match self {
            Self::NotRsync { calls: Some(script) } => format!("it starts {script}: import that"),
            Self::Fetches => {
                "call it on the host that has the files, with 'depsync init' for a configuration"
                    .into()
            }
            Self::Unterminated { .. } | Self::Nested { .. } => {
                "mend the script, or import its rsync alone: depsync import -- rsync …".into()
            }
            Self::Unclear { .. } => {
                "import the command with its values in place: depsync import -- rsync …".into()
            }
            _ => "depsync init writes a configuration".into(),
        }
    }
}

/// Reads a script, a crontab, or a file of commands.
///
/// # Errors
/// [`Error`], if it holds no rsync of which source or target is certain.
pub fn script(bytes: &[u8], at: &Surroundings) -> Result<Imported, Error> {
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    if bytes.contains(&0) {
        return Err(Error::Binary);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    script::read(&String::from_utf8_lossy(bytes), at)
}

/// Reads a command that was given as words.
///
/// # Errors
/// As [`script()`].
pub fn command(words: &[String], at: &Surroundings) -> Result<Imported, Error> {
    script::read_words(words.iter().map(Field::text).collect(), at)
}

/// True if rsync's option of this name, without its hyphens, is known.
pub fn knows_option(name: &str) -> bool {
    let mut letters = name.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => options::short(letter).is_some(),
        _ => options::long(name).is_some(),
    }
}
