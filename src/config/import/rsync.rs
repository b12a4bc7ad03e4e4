//! The arguments of one rsync: what is sent where, and its options as keys.

use super::finding::Level;
use super::notes::{Keys, Notes, Value, add, shown};
use super::options::{self, Act, Entry};
use super::pattern::{Rule, RuleKind};
use super::remote_shell;
use super::scope::{Field, Scope};
use crate::config::values;

/// What one rsync says.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of rsync")]
pub(super) struct Call {
    /// All that is no option: the sources, and the target last.
    pub(super) places: Vec<Field>,
    pub(super) keys: Keys,
    pub(super) rules: Vec<Rule>,
    pub(super) deletes: bool,
    pub(super) deletes_excluded: bool,
    /// `--max-delete` bounds deletions.
    pub(super) is_capped: bool,
    /// A silent node ends it.
    pub(super) has_timeout: bool,
    /// `-R`.
    pub(super) is_relative: bool,
    /// Changes become visible together at the end.
    pub(super) delays_updates: bool,
    /// It changes nothing, by `-n` and the like.
    pub(super) is_dry: bool,
    keeps_owner: bool,
    keeps_group: bool,
    keeps_devices: bool,
    keeps_specials: bool,
}

/// Reads the arguments behind `rsync`.
pub(super) fn read(
    arguments: Vec<Field>,
    line: Option<usize>,
    scope: &Scope,
    notes: &mut Notes,
) -> Call {
    let mut reader =
        Reader { arguments: arguments.into_iter(), line, scope, notes, call: Call::default() };
    if let Some(shell) = scope.value("RSYNC_RSH") {
        let told = (&mut reader.call.keys, &mut *reader.notes);
        remote_shell::read(&Field::text(shell), line, scope, told);
    }
    reader.run();
    let Reader { mut call, .. } = reader;
    if !call.keeps_owner && !call.keeps_group {
        let agent = Value::Text("agent".to_owned());
        call.keys.entry(("source", "owner")).or_insert(agent);
    }
    if !call.keeps_devices && !call.keeps_specials {
        call.keys.insert(("source", "skip_specials"), Value::Flag(true));
    }
    call.has_timeout |= call.keys.contains_key(&("run", "timeout"))
        || call.keys.contains_key(&("run", "connect_timeout"))
        || call.keys.contains_key(&("run", "deadline"));
    call
}

struct Reader<'a> {
    arguments: std::vec::IntoIter<Field>,
    line: Option<usize>,
    scope: &'a Scope,
    notes: &'a mut Notes,
    call: Call,
}

