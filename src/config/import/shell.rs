//! The shell's text as tokens: words of quoted and unquoted parts, operators, redirections. Nothing is expanded or executed.
//!
//! Cost: one pass; what stands in a substitution is read again where it is looked at. Nesting is bounded.

mod word;

use super::Error;

/// Nested parentheses and quotes in one substitution.
const NESTING_MAX: usize = 100;

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Text outside of quotes.
    Text(String),
    /// Text that quotes or a backslash keep together.
    Quoted(String),
    /// `$name` or `${name}`; `${name%/}` if `trims` a slash.
    Variable { name: String, is_quoted: bool, trims: bool },
    /// `$(…)`, `` `…` `` or `<(…)`.
    Substitution { text: String, is_quoted: bool },
    /// `~` where the shell puts the home directory.
    Home,
    /// What is not read: arithmetic, `~user`, other forms of `${…}`.
    Unclear(String),
}

/// A word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Word {
    pub(super) parts: Vec<Part>,
}

impl Word {
    /// The text, if nothing of it is quoted or expanded.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// True for `{a,b}` outside of quotes.
    pub(super) fn has_braces(&self) -> bool {
        let text = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            _ => "",
        });
        let text: String = text.collect();
        text.split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
            .is_some_and(|(inside, _)| inside.contains(',') || inside.contains(".."))
    }

    /// The name that is assigned, whether something is appended to it, and what.
    pub(super) fn assignment(&self) -> Option<(&str, bool, Word)> {
        let (first, rest) = self.parts.split_first()?;
        let Part::Text(text) = first else { return None };
        let (name, value) = text.split_once('=')?;
        let (name, appends) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
        if !is_name(name) {
            return None;
        }
        let head = (!value.is_empty()).then(|| Part::Text(value.to_owned()));
        Some((
            name,
            appends,
            Word { parts: head.into_iter().chain(rest.iter().cloned()).collect() },
        ))
    }
}

/// True for what may name a variable.
pub(super) fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(is_letter) && text.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

