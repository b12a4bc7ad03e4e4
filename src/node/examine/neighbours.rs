//! Other synchronisers at work on the same directory: two that write one tree undo each other's work.
//!
//! Known by the words of running programs, of crontabs and units, and of the scripts that those start: the name of a program that
//! synchronises, together with the directory, one around it or one in it. What only reads the directory, as a backup
//! does, is no matter on a node; at the source it is one only if it ships to a node.

use std::path::{Path, PathBuf};

use super::{Findings, shown};
use crate::os::programs::{self, Program};
use crate::os::{foreign_file, operator_file};

/// Programs that keep directories alike.
const PROGRAMS: [&str; 5] = ["rsync", "lsyncd", "syncthing", "unison", "csync2"];
/// What runs scripts.
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "ksh", "zsh"];
/// Tables that name a command in each line.
const TABLES: [&str; 4] =
    ["/etc/cron.d", "/var/spool/cron/crontabs", "/var/spool/cron", "/etc/systemd/system"];
/// Directories of scripts that are run as they are.
const SCRIPTS: [&str; 4] =
    ["/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly"];
/// What programs read without being told.
const DEFAULTS: [(&str, &[&str]); 2] = [
    ("lsyncd", &["/etc/lsyncd.conf", "/etc/lsyncd/lsyncd.conf.lua"]),
    ("csync2", &["/etc/csync2.cfg", "/etc/csync2/csync2.cfg"]),
];
/// Longest table or script that is read.
const BYTES_MAX: u64 = 256 * 1024;
/// Most files of one directory.
const FILES_MAX: usize = 256;

/// What the directory is to depsync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side<'a> {
    /// depsync reads it: another is told that ships it to one of these hosts, or does not say where.
    Source {
        /// The hosts of the nodes.
        hosts: &'a [String],
    },
    /// depsync writes it: another that writes it is told.
    Target,
}

/// A synchroniser that works on the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub program: &'static str,
    /// Where it is written down, or runs, escaped.
    pub place: String,
}

/// Tells of those that write into the target.
pub(super) fn check(directory: &Path, found: &mut Findings) {
    for Neighbour { program, place } in find(directory, Side::Target) {
        let message = format!("{program} is at work on this directory too, by {place}");
        let hint = "stop it, or take that out: two that write one tree undo each other's work";
        found.warning("synchroniser", message, hint);
    }
}

/// Those that work on the directory with this real path, as far as this user may see them.
pub fn find(directory: &Path, side: Side<'_>) -> Vec<Neighbour> {
    let wanted = Wanted { directory, side };
    let mut found = Vec::new();
    for path in tables() {
        let Some(text) = read(&path) else { continue };
        let name = shown(path.as_os_str().as_encoded_bytes());
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !is_comment(line)) {
            if let Some(program) = wanted.by_command(line) {
                found.push(Neighbour { program, place: format!("line {number} of {name}") });
            }
        }
    }
    for path in SCRIPTS.iter().flat_map(|directory| files(directory)) {
        if let Some(program) = read(&path).and_then(|text| wanted.by_script(&text)) {
            let place = shown(path.as_os_str().as_encoded_bytes());
            found.push(Neighbour { program, place });
        }
    }
    for running in programs::running() {
        if let Some(program) = wanted.by_program(&running) {
            let place = format!("process {}", running.process);
            found.push(Neighbour { program, place });
        }
    }
    found
}

fn tables() -> Vec<PathBuf> {
    let listed = TABLES.iter().flat_map(|directory| files(directory));
    std::iter::once(PathBuf::from("/etc/crontab")).chain(listed).collect()
}

fn files(directory: &str) -> Vec<PathBuf> {
    let mut files = foreign_file::list(Path::new(directory)).unwrap_or_default();
    files.sort();
    files.truncate(FILES_MAX);
    files
}

/// A text; nothing for what is no regular file, no text, or not to be read.
fn read(path: &Path) -> Option<String> {
    let bytes = foreign_file::read_regular(path, BYTES_MAX).ok()??;
    let text = String::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then_some(text)
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#') || line.starts_with("--") || line.starts_with("//")
}

/// The words of a line, without what shells and configurations put around them.
fn words(line: &str) -> Vec<String> {
    let line = line.replace("${HOME}", "~").replace("$HOME", "~");
    let around = |letter: char| letter.is_whitespace() || "\"'`=,(){}[]".contains(letter);
    line.split(around).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The parts of a line that are commands of their own, without where their output goes.
fn commands(line: &str) -> impl Iterator<Item = &str> {
    line.split([';', '|', '&']).map(|part| part.split(['>', '<']).next().unwrap_or_default())
}

/// The synchroniser that a word is, by its last part.
fn program_of(word: &str) -> Option<&'static str> {
    let name = word.rsplit('/').next()?;
    PROGRAMS.into_iter().find(|program| name == *program)
}

/// The host of `user@host:path` and `rsync://host/path`; none of a path.
fn host_of(word: &str) -> Option<&str> {
    let place = word.strip_prefix("rsync://").unwrap_or(word);
    let (head, _) = place.split_once(':').or_else(|| place.split_once('/'))?;
    let is_path = place.len() == word.len() && (head.contains('/') || !word.contains(':'));
    (!is_path && !head.is_empty()).then(|| head.rsplit('@').next().unwrap_or(head))
}

