//! What sshd of this node lets in, beside what a run needs.

use std::path::{Path, PathBuf};

use super::{Findings, shown};
use crate::os::{foreign_file, programs};
use crate::wire::message::Logins;

/// Where sshd's configuration is, unless the running one was told another.
const CONFIGURATION: &str = "/etc/ssh/sshd_config";
/// Longest file of it that is read.
const BYTES_MAX: u64 = 256 * 1024;
/// Most files that one includes, and how deep.
const FILES_MAX: usize = 64;
const DEPTH_MAX: usize = 4;

/// What sshd allows where its configuration says nothing; of logins it allows more than any run begins at once.
const SESSIONS_DEFAULT: u32 = 10;

/// The limits that the configuration names; sshd takes the first value of each.
#[derive(Debug, Default, PartialEq, Eq)]
struct Limits {
    startups: Option<u32>,
    startups_of_one: Option<u32>,
    sessions: Option<u32>,
}

/// Compares the limits with what is needed. A configuration that this user may not read says nothing.
pub(super) fn check(needed: Logins, found: &mut Findings) {
    let path = of_running().unwrap_or_else(|| PathBuf::from(CONFIGURATION));
    let mut limits = Limits::default();
    if !limits.read(&path, 0) {
        return;
    }
    let place = shown(path.as_os_str().as_encoded_bytes());
    let startups =
        [("MaxStartups", limits.startups), ("PerSourceMaxStartups", limits.startups_of_one)];
    for (keyword, limit) in startups {
        if let Some(limit) = limit.filter(|limit| *limit < needed.startups) {
            let message = format!(
                "{keyword} is {limit} in {place}, and a run may begin {} logins here at once",
                needed.startups
            );
            let hint = "raise it and reload sshd, or lower -j";
            found.warning("max-startups", message, hint);
        }
    }
    let sessions = limits.sessions.unwrap_or(SESSIONS_DEFAULT);
    if let Some(limit) = Some(sessions).filter(|limit| *limit < needed.sessions) {
        let message = format!(
            "MaxSessions is {limit} in {place}, and a run may have {} sessions on one connection",
            needed.sessions
        );
        let hint = "raise it and reload sshd, or give --ssh-reuse 0";
        found.warning("max-sessions", message, hint);
    }
}

/// The configuration that the sshd above this process was told by `-f`, as its title shows.
fn of_running() -> Option<PathBuf> {
    programs::ancestors().iter().find_map(|program| {
        let title: Vec<String> = program
            .words
            .iter()
            .flat_map(|word| word.split(u8::is_ascii_whitespace))
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let at = title.iter().position(|word| word == "sshd" || word.ends_with("/sshd"))?;
        let mut options = title.iter().skip(at).skip_while(|word| *word != "-f");
        options.nth(1).filter(|path| path.starts_with('/')).map(PathBuf::from)
    })
}

impl Limits {
    /// False if the file at `path` is not to be read.
    fn read(&mut self, path: &Path, depth: usize) -> bool {
        let Ok(Some(text)) = foreign_file::read_regular(path, BYTES_MAX) else { return false };
        for line in String::from_utf8_lossy(&text).lines() {
            let Some((keyword, value)) = setting(line) else { continue };
            match keyword.as_str() {
                // What follows holds for some logins, and which is not known here.
                "match" => return true,
                "include" if depth < DEPTH_MAX => {
                    for path in value.split_whitespace().flat_map(included).take(FILES_MAX) {
                        // One that is not to be read says nothing.
                        let _is_read = self.read(&path, depth.saturating_add(1));
                    }
                }
                _ => self.take(&keyword, value),
            }
        }
        true
    }

    fn take(&mut self, keyword: &str, value: &str) {
        let first = value.split(':').next().unwrap_or_default();
        let place = match keyword {
            "maxstartups" => &mut self.startups,
            "persourcemaxstartups" => &mut self.startups_of_one,
            "maxsessions" => &mut self.sessions,
            _ => return,
        };
        // "none" is a value too: it bounds nothing.
        place.get_or_insert(first.trim().parse().unwrap_or(u32::MAX));
    }
}

/// Keyword in small letters and value of a line, if it has one.
fn setting(line: &str) -> Option<(String, &str)> {
    let line = line.trim();
    let end = line.find(|letter: char| letter.is_whitespace() || letter == '=')?;
    let (keyword, value) = line.split_at_checked(end)?;
    if keyword.starts_with('#') {
        return None;
    }
    let value =
        value.trim_matches(|letter: char| letter.is_whitespace() || letter == '=' || letter == '"');
    Some((keyword.to_lowercase(), value))
}

/// The files that a word of an include names, sorted as sshd reads them; `*` in the last name alone.
fn included(word: &str) -> Vec<PathBuf> {
    let path = Path::new("/etc/ssh").join(word.trim_matches('"'));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((head, tail)) = name.split_once('*') else { return vec![path] };
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut files = foreign_file::list(directory).unwrap_or_default();
    files.retain(|file| {
        let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        name.len() >= head.len().saturating_add(tail.len())
            && name.starts_with(head)
            && name.ends_with(tail)
            && !name.starts_with('.')
    });
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts_and_none_is_no_bound() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let write = |name: &str, text: &str| {
            crate::os::operator_file::write_operator_file(&at(name), text.as_bytes(), false)
                .expect("written");
        };
        write("10-a.conf", "maxsessions=3\n");
        write("20-b.conf", "MaxSessions 9\n");
        write("other", "MaxStartups 1\n");
        let include = at("*.conf").display().to_string();
        write(
            "config",
            &format!(
                "# MaxStartups 1\n  MaxStartups \"5:30:60\"\nMaxStartups 7\nInclude {include}\n\
                 PerSourceMaxStartups none\nMatch User x\nMaxSessions 1\n"
            ),
        );
        let mut limits = Limits::default();
        assert!(limits.read(&at("config"), 0));
        let expected =
            Limits { startups: Some(5), startups_of_one: Some(u32::MAX), sessions: Some(3) };
        assert_eq!(limits, expected);
        assert!(!limits.read(&at("missing"), 0));
        assert_eq!(limits, expected);
    }
}
