//! From the commands to the configuration: what each copies where, combined, with their options.

use super::combine::{Combined, Copy, Place, combine};
use super::finding::Level;
use super::notes::{Keys, Notes, Value, add, merge, shown};
use super::pattern::{Anchor, Rule, RuleKind, translated};
use super::rsync::Call;
use super::scope::{Field, Piece, Scope, Values};
use super::{Error, Imported, Nodes};
use crate::model::limits::NODES_MAX;
use crate::model::target::{LocalPath, Target};

/// Values of loops within loops.
const DEPTH_MAX: usize = 4;

/// All commands of a text.
#[derive(Debug, Default)]
pub(super) struct Copies {
    calls: Vec<(Option<usize>, Call)>,
    found: Vec<Copy>,
    /// Something was fetched from another host.
    fetches: bool,
    /// Places to which something goes, though what is not certain.
    places: Vec<Place>,
    /// What goes somewhere that is not certain.
    sources: Vec<String>,
}

impl Copies {
    /// How many rsyncs there were.
    pub(super) fn count(&self) -> usize {
        self.calls.len()
    }

    /// Takes one rsync.
    ///
    /// # Errors
    /// [`Error::TooMuch`] if loops within loops go through more than any cluster has.
    pub(super) fn take(
        &mut self,
        mut call: Call,
        line: Option<usize>,
        scope: &Scope,
        notes: &mut Notes,
    ) -> Result<(), Error> {
        let mut places = std::mem::take(&mut call.places);
        let number = self.calls.len();
        let is_relative = call.is_relative;
        self.calls.push((line, call));
        let Some(destination) = places.pop().filter(|_| !places.is_empty()) else {
            notes.say(
                line,
                ("places", Level::Lost),
                "this rsync names no source and target",
                "check what it should be",
            );
            return Ok(());
        };
        for source in places {
            for (source, destination) in each(&source, &destination, scope)? {
                let place = place(&destination, line, scope, notes);
                let is_fetched = source.certain().is_some_and(|source| is_remote(&source));
                let source = self.source(&source, line, scope, notes);
                let (path, names, place) = match (source, place) {
                    (Some((path, names)), Some(place)) => (path, names, place),
                    (Some((path, _)), None) => {
                        self.sources.push(split_source(&path, true, false).0);
                        continue;
                    }
                    (None, place) => {
                        self.places.extend(place.filter(|_| !is_fetched));
                        continue;
                    }
                };
                let (source, suffix) = split_source(&path, names, is_relative);
                if !names && !is_relative {
                    slash_note(line, suffix.as_deref(), &place, notes);
                }
                self.found.push(Copy { line, source, suffix, place, call: number });
                if self.found.len() > NODES_MAX {
                    return Err(Error::TooMuch);
                }
            }
        }
        Ok(())
    }

    /// The path that is copied, and whether its contents are meant, not itself.
    fn source(
        &mut self,
        field: &Field,
        line: Option<usize>,
        scope: &Scope,
        notes: &mut Notes,
    ) -> Option<(String, bool)> {
        let Some(text) =
            field.certain().filter(|text| !text.is_empty() && !text.contains('\u{fffd}'))
        else {
            let message = format!("what is copied, {}, is not certain", shown(&field.shown()));
            notes.say(line, ("source", Level::Lost), message, "write it into [cluster] source");
            return None;
        };
        if is_remote(&text) {
            self.fetches = true;
            let message = format!("it fetches from {}", shown(&text));
            notes.say(
                line,
                ("fetches", Level::Lost),
                message,
                "depsync runs where the source is, and pushes",
            );
            return None;
        }
        let mut text = text;
        let mut names = false;
        if let Some(directory) = text.strip_suffix("/*") {
            let message = "a wildcard leaves out names that begin with a dot, and rsync deletes nothing beside what it is given";
            let instead = "all that the directory holds is the release";
            notes.say(line, ("wildcard", Level::Fault), message, instead);
            text = format!("{directory}/");
        }
        if text.contains(['*', '?', '[']) {
            let message = format!("what is copied, {}, is a pattern", shown(&text));
            notes.say(
                line,
                ("source", Level::Lost),
                message,
                "name the directory by [cluster] source, and what is left out by [source] exclude",
            );
            return None;
        }
        for end in ["/", "/.", "/.."] {
            names |= text.ends_with(end);
        }
        names |= text == "." || text == "..";
        let path = absolute(&text, line, scope, notes);
        Some((path, names))
    }

