//! Tokens as commands and loops, in the order of the text. Conditions and functions are not followed: what stands in them is taken
//! as if it ran once.

use super::shell::{Kind, Token, Word};

/// A command, as it is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) words: Vec<Word>,
    /// Where its input comes from.
    pub(super) reads: Option<Word>,
    /// Where its output goes, and whether it is appended there.
    pub(super) writes: Option<(Word, bool)>,
    /// A here-document or here-string feeds it.
    pub(super) is_fed: bool,
    /// `if`, `while`, `until` or `!` looks at its status.
    pub(super) is_tested: bool,
    /// What ends it.
    pub(super) end: &'static str,
}

/// What a loop goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// The words of `for`.
    Words(Vec<Word>),
    /// The lines of a file.
    File(Word),
    /// The lines of a command's output.
    Piped(Vec<Word>),
    /// Anything else.
    Unclear,
}

/// A step of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Command(Command),
    Array {
        name: String,
        words: Vec<Word>,
    },
    /// The beginning of a loop; `while` without `read` has no variable.
    Loop {
        line: usize,
        variable: Option<String>,
        over: Over,
    },
    /// The end of a loop.
    Done,
}

/// Reads the steps out of the tokens. Every text has some, however broken.
pub(super) fn items(tokens: &[Token]) -> Vec<Item> {
    let mut parser = Parser {
        tokens: tokens.iter().peekable(),
        items: Vec::new(),
        open: Vec::new(),
        loops: false,
    };
    let mut command = Command::default();
    while let Some(token) = parser.tokens.next() {
        match &token.kind {
            Kind::Word(word) if command.words.is_empty() => {
                parser.first(word, token.line, &mut command);
            }
            Kind::Word(word) => command.words.push(word.clone()),
            Kind::Array { name, words } => {
                let item = Item::Array { name: name.clone(), words: words.clone() };
                parser.items.push(item);
            }
            Kind::Redirect(name) => parser.redirect(name, &mut command),
            Kind::Document => command.is_fed = true,
            Kind::End(end) => parser.finish(&mut command, end),
        }
    }
    parser.finish(&mut command, "\n");
    parser.items
}

struct Parser<'a> {
    tokens: std::iter::Peekable<std::slice::Iter<'a, Token>>,
    items: Vec<Item>,
    /// The loops that are open, by their place among the items.
    open: Vec<usize>,
    /// A `while` or `until` stands before the command.
    loops: bool,
}

impl Parser<'_> {
    /// A word where a command may begin.
    fn first(&mut self, word: &Word, line: usize, command: &mut Command) {
        match word.plain().unwrap_or_default() {
            "if" | "elif" | "!" => command.is_tested = true,
            "while" | "until" => {
                command.is_tested = true;
                self.loops = true;
            }
            "then" | "else" | "fi" | "do" | "{" | "}" | "esac" | "time" => {}
            "for" | "select" => self.for_loop(line),
            "done" => self.done(),
            "case" => self.skip_words(|word| word == "in"),
            "function" => drop(self.tokens.next()),
            _ => {
                command.line = line;
                command.words.push(word.clone());
            }
        }
    }

    fn next_word(&mut self) -> Option<Word> {
        let Kind::Word(word) = &self.tokens.peek()?.kind else { return None };
        let word = word.clone();
        self.tokens.next();
        Some(word)
    }

    fn skip_words(&mut self, is_last: impl Fn(&str) -> bool) {
        while let Some(word) = self.next_word() {
            if word.plain().is_some_and(&is_last) {
                break;
            }
        }
    }

    fn for_loop(&mut self, line: usize) {
        let variable = self.next_word().and_then(|word| word.plain().map(str::to_owned));
        let mut words = Vec::new();
        let is_in = |word: Option<Word>| word.is_some_and(|word| word.plain() == Some("in"));
        let over = if is_in(self.next_word()) {
            while let Some(word) = self.next_word() {
                words.push(word);
            }
            Over::Words(words)
        } else {
            Over::Unclear
        };
        self.open.push(self.items.len());
        self.items.push(Item::Loop { line, variable, over });
    }

    fn done(&mut self) {
        let start = self.open.pop();
        while let Some(Kind::Redirect(name)) = self.tokens.peek().map(|token| &token.kind) {
            self.tokens.next();
            let place = self.next_word();
            let Some(Item::Loop { over, .. }) = start.and_then(|at| self.items.get_mut(at)) else {
                continue;
            };
            if let (&"<", Some(place), Over::Unclear) = (name, place, &over) {
                *over = Over::File(place);
            }
        }
        self.items.push(Item::Done);
    }

    fn redirect(&mut self, name: &str, command: &mut Command) {
        let Some(place) = self.next_word() else { return };
        match name {
            "<" => command.reads = Some(place),
            ">" | ">>" if command.writes.is_none() => command.writes = Some((place, name == ">>")),
            "<<<" => command.is_fed = true,
            _ => {}
        }
    }

    fn finish(&mut self, command: &mut Command, end: &'static str) {
        let mut command = std::mem::take(command);
        if command.words.is_empty() {
            return;
        }
        command.end = end;
        if std::mem::take(&mut self.loops) {
            let variable = read_variable(&command.words);
            let over = match self.items.last() {
                Some(Item::Command(before)) if before.end == "|" && variable.is_some() => {
                    Over::Piped(before.words.clone())
                }
                _ => Over::Unclear,
            };
            self.open.push(self.items.len());
            let is_read = variable.is_some();
            self.items.push(Item::Loop { line: command.line, variable, over });
            if is_read {
                return;
            }
        }
        self.items.push(Item::Command(command));
    }
}

