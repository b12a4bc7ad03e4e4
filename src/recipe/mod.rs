//! Ready files for this configuration: crontabs, units, exports, and what configuration management takes.
//!
//! ```text
//! Resolved + program, user, … ─▶ Values ─▶ cron | systemd | nfs | managed ─▶ Templates::fill ─▶ Recipe { files, next }
//! ```
//! Owns: the templates (`templates/<kind>/<file>`), what they are filled with, and how each format quotes ([`quote`]).
//! Never: prints, writes, or looks at the system; `cli` reads an operator's own templates and puts the files somewhere.
//!
//! A further kind is a file here with a function from [`Values`] and its options to a [`Recipe`], and its templates.

pub mod quote;
mod templates;
mod values;
pub mod cron;
pub mod systemd;
pub mod nfs;
pub mod managed;

use crate::hub::outcome::{Failure, Verdict};

pub use templates::Templates;
pub use values::{Values, Variables};

/// Files that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The files, in the order in which they are shown.
    pub files: Vec<File>,
    /// What to do once they are in their places: one command or sentence each.
    pub next: Vec<String>,
}

/// One file of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path below whatever directory the recipe is put into. Its first part tells whose it is: `hub`, `node`, `server`.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// What it holds.
    pub text: String,
}

impl File {
    /// A file that everyone may read.
    fn new(path: impl Into<String>, text: String) -> Self {
        Self { path: path.into(), mode: 0o644, text }
    }
}

impl Recipe {
    /// All files as one text; where there are several, a comment names each. Every format here has comments that start with `#`.
    pub fn text(&self) -> String {
        if let [file] = self.files.as_slice() {
            return file.text.clone();
        }
        let shown = |file: &File| format!("# --- {} ---\n{}", file.path, file.text);
        self.files.iter().map(shown).collect::<Vec<_>>().join("\n")
    }
}

/// Why there is no recipe. Always the operator's to mend: usage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A template is not filled.
    #[error("{name}:{line}: {what}\n  {line} | {excerpt}")]
    Template {
        /// The template.
        name: String,
        /// The line, from 1.
        line: usize,
        /// Why.
        what: String,
        /// The line's text, escaped.
        excerpt: String,
    },
    /// A path or text that these files cannot hold.
    #[error("{what} '{text}' {why}")]
    Text {
        /// What it is.
        what: &'static str,
        /// The text, escaped.
        text: String,
        /// Why not.
        why: &'static str,
    },
    /// Something is missing or does not go together.
    #[error("{message}")]
    Contradiction {
        /// What.
        message: String,
        /// What to do.
        hint: &'static str,
    },
}

impl Error {
    /// The error as the report takes it.
    pub fn failure(&self) -> Failure {
        let hint = match self {
            Self::Template { .. } => {
                "'depsync recipe KIND --show-templates' shows the built-in ones"
            }
            Self::Text { .. } => "give it another name",
            Self::Contradiction { hint, .. } => hint,
        };
        Failure {
            verdict: Verdict::Usage,
            kind: "recipe".into(),
            message: self.to_string(),
            causes: Vec::new(),
            hint: Some(hint.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
