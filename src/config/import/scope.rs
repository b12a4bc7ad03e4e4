//! [`Scope`]: the variables of a script as far as they are certain, and words expanded by them as the shell would.

use std::collections::BTreeMap;

use super::items::{Item, Over, items};
use super::shell::{Part, Word, tokens};
use super::{Error, Surroundings};

/// A part of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text that is certain.
    Text(String),
    /// What the loop of this number goes through.
    Each(usize),
    /// The words or lines of a file.
    Listing(String),
    /// What cannot be told without executing the script: its own text.
    Unclear(String),
}

/// A word as a command gets it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Field(pub(super) Vec<Piece>);

impl Field {
    /// A field of plain text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self(vec![Piece::Text(text.into())])
    }

    /// The text, if all of it is certain.
    pub(super) fn certain(&self) -> Option<String> {
        let text = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            _ => None,
        });
        text.collect()
    }

    /// The field as the script would show it, for a finding.
    pub(super) fn shown(&self) -> String {
        let text = self.0.iter().map(|piece| match piece {
            Piece::Text(text) | Piece::Unclear(text) | Piece::Listing(text) => text.as_str(),
            Piece::Each(_) => "$…",
        });
        text.collect()
    }

    /// The field with neighbouring texts as one.
    pub(super) fn joined(self) -> Self {
        let mut whole = Self::default();
        for piece in self.0 {
            match piece {
                Piece::Text(text) => whole.push(&text),
                piece => whole.0.push(piece),
            }
        }
        whole
    }

    fn push(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.0.push(Piece::Text(text.to_owned())),
        }
    }

    fn bytes(&self) -> usize {
        let bytes = self.0.iter().map(|piece| match piece {
            Piece::Text(text) | Piece::Unclear(text) | Piece::Listing(text) => text.len(),
            Piece::Each(_) => 8,
        });
        bytes.sum::<usize>().saturating_add(8)
    }
}

/// What a loop goes through, as far as it is certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Values {
    /// These, one after the other.
    Fields(Vec<Field>),
    /// The lines of this file.
    File(String),
}

/// Substitutions within substitutions that are looked at.
const DEPTH_MAX: usize = 6;

/// Bytes that all expansions of one text may come to.
const EXPANDED_BYTES_MAX: usize = 8 << 20;

/// Ways to name the directory of the script, without quotes and doubled blanks.
const OWN_DIRECTORY: &[&str] = &[
    "dirname $0",
    "dirname ${0}",
    "dirname -- $0",
    "dirname $BASH_SOURCE",
    "dirname ${BASH_SOURCE[0]}",
    "dirname -- ${BASH_SOURCE[0]}",
    "dirname $(readlink -f $0)",
    "dirname `readlink -f $0`",
    "dirname $(realpath $0)",
    "dirname $(readlink -f ${BASH_SOURCE[0]})",
    "dirname $(realpath ${BASH_SOURCE[0]})",
];

/// The variables, and where the script stands.
#[derive(Debug)]
pub(super) struct Scope {
    variables: BTreeMap<String, Vec<Field>>,
    script_directory: Option<String>,
    /// Where a relative path starts if nothing better is known.
    fallback: String,
    /// The working directory, where it is certain.
    pub(super) directory: Option<String>,
    /// The directories that `popd` goes back to.
    pub(super) pushed: Vec<Option<String>>,
    /// Loops, the number of which is that of [`Piece::Each`].
    pub(super) loops: Vec<Values>,
    /// A home directory was put in.
    pub(super) used_home: bool,
    budget: usize,
}

impl Scope {
    /// The scope a script starts with.
    pub(super) fn new(at: &Surroundings) -> Self {
        let mut variables = BTreeMap::new();
        if let Some(home) = &at.home {
            variables.insert("HOME".to_owned(), vec![Field::text(home.trim_end_matches('/'))]);
        }
        Self {
            variables,
            script_directory: at.script_directory.clone(),
            fallback: at.working_directory.clone(),
            directory: None,
            pushed: Vec::new(),
            loops: Vec::new(),
            used_home: false,
            budget: EXPANDED_BYTES_MAX,
        }
    }