/// What a text is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Word(Word),
    /// `name=( … )`.
    Array {
        name: String,
        words: Vec<Word>,
    },
    /// Ends a command: a line's end, `;`, `&`, `&&`, `|`, `||`, `(`, `)`.
    End(&'static str),
    /// `<`, `>`, `>>` or another redirection; the word behind it is the place.
    Redirect(&'static str),
    /// A here-document, which is not read.
    Document,
}

/// A token and its line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// Reads a text, the first line of which has the number `line`. Beside the tokens: the lines with quotes of a word processor.
///
/// # Errors
/// [`Error::Unterminated`] for a quote or bracket without end; [`Error::Nested`].
pub(super) fn tokens(text: &str, line: usize) -> Result<(Vec<Token>, Vec<usize>), Error> {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer {
        chars: &chars,
        at: 0,
        line,
        tokens: Vec::new(),
        curly: Vec::new(),
        documents: Vec::new(),
    };
    lexer.run()?;
    Ok((lexer.tokens, lexer.curly))
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    line: usize,
    tokens: Vec<Token>,
    curly: Vec<usize>,
    /// Ends of here-documents that begin at the next line, and whether tabs before them count for nothing.
    documents: Vec<(String, bool)>,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn ahead(&self, by: usize) -> Option<char> {
        self.chars.get(self.at.saturating_add(by)).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at = self.at.saturating_add(1);
        if c == '\n' {
            self.line = self.line.saturating_add(1);
        }
        Some(c)
    }

    fn push(&mut self, line: usize, kind: Kind) {
        self.tokens.push(Token { line, kind });
    }

    fn run(&mut self) -> Result<(), Error> {
        while let Some(c) = self.peek() {
            let line = self.line;
            match c {
                ' ' | '\t' | '\r' | '\u{a0}' => {
                    self.bump();
                }
                '\\' if self.ahead(1) == Some('\n') => {
                    self.bump();
                    self.bump();
                }
                '\n' => {
                    self.bump();
                    self.push(line, Kind::End("\n"));
                    self.skip_documents();
                }
                '#' => self.skip_line(),
                '<' | '>' if self.ahead(1) != Some('(') => self.redirect(line)?,
                ';' | '&' | '|' | '(' | ')' => self.operator(line),
                _ => self.word_or_array(line)?,
            }
        }
        Ok(())
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.bump();
        }
    }

    fn operator(&mut self, line: usize) {
        let first = self.bump();
        let is_doubled = self.peek() == first;
        let (name, takes_second) = match first {
            Some('&') if is_doubled => ("&&", true),
            Some('|') if is_doubled => ("||", true),
            Some(';') => (";", is_doubled),
            Some('&') if self.peek() == Some('>') => {
                self.bump();
                let appends = self.peek() == Some('>');
                if appends {
                    self.bump();
                }
                return self.push(line, Kind::Redirect(if appends { ">>" } else { ">" }));
            }
            Some('&') => ("&", false),
            Some('|') => ("|", self.peek() == Some('&')),
            Some('(') => ("(", false),
            _ => (")", false),
        };
        if takes_second {
            self.bump();
        }
        self.push(line, Kind::End(name));
    }

    fn redirect(&mut self, line: usize) -> Result<(), Error> {
        let first = self.bump();
        let second = self.peek();
        let name = match (first, second) {
            (Some('<'), Some('<')) => {
                self.bump();
                if self.peek() == Some('<') {
                    self.bump();
                    "<<<"
                } else {
                    return self.document(line);
                }
            }
            (Some('>'), Some('>')) => {
                self.bump();
                ">>"
            }
            (Some('>'), Some('&' | '|')) => {
                let duplicates = self.bump() == Some('&');
                if duplicates { ">&" } else { ">" }
            }
            (Some('<'), Some('&' | '>')) => {
                self.bump();
                "<&"
            }
            (Some('<'), _) => "<",
            _ => ">",
        };
        self.push(line, Kind::Redirect(name));
        Ok(())
    }

    /// The word behind `<<`.
    fn document(&mut self, line: usize) -> Result<(), Error> {
        let drops_tabs = self.peek() == Some('-');
        if drops_tabs {
            self.bump();
        }
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.bump();
        }
        let word = self.word()?;
        let text = word.parts.iter().map(|part| match part {
            Part::Text(text) | Part::Quoted(text) => text.as_str(),
            _ => "",
        });
        self.documents.push((text.collect(), drops_tabs));
        self.push(line, Kind::Document);
        Ok(())
    }

    fn skip_documents(&mut self) {
        for (end, drops_tabs) in std::mem::take(&mut self.documents) {
            while self.peek().is_some() {
                let start = self.at;
                self.skip_line();
                let line: String =
                    self.chars.get(start..self.at).unwrap_or_default().iter().collect();
                self.bump();
                let line = if drops_tabs { line.trim_start_matches('\t') } else { &line };
                if line.trim_end_matches('\r') == end {
                    break;
                }
            }
        }
    }

    fn word_or_array(&mut self, line: usize) -> Result<(), Error> {
        let word = self.word()?;
        // The number before a redirection names a stream.
        let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        if matches!(self.peek(), Some('<' | '>')) && word.plain().is_some_and(is_number) {
            return Ok(());
        }
        let name = word.plain().and_then(|text| text.strip_suffix('='));
        let name = name.map(|name| name.strip_suffix('+').unwrap_or(name));
        match name {
            Some(name) if self.peek() == Some('(') && is_name(name) => {
                let name = name.to_owned();
                let words = self.array(line)?;
                self.push(line, Kind::Array { name, words });
            }
            _ => self.push(line, Kind::Word(word)),
        }
        Ok(())
    }

    fn array(&mut self, line: usize) -> Result<Vec<Word>, Error> {
        self.bump();
        let mut words = Vec::new();
        loop {
            match self.peek() {
                None => return Err(Error::Unterminated { line, what: "bracket" }),
                Some(')') => {
                    self.bump();
                    return Ok(words);
                }
                Some('#') => self.skip_line(),
                Some(' ' | '\t' | '\n' | '\r' | '\u{a0}' | ';' | '&' | '|' | '<' | '>' | '(') => {
                    self.bump();
                }
                Some('\\') if self.ahead(1) == Some('\n') => {
                    self.bump();
                    self.bump();
                }
                Some(_) => words.push(self.word()?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let (tokens, _) = tokens(text, 1).expect("a text");
        let told = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Quoted(text) => format!("'{text}'"),
            Part::Variable { name, is_quoted, trims } => format!("${name}{is_quoted}{trims}"),
            Part::Substitution { text, .. } => format!("({text})"),
            Part::Home => "HOME".to_owned(),
            Part::Unclear(text) => format!("?{text}"),
        };
        let join = |word: &Word| word.parts.iter().map(told).collect::<Vec<_>>().join("+");
        tokens
            .iter()
            .map(|token| match &token.kind {
                Kind::Word(word) => join(word),
                Kind::Array { name, words } => {
                    format!("{name}[{}]", words.iter().map(join).collect::<Vec<_>>().join(","))
                }
                Kind::End(name) | Kind::Redirect(name) => format!("<{}>", name.escape_debug()),
                Kind::Document => "<doc>".to_owned(),
            })
            .collect()
    }

    #[test]
    fn quotes_variables_and_operators() {
        for (text, expected) in [
            (r#"a 'b c' "d $e" f\ g"#, &["a", "'b c'", "'d '+$etruefalse", "f+' '+g"][..]),
            ("x=~/y z~", &["x=+HOME+/y", "z~"]),
            ("a\\\nb # c 'd", &["ab"]),
            ("${a}/${b%/}/${c:-d}", &["$afalsefalse+/+$bfalsetrue+/+?${c:-d}"]),
            ("$(a \"$(b ')')\") `c`", &["(a \"$(b ')')\")", "(c)"]),
            ("a>>b 2>&1 <c&&d;", &["a", "<>>>", "b", "<>&>", "1", "<<>", "c", "<&&>", "d", "<;>"]),
            ("x=(a 'b' # c\n d)\n", &["x[a,'b',d]", "<\\n>"]),
            ("cat <<E\n'\nE\nf", &["cat", "<doc>", "<\\n>", "f"]),
            ("~user/x $((1+2)) $1", &["?~user/x", "?$((1+2))", "$1falsefalse"]),
            ("-e \u{201c}ssh -i k\u{201d} x", &["-e", "'ssh -i k'", "x"]),
            ("don\u{2019}t", &["don\u{2019}t"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_closed_is_named_with_its_line() {
        for (text, at, kind) in [
            ("a\n'b\n\n", 2, "quote"),
            ("\"", 1, "quote"),
            ("\n\n$(a", 3, "bracket"),
            ("`a", 1, "quote"),
            ("x=(a", 1, "bracket"),
            ("${a", 1, "bracket"),
        ] {
            let error = tokens(text, 1).expect_err(text);
            assert!(
                matches!(error, Error::Unterminated { line, what } if line == at && what == kind),
                "{text}: {error}"
            );
        }
        assert!(matches!(tokens(&"$(".repeat(200), 1), Err(Error::Nested { line: 1 })));
    }
}