/// Whether a command writes here or ships from here, as far as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way<'w> {
    In,
    /// To a host; none where it does not say which.
    Out(Option<&'w str>),
    /// Somebody else takes it from here, a backup most likely.
    Pulled,
    Unknown,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    directory: &'a Path,
    side: Side<'a>,
}

impl Wanted<'_> {
    /// Looks at a line of a table; a script that it starts is read.
    fn by_command(&self, line: &str) -> Option<&'static str> {
        let starts = || commands(line).find_map(|command| self.by_named_script(&words(command)));
        self.by_script(line).or_else(starts)
    }

    fn by_program(&self, running: &Program) -> Option<&'static str> {
        let words: Vec<String> =
            running.words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        // A program, or an interpreter and the program, or that with an option between.
        let program = words.iter().take(3).find_map(|word| program_of(word));
        let is_shell = || {
            let name = words.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default();
            SHELLS.contains(&name.trim_start_matches('-'))
        };
        match program {
            Some(program) => self.by_words(program, &words),
            None if is_shell() => self.by_named_script(&words),
            None => None,
        }
    }

    fn by_named_script(&self, words: &[String]) -> Option<&'static str> {
        let paths = words.iter().filter(|word| word.starts_with('/'));
        paths.filter_map(|path| read(Path::new(path))).find_map(|text| self.by_script(&text))
    }

    /// Looks at a script, command by command. Where one names what it works on in a variable, or by the directory that the
    /// script has gone to, it is enough that the script names the directory elsewhere.
    fn by_script(&self, text: &str) -> Option<&'static str> {
        let all = || text.lines().filter(|line| !is_comment(line)).flat_map(commands);
        all().find_map(|command| {
            let words = words(command);
            let program = words.iter().find_map(|word| program_of(word))?;
            let told = || self.by_words(program, &words);
            let is_vague = |word: &&String| word.contains('$') || word.starts_with('.');
            let vague = || {
                let named = self.named(program, &words)?;
                let others = all().filter(|other| !std::ptr::eq(*other, command));
                let is_named = || others.flat_map(self::words).any(|word| self.is_about(&word));
                (named.iter().any(is_vague) && is_named()).then_some(program)
            };
            told().or_else(vague)
        })
    }

    /// The words of a synchroniser's command that may name the directory; none if it goes the other way.
    fn named<'w>(&self, program: &str, words: &'w [String]) -> Option<Vec<&'w String>> {
        let way = way(program, words);
        if !self.matters(way) {
            return None;
        }
        let after = words.iter().skip_while(|word| program_of(word).is_none()).skip(1);
        let mut named: Vec<&String> = after.filter(|word| !word.starts_with('-')).collect();
        if program == "rsync" {
            let last = named.pop();
            if self.side == Side::Target {
                named = last.into_iter().collect();
            }
        }
        Some(named)
    }

    /// Looks at the words of a synchroniser's command, and at the configurations that they name.
    fn by_words(&self, program: &'static str, words: &[String]) -> Option<&'static str> {
        let named = self.named(program, words)?;
        if named.iter().any(|word| self.is_about(word)) {
            return Some(program);
        }
        if program == "rsync" {
            return None;
        }
        let defaults = DEFAULTS.iter().filter(|(name, _)| *name == program);
        let defaults = defaults.flat_map(|(_, paths)| paths.iter().map(PathBuf::from));
        let paths = words.iter().filter(|word| word.starts_with('/'));
        let told = paths.flat_map(|word| [PathBuf::from(word), Path::new(word).join("config.xml")]);
        let mut texts = told.chain(defaults).filter_map(|path| read(&path));
        let is_about = |line: &str| words_of(line).iter().any(|word| self.is_about(word));
        texts
            .any(|text| text.lines().filter(|line| !is_comment(line)).any(is_about))
            .then_some(program)
    }

    fn matters(&self, way: Way<'_>) -> bool {
        match self.side {
            Side::Source { hosts } => match way {
                Way::In | Way::Pulled => false,
                Way::Out(Some(host)) => hosts.iter().any(|own| own == host),
                Way::Out(None) | Way::Unknown => true,
            },
            Side::Target => !matches!(way, Way::Out(_) | Way::Pulled),
        }
    }

    /// True if a word names the directory, one in it, or one around it that is not half of the machine.
    fn is_about(&self, word: &str) -> bool {
        let path = word.trim_end_matches(['/', '*', ';']);
        if let Some(below_home) = path.strip_prefix("~/") {
            let below_home = Path::new(below_home);
            return below_home.components().count() >= 2 && self.directory.ends_with(below_home);
        }
        if !path.starts_with('/') {
            return false;
        }
        let real = operator_file::real_path(Path::new(path)).unwrap_or_else(|_error| path.into());
        let is_around = self.directory.starts_with(&real) && real.components().count() > 2;
        is_around || real.starts_with(self.directory)
    }
}

