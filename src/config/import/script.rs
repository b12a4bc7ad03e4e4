//! A script, step by step: its variables are followed, its rsyncs taken, its faults named. Nothing is executed.

mod faults;

use super::copies::Copies;
use super::crontab;
use super::finding::Level;
use super::items::{Command, Item, Over, items};
use super::notes::{Notes, shown};
use super::remote_shell::base;
use super::rsync;
use super::scope::{Field, Piece, Scope, Values};
use super::shell::{self, Word, is_name};
use super::{Error, Imported, Surroundings};
use faults::{Faults, Run};

/// Commands within commands, as of `sh -c`.
const DEPTH_MAX: usize = 3;

/// Reads a text.
pub(super) fn read(text: &str, at: &Surroundings) -> Result<Imported, Error> {
    let mut notes = Notes::new(text);
    let mut cron = Vec::new();
    let mut shell = String::with_capacity(text.len());
    for (number, line) in (1..).zip(text.split('\n')) {
        let bare = line.strip_suffix('\r').unwrap_or(line);
        if bare.len() < line.len() {
            notes.say_once(
                Some(number),
                ("crlf", Level::Fault),
                "lines end as on Windows: the shell takes the sign for a part of names",
                "depsync reads such lines, in the nodes file too",
            );
        }
        match crontab::entry(number, bare) {
            Some(entry) => cron.push(entry),
            None => shell.push_str(bare),
        }
        shell.push('\n');
    }
    let mut reader = Reader::new(at, notes);
    reader.faults.first_line(text.lines().next().unwrap_or_default(), &mut reader.notes);
    reader.text(&shell, 1, 0)?;
    reader.scope.directory = reader.scope.value("HOME");
    reader.is_cron = true;
    // Of a crontab only the lines that sync are replaced; of a script's own text, those that call a script.
    let (mut syncing, mut calling) = (Vec::new(), Vec::new());
    for entry in cron {
        let before = reader.copies.count();
        reader.calls = None;
        reader.text(&entry.command, entry.line, 0)?;
        if reader.copies.count() > before {
            syncing.push(entry);
        } else if reader.calls.is_some() {
            calling.push(entry);
        }
    }
    let imported = reader.finish(true)?;
    Ok(Imported { cron: if syncing.is_empty() { calling } else { syncing }, ..imported })
}

/// Reads one command, given as words.
pub(super) fn read_words(words: Vec<Field>, at: &Surroundings) -> Result<Imported, Error> {
    let mut reader = Reader::new(at, Notes::default());
    reader.scope.directory = Some(at.working_directory.clone());
    // The status of what is called by hand is seen.
    let command = Command { end: "\n", is_tested: true, ..Command::default() };
    reader.call(words, &command, None, 0)?;
    reader.finish(false)
}

struct Reader {
    scope: Scope,
    notes: Notes,
    faults: Faults,
    copies: Copies,
    /// Loops that are open.
    depth: usize,
    /// A script that is called.
    calls: Option<String>,
    is_cron: bool,
}

impl Reader {
    fn new(at: &Surroundings, notes: Notes) -> Self {
        Self {
            scope: Scope::new(at),
            notes,
            faults: Faults::default(),
            copies: Copies::default(),
            depth: 0,
            calls: None,
            is_cron: false,
        }
    }

    fn finish(mut self, is_script: bool) -> Result<Imported, Error> {
        if self.copies.count() == 0 {
            return Err(Error::NotRsync { calls: self.calls });
        }
        if self.scope.used_home
            && let Some(home) = self.scope.value("HOME")
        {
            let message = "'~' and $HOME are the home of whoever runs the script";
            let instead = format!("it is written as {}: check that this is the user", shown(&home));
            self.notes.say_once(None, ("home", Level::Note), message, instead);
        }
        let imported = self.copies.finish(self.notes)?;
        Ok(Imported { is_script, ..imported })
    }

    fn text(&mut self, text: &str, line: usize, depth: usize) -> Result<(), Error> {
        let (tokens, curly) = shell::tokens(text, line)?;
        for line in curly {
            self.notes.say(
                Some(line),
                ("quote", Level::Fault),
                "quotes of a word processor are letters for the shell",
                "they are read as the quotes that were meant",
            );
        }
        for item in items(&tokens) {
            match item {
                Item::Command(command) => self.command(&command, depth)?,
                Item::Array { name, words } => {
                    let mut fields = Vec::new();
                    for word in &words {
                        fields.extend(self.scope.expand(word)?);
                    }
                    self.scope.assign(&name, false, fields);
                }
                Item::Loop { variable, over, .. } => self.begin_loop(variable.as_deref(), &over)?,
                Item::Done => {
                    self.depth = self.depth.saturating_sub(1);
                    self.faults.end_loop(&mut self.notes);
                }
            }
        }
        Ok(())
    }

    fn begin_loop(&mut self, variable: Option<&str>, over: &Over) -> Result<(), Error> {
        self.depth = self.depth.saturating_add(1);
        let Some(variable) = variable else { return Ok(()) };
        let values = self.scope.values(over)?;
        self.bind(variable, values);
        Ok(())
    }

