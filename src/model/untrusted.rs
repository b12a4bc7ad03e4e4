//! [`Untrusted`]: text from outside, shown so that it cannot move a terminal or forge a log line (rule S20).

use std::fmt;

/// Bytes from outside that print with control characters, invalid UTF-8 and bidirectional controls escaped.
///
/// Cost: one pass at display, no allocation.
#[derive(Debug, Clone, Copy)]
pub struct Untrusted<'a>(&'a [u8]);

impl<'a> Untrusted<'a> {
    /// Wraps `bytes` for display.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

/// True for characters that change how the text around them is shown.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for piece in self.0.utf8_chunks() {
            for character in piece.valid().chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    _ if is_unsafe(character) => write!(f, "{}", character.escape_default())?,
                    _ => f.write_char(character)?,
                }
            }
            for byte in piece.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// `text`, which whoever made it should have escaped: as it is if showing it moves no terminal, else escaped.
pub fn escaped_once(text: &str) -> String {
    // A backslash is how an escape that was made already looks.
    let is_plain = !text.chars().any(is_unsafe);
    if is_plain { text.to_owned() } else { Untrusted::new(text.as_bytes()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_011_controls_bidi_and_invalid_bytes_are_escaped() {
        let shown = |bytes: &[u8]| Untrusted::new(bytes).to_string();
        assert_eq!(shown("plain ü".as_bytes()), "plain ü");
        assert_eq!(shown(b"a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(shown(b"\x9b\xff"), "\\x9b\\xff");
        assert_eq!(shown("\u{9b}\u{202e}".as_bytes()), "\\u{9b}\\u{202e}");
        assert_eq!(shown(b"back\\slash"), "back\\\\slash");
    }

    #[test]
    fn what_was_escaped_is_not_escaped_again() {
        assert_eq!(escaped_once("a\\nb ü"), "a\\nb ü");
        assert_eq!(escaped_once("a\nb\\n"), "a\\nb\\\\n");
    }
}
