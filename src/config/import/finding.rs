//! [`Finding`]: what is said of one line of what is imported.

/// What a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something of the script that the configuration does not say: the operator decides.
    Lost,
    /// A fault of the script that depsync does not have.
    Fault,
    /// What was made of a line, where that is not plain.
    Note,
}

impl Level {
    /// The word that names it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Fault => "fault",
            Self::Note => "note",
        }
    }
}

/// What is said of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1; none if it is said of the whole, or of a command line.
    pub line: Option<usize>,
    /// The text it is said of, as it stands there.
    pub text: String,
    /// The name of what was looked for.
    pub check: &'static str,
    /// What it is.
    pub level: Level,
    /// What goes wrong, or what was not understood; text from outside is escaped.
    pub message: String,
    /// What depsync does instead, or what is to be done; text from outside is escaped.
    pub instead: String,
}

/// Longest text of a line that is kept.
const TEXT_CHARS_MAX: usize = 160;

impl Finding {
    /// A finding that names no text yet: see [`Finding::with_text`].
    pub(super) fn new(
        line: Option<usize>,
        check: &'static str,
        level: Level,
        message: impl Into<String>,
        instead: impl Into<String>,
    ) -> Self {
        let (message, instead) = (message.into(), instead.into());
        Self { line, text: String::new(), check, level, message, instead }
    }

    /// The finding with the text that it is said of, cut if it is long.
    pub(super) fn with_text(mut self, text: &str) -> Self {
        let text = text.trim();
        self.text = text.chars().take(TEXT_CHARS_MAX).collect();
        if self.text.len() < text.len() {
            self.text.push('…');
        }
        self
    }
}