    /// The value of a variable, if it is one certain text.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        match self.variables.get(name)?.as_slice() {
            [field] => field.certain(),
            _ => None,
        }
    }

    /// The path with the home in the place of a leading `~`, as programs do that get one.
    pub(super) fn expand_home(&self, path: &str) -> String {
        let rest = if path == "~" { Some("") } else { path.strip_prefix("~/") };
        match (rest, self.value("HOME")) {
            (Some(rest), Some(home)) => format!("{home}/{rest}"),
            _ => path.to_owned(),
        }
    }

    /// The path as an absolute one, and whether where it starts is a guess.
    pub(super) fn absolute(&self, path: &str) -> (String, bool) {
        if path.starts_with('/') {
            return (path.to_owned(), false);
        }
        let mut path = path;
        while let Some(rest) = path.strip_prefix("./") {
            path = rest.trim_start_matches('/');
        }
        let base = self.directory.as_ref().unwrap_or(&self.fallback).trim_end_matches('/');
        let whole = if path == "." { base.to_owned() } else { format!("{base}/{path}") };
        (whole, self.directory.is_none())
    }

    /// Sets a variable, or appends to it.
    pub(super) fn assign(&mut self, name: &str, appends: bool, mut fields: Vec<Field>) {
        if appends
            && let (Some([old]), [new]) =
                (self.variables.get(name).map(Vec::as_slice), fields.as_slice())
        {
            let pieces = old.0.iter().chain(&new.0).cloned();
            fields = vec![Field(pieces.collect())];
        }
        self.variables.insert(name.to_owned(), fields);
    }

    fn spend(&mut self, fields: &[Field]) -> Result<(), Error> {
        let bytes: usize = fields.iter().map(Field::bytes).sum();
        self.budget = self.budget.checked_sub(bytes).ok_or(Error::TooMuch)?;
        Ok(())
    }

    /// The value of an assignment: nothing is split.
    pub(super) fn whole(&mut self, word: &Word) -> Result<Field, Error> {
        let fields = self.fields(word, false, 0)?;
        let mut whole = Field::default();
        for (at, field) in fields.into_iter().enumerate() {
            if at > 0 {
                whole.push(" ");
            }
            whole.0.extend(field.0);
        }
        Ok(whole)
    }

    /// The fields a word becomes.
    ///
    /// # Errors
    /// [`Error::TooMuch`] if all expansions together grow beyond bounds.
    pub(super) fn expand(&mut self, word: &Word) -> Result<Vec<Field>, Error> {
        self.fields(word, true, 0)
    }

    fn fields(&mut self, word: &Word, splits: bool, depth: usize) -> Result<Vec<Field>, Error> {
        let mut fields = Vec::new();
        let mut open: Option<Field> = None;
        for part in &word.parts {
            let (values, is_split): (Vec<Field>, bool) = match part {
                Part::Text(text) | Part::Quoted(text) => (vec![Field::text(text)], false),
                Part::Home => (vec![self.home()], false),
                Part::Unclear(text) => (vec![Field(vec![Piece::Unclear(text.clone())])], false),
                Part::Variable { name, is_quoted, trims } => {
                    (self.variable(name, *trims), splits && !is_quoted)
                }
                Part::Substitution { text, is_quoted } => {
                    (vec![self.substitution(text, depth)?], splits && !is_quoted)
                }
            };
            self.spend(&values)?;
            for (at, value) in values.into_iter().enumerate() {
                if at > 0 {
                    fields.extend(open.take());
                }
                if is_split {
                    split(&value, &mut open, &mut fields);
                } else {
                    open.get_or_insert_default().0.extend(value.0);
                }
            }
        }
        fields.extend(open);
        Ok(fields.into_iter().map(Field::joined).collect())
    }

    fn home(&mut self) -> Field {
        self.used_home = true;
        match self.variables.get("HOME").map(Vec::as_slice) {
            Some([home]) => home.clone(),
            _ => Field(vec![Piece::Unclear("~".to_owned())]),
        }
    }

    fn variable(&mut self, name: &str, trims: bool) -> Vec<Field> {
        let unclear = || vec![Field(vec![Piece::Unclear(format!("${{{name}}}"))])];
        if name == "PWD" && !self.variables.contains_key(name) {
            return self.directory.as_ref().map_or_else(unclear, |it| vec![Field::text(it)]);
        }
        self.used_home |= name == "HOME";
        let mut fields = self.variables.get(name).cloned().unwrap_or_else(unclear);
        if trims
            && let Some(Piece::Text(last)) = fields.last_mut().and_then(|field| field.0.last_mut())
            && last.ends_with('/')
        {
            last.pop();
        }
        fields
    }

    /// What a substitution gives, if it is one of the known ones.
    fn substitution(&mut self, text: &str, depth: usize) -> Result<Field, Error> {
        let unclear = Field(vec![Piece::Unclear(format!("$({})", text.trim()))]);
        if depth >= DEPTH_MAX {
            return Ok(unclear);
        }
        let bare: String = text.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
        let bare = bare.split_whitespace().collect::<Vec<_>>().join(" ");
        if OWN_DIRECTORY.contains(&bare.as_str()) || goes_to_own_directory(&bare) {
            return Ok(self.script_directory.as_ref().map_or(unclear, Field::text));
        }
        if bare == "pwd" || bare == "pwd -P" {
            return Ok(self.directory.as_ref().map_or(unclear, Field::text));
        }
        let Ok((inner, _)) = tokens(text, 1) else { return Ok(unclear) };
        let listed = match items(&inner).as_slice() {
            [Item::Command(command)] if command.reads.is_none() => {
                self.listed(&command.words, depth)?
            }
            [] => match inner.as_slice() {
                [_, place] => match &place.kind {
                    super::shell::Kind::Word(word) => self.path(word, depth)?,
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        Ok(listed.map_or(unclear, |path| Field(vec![Piece::Listing(path)])))
    }

    /// The file that `cat FILE`, `sort FILE` or `grep PATTERN FILE` lists.
    fn listed(&mut self, words: &[Word], depth: usize) -> Result<Option<String>, Error> {
        let mut plain = words.iter().filter(|word| !word.plain().is_some_and(is_option));
        let (name, first, second) = (plain.next(), plain.next(), plain.next());
        match (name.and_then(Word::plain), first, second, plain.next()) {
            (Some("cat" | "sort"), Some(file), None, None) => self.path(file, depth),
            (Some("grep" | "egrep" | "sed" | "awk"), Some(_), Some(file), None) => {
                self.path(file, depth)
            }
            _ => Ok(None),
        }
    }

    fn path(&mut self, word: &Word, depth: usize) -> Result<Option<String>, Error> {
        let fields = self.fields(word, true, depth.saturating_add(1))?;
        Ok(match fields.as_slice() {
            [field] => field.certain(),
            _ => None,
        })
    }

    /// What a loop goes through; none if that is not certain.
    pub(super) fn values(&mut self, over: &Over) -> Result<Option<Values>, Error> {
        let file = match over {
            Over::Words(words) => {
                let mut fields = Vec::new();
                for word in words {
                    fields.extend(self.expand(word)?);
                }
                return Ok(Some(match fields.as_slice() {
                    [Field(pieces)] => match pieces.as_slice() {
                        [Piece::Listing(file)] => Values::File(file.clone()),
                        _ => Values::Fields(fields),
                    },
                    _ => Values::Fields(fields),
                }));
            }
            // `< <(cat list)` gives a listing, a file its name.
            Over::File(word) => match self.expand(word)?.as_slice() {
                [Field(pieces)] => match pieces.as_slice() {
                    [Piece::Listing(file)] => Some(file.clone()),
                    _ => Field(pieces.clone()).certain(),
                },
                _ => None,
            },
            Over::Piped(words) => self.listed(words, 0)?,
            Over::Unclear => None,
        };
        Ok(file.map(Values::File))
    }
}

fn is_option(text: &str) -> bool {
    text.starts_with('-') && text.len() > 1
}

/// `cd "$(dirname "$0")" && pwd`, without its quotes.
fn goes_to_own_directory(bare: &str) -> bool {
    let place = bare.strip_prefix("cd ").map(|rest| rest.strip_prefix("-- ").unwrap_or(rest));
    let place = place.and_then(|rest| {
        let rest = rest.strip_suffix(" -P").unwrap_or(rest).strip_suffix("pwd")?;
        let rest = rest.trim_end_matches([' ', ';', '&']);
        let rest = rest.strip_suffix("2>&1").unwrap_or(rest).trim_end();
        let rest = rest.strip_suffix("/dev/null").unwrap_or(rest);
        let rest = rest.trim_end_matches([' ', '>', '&']);
        rest.strip_prefix("$(")
            .and_then(|rest| rest.strip_suffix(')'))
            .or_else(|| rest.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')))
    });
    place.is_some_and(|place| OWN_DIRECTORY.contains(&place.trim()))
}

/// Splits a value at its blanks, going on with the field that is open.
pub(super) fn split(value: &Field, open: &mut Option<Field>, fields: &mut Vec<Field>) {
    for piece in &value.0 {
        let Piece::Text(text) = piece else {
            open.get_or_insert_default().0.push(piece.clone());
            continue;
        };
        for (at, word) in text.split(char::is_whitespace).enumerate() {
            if at > 0 {
                fields.extend(open.take());
            }
            if !word.is_empty() {
                open.get_or_insert_default().push(word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(assignments: &[(&str, &str)], text: &str) -> Vec<String> {
        let at = Surroundings {
            home: Some("/home/me".into()),
            working_directory: "/here".into(),
            script_directory: Some("/scripts".into()),
        };
        let mut scope = Scope::new(&at);
        let word = |text: &str| match items(&tokens(text, 1).expect("a text").0).as_slice() {
            [Item::Command(command)] => command.words.clone(),
            other => panic!("{other:?}"),
        };
        for (name, value) in assignments {
            let value = scope.whole(&word(value)[0]).expect("small");
            scope.assign(name, false, vec![value]);
        }
        let words = word(text);
        words
            .iter()
            .flat_map(|word| scope.expand(word).expect("small"))
            .map(|field| {
                format!("{}{}", field.shown(), if field.certain().is_none() { "?" } else { "" })
            })
            .collect()
    }

    #[test]
    fn variables_are_followed_and_split_as_the_shell_does() {
        let values = [("a", "'x  y'"), ("b", "\"$a/\"z"), ("h", "~/d/")];
        for (text, expected) in [
            ("$a", &["x", "y"][..]),
            ("\"$a\"", &["x  y"]),
            ("-p$b", &["-px", "y/z"]),
            ("$h ${h%/} $HOME/x", &["/home/me/d/", "/home/me/d", "/home/me/x"]),
            ("$none '$a' $empty", &["${none}?", "$a", "${empty}?"]),
            ("$(dirname \"$0\")/f `pwd`", &["/scripts/f", "$(pwd)?"]),
            ("$(cd \"$(dirname \"$0\")\" && pwd)", &["/scripts"]),
            (
                "$(cd -- \"$( dirname -- \"${BASH_SOURCE[0]}\" )\" &> /dev/null; rm x; pwd)",
                &["$(cd -- \"$( dirname -- \"${BASH_SOURCE[0]}\" )\" &> /dev/null; rm x; pwd)?"],
            ),
            ("$(cat $h/list) $(< list) $(date)", &["/home/me/d//list?", "list?", "$(date)?"]),
        ] {
            assert_eq!(expanded(&values, text), expected, "{text}");
        }
    }

    #[test]
    fn what_doubles_with_every_line_is_stopped() {
        let at = Surroundings::default();
        let mut scope = Scope::new(&at);
        scope.assign("a", false, vec![Field::text("xxxxxxxxxx")]);
        let double = tokens("\"$a$a\"", 1).expect("a text").0;
        let Item::Command(command) = &items(&double)[0] else { panic!("a command") };
        let mut grow = || -> Result<(), Error> {
            for _ in 0..100 {
                let value = scope.whole(&command.words[0])?;
                scope.assign("a", false, vec![value]);
            }
            Ok(())
        };
        assert!(matches!(grow(), Err(Error::TooMuch)));
    }
}
