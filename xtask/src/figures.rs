//! The tables of figures in `docs/safety.md` and `docs/approaches.md`: what the long tests came to, and when.
//!
//! ```text
//! | kill | `cargo xtask crash kill --full` | 2026-11-28 | 412 points, 0 losses |
//! ```
//! A row is written by the command that it names, with `--record`; nobody writes one by hand.

use crate::failure::{Failure, Result, at};
use crate::{program, workspace};

const DOCUMENT: &str = "docs/safety.md";

/// Writes today's `figures` into the row of `part`.
///
/// # Errors
/// There is no such row, or the document cannot be read or written.
pub(crate) fn record(part: &str, figures: &str) -> Result {
    record_in(DOCUMENT, part, figures)
}

/// Writes them into such a table of another document.
///
/// # Errors
/// As [`record`].
pub(crate) fn record_in(document: &str, part: &str, figures: &str) -> Result {
    let path = workspace::root().join(document);
    let text = std::fs::read_to_string(&path).map_err(at("read", &path))?;
    let today = program::output(&["date", "-u", "+%Y-%m-%d"])?;
    let text = replaced(&text, part, today.trim(), figures)
        .ok_or_else(|| Failure::new(format!("{document}: its figures have no row {part}")))?;
    std::fs::write(&path, text).map_err(at("write", &path))?;
    println!("{document}: {part}: {figures}");
    Ok(())
}

/// The document with another date and other figures in the row of `part`; `None` if there is no such row.
fn replaced(text: &str, part: &str, today: &str, figures: &str) -> Option<String> {
    let start = format!("| {part} | ");
    let line = text.lines().find(|line| line.starts_with(&start))?;
    let command = line.strip_prefix(&start)?.split(" | ").next()?;
    Some(text.replacen(line, &format!("{start}{command} | {today} | {figures} |"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_its_command_and_gets_date_and_figures() {
        let text = "| part | command | date | figures |\n| kill | `c` | - | - |\n| disks | `d` | - | - |\n";
        let new = replaced(text, "kill", "2026-11-28", "7 points").unwrap_or_default();
        let wanted = "| part | command | date | figures |\n\
                      | kill | `c` | 2026-11-28 | 7 points |\n| disks | `d` | - | - |\n";
        assert_eq!(new, wanted);
        assert_eq!(replaced(text, "fuzz", "", ""), None);
    }
}