    /// Makes the configuration.
    ///
    /// # Errors
    /// [`Error::Fetches`] and [`Error::Unclear`], if neither source nor target is certain.
    pub(super) fn finish(mut self, mut notes: Notes) -> Result<Imported, Error> {
        let mut combined = combine(std::mem::take(&mut self.found));
        if combined.places.is_empty() {
            if self.places.is_empty() && self.sources.is_empty() {
                return Err(if self.fetches {
                    Error::Fetches
                } else {
                    Error::Unclear { findings: notes.finish() }
                });
            }
            combined.source = self.sources.first().cloned().unwrap_or_default();
            combined.places.append(&mut self.places);
            combined.places.dedup();
            combined.calls =
                (0..self.calls.len()).map(|number| (number, Anchor::default())).collect();
        }
        for copy in &combined.left_over {
            notes.say(
                copy.line,
                ("several", Level::Lost),
                format!(
                    "{} goes to places of its own: that is another release",
                    shown(&copy.source)
                ),
                "write a second configuration for it: depsync import -c OTHER.toml -- rsync …",
            );
        }
        let nodes = nodes(&combined, &mut notes);
        let keys = self.keys(&combined, &mut notes);
        let mut deletes = false;
        for (number, _) in &combined.calls {
            deletes |= self.calls.get(*number).is_some_and(|(_, call)| call.deletes);
        }
        Ok(Imported {
            source: Some(combined.source).filter(|source| !source.is_empty()),
            trees: combined.trees,
            nodes,
            keys,
            findings: notes.finish(),
            cron: Vec::new(),
            deletes,
            is_script: false,
        })
    }

    fn keys(&self, combined: &Combined, notes: &mut Notes) -> Keys {
        let mut keys = Keys::new();
        let mut excluded: Vec<String> = Vec::new();
        let mut known: Option<Vec<(RuleKind, &str)>> = None;
        for (number, anchor) in &combined.calls {
            let Some((line, call)) = self.calls.get(*number) else { continue };
            for (section, key) in merge(&mut keys, &call.keys) {
                let message = format!("this command would have another [{section}] {key}");
                notes.say(*line, ("several", Level::Lost), message, "the first one's is taken");
            }
            let own = call.rules.iter().map(|rule| (rule.kind, rule.pattern.as_str())).collect();
            let known = known.get_or_insert_with(|| Clone::clone(&own));
            if *known != own {
                let message = "this command leaves other names out than the first one";
                notes.say(
                    *line,
                    ("several", Level::Lost),
                    message,
                    "[source] exclude is for all trees: check it",
                );
            }
            if call.deletes_excluded && !call.rules.is_empty() {
                let message = "rsync's --delete-excluded removes what is excluded from the nodes";
                notes.say(
                    *line,
                    ("option", Level::Lost),
                    message,
                    "what is excluded stays on nodes as it is",
                );
            }
            rules(&call.rules, anchor, &mut excluded, &mut keys, notes);
        }
        if !excluded.is_empty() {
            keys.insert(("source", "exclude"), Value::List(excluded));
        }
        keys
    }
}

/// Adds rules; rsync takes the first that matches, gitignore the last.
fn rules(
    rules: &[Rule],
    anchor: &Anchor,
    excluded: &mut Vec<String>,
    keys: &mut Keys,
    notes: &mut Notes,
) {
    let has_excludes = rules.iter().any(|rule| rule.kind == RuleKind::Exclude);
    let has_includes = rules.iter().any(|rule| rule.kind == RuleKind::Include);
    let mut lines: Vec<String> = Vec::new();
    for rule in rules {
        let pattern = match translated(&rule.pattern, anchor) {
            Ok(pattern) => pattern,
            Err(why) => {
                let message = format!("the pattern '{}' has no equal: {why}", shown(&rule.pattern));
                notes.say(
                    rule.line,
                    ("pattern", Level::Lost),
                    message,
                    "write what it means into [source] exclude, in gitignore's syntax",
                );
                continue;
            }
        };
        match rule.kind {
            RuleKind::Protect => add(keys, "guard", "protect", pattern),
            RuleKind::Exclude => lines.push(pattern),
            RuleKind::Include => {
                lines.push(format!("!{pattern}"));
                // Who takes a directory back in must say that of all in it.
                let inside = rule.pattern.strip_suffix("/***").map(|body| format!("{body}/**"));
                let inside = inside.and_then(|inside| translated(&inside, anchor).ok());
                lines.extend(inside.map(|inside| format!("!{inside}")));
            }
        }
    }
    if !has_excludes {
        return;
    }
    if has_includes {
        lines.reverse();
    }
    for line in lines {
        if !excluded.contains(&line) {
            excluded.push(line);
        }
    }
}

