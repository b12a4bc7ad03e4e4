//! Standard output and standard error: the only place that prints.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::ColorWhen;
use super::environment;
use crate::hub::outcome::{Event, Failure, Monitor};
use crate::os::log_file::LogFile;
use crate::report::human::{self, Style};
use crate::report::progress::Progress;

/// What became of text that was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It is there, or nobody wanted it: a closed pipe is not an error.
    Fine,
    /// It is lost.
    Lost,
}

impl Written {
    /// Judges the result of writing.
    pub(super) fn of(result: io::Result<()>) -> Self {
        match result {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Self::Lost,
            _ => Self::Fine,
        }
    }

    /// The exit code of a run that would have `code`: a lost report turns a success into 1.
    pub(super) fn exit_code(self, code: u8) -> u8 {
        match (self, code) {
            (Self::Lost, 0) => 1,
            _ => code,
        }
    }

    /// Lost if either is.
    pub(super) fn and(self, other: Self) -> Self {
        if self == Self::Lost { self } else { other }
    }
}

/// The two streams and how text is shown on them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Console {
    /// For standard output.
    pub(super) style: Style,
    error_style: Style,
}

impl Console {
    /// Looks at the streams.
    pub(super) fn new(color: ColorWhen, all_paths: bool) -> Self {
        let style =
            |is_terminal| Style { color: environment::is_colored(color, is_terminal), all_paths };
        Self {
            style: style(io::stdout().is_terminal()),
            error_style: style(io::stderr().is_terminal()),
        }
    }

    /// Prints results.
    pub(super) fn results(self, text: &str) -> Written {
        let mut stdout = io::stdout().lock();
        let written = Written::of(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
        if written == Written::Lost {
            self.warn("the report could not be written to standard output");
        }
        written
    }

    /// Prints what is rendered for standard error. There is nobody to tell if that fails.
    pub(super) fn aside(self, render: impl FnOnce(Style) -> String) {
        let _unseen = io::stderr().lock().write_all(render(self.error_style).as_bytes());
    }

    /// Prints an error with its causes and a hint.
    pub(super) fn failure(self, failure: &Failure) {
        self.aside(|style| human::failure("", failure, style));
    }

    /// Appends `lines` to the log, if there is one.
    pub(super) fn log(self, file: Option<&Path>, lines: &[String]) -> Written {
        match file.map(|path| LogFile::new(path).append(lines)) {
            Some(Err(error)) => {
                self.warn(&format!("the log could not be written: {error}"));
                Written::Lost
            }
            _ => Written::Fine,
        }
    }

    /// Prints a warning.
    pub(super) fn warn(self, text: &str) {
        self.aside(|_style| format!("warning: {text}\n"));
    }
}

/// One line at the bottom of a terminal that follows a run.
#[derive(Debug)]
pub(super) struct Screen {
    bar: ProgressBar,
    progress: Mutex<Progress>,
}

impl Screen {
    /// Starts the line; nothing is drawn if standard error is not a terminal or `is_quiet`.
    pub(super) fn start(names: impl IntoIterator<Item = String>, is_quiet: bool) -> Arc<Self> {
        let target =
            if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}") {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Arc::new(Self { bar, progress: Mutex::new(Progress::new(names)) })
    }

    /// Clears the line.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Monitor for Screen {
    fn event(&self, event: Event) {
        if self.bar.is_hidden() {
            return;
        }
        // A poisoned lock holds figures for a screen, which stay good enough.
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.apply(&event);
        let lacks = progress.lacks_bytes();
        if lacks > 0 {
            if self.bar.length().is_none() {
                let template =
                    "{spinner} {prefix} [{bar:24}] {binary_bytes}/{binary_total_bytes}  {wide_msg}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    self.bar.set_style(style.progress_chars("━╸ "));
                }
            }
            self.bar.set_length(lacks);
            self.bar.set_position(progress.sent_bytes());
        }
        self.bar.set_prefix(progress.lead());
        self.bar.set_message(progress.behind());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_075_a_closed_pipe_changes_nothing_and_a_lost_report_turns_0_into_1() {
        let closed = Written::of(Err(io::ErrorKind::BrokenPipe.into()));
        let full = Written::of(Err(io::ErrorKind::StorageFull.into()));
        for (written, code, expected) in [
            (closed, 0, 0),
            (closed, 3, 3),
            (full, 0, 1),
            (full, 3, 3),
            (Written::of(Ok(())), 0, 0),
        ] {
            assert_eq!(written.exit_code(code), expected, "{written:?} {code}");
        }
        assert_eq!(closed.and(full), Written::Lost);
        assert_eq!(full.and(closed), Written::Lost);
    }
}
