//! [`package`]: the source written into one release file, for hosts that no hub reaches.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::goal::guard_lint;
use super::outcome::{Event, Failure, Monitor, Verdict};
use super::reading::Watch;
use super::stop::Stop;
use crate::model::manifest::ReleaseId;
use crate::os::clock::Deadline;
use crate::os::operator_file::NewFile;
use crate::scan::index::Index;
use crate::source::lint::Known;
use crate::source::release_file::{self, WriteError, Written};
use crate::source::{self, Content};

/// A release file that was written.
#[derive(Debug, Clone)]
pub struct Packaged {
    /// The release in it.
    pub release: ReleaseId,
    /// Names of the release.
    pub entries: u64,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes of the file.
    pub written: Written,
    /// What the operator should know of the source.
    pub notes: Vec<String>,
}

/// Writes the source that `options` tell of into the file at `path`; one that is there is replaced whole.
///
/// Guarantees: the guards on the source hold as in a push; the file is there whole and durable, or what was there is as
/// it was; the same release gives the same bytes. It has mode 0600: what is deployed may hold credentials.
///
/// # Errors
/// As a push has them of its source, and for what the file's directory refuses.
pub fn package(
    options: &source::Options,
    path: &Path,
    deadline: Duration,
    monitor: &Arc<dyn Monitor>,
    stop: &Stop,
) -> Result<Packaged, Failure> {
    let watch = Watch { monitor, stop, deadline: Deadline::after(deadline) };
    let (read, looked) =
        watch.read(options, None, |_root| Ok((Index::empty(), Known::default())))?;
    let mut notes: Vec<String> = read.notes.iter().map(ToString::to_string).collect();
    if let Some(looked) = looked {
        notes.extend(guard_lint(options.lint.level, &looked.findings)?);
    }
    let release = read.release.id();
    monitor.event(Event::Scanned { release, entries: read.entries, bytes: read.bytes });
    monitor.event(Event::Lacks { node: 0, bytes: read.bytes });
    let refused = |error: &io::Error| Failure::of(Verdict::Fail, "release-file", error, None);
    let manifest = read.release.manifest().map_err(|error| Failure::from(&error))?;
    let mut reader = Content::Tree(read.root).reader().map_err(|error| refused(&error))?;
    let file = NewFile::create(path, true).map_err(|error| refused(&error))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut go_on = |bytes| {
        monitor.event(Event::Sent { node: 0, bytes });
        watch.interrupted().is_none() && !watch.deadline.is_over()
    };
    let written = release_file::write(&manifest, &mut *reader, &mut out, &mut go_on);
    let written = written.map_err(|error| match error {
        WriteError::Read(_) => {
            let hint = Some("something writes to the source; try again when it is at rest".into());
            Failure::of(Verdict::Fail, "source-changed", &error, hint)
        }
        WriteError::Stopped => watch.interrupted().unwrap_or_else(|| {
            let message = "the release file could not be written before the deadline";
            Failure::said(
                Verdict::Fail,
                "timeout",
                message,
                Some("--deadline bounds the whole run"),
            )
        }),
        WriteError::Write(_) => Failure::of(Verdict::Fail, "release-file", &error, None),
    })?;
    out.flush().map_err(|error| refused(&error))?;
    let file = out.into_inner().map_err(|error| refused(error.error()))?;
    file.publish().map_err(|error| refused(&error))?;
    Ok(Packaged { release, entries: read.entries, bytes: read.bytes, written, notes })
}