    /// Has a variable stand for each of the values.
    fn bind(&mut self, variable: &str, values: Option<Values>) {
        let piece = match values {
            Some(values) => {
                self.scope.loops.push(values);
                Piece::Each(self.scope.loops.len().saturating_sub(1))
            }
            None => Piece::Unclear(format!("${variable}")),
        };
        self.scope.assign(variable, false, vec![Field(vec![piece])]);
    }

    fn command(&mut self, command: &Command, depth: usize) -> Result<(), Error> {
        self.faults.status(command, &mut self.notes);
        let line = Some(command.line);
        if self.slipped_assignment(command)? {
            return Ok(());
        }
        let mut words = command.words.iter().peekable();
        let mut assigned = Vec::new();
        while let Some((name, appends, value)) = words.peek().and_then(|word| word.assignment()) {
            let value = self.scope.whole(&value)?;
            assigned.push((name.to_owned(), appends, value));
            words.next();
        }
        let is_alone = words.peek().is_none();
        for (name, appends, value) in assigned {
            // Before a command they are for that alone; of those only one matters here.
            if is_alone || name == "RSYNC_RSH" {
                self.scope.assign(&name, appends, vec![value]);
            }
        }
        let first = words.peek().and_then(|word| word.plain());
        if matches!(first, Some("export" | "readonly" | "declare" | "local" | "typeset")) {
            for (name, appends, value) in words.filter_map(|word| word.assignment()) {
                let value = self.scope.whole(&value)?;
                self.scope.assign(name, appends, vec![value]);
            }
            return Ok(());
        }
        let words: Vec<&Word> = words.collect();
        let is_rsync = |word: &&Word| word.plain().is_some_and(|text| base(text) == "rsync");
        if words.iter().any(is_rsync) && words.iter().any(|word| word.has_braces()) {
            let message = "braces, which some shells expand, are not expanded";
            let instead = "write each word that they stand for";
            self.notes.say(line, ("braces", Level::Lost), message, instead);
        }
        let mut fields = Vec::new();
        for word in words {
            fields.extend(self.scope.expand(word)?);
        }
        self.call(fields, command, line, depth)
    }

    /// `name=~ /path`, `name= /path`, `name =/path` and `name = /path`: assignments that the shell does not take.
    fn slipped_assignment(&mut self, command: &Command) -> Result<bool, Error> {
        use shell::Part;
        let is_path = |word: &Word| {
            matches!(word.parts.first(), Some(Part::Home))
                || word.plain().is_some_and(|it| it.starts_with('/'))
        };
        let (name, value) = match command.words.as_slice() {
            [first, path] => match (first.assignment(), first.plain()) {
                (Some((name, false, value)), _)
                    if is_path(path) && matches!(value.parts.as_slice(), [] | [Part::Home]) =>
                {
                    let parts = value.parts.iter().chain(&path.parts).cloned();
                    (name.to_owned(), Word { parts: parts.collect() })
                }
                (None, Some(name)) if is_name(name) => match path.parts.split_first() {
                    Some((Part::Text(text), rest))
                        if text.starts_with("=/") || text == "=" && !rest.is_empty() =>
                    {
                        let head = Part::Text(text.trim_start_matches('=').to_owned());
                        let parts = std::iter::once(head).chain(rest.iter().cloned());
                        (name.to_owned(), Word { parts: parts.collect() })
                    }
                    _ => return Ok(false),
                },
                _ => return Ok(false),
            },
            [name, sign, value]
                if sign.plain() == Some("=")
                    && name.plain().is_some_and(is_name)
                    && is_path(value) =>
            {
                (name.plain().unwrap_or_default().to_owned(), value.clone())
            }
            _ => return Ok(false),
        };
        self.notes.say(
            Some(command.line),
            ("blank", Level::Fault),
            format!("a blank beside '=': the shell assigns nothing to {}", shown(&name)),
            "it is read as the assignment that was meant",
        );
        let value = self.scope.whole(&value)?;
        self.scope.assign(&name, false, vec![value]);
        Ok(true)
    }

    /// What a command does, given its words as it gets them.
    fn call(
        &mut self,
        fields: Vec<Field>,
        command: &Command,
        line: Option<usize>,
        depth: usize,
    ) -> Result<(), Error> {
        let (name, arguments) = unwrapped(fields);
        let texts: Vec<String> =
            arguments.iter().map(|field| field.certain().unwrap_or_default()).collect();
        match base(&name) {
            "rsync" => return self.rsync(arguments, command, line),
            "sh" | "bash" | "dash" | "ksh" | "flock" | "su" => {
                let inner = texts.iter().position(|text| text == "-c" || text == "-lc");
                let inner = inner.and_then(|at| texts.get(at.saturating_add(1)));
                if let (Some(inner), true) = (inner, depth < DEPTH_MAX) {
                    return self.text(inner, line.unwrap_or(1), depth.saturating_add(1));
                }
                self.script_call(texts.iter().find(|text| !text.starts_with('-')));
            }
            "cd" | "pushd" | "popd" => self.directory(base(&name), &texts),
            "mapfile" | "readarray" => self.read_lines(&texts, command)?,
            _ => self.script_call(Some(&name)),
        }
        self.faults.command(base(&name), &texts, command, &mut self.notes);
        Ok(())
    }

