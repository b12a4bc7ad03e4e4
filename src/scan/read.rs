//! Taking the content of one file that may change meanwhile (faults 1 to 4).

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::settled::is_older;
use super::visit::Visit;
use super::walk::Walk;
use super::{Moment, Side, What, content};
use crate::model::entry::{Content, Xattr};
use crate::model::limits::UNSTABLE_READS_MAX;
use crate::model::path::TreePath;
use crate::os::meta::{self, KeepXattrs};
use crate::os::stat::{FileKind, Stat, StatId};
use crate::os::{clock, host};

/// What came of reading one file.
#[derive(Debug)]
pub(super) enum Taken {
    /// Its content, with the look at it that the content belongs to.
    Whole(Stat, Content, Vec<Xattr>),
    /// It is no longer there, or no longer a file.
    Gone,
    /// It cannot be taken.
    Refused(What),
}

/// What is known of an inode with several names; whoever reads it first holds it.
type Slot = Arc<Mutex<Option<(StatId, Content)>>>;

/// The inodes with several names, so that each is read once.
#[derive(Debug, Default)]
pub(super) struct Inodes(Mutex<HashMap<(u64, u64), Slot>>);

impl Inodes {
    fn slot(&self, id: &StatId) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry((id.device, id.inode)).or_default())
    }
}

impl Walk<'_> {
    /// What of extended attributes is kept.
    pub(super) fn keep_xattrs(&self) -> KeepXattrs {
        let capture = self.options.capture;
        KeepXattrs {
            user: capture.xattrs,
            privileged: capture.xattrs && host::is_root(),
            acls: capture.acls,
        }
    }

    /// Takes the file at `path`, which looked like `listed` when its directory was listed.
    pub(super) fn take_file(&self, visit: &Visit, path: &TreePath, listed: &Stat) -> Taken {
        if listed.link_count < 2 {
            return self.take_with(visit, path, &mut None);
        }
        let slot = self.inodes.slot(&listed.id);
        let mut known = slot.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_with(visit, path, &mut known)
    }

    fn take_with(
        &self,
        visit: &Visit,
        path: &TreePath,
        known: &mut Option<(StatId, Content)>,
    ) -> Taken {
        self.observe(Moment::Opening, path);
        let Some((_, name)) = path.split_last() else { return Taken::Gone };
        match self.take_stable(visit, path, name, known) {
            Ok(taken) => taken,
            Err(source) => match visit.dir.find(name) {
                Ok(Some(stat)) if stat.kind == FileKind::File => {
                    Taken::Refused(self.refusal(source))
                }
                Ok(_) => Taken::Gone,
                Err(_also) => Taken::Refused(self.refusal(source)),
            },
        }
    }

    fn refusal(&self, source: io::Error) -> What {
        if self.options.side == Side::Node && source.kind() == io::ErrorKind::PermissionDenied {
            What::Opaque { source: Some(source) }
        } else {
            What::Unreadable { source }
        }
    }

    /// Reads until two looks, before and after, agree in everything.
    ///
    /// RACE: a write within the same tick of the file system's clock as the change before it leaves no trace in the
    /// time stamps. So a file that changed just before it was looked at must give the same content twice.
    fn take_stable(
        &self,
        visit: &Visit,
        path: &TreePath,
        name: &[u8],
        known: &mut Option<(StatId, Content)>,
    ) -> io::Result<Taken> {
        let mut last: Option<(StatId, Content)> = None;
        for _ in 0..=UNSTABLE_READS_MAX {
            let file = visit.dir.open_file(name)?;
            let now = clock::wall();
            let before = meta::stat(&file)?;
            self.observe(Moment::Reading, path);
            let id = before.id;
            let remembered = known.as_ref().filter(|(known, _)| *known == id).map(|(_, it)| it);
            let reused = visit.order.reuse.get(&id.inode);
            let reused = reused.filter(|(known, _)| *known == id).map(|(_, it)| it);
            let remembered = remembered.or(reused).cloned();
            let is_settled = remembered.is_some() || is_older(id.ctime, now, self.window);
            let content = if let Some(content) = remembered {
                content
            } else {
                self.files_read.fetch_add(1, Ordering::Relaxed);
                content::read_content_with(&file, id.size, &mut |bytes| self.count(bytes))?
            };
            let xattrs = match self.keep_xattrs() {
                keep if keep.any() => meta::xattrs(&file, keep)?,
                _ => Vec::new(),
            };
            let after = meta::stat(&file)?;
            if after.id != id || content.size() != id.size {
                last = None;
                continue;
            }
            if is_settled || last.as_ref().is_some_and(|one| one.0 == id && one.1 == content) {
                *known = Some((id, content.clone()));
                return Ok(Taken::Whole(after, content, xattrs));
            }
            last = Some((id, content));
        }
        Ok(Taken::Refused(match self.options.side {
            Side::Source => What::Unstable,
            Side::Node => What::Opaque { source: None },
        }))
    }

    fn count(&self, bytes: u64) -> io::Result<()> {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.options.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(pace) = self.options.pace {
            pace.pass(bytes, self.options.stop);
        }
        if self.is_stopped() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}
