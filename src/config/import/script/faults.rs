//! The faults of a script that depsync does not have: each is named only where the script has it.

use super::super::finding::Level;
use super::super::items::Command;
use super::super::notes::{Notes, shown};
use super::super::rsync::Call;
use super::super::shell::Part;

const FAULT: Level = Level::Fault;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// The first line asks for a plain shell.
    is_sh: bool,
    /// Places that a trap removes when the script ends, and the trap's line.
    traps: Vec<(usize, String)>,
    /// `set -e`.
    ends_on_failure: bool,
    /// An rsync whose status nobody has looked at yet.
    unseen: Option<Unseen>,
}

/// An rsync whose status nobody has looked at yet.
#[derive(Debug)]
struct Unseen {
    line: Option<usize>,
}

/// How an rsync is run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) line: Option<usize>,
    /// Once for each node, one after the other.
    pub(super) is_looped: bool,
    /// Somebody looks at its status.
    pub(super) is_seen: bool,
    /// Where its output goes, and whether it is appended.
    pub(super) writes: Option<(String, bool)>,
}

impl Faults {
    /// Looks at `#!`.
    pub(super) fn first_line(&mut self, line: &str, notes: &mut Notes) {
        let Some(program) = line.trim_start_matches('\u{feff}').strip_prefix("#!") else { return };
        let mut words = program.split_whitespace();
        let program = words.next().unwrap_or_default();
        self.is_sh = program.ends_with("/sh") || program == "sh";
        self.ends_on_failure = words.any(|word| word.starts_with('-') && word.contains('e'));
        if !program.is_empty() && !program.starts_with('/') {
            notes.say(
                Some(1),
                ("interpreter", FAULT),
                format!(
                    "'{}' is no absolute path: the script starts in the root directory alone",
                    shown(program)
                ),
                "no shell is needed",
            );
        }
    }

    /// Sees whether `command` looks at the status of the rsync before it.
    pub(super) fn status(&mut self, command: &Command, notes: &mut Notes) {
        let Some(Unseen { line }) = self.unseen.take() else { return };
        let is_status = |part: &Part| matches!(part, Part::Variable { name, .. } if name == "?");
        if !command.words.iter().flat_map(|word| &word.parts).any(is_status) {
            unchecked(line, notes);
        }
    }

    /// The body of a loop begins again.
    pub(super) fn end_loop(&mut self, notes: &mut Notes) {
        if let Some(Unseen { line }) = self.unseen.take() {
            unchecked(line, notes);
        }
    }

    /// Looks at a command that is no rsync.
    pub(super) fn command(
        &mut self,
        name: &str,
        texts: &[String],
        command: &Command,
        notes: &mut Notes,
    ) {
        match name {
            "trap" => self.trap(texts, command.line),
            "mkdir" | "touch" => self.lock(name, texts, command, notes),
            "pushd" | "popd" if self.is_sh => notes.say_once(
                Some(command.line),
                ("pushd", FAULT),
                "#!/bin/sh has no pushd where it is dash: the nodes file is not found there",
                "no shell is needed; paths in the configuration start at its directory",
            ),
            "set"
                if texts.iter().any(|text| {
                    text == "errexit"
                        || text.starts_with('-') && !text.starts_with("--") && text.contains('e')
                }) =>
            {
                self.ends_on_failure = true;
            }
            _ => {}
        }
    }

    fn trap(&mut self, texts: &[String], line: usize) {
        let Some((action, signals)) = texts.split_first() else { return };
        if !signals.iter().any(|signal| signal == "EXIT" || signal == "0") {
            return;
        }
        let mut words = action.split([' ', ';']).filter(|word| !word.is_empty());
        if words.any(|word| super::base(word) == "rm" || word == "rmdir") {
            let places = words.filter(|word| !word.starts_with('-'));
            self.traps
                .extend(places.map(|place| (line, place.trim_matches(['"', '\'']).to_owned())));
        }
    }