    fn script_call(&mut self, script: Option<&String>) {
        if self.calls.is_none() {
            self.calls = script.filter(|script| is_script(base(script))).map(|it| shown(it));
        }
    }

    fn read_lines(&mut self, texts: &[String], command: &Command) -> Result<(), Error> {
        let name = texts.last().filter(|name| is_name(name)).cloned().unwrap_or("MAPFILE".into());
        let values = match &command.reads {
            Some(file) => self.scope.values(&Over::File(file.clone()))?,
            None => None,
        };
        let field = match values {
            Some(Values::File(file)) => Field(vec![Piece::Listing(file)]),
            _ => Field(vec![Piece::Unclear(format!("${name}"))]),
        };
        self.scope.assign(&name, false, vec![field]);
        Ok(())
    }

    fn directory(&mut self, name: &str, texts: &[String]) {
        let place = texts.iter().find(|text| !text.starts_with('-'));
        let place = match place.map(String::as_str) {
            // Without a place `cd` goes home.
            None if name == "cd" && texts.is_empty() => self.scope.value("HOME"),
            None | Some("") => None,
            Some(place) => {
                let (path, is_guess) = self.scope.absolute(place);
                Some(path).filter(|_| !is_guess)
            }
        };
        match name {
            "popd" => self.scope.directory = self.scope.pushed.pop().flatten(),
            "pushd" => {
                let before = std::mem::replace(&mut self.scope.directory, place);
                self.scope.pushed.push(before);
            }
            _ => self.scope.directory = place,
        }
    }

    fn rsync(
        &mut self,
        arguments: Vec<Field>,
        command: &Command,
        line: Option<usize>,
    ) -> Result<(), Error> {
        let call = rsync::read(arguments, line, &self.scope, &mut self.notes);
        let writes = match &command.writes {
            Some((place, appends)) => {
                let place = self.scope.whole(place)?;
                place.certain().map(|place| (place, *appends))
            }
            None => None,
        };
        let run = Run {
            line,
            is_looped: self.depth > 0 && command.end != "&",
            is_seen: command.is_tested || self.is_cron || matches!(command.end, "||" | "&&"),
            writes,
        };
        self.faults.rsync(&call, run, &mut self.notes);
        self.copies.take(call, line, &self.scope, &mut self.notes)
    }
}

fn is_script(name: &str) -> bool {
    name.strip_suffix(['=', ';'])
        .unwrap_or(name)
        .rsplit_once('.')
        .is_some_and(|(_, end)| end == "sh")
}

/// The name of what runs and its arguments, behind `sudo`, `flock`, `timeout` and the like.
fn unwrapped(fields: Vec<Field>) -> (String, Vec<Field>) {
    let mut rest = fields.into_iter();
    loop {
        let name = rest.next().and_then(|field| field.certain()).unwrap_or_default();
        // How many arguments stand before the command, and which letters have a value.
        let (arguments, valued) = match base(&name) {
            "sudo" => (0, "ugCDhpRTU"),
            "nice" => (0, "n"),
            "ionice" => (0, "cnpPu"),
            "timeout" => (1, "sk"),
            "flock" => (1, "wE"),
            "setlock" => (1, ""),
            "env" => (0, "uCS"),
            "nohup" | "exec" | "command" | "time" | "chronic" | "setsid" | "stdbuf" => (0, "ioe"),
            _ => return (name, rest.collect()),
        };
        let inner = skip_options(rest.as_slice(), arguments, valued);
        let Some(behind) = inner else { return (name, rest.collect()) };
        for _ in 0..behind {
            rest.next();
        }
    }
}

/// How many words stand before the command that is started; none if it is given as `-c`.
fn skip_options(words: &[Field], arguments: usize, valued: &str) -> Option<usize> {
    let mut at = 0usize;
    let mut left = arguments;
    while let Some(word) = words.get(at) {
        let text = word.certain().unwrap_or_default();
        if text == "-c" && valued == "wE" {
            return None;
        }
        let letter = text.strip_prefix('-').filter(|letter| letter.len() == 1);
        if letter.is_some_and(|letter| valued.contains(letter)) {
            at = at.saturating_add(1);
        } else if text.starts_with('-')
            || text.split_once('=').is_some_and(|(name, _)| is_name(name))
        {
        } else if left > 0 {
            left = left.saturating_sub(1);
            // `flock LOCK -c COMMAND`.
            if valued == "wE"
                && words.get(at.saturating_add(1)).and_then(Field::certain).as_deref() == Some("-c")
            {
                return None;
            }
        } else {
            return Some(at);
        }
        at = at.saturating_add(1);
    }
    None
}

#[cfg(test)]
mod tests;
