//! [`Watch`]: the source read in a thread of its own, which is left behind if a dead mount holds it (row 8).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::outcome::{Event, Failure, Monitor, Verdict};
use super::stop::{Stop, Urgency};
use crate::model::manifest::ReleaseId;
use crate::os::clock::Deadline;
use crate::scan::Progress;
use crate::scan::dates::Dates;
use crate::scan::index::{Index, RootId};
use crate::source::lint::{self, Level, Looked};
use crate::source::{self, Source};

/// How often a run looks whether it should stop while it waits.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// Who is told while the source is read, and what ends it.
pub(super) struct Watch<'a> {
    pub(super) monitor: &'a Arc<dyn Monitor>,
    pub(super) stop: &'a Stop,
    pub(super) deadline: Deadline,
}

/// What both threads see.
struct Shared {
    flag: AtomicBool,
    progress: Progress,
}

impl Watch<'_> {
    /// Reads the source that `options` tell of, and looks for what a server could not deploy of it, beside what was
    /// `deployed`, if its lint is on. Once the source is found to be there, and which directory it is, `known_of` gives
    /// what is known of it.
    pub(super) fn read(
        &self,
        options: &source::Options,
        deployed: Option<ReleaseId>,
        known_of: impl FnOnce(RootId) -> Result<(Index, lint::Known), Failure>,
    ) -> Result<(Source, Option<Looked>), Failure> {
        let options = options.clone();
        let shared =
            Arc::new(Shared { flag: AtomicBool::new(false), progress: Progress::default() });
        let (opened_of, opened) = mpsc::channel();
        let (known_to, known) = mpsc::channel();
        let (read_of, read) = mpsc::channel();
        let of_thread = Arc::clone(&shared);
        let reader = thread::Builder::new().name("source".into()).spawn(move || {
            let identity = source::open(&options.root).map(|(_, _, identity)| identity);
            if opened_of.send(identity).is_err() {
                return;
            }
            let Ok((index, known)) = known.recv() else { return };
            let read = || {
                let source = source::read(&options, &index, &of_thread.progress, &of_thread.flag)?;
                let looked = (options.lint.level != Level::Off)
                    .then(|| lint::look(&source, options.lint, &known, deployed, &of_thread.flag));
                Ok((source, looked.transpose()?))
            };
            drop(read_of.send(read()));
        });
        reader.map_err(|error| Failure::of(Verdict::Fail, "threads", &error, None))?;
        let identity = self.receive(&shared, &opened)?.map_err(|error| Failure::from(&error))?;
        let (index, lint) = known_of(identity.root)?;
        drop(known_to.send((Arc::new(index), lint)));
        self.receive(&shared, &read)?.map_err(|error: source::Error| Failure::from(&error))
    }

    /// Looks at the dates of the source that `options` tell of; no file of it is read.
    pub(super) fn dates(&self, options: &source::Options) -> Result<Dates, Failure> {
        let options = options.clone();
        let shared =
            Arc::new(Shared { flag: AtomicBool::new(false), progress: Progress::default() });
        let (found_of, found) = mpsc::channel();
        let of_thread = Arc::clone(&shared);
        let looker = thread::Builder::new().name("dates".into()).spawn(move || {
            drop(found_of.send(source::dates(&options, &of_thread.progress, &of_thread.flag)));
        });
        looker.map_err(|error| Failure::of(Verdict::Fail, "threads", &error, None))?;
        self.receive(&shared, &found)?.map_err(|error| Failure::from(&error))
    }

    fn receive<T>(&self, shared: &Shared, from: &mpsc::Receiver<T>) -> Result<T, Failure> {
        loop {
            match from.recv_timeout(GLANCE.min(self.deadline.left())) {
                Ok(value) => return Ok(value),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let message = "the thread that reads the source ended";
                    return Err(Failure::said(Verdict::Fail, "threads", message, None));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            let entries = shared.progress.entries.load(Ordering::Relaxed);
            self.monitor.event(Event::Scanning { entries });
            if let Some(failure) = self.interrupted() {
                shared.flag.store(true, Ordering::Relaxed);
                return Err(failure);
            }
            if self.deadline.is_over() {
                shared.flag.store(true, Ordering::Relaxed);
                let message = "the source could not be read before the run's deadline";
                let hint =
                    Some("is it on a mount that does not answer? --deadline bounds the whole run");
                return Err(Failure::said(Verdict::Fail, "source-hangs", message, hint));
            }
        }
    }

    /// The failure of a run that the operator wants to end.
    pub(super) fn interrupted(&self) -> Option<Failure> {
        let wish = self.stop.current();
        let verdict = Verdict::Interrupted { by_terminal: wish.by_terminal };
        (wish.urgency > Urgency::None)
            .then(|| Failure::said(verdict, "interrupted", "the run was interrupted", None))
    }
}