impl Reader<'_> {
    fn say(&mut self, level: Level, message: String, instead: &str) {
        self.notes.say(self.line, ("option", level), message, instead);
    }

    fn run(&mut self) {
        let mut are_places = false;
        while let Some(field) = self.arguments.next() {
            let text = field.certain();
            match text.as_deref() {
                _ if are_places => self.call.places.push(field),
                Some("--") => are_places = true,
                Some(text) if text.starts_with(['\u{2013}', '\u{2014}']) => self.dashed(text),
                Some(text) if text.len() > 1 && text.starts_with('-') => self.option(text),
                // `--opt=$unknown`.
                None if field.shown().starts_with('-') => {
                    let message = format!("the option {} is not certain", shown(&field.shown()));
                    self.say(Level::Lost, message, "write the key it means into the configuration");
                }
                _ => self.call.places.push(field),
            }
        }
    }

    /// A word processor's dash in the place of hyphens.
    fn dashed(&mut self, text: &str) {
        let name = text.trim_start_matches(['\u{2013}', '\u{2014}', '-']);
        self.notes.say(
            self.line,
            ("dash", Level::Fault),
            format!(
                "'{}' begins with a dash, not with hyphens: rsync takes it for a file's name",
                shown(text)
            ),
            "it is read as the option that was meant",
        );
        let hyphens = if name.chars().count() > 1 { "--" } else { "-" };
        self.option(&format!("{hyphens}{name}"));
    }

    fn option(&mut self, text: &str) {
        if let Some(long) = text.strip_prefix("--") {
            return self.long(long);
        }
        let mut letters = text.strip_prefix('-').unwrap_or(text).chars();
        while let Some(letter) = letters.next() {
            let Some(entry) = options::short(letter) else {
                let message =
                    format!("rsync has no option '-{}' that is known", shown(&letter.to_string()));
                self.say(Level::Lost, message, "check what it should be");
                continue;
            };
            if !entry.takes {
                self.apply(entry, None);
                continue;
            }
            let rest = letters.as_str();
            let rest = rest.strip_prefix('=').unwrap_or(rest);
            let value =
                if rest.is_empty() { self.arguments.next() } else { Some(Field::text(rest)) };
            return self.with_value(entry, value);
        }
    }

    fn long(&mut self, text: &str) {
        let (name, value) =
            text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        if let Some(entry) = options::long(name) {
            return match (entry.takes, value) {
                (false, None) => self.apply(entry, None),
                (true, Some(value)) => self.with_value(entry, Some(Field::text(value))),
                (true, None) => {
                    let value = self.arguments.next();
                    self.with_value(entry, value);
                }
                (false, Some(_)) => {
                    let message = format!("rsync's --{} takes no value", shown(name));
                    self.say(Level::Lost, message, "check what it should be");
                }
            };
        }
        let negated = name.strip_prefix("no-").and_then(|name| {
            let mut letters = name.chars();
            match (letters.next(), letters.next()) {
                (Some(letter), None) => options::short(letter),
                _ => options::long(name),
            }
        });
        if let Some(entry) = negated {
            self.negate(entry);
        } else {
            let message = format!("rsync has no option '--{}' that is known", shown(name));
            self.say(Level::Lost, message, "check what it should be");
        }
    }

    fn negate(&mut self, entry: &Entry) {
        let mut forget = |section, key| drop(self.call.keys.remove(&(section, key)));
        match entry.act {
            Act::Owner => self.call.keeps_owner = false,
            Act::Group => self.call.keeps_group = false,
            Act::Devices => self.call.keeps_devices = false,
            Act::Specials => self.call.keeps_specials = false,
            Act::DevicesAndSpecials => {
                self.call.keeps_devices = false;
                self.call.keeps_specials = false;
            }
            Act::Xattrs => forget("source", "xattrs"),
            Act::Acls => forget("source", "acls"),
            Act::HardLinks => forget("source", "hard_links"),
            Act::Bwlimit => forget("run", "bwlimit"),
            Act::Timeout => forget("run", "timeout"),
            Act::Relative => self.call.is_relative = false,
            _ if matches!(entry.long, "perms" | "times" | "links" | "recursive") => {
                let message = format!("rsync's --no-{} has no equal", entry.long);
                self.say(
                    Level::Lost,
                    message,
                    "directories, links, modes and times are kept always",
                );
            }
            _ => {}
        }
    }

    fn with_value(&mut self, entry: &Entry, value: Option<Field>) {
        let Some(value) = value else {
            let message = format!("rsync's {} has no value", entry.name());
            return self.say(Level::Lost, message, "check what it should be");
        };
        if entry.act == Act::Rsh {
            let told = (&mut self.call.keys, &mut *self.notes);
            return remote_shell::read(&value, self.line, self.scope, told);
        }
        match value.certain().filter(|text| !text.contains('\u{fffd}')) {
            Some(text) => self.apply(entry, Some(&text)),
            None if entry.act == Act::Anyway => {}
            None => {
                let message = format!(
                    "the value of rsync's {}, {}, is not certain",
                    entry.name(),
                    shown(&value.shown())
                );
                self.say(Level::Lost, message, "write the key it means into the configuration");
            }
        }
    }

    fn set(&mut self, section: &'static str, key: &'static str, value: Value) {
        self.call.keys.insert((section, key), value);
    }

    fn apply(&mut self, entry: &Entry, value: Option<&str>) {
        let value = value.unwrap_or_default();
        let flag = Value::Flag(true);
        match entry.act {
            Act::Anyway => self.call.delays_updates |= entry.long == "delay-updates",
            Act::Lost => self.lost(entry, value),
            Act::Archive => self.all_kept(true),
            Act::Owner => self.call.keeps_owner = true,
            Act::Group => self.call.keeps_group = true,
            Act::Devices => self.call.keeps_devices = true,
            Act::Specials => self.call.keeps_specials = true,
            Act::DevicesAndSpecials => {
                self.call.keeps_devices = true;
                self.call.keeps_specials = true;
            }
            Act::SkipSpecials => self.set("source", "skip_specials", flag),
            Act::Delete => self.call.deletes = true,
            Act::DeleteExcluded => {
                self.call.deletes = true;
                self.call.deletes_excluded = true;
            }
            Act::DryRun => self.call.is_dry = true,
            Act::Relative => self.call.is_relative = true,
            Act::Xattrs => self.set("source", "xattrs", flag),
            Act::Acls => self.set("source", "acls", flag),
            Act::HardLinks => self.set("source", "hard_links", flag),
            Act::Ipv4 => add(&mut self.call.keys, "ssh", "options", "AddressFamily=inet".into()),
            Act::Ipv6 => add(&mut self.call.keys, "ssh", "options", "AddressFamily=inet6".into()),
            Act::SafeLinks => {
                self.set("source", "safe_links", flag);
                self.say(
                    Level::Note,
                    "rsync's --safe-links leaves links out".to_owned(),
                    entry.says,
                );
            }
            Act::Mkpath => {
                let message = "rsync's --mkpath is no key of the configuration".to_owned();
                self.say(Level::Note, message, entry.says);
            }
            Act::Exclude | Act::Include | Act::Filter => self.rule(entry.act, value),
            Act::Bwlimit
            | Act::Chown
            | Act::ConnectTimeout
            | Act::ExcludeFrom
            | Act::LogFile
            | Act::MaxDelete
            | Act::RsyncPath
            | Act::StopAfter
            | Act::Timeout => self.key(entry, value),
            Act::Rsh => {}
        }
    }

    fn all_kept(&mut self, is_kept: bool) {
        self.call.keeps_owner = is_kept;
        self.call.keeps_group = is_kept;
        self.call.keeps_devices = is_kept;
        self.call.keeps_specials = is_kept;
    }

    fn lost(&mut self, entry: &Entry, value: &str) {
        let value = if value.is_empty() { String::new() } else { format!(" {}", shown(value)) };
        self.say(Level::Lost, format!("rsync's {}{value} has no equal", entry.name()), entry.says);
    }

    /// An option that becomes a key with a value.
    fn key(&mut self, entry: &Entry, value: &str) {
        let path = || self.scope.absolute(&self.scope.expand_home(value)).0;
        let seconds = || values::time_limit(value).ok().map(|_| Value::Text(format!("{value}s")));
        let (section, key, made) = match entry.act {
            Act::Bwlimit => ("run", "bwlimit", rate(value)),
            Act::Chown => {
                ("source", "owner", values::owner(value).ok().map(|_| Value::Text(value.into())))
            }
            Act::ConnectTimeout => ("run", "connect_timeout", seconds()),
            Act::Timeout => ("run", "timeout", seconds()),
            Act::StopAfter => {
                let minutes = Some(format!("{value}m")).filter(|it| values::time_limit(it).is_ok());
                ("run", "deadline", minutes.map(Value::Text))
            }
            Act::LogFile => ("run", "log_file", Some(Value::Text(path()))),
            Act::MaxDelete => {
                self.call.is_capped = true;
                (
                    "guard",
                    "max_delete",
                    values::max_delete(value).ok().map(|_| Value::Text(value.into())),
                )
            }
            Act::RsyncPath => return self.rsync_path(entry, value),
            _ => {
                if value == "-" {
                    return self.lost(entry, value);
                }
                let path = path();
                add(&mut self.call.keys, "source", "exclude_from", path);
                let message = format!("{} holds patterns of rsync", shown(value));
                let instead = "depsync reads it in gitignore's syntax: a pattern with a slash inside starts at the source; \
                     '+ ', '- ' and ';' mean nothing";
                return self.say(Level::Note, message, instead);
            }
        };
        match made {
            Some(made) => {
                self.set(section, key, made);
                if matches!(entry.act, Act::Bwlimit | Act::MaxDelete) {
                    let message = format!("rsync's {} {}", entry.name(), shown(value));
                    self.say(Level::Note, message, entry.says);
                }
            }
            // No limit.
            None if value == "0" => {}
            None => self.lost(entry, value),
        }
    }

    fn rsync_path(&mut self, entry: &Entry, value: &str) {
        let mut words = value.split_whitespace();
        let first = words.next().unwrap_or_default();
        let rest: Vec<&str> =
            words.filter(|word| !matches!(*word, "-n" | "-E" | "-H" | "--")).collect();
        let is_rsync = |word: &str| remote_shell::base(word) == "rsync";
        let user = match rest.as_slice() {
            [program] if is_rsync(program) => Some("root"),
            ["-u", user, program] if is_rsync(program) => Some(*user),
            _ => None,
        };
        match user.filter(|user| remote_shell::base(first) == "sudo" && values::user(user).is_ok())
        {
            Some(user) => {
                self.set("ssh", "sudo_user", Value::Text(user.to_owned()));
                let message = "rsync runs by sudo on the nodes".to_owned();
                let instead = "the agent does: let the login user run ~/.cache/depsync/* by 'sudo -n' without a password";
                self.say(Level::Note, message, instead);
            }
            None if rest.is_empty() && is_rsync(first) => {}
            None if value.starts_with("mkdir -p") && value.contains("&&") => {
                let message = "rsync's --rsync-path makes the target's parents".to_owned();
                self.say(Level::Note, message, "call it with --mkpath, or DEPSYNC_MKPATH=true");
            }
            None => self.lost(entry, value),
        }
    }

    fn rule(&mut self, act: Act, value: &str) {
        let mut kind = if act == Act::Include { RuleKind::Include } else { RuleKind::Exclude };
        let mut pattern = value;
        let (word, rest) = value.split_once([' ', '_']).unwrap_or((value, ""));
        let told = match word {
            "+" => Some(RuleKind::Include),
            "-" => Some(RuleKind::Exclude),
            _ if act != Act::Filter => None,
            "include" => Some(RuleKind::Include),
            "exclude" | "H" | "hide" => Some(RuleKind::Exclude),
            "P" | "protect" => Some(RuleKind::Protect),
            _ => {
                let message = format!("rsync's filter rule '{}' has no equal", shown(value));
                return self.say(
                    Level::Lost,
                    message,
                    "write what it means into [source] exclude or [guard] protect",
                );
            }
        };
        if value == "!" {
            self.call.rules.clear();
            return;
        }
        if let Some(told) = told {
            kind = told;
            pattern = rest;
        }
        self.call.rules.push(Rule { line: self.line, kind, pattern: pattern.to_owned() });
    }
}

/// `--bwlimit` as a rate of depsync: bytes a second; rsync's bare number is in KiB.
fn rate(text: &str) -> Option<Value> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "k" | "kib" => 1 << 10,
        "b" => 1,
        "kb" => 1000,
        "m" | "mib" => 1 << 20,
        "mb" => 1_000_000,
        "g" | "gib" => 1 << 30,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{part}").parse().ok()?;
    let scale = 10u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let bytes = digits.checked_mul(u128::from(factor))?.checked_div(scale)?;
    let bytes = u64::try_from(bytes).ok()?;
    let text = match bytes {
        0 => return None,
        bytes if bytes % (1 << 20) == 0 => format!("{}M", bytes >> 20),
        bytes if bytes % (1 << 10) == 0 => format!("{}K", bytes >> 10),
        bytes => bytes.to_string(),
    };
    Some(Value::Text(text))
}

#[cfg(test)]
mod tests;