    fn lock(&mut self, name: &str, texts: &[String], command: &Command, notes: &mut Notes) {
        let Some(place) = texts.iter().find(|text| !text.starts_with('-')) else { return };
        let is_lock = command.is_tested || command.end == "||" || place.contains("lock");
        let has_parents = texts.iter().any(|text| text == "-p");
        if !is_lock || has_parents || name == "touch" && !place.contains("lock") {
            return;
        }
        if let Some((line, _)) = self.traps.iter().find(|(_, removed)| removed == place) {
            notes.say_once(
                Some(*line),
                ("trap", FAULT),
                "it is set before the lock is taken: a run that does not get the lock removes the other one's, so the third overlaps the first",
                "a lock of the kernel; who does not get it changes nothing and exits 4",
            );
        }
        notes.say_once(
            Some(command.line),
            ("lock", FAULT),
            "it outlives 'kill -9' and a crash: no sync ever again, silently",
            "the kernel frees the lock with the process",
        );
    }

    /// Looks at an rsync and how it is run.
    pub(super) fn rsync(&mut self, call: &Call, run: Run, notes: &mut Notes) {
        let Run { line, is_looped, is_seen, writes } = run;
        if self.ends_on_failure && is_looped && !is_seen {
            notes.say_once(
                line,
                ("status", FAULT),
                "by 'set -e' the first node that fails ends the script: those behind it get nothing",
                "a node that is down stops nobody, is named, and makes the exit code 3",
            );
        } else if !is_seen {
            self.unseen = Some(Unseen { line });
        }
        let mut fault = |check, message: &str, instead: &str| {
            notes.say_once(line, (check, FAULT), message, instead);
        };
        if is_looped {
            fault(
                "serial",
                "one node after the other: time grows with the cluster",
                "up to 64 at once: [rollout] parallel",
            );
        }
        if let Some((place, appends)) = writes.filter(|(place, _)| place.starts_with("/tmp/")) {
            let grows = if appends { ", and nothing rotates it" } else { "" };
            fault(
                "log",
                &format!(
                    "the log {} has a known name where everybody may write{grows}",
                    shown(&place)
                ),
                "a history of runs; [run] log_file is rotated at 10 MiB and kept five times",
            );
        }
        options(call, line, notes);
    }
}

/// The faults of rsync's options, and what they do that depsync does not.
fn options(call: &Call, line: Option<usize>, notes: &mut Notes) {
    let mut say = |check, level, message: &str, instead: &str| {
        notes.say_once(line, (check, level), message, instead);
    };
    if !call.has_timeout {
        say(
            "timeout",
            FAULT,
            "there are no timeouts: a node that hangs stops all the rest",
            "deadlines everywhere: [run] timeout, connect_timeout, deadline",
        );
    }
    if call.deletes && !call.is_capped {
        say(
            "delete",
            FAULT,
            "--delete without a guard: a source that is not mounted empties every node",
            "an empty source, a vanished mount, or more than half of the files going are refused: [guard]",
        );
    }
    if !call.deletes {
        say(
            "no-delete",
            Level::Note,
            "rsync deletes nothing here",
            "depsync deletes what the source does not have; to keep it, call it with --no-delete, or DEPSYNC_NO_DELETE=true",
        );
    }
    if !call.delays_updates {
        say(
            "burst",
            FAULT,
            "files appear one by one: a server scans a half-copied set",
            "staged, verified, then renamed in, in one burst",
        );
    }
    say(
        "drift",
        FAULT,
        "nothing looks at the nodes again",
        "depsync verify tells drift, --repair undoes it",
    );
    if call.is_dry {
        say(
            "dry-run",
            Level::Note,
            "this rsync changes nothing",
            "depsync plan says what a push would change",
        );
    }
}

fn unchecked(line: Option<usize>, notes: &mut Notes) {
    notes.say_once(
        line,
        ("status", FAULT),
        "nobody looks at rsync's status: a node that is down is silent",
        "one line for each node, and an exit code for each outcome",
    );
}