/// Source and target for every value of the loops around.
fn each(source: &Field, destination: &Field, scope: &Scope) -> Result<Vec<(Field, Field)>, Error> {
    let mut pairs = vec![(source.clone(), destination.clone())];
    for _ in 0..DEPTH_MAX {
        let looping = |field: &Field| {
            field.0.iter().find_map(|piece| match piece {
                Piece::Each(number) => match scope.loops.get(*number) {
                    Some(Values::Fields(values)) => Some((*number, values)),
                    _ => None,
                },
                _ => None,
            })
        };
        let mut next = Vec::new();
        let mut is_done = true;
        for (source, destination) in pairs {
            let Some((number, values)) = looping(&source).or_else(|| looping(&destination)) else {
                next.push((source, destination));
                continue;
            };
            is_done = false;
            for value in values {
                next.push((
                    replaced(&source, number, value),
                    replaced(&destination, number, value),
                ));
                if next.len() > NODES_MAX {
                    return Err(Error::TooMuch);
                }
            }
        }
        pairs = next;
        if is_done {
            break;
        }
    }
    Ok(pairs)
}

fn replaced(field: &Field, number: usize, value: &Field) -> Field {
    let mut whole = Field::default();
    for piece in &field.0 {
        match piece {
            Piece::Each(other) if *other == number => whole.0.extend(value.0.iter().cloned()),
            piece => whole.0.push(piece.clone()),
        }
    }
    whole.joined()
}

/// Where it goes, if that is certain.
fn place(field: &Field, line: Option<usize>, scope: &Scope, notes: &mut Notes) -> Option<Place> {
    let shape: Vec<&Piece> = field.0.iter().collect();
    let (before, number, after) = match shape.as_slice() {
        [Piece::Each(number)] => ("", *number, ""),
        [Piece::Text(before), Piece::Each(number)] => (before.as_str(), *number, ""),
        [Piece::Each(number), Piece::Text(after)] => ("", *number, after.as_str()),
        [Piece::Text(before), Piece::Each(number), Piece::Text(after)] => {
            (before.as_str(), *number, after.as_str())
        }
        _ => return certain_place(field, line, scope, notes),
    };
    let Some(Values::File(file)) = scope.loops.get(number) else {
        return certain_place(field, line, scope, notes);
    };
    let file = absolute(file, line, scope, notes);
    Some(Place::Lines {
        file,
        before: before.to_owned(),
        after: after.trim_end_matches('/').to_owned(),
    })
}

fn certain_place(
    field: &Field,
    line: Option<usize>,
    scope: &Scope,
    notes: &mut Notes,
) -> Option<Place> {
    let Some(text) = field.certain().filter(|text| !text.is_empty() && !text.contains('\u{fffd}'))
    else {
        let message = format!("where it goes, {}, is not certain", shown(&field.shown()));
        notes.say(
            line,
            ("target", Level::Lost),
            message,
            "write the targets into [cluster] nodes, or [[node]] tables",
        );
        return None;
    };
    let before_slash = text.split('/').next().unwrap_or_default();
    if text.starts_with("rsync://") || before_slash.contains("::") {
        let message = format!("{} is an rsync daemon", shown(&text));
        notes.say(
            line,
            ("daemon", Level::Lost),
            message,
            "nodes are reached by ssh: write the node's directory into a [[node]] table",
        );
        return None;
    }
    if is_remote(&text) {
        return Some(Place::Target(text));
    }
    Some(Place::Target(absolute(&text, line, scope, notes)))
}

