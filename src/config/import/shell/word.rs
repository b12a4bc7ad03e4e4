//! One word: its quotes, variables and substitutions.

use super::{Error, Lexer, NESTING_MAX, Part, Word};

/// How far the end of a word processor's quote may be away: looking for it must not cost more than the text is long.
const QUOTED_CHARS_MAX: usize = 4096;

/// Adds text to the last part if that is of the same kind.
fn add(parts: &mut Vec<Part>, text: &str, is_quoted: bool) {
    match (parts.last_mut(), is_quoted) {
        (Some(Part::Text(last)), false) | (Some(Part::Quoted(last)), true) => last.push_str(text),
        _ if is_quoted => parts.push(Part::Quoted(text.to_owned())),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

fn add_char(parts: &mut Vec<Part>, c: char, is_quoted: bool) {
    add(parts, c.encode_utf8(&mut [0; 4]), is_quoted);
}

impl Lexer<'_> {
    /// The word that begins here; never an endless loop: at least one character is taken, if there is one.
    pub(super) fn word(&mut self) -> Result<Word, Error> {
        let mut parts = Vec::new();
        let start = self.at;
        while let Some(c) = self.peek() {
            match c {
                '<' | '>' if self.at == start && self.ahead(1) == Some('(') => {
                    self.bump();
                    self.bump();
                    let text = self.bracketed()?;
                    parts.push(Part::Substitution { text, is_quoted: false });
                }
                ' ' | '\t' | '\n' | '\r' | '\u{a0}' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => {
                    break;
                }
                '\\' => {
                    self.bump();
                    match self.bump() {
                        None => add(&mut parts, "\\", false),
                        Some('\n') => {}
                        Some(c) => add_char(&mut parts, c, true),
                    }
                }
                '\'' => self.single(&mut parts)?,
                '"' => self.double(&mut parts, &['"'])?,
                '`' => {
                    let text = self.backquoted()?;
                    parts.push(Part::Substitution { text, is_quoted: false });
                }
                '$' => self.dollar(&mut parts, false)?,
                '~' if is_at_start(&parts) => self.tilde(&mut parts),
                '\u{201c}' | '\u{201d}' | '\u{2018}' if is_at_start(&parts) => {
                    self.curly(&mut parts, c)?;
                }
                _ => {
                    self.bump();
                    add_char(&mut parts, c, false);
                }
            }
        }
        if self.at == start {
            self.bump();
        }
        Ok(Word { parts })
    }

    fn single(&mut self, parts: &mut Vec<Part>) -> Result<(), Error> {
        let line = self.line;
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                None => return Err(Error::Unterminated { line, what: "quote" }),
                Some('\'') => break,
                Some(c) => text.push(c),
            }
        }
        add(parts, &text, true);
        Ok(())
    }

    fn double(&mut self, parts: &mut Vec<Part>, ends: &[char]) -> Result<(), Error> {
        let line = self.line;
        self.bump();
        add(parts, "", true);
        loop {
            match self.peek() {
                None => return Err(Error::Unterminated { line, what: "quote" }),
                Some(c) if ends.contains(&c) => {
                    self.bump();
                    return Ok(());
                }
                Some('\\') => {
                    self.bump();
                    match self.bump() {
                        Some('\n') | None => {}
                        Some(c @ ('"' | '\\' | '$' | '`')) => add_char(parts, c, true),
                        Some(c) => {
                            add(parts, "\\", true);
                            add_char(parts, c, true);
                        }
                    }
                }
                Some('`') => {
                    let text = self.backquoted()?;
                    parts.push(Part::Substitution { text, is_quoted: true });
                }
                Some('$') => self.dollar(parts, true)?,
                Some(c) => {
                    self.bump();
                    add_char(parts, c, true);
                }
            }
        }
    }

    /// Quotes of a word processor, which the shell would take for letters, are read as what was meant.
    fn curly(&mut self, parts: &mut Vec<Part>, opening: char) -> Result<(), Error> {
        let ends: &[char] = if opening == '\u{2018}' {
            &['\u{2019}', '\'']
        } else {
            &['\u{201d}', '\u{201c}', '"']
        };
        let rest = self.chars.get(self.at.saturating_add(1)..).unwrap_or_default();
        let near = rest.iter().take(QUOTED_CHARS_MAX).take_while(|c| **c != '\n');
        let closes = near.into_iter().any(|c| ends.contains(c));
        if !closes {
            self.bump();
            add_char(parts, opening, false);
            return Ok(());
        }
        self.curly.push(self.line);
        self.double(parts, ends)
    }

    fn tilde(&mut self, parts: &mut Vec<Part>) {
        self.bump();
        match self.peek() {
            None | Some('/' | ' ' | '\t' | '\n' | '\r' | ';' | ':' | '&' | '|' | ')') => {
                parts.push(Part::Home);
            }
            Some(_) => {
                let mut text = String::from("~");
                while let Some(c) = self.peek().filter(|c| {
                    c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '@')
                }) {
                    text.push(c);
                    self.bump();
                }
                parts.push(Part::Unclear(text));
            }
        }
    }

    /// What begins with `$`.
    fn dollar(&mut self, parts: &mut Vec<Part>, is_quoted: bool) -> Result<(), Error> {
        let line = self.line;
        self.bump();
        match self.peek() {
            Some('(') => {
                self.bump();
                let text = self.bracketed()?;
                // `$((` is arithmetic.
                if text.starts_with('(') && text.ends_with(')') {
                    parts.push(Part::Unclear(format!("$({text})")));
                } else {
                    parts.push(Part::Substitution { text, is_quoted });
                }
            }
            Some('{') => {
                self.bump();
                let mut text = String::new();
                loop {
                    match self.bump() {
                        None => return Err(Error::Unterminated { line, what: "bracket" }),
                        Some('}') => break,
                        Some(c) => text.push(c),
                    }
                }
                parts.push(braced(&text, is_quoted));
            }
            Some('\'') if !is_quoted => self.single(parts)?,
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let mut name = String::new();
                while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                    self.bump();
                }
                parts.push(Part::Variable { name, is_quoted, trims: false });
            }
            Some(c) if c.is_ascii_digit() || "@*#?$!-".contains(c) => {
                self.bump();
                parts.push(Part::Variable { name: c.to_string(), is_quoted, trims: false });
            }
            _ => add(parts, "$", is_quoted),
        }
        Ok(())
    }

    /// The text up to the bracket that closes; the opening one is taken already.
    fn bracketed(&mut self) -> Result<String, Error> {
        let line = self.line;
        let mut text = String::new();
        // What closes each bracket and quote that is open.
        let mut open = vec![')'];
        while let Some(c) = self.bump() {
            let end = open.last().copied();
            if Some(c) == end {
                open.pop();
                if open.is_empty() {
                    return Ok(text);
                }
                text.push(c);
                continue;
            }
            text.push(c);
            match (c, end) {
                (_, Some('\'')) => {}
                ('\\', _) => text.extend(self.bump()),
                ('(', Some('"')) if !text.ends_with("$(") => {}
                ('(', _) => open.push(')'),
                ('\'', Some(')')) => open.push('\''),
                ('"', _) => open.push('"'),
                _ => {}
            }
            if open.len() > NESTING_MAX {
                return Err(Error::Nested { line });
            }
        }
        Err(Error::Unterminated { line, what: "bracket" })
    }

    fn backquoted(&mut self) -> Result<String, Error> {
        let line = self.line;
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                None => return Err(Error::Unterminated { line, what: "quote" }),
                Some('`') => return Ok(text),
                Some('\\') => match self.bump() {
                    Some(c @ ('`' | '\\' | '$')) => text.push(c),
                    Some(c) => text.extend(['\\', c]),
                    None => {}
                },
                Some(c) => text.push(c),
            }
        }
    }
}

/// True where a word, or the value of an assignment, begins.
fn is_at_start(parts: &[Part]) -> bool {
    match parts {
        [] => true,
        [Part::Text(text)] => text.ends_with('='),
        _ => false,
    }
}

/// What stands in `${…}`.
fn braced(text: &str, is_quoted: bool) -> Part {
    let bare = text.strip_suffix("[@]").or(text.strip_suffix("[*]")).unwrap_or(text);
    let (name, trims) = bare.strip_suffix("%/").map_or((bare, false), |name| (name, true));
    if super::is_name(name) || matches!(name, "0" | "1" | "@" | "*") {
        Part::Variable { name: name.to_owned(), is_quoted, trims }
    } else {
        Part::Unclear(format!("${{{text}}}"))
    }
}