/// The variable of `read`, which a whole line goes into.
fn read_variable(words: &[Word]) -> Option<String> {
    let mut words = words.iter().skip_while(|word| word.assignment().is_some());
    if words.next()?.plain() != Some("read") {
        return None;
    }
    words.last()?.plain().filter(|name| !name.starts_with('-')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::shell::tokens;
    use super::*;

    fn read(text: &str) -> Vec<Item> {
        items(&tokens(text, 1).expect("a text").0)
    }

    fn commands(text: &str) -> Vec<(usize, usize, bool, &'static str)> {
        let told = |item: Item| match item {
            Item::Command(it) => Some((it.line, it.words.len(), it.is_tested, it.end)),
            _ => None,
        };
        read(text).into_iter().filter_map(told).collect()
    }

    #[test]
    fn commands_are_found_wherever_they_stand() {
        assert_eq!(commands("if ! a b; then\n c\nfi"), [(1, 2, true, ";"), (2, 1, false, "\n")]);
        assert_eq!(commands("f() {\n a; }\ncase $x in\n y) b ;; esac")[1], (2, 1, false, ";"));
        assert_eq!(commands("a || b &"), [(1, 1, false, "||"), (1, 1, false, "&")]);
        assert_eq!(commands("(a\nb)"), [(1, 1, false, "\n"), (2, 1, false, ")")]);
    }

    #[test]
    fn loops_know_what_they_go_through() {
        let over = |text: &str| match &read(text)[..] {
            [.., Item::Loop { variable, over, .. }, Item::Command(_), Item::Done] => {
                (variable.clone().unwrap_or_default(), over.clone())
            }
            other => panic!("{text}: {other:?}"),
        };
        let word = |text: &str| match &read(text)[..] {
            [Item::Command(command)] => command.words[0].clone(),
            other => panic!("{other:?}"),
        };
        let words = Over::Words(vec![word("a"), word("$b")]);
        assert_eq!(over("for x in a $b; do c; done"), ("x".into(), words));
        let file = Over::File(word("list"));
        assert_eq!(over("while IFS= read -r x\ndo c\ndone < list"), ("x".into(), file));
        let piped = Over::Piped(vec![word("cat"), word("list")]);
        assert_eq!(over("cat list | while read x; do c; done"), ("x".into(), piped));
        assert_eq!(over("for x; do c; done").1, Over::Unclear);
        assert_eq!(read("done\ndone < x").len(), 2, "an end without a beginning");
    }
}