/// True if rsync takes the text for a place on another host.
fn is_remote(text: &str) -> bool {
    let before_slash = text.split('/').next().unwrap_or_default();
    before_slash.contains(':') || text.starts_with('[') && text.contains("]:")
}

fn absolute(path: &str, line: Option<usize>, scope: &Scope, notes: &mut Notes) -> String {
    let (whole, is_guess) = scope.absolute(path);
    if is_guess {
        let message = format!("{} starts wherever the script is started", shown(path));
        let instead = format!("it is taken as {}: check that", shown(&whole));
        notes.say(line, ("relative", Level::Note), message, instead);
    }
    whole
}

/// The source without a slash at its end, and what rsync adds to the target for it.
fn split_source(path: &str, names_contents: bool, is_relative: bool) -> (String, Option<String>) {
    let mut parts: Vec<&str> = Vec::new();
    let mut pivot = None;
    for part in path.split('/') {
        match part {
            "" => {}
            "." => pivot = Some(parts.len()),
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    let source = format!("/{}", parts.join("/"));
    let suffix = if is_relative {
        parts.get(pivot.unwrap_or_default()..).unwrap_or_default().join("/")
    } else if names_contents {
        String::new()
    } else {
        parts.last().copied().unwrap_or_default().to_owned()
    };
    (source, Some(suffix).filter(|suffix| !suffix.is_empty()))
}

fn slash_note(line: Option<usize>, suffix: Option<&str>, place: &Place, notes: &mut Notes) {
    let Some(suffix) = suffix else { return };
    let name = shown(suffix);
    let instead = match place {
        Place::Target(_) => format!(
            "the contents of the source become the contents of the target, always: targets are written with /{name}; take it off if the contents were meant"
        ),
        Place::Lines { .. } => format!(
            "'{name}' is written as a tree of its parent, which is what rsync did, with the lines of the file as they are; if the contents were \
             meant, take 'trees' out and add /{name} to 'source'"
        ),
    };
    let message = format!(
        "there is no slash at the source's end, so it becomes a directory '{name}' below the target"
    );
    notes.say_once(line, ("slash", Level::Fault), message, instead);
}

/// The nodes of the configuration.
fn nodes(combined: &Combined, notes: &mut Notes) -> Nodes {
    let mut targets: Vec<String> = Vec::new();
    let mut files: Vec<&str> = Vec::new();
    let base = LocalPath::new(b"/");
    for place in &combined.places {
        match place {
            Place::Lines { file, before, after } if before.is_empty() && after.is_empty() => {
                files.push(file);
            }
            Place::Lines { file, before, after } => notes.say(
                None,
                ("nodes-file", Level::Lost),
                format!("the lines of {} are not targets by themselves", shown(file)),
                format!(
                    "write a file with each of them as {}LINE{}, and name it by [cluster] nodes",
                    shown(before),
                    shown(after)
                ),
            ),
            Place::Target(text) => {
                let target = base.as_ref().map(|base| Target::parse(text.as_bytes(), base));
                match target {
                    Ok(Ok(target)) => {
                        let written = target.to_string();
                        // What had to be escaped is not the target any more.
                        let text = if written.contains('\\') { text.clone() } else { written };
                        if !targets.contains(&text) {
                            targets.push(text);
                        }
                    }
                    Ok(Err(error)) => {
                        let hint = error.hint().unwrap_or("write the target into a [[node]] table");
                        let message = format!("'{}' is not a target: {error}", shown(text));
                        notes.say(None, ("target", Level::Lost), message, hint);
                    }
                    Err(_) => {}
                }
            }
        }
    }
    let (Some(file), rest) = (files.first(), files.get(1..).unwrap_or_default()) else {
        return if targets.is_empty() { Nodes::None } else { Nodes::Listed(targets) };
    };
    for other in rest.iter().copied().chain(targets.iter().map(String::as_str)) {
        let message = format!("nodes are named by {} too", shown(other));
        notes.say(
            None,
            ("nodes-file", Level::Lost),
            message,
            format!("add them to {}", shown(file)),
        );
    }
    Nodes::File((*file).to_owned())
}