/// As [`words`], of XML as well.
fn words_of(line: &str) -> Vec<String> {
    words(&line.replace(['<', '>', ';'], " "))
}

/// Which way a synchroniser's command goes.
fn way<'w>(program: &str, words: &'w [String]) -> Way<'w> {
    let has = |option: &str| words.iter().any(|word| word == option);
    if program != "rsync" || has("--daemon") {
        return Way::Unknown;
    }
    if has("--server") {
        return if has("--sender") { Way::Pulled } else { Way::In };
    }
    let after = words.iter().skip_while(|word| program_of(word).is_none()).skip(1);
    let Some(last) = after.filter(|word| !word.starts_with('-')).last() else {
        return Way::Unknown;
    };
    match host_of(last) {
        Some(host) => Way::Out(Some(host).filter(|host| !host.contains('$'))),
        None if last.starts_with(['/', '~', '.']) => Way::In,
        None => Way::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = "/opt/mi-of-nobody/repository/deployment/server";

    fn wanted(side: Side<'_>) -> Wanted<'_> {
        Wanted { directory: Path::new(DIRECTORY), side }
    }

    #[track_caller]
    fn check(line: &str, at_target: bool, at_source: bool) {
        let hosts = ["mi-1".to_owned()];
        let target = wanted(Side::Target).by_command(line).is_some();
        let source = wanted(Side::Source { hosts: &hosts }).by_command(line).is_some();
        assert_eq!((target, source), (at_target, at_source), "{line}");
    }

    #[test]
    fn commands_are_told_by_the_way_they_go() {
        check(
            &format!("* * * * * root rsync -a --delete hub:/src/ {DIRECTORY}/ >> /var/log/x 2>&1"),
            true,
            false,
        );
        check(&format!("* * * * * rsync -a {DIRECTORY}/ backup:/b/"), false, false);
        check(&format!("* * * * * rsync -a {DIRECTORY}/ u@mi-1:/b/"), false, true);
        check(&format!("* * * * * rsync -a {DIRECTORY}/ rsync://mi-1/b/"), false, true);
        check(&format!("* * * * * rsync -a {DIRECTORY}/ $node:/b/"), false, true);
        check(&format!("* * * * * rsync -a -e 'ssh -i /k' \"{DIRECTORY}\" $x"), false, true);
        check(
            &format!("@daily cd /tmp && /usr/bin/rsync -a hub:/x {DIRECTORY}/api; true"),
            true,
            false,
        );
        check(&format!("* * * * * cd {DIRECTORY} && rsync -a hub:/x ."), true, false);
        check(&format!("* * * * * x {DIRECTORY}; rsync -a hub:/x /other"), false, false);
        check("* * * * * root rsync -a hub:/x /opt/mi-of-nobody", true, false);
        check("* * * * * root rsync -a hub:/x /opt", false, false);
        check("* * * * * root rsync -a hub:/x /opt/mi-of-nobody-else", false, false);
        check(&format!("* * * * * unison {DIRECTORY} ssh://other/x"), true, true);
        check("* * * * * unison ~/repository/deployment/server ssh://other/x", true, true);
        check(&format!("* * * * * tar -cf /b.tar {DIRECTORY}"), false, false);
        check(&format!("* * * * * /opt/bin/not-rsync {DIRECTORY}"), false, false);
    }

    #[test]
    fn running_programs_are_told_by_their_arguments() {
        let running = |words: &[&str]| Program {
            process: 1,
            words: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        };
        let at_target = |words: &[&str]| wanted(Side::Target).by_program(&running(words));
        assert_eq!(at_target(&["rsync", "--server", "-a", ".", DIRECTORY]), Some("rsync"));
        assert_eq!(at_target(&["rsync", "--server", "--sender", "-a", ".", DIRECTORY]), None);
        assert_eq!(at_target(&["/usr/bin/lsyncd", "-rsync", "/a", DIRECTORY]), Some("lsyncd"));
        assert_eq!(at_target(&["tail", "-f", "-n", "rsync", DIRECTORY]), None);
        assert_eq!(at_target(&["bash", "/no/such/script"]), None);
    }

    #[test]
    fn a_script_that_names_the_directory_in_a_variable_is_understood() {
        let script = "#!/bin/sh\nserver_dir=~/mi-of-nobody/repository/deployment/server\n# rsync\n\
                      for x in `cat nodes-list.txt`; do\n  rsync --delete -arve \"ssh -i $pem\" $server_dir $x >> /tmp/log\ndone\n";
        assert_eq!(wanted(Side::Source { hosts: &[] }).by_script(script), Some("rsync"));
        let pulls = script.replace("$server_dir $x", "hub:/src/ $server_dir");
        assert_eq!(wanted(Side::Target).by_script(&pulls), Some("rsync"));
        let ships = script.replace("$x >>", "backup:/b >>");
        assert_eq!(wanted(Side::Target).by_script(&ships), None, "a backup only reads");
        assert_eq!(
            wanted(Side::Source { hosts: &[] }).by_script(&script.replace("deployment", "other")),
            None
        );
        assert_eq!(
            wanted(Side::Source { hosts: &[] }).by_script(&script.replace("  rsync", "  scp")),
            None
        );
    }
}
