//! The command of rsync's `-e`: ssh's options as keys of `[ssh]`.

use super::finding::Level;
use super::notes::{Keys, Notes, Value, add, shown};
use super::scope::{Field, Scope, split};
use crate::config::values;

/// Letters of ssh's options with a value, and the option of `-o` they stand for.
const NAMED: &[(char, &str)] = &[
    ('p', "Port"),
    ('l', "User"),
    ('J', "ProxyJump"),
    ('c', "Ciphers"),
    ('m', "MACs"),
    ('b', "BindAddress"),
    ('B', "BindInterface"),
    ('I', "PKCS11Provider"),
];

/// Letters without a value, and what they stand for; none: nothing that matters for depsync.
const FLAGS: &[(char, Option<&str>)] = &[
    ('4', Some("AddressFamily=inet")),
    ('6', Some("AddressFamily=inet6")),
    ('A', Some("ForwardAgent=yes")),
    ('C', None),
    ('K', Some("GSSAPIAuthentication=yes")),
    ('T', None),
    ('X', None),
    ('Y', None),
    ('a', None),
    ('k', None),
    ('n', None),
    ('q', None),
    ('t', None),
    ('v', None),
    ('x', None),
];

/// Letters with a value that has no equal.
const LOST: &str = "DEFLOQRSWew";

/// What of ssh's own options depsync sets itself, or has a key for.
const OWN: &[&str] =
    &["batchmode", "controlmaster", "controlpath", "controlpersist", "loglevel", "requesttty"];

/// Reads the command and sets keys.
pub(super) fn read(
    command: &Field,
    line: Option<usize>,
    scope: &Scope,
    (keys, notes): (&mut Keys, &mut Notes),
) {
    let words = if let Some(text) = command.certain() {
        words(&text).into_iter().map(Field::text).collect()
    } else {
        let (mut open, mut fields) = (None, Vec::new());
        split(command, &mut open, &mut fields);
        fields.extend(open);
        fields
    };
    let mut reader = Reader { words: words.into_iter(), line, scope, keys, notes };
    reader.run();
}

struct Reader<'a> {
    words: std::vec::IntoIter<Field>,
    line: Option<usize>,
    scope: &'a Scope,
    keys: &'a mut Keys,
    notes: &'a mut Notes,
}

impl Reader<'_> {
    fn lost(&mut self, message: String, instead: &str) {
        self.notes.say(self.line, ("ssh", Level::Lost), message, instead);
    }

    fn run(&mut self) {
        let mut name = self.words.next().unwrap_or_default();
        if name.certain().is_some_and(|name| base(&name) == "sshpass") {
            self.lost(
                "sshpass gives a password to ssh".to_owned(),
                "depsync never asks for one: have the login user of each node take an ssh key",
            );
            name = self
                .words
                .find(|word| word.certain().is_some_and(|it| base(&it) == "ssh"))
                .unwrap_or_default();
        }
        if name.certain().is_none_or(|name| base(&name) != "ssh") {
            let message = format!("the remote shell '{}' is not ssh", shown(&name.shown()));
            return self.lost(message, "nodes are reached by the system's ssh alone");
        }
        while let Some(word) = self.words.next() {
            match word.certain() {
                Some(text) if text.starts_with('-') => self.option(&text),
                _ => {
                    let message = format!("'{}' is not an option of ssh", shown(&word.shown()));
                    self.lost(message, "check what it should be");
                }
            }
        }
    }

    /// A word of options: letters, the last of which may have a value.
    fn option(&mut self, text: &str) {
        let mut letters = text.strip_prefix('-').unwrap_or(text).chars();
        while let Some(letter) = letters.next() {
            if let Some((_, option)) = FLAGS.iter().find(|(flag, _)| *flag == letter) {
                if let Some(option) = option {
                    add(self.keys, "ssh", "options", (*option).to_owned());
                }
                continue;
            }
            let rest = letters.as_str();
            let value = if rest.is_empty() { self.words.next() } else { Some(Field::text(rest)) };
            return self.valued(letter, value.as_ref());
        }
    }

    fn valued(&mut self, letter: char, value: Option<&Field>) {
        let name = shown(&letter.to_string());
        let Some(value) = value else {
            return self.lost(format!("ssh's -{name} has no value"), "check what it should be");
        };
        let Some(text) = value.certain().filter(|text| !text.contains('\u{fffd}')) else {
            let message =
                format!("the value of ssh's -{name}, {}, is not certain", shown(&value.shown()));
            return self.lost(message, "write it into [ssh]");
        };
        match letter {
            'i' => {
                let path = self.scope.expand_home(&text);
                let path = self.scope.absolute(&path).0;
                add(self.keys, "ssh", "identity", path);
            }
            'o' => self.setting(&text),
            _ => match NAMED.iter().find(|(known, _)| *known == letter) {
                Some((_, option)) => self.setting(&format!("{option}={text}")),
                None if LOST.contains(letter) => {
                    let message = format!("ssh's -{name} has no equal");
                    self.lost(
                        message,
                        "put what it does into ~/.ssh/config, which ssh reads as ever",
                    );
                }
                None => self.lost(
                    format!("ssh has no option -{name} that is known"),
                    "check what it should be",
                ),
            },
        }
    }

    /// The value of `-o`.
    fn setting(&mut self, text: &str) {
        let (name, value) = text.split_once(['=', ' ']).unwrap_or((text, ""));
        let (name, value) = (name.trim(), value.trim_start_matches('=').trim().trim_matches('"'));
        let known = "log in to each node once by hand and compare the key, or 'ssh-keyscan NODE' and check it there; or, once, 'depsync push --accept-new-host-keys'";
        match (name.to_ascii_lowercase().as_str(), value.to_ascii_lowercase().as_str()) {
            ("stricthostkeychecking", "no" | "off" | "accept-new") => self.notes.say_once(
                self.line,
                ("host-keys", Level::Fault),
                "StrictHostKeyChecking is off: artifacts, which hold credentials, go to whoever answers",
                format!("host keys are checked; to get them known, {known}"),
            ),
            ("userknownhostsfile" | "globalknownhostsfile", "/dev/null") => self.notes.say_once(
                self.line,
                ("known-hosts", Level::Fault),
                "no host key is remembered, so a changed one is never noticed",
                format!("host keys are remembered; to get them known, {known}"),
            ),
            ("stricthostkeychecking" | "batchmode", "yes") => {}
            ("userknownhostsfile", _) if !value.is_empty() && !value.contains(' ') => {
                let path = self.scope.absolute(&self.scope.expand_home(value)).0;
                self.keys.insert(("ssh", "known_hosts"), Value::Text(path));
            }
            ("identityfile", _) if !value.is_empty() => {
                let path = self.scope.absolute(&self.scope.expand_home(value)).0;
                add(self.keys, "ssh", "identity", path);
            }
            ("connecttimeout", _) if values::time_limit(value).is_ok() => {
                self.keys.insert(("run", "connect_timeout"), Value::Text(format!("{value}s")));
            }
            (own, _) if OWN.contains(&own) => {
                let message = format!("ssh's option {} is depsync's own to set", shown(name));
                self.notes.say(self.line, ("ssh", Level::Note), message, "it is left out");
            }
            _ => match values::ssh_option(&format!("{name}={value}")) {
                Ok(option) => add(self.keys, "ssh", "options", option),
                Err(error) => self.lost(error.to_string(), "check what it should be"),
            },
        }
    }
}

/// The last component of a path.
pub(super) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The words of the command, as rsync splits them: quotes keep blanks.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in text.chars() {
        match (c, quote) {
            (_, Some(end)) if c == end => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (' ' | '\t', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
