//! The nodes file: one target a line, all of it good or none of it taken.
//!
//! Blanks around a line are dropped; `#` starts a comment at a line's start or after a blank; blank lines, a byte order mark,
//! CRLF and a missing last newline are fine.

use std::collections::BTreeMap;
use std::fmt;

use super::limits::{NODES_FILE_BYTES_MAX, NODES_MAX};
use super::target::{self, LocalPath, Target};
use super::untrusted::Untrusted;

/// Why a nodes file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Over [`NODES_FILE_BYTES_MAX`].
    #[error("the nodes file is over {NODES_FILE_BYTES_MAX} bytes long")]
    TooLarge,
    /// NUL bytes: not a text.
    #[error("the nodes file is not a text")]
    Binary,
    /// No target at all.
    #[error("the nodes file names no node")]
    Empty,
    /// Over [`NODES_MAX`] targets.
    #[error("the nodes file names over {NODES_MAX} nodes")]
    TooMany,
    /// Lines that are no target or name one twice.
    #[error("the nodes file has {} bad line{}", .0.len(), if .0.len() == 1 { "" } else { "s" })]
    BadLines(Vec<BadLine>),
}

/// A line that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// Its text, escaped, without comment.
    pub text: String,
    /// Why.
    pub problem: LineProblem,
}

/// Why a line is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineProblem {
    /// It is no target.
    Target(target::Error),
    /// An earlier line, whose number is given, names the same target.
    Duplicate(usize),
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line may be as long as the file; what is shown of it need not be.
        const SHOWN_MAX: usize = 120;
        let text: String = self.text.chars().take(SHOWN_MAX).collect();
        let dots = if text.len() < self.text.len() { "…" } else { "" };
        write!(f, "line {}: {text}{dots}: ", self.line)?;
        match &self.problem {
            LineProblem::Target(error) if text.len() < self.text.len() => {
                write!(f, "not a target ({} bytes)", self.text.len())?;
                if let Some(hint) = error.hint() { write!(f, "; {hint}") } else { Ok(()) }
            }
            LineProblem::Target(error) => {
                write!(f, "{error}")?;
                if let Some(hint) = error.hint() { write!(f, "; {hint}") } else { Ok(()) }
            }
            LineProblem::Duplicate(first) => write!(f, "the same target as line {first}"),
        }
    }
}

/// Reads a nodes file; relative local targets start at `base`.
///
/// Guarantees: at least one target, no two the same; the order of the lines is kept.
///
/// # Errors
/// [`Error`]; [`Error::BadLines`] names every bad line at once.
pub fn parse(bytes: &[u8], base: &LocalPath) -> Result<Vec<Target>, Error> {
    if bytes.len() > NODES_FILE_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    if bytes.contains(&0) {
        return Err(Error::Binary);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut targets = Vec::new();
    let mut lines: BTreeMap<Target, usize> = BTreeMap::new();
    let mut bad = Vec::new();
    for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let text = without_comment(text).trim_ascii();
        if text.is_empty() {
            continue;
        }
        let problem = match Target::parse(text, base) {
            Ok(target) => {
                let Some(first) = lines.get(&target) else {
                    lines.insert(target.clone(), line);
                    targets.push(target);
                    continue;
                };
                LineProblem::Duplicate(*first)
            }
            Err(error) => LineProblem::Target(error),
        };
        bad.push(BadLine { line, text: Untrusted::new(text).to_string(), problem });
    }
    if !bad.is_empty() {
        return Err(Error::BadLines(bad));
    }
    match targets.len() {
        0 => Err(Error::Empty),
        count if count > NODES_MAX => Err(Error::TooMany),
        _ => Ok(targets),
    }
}

/// The line up to a `#` that stands at its start or after a blank.
fn without_comment(line: &[u8]) -> &[u8] {
    let mut after_blank = true;
    for (at, byte) in line.iter().enumerate() {
        if *byte == b'#' && after_blank {
            return line.get(..at).unwrap_or(line);
        }
        after_blank = matches!(byte, b' ' | b'\t');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<String>, Error> {
        let base = LocalPath::new(b"/etc/cluster").expect("absolute");
        parse(bytes, &base).map(|targets| targets.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn fault_126_blanks_comments_endings_and_marks_are_fine() {
        let expected = Ok(vec!["root@192.168.0.10:/opt/a b".to_owned(), "h:x#y".to_owned()]);
        for text in [
            "root@192.168.0.10:/opt/a b\nh:x#y\n",
            "root@192.168.0.10:/opt/a b\nh:x#y",
            "\u{feff}root@192.168.0.10:/opt/a b\r\nh:x#y\r\n",
            "# nodes\n\n \t root@192.168.0.10:/opt/a b  # one\n\n\th:x#y\t#two\n \t\n  # end",
        ] {
            assert_eq!(read(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn wso2_sample_works_unchanged() {
        let text = b"root@192.168.0.10:/opt/wso2mi/repository/deployment/server\nroot@192.168.0.11:/opt/wso2mi/repository/deployment/server\n";
        assert_eq!(read(text).expect("two nodes").len(), 2);
    }

    #[test]
    fn fault_127_duplicates_name_both_lines() {
        let Err(Error::BadLines(bad)) = read(b"h:~/x\n\nh:x/\n") else { panic!("not refused") };
        assert_eq!(bad.len(), 1);
        assert_eq!(bad[0].to_string(), "line 3: h:x/: the same target as line 1");
    }

    #[test]
    fn fault_133_empty_huge_and_binary_files_are_refused() {
        assert_eq!(read(b""), Err(Error::Empty));
        assert_eq!(read(b"\n# nothing\n"), Err(Error::Empty));
        assert_eq!(read(&vec![b'a'; 10_000_000]), Err(Error::TooLarge));
        assert_eq!(read(b"\x7fELF\x02\x01\0\0"), Err(Error::Binary));
        let many: Vec<String> = (0..=NODES_MAX).map(|n| format!("h{n}:/x")).collect();
        assert_eq!(read(many.join("\n").as_bytes()), Err(Error::TooMany));
    }

    #[test]
    fn fault_134_all_bad_lines_are_told_at_once() {
        let Err(Error::BadLines(bad)) = read(b"h:/x\nword\nh2:/x\n-o@h:/x\nssh://h:0/x\n") else {
            panic!("not refused")
        };
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 4, 5]);
        assert!(bad[0].to_string().starts_with("line 2: word: "), "{}", bad[0]);
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let Err(Error::BadLines(bad)) = read(&vec![b'a'; 1_000_000]) else { panic!("not refused") };
        assert!(bad[0].to_string().len() < 400, "{}", bad[0].to_string().len());
    }
}
