//! What the agent says, and its encoding.

use super::examine::Examined;
use super::{
    TEXT_BYTES_MAX, Txid, from_tag, get_texts, get_time, get_txid, put_text, put_texts, put_time,
    tag_in,
};
use crate::model::codec::{Reader, Result, Writer};
use crate::model::entry::Timestamp;
use crate::model::manifest::ReleaseId;
use crate::model::patch::Near;
use crate::model::plan::{Change, ChangeKind, Counts, Deletes};
use crate::model::want::Wanted;

/// Most changes in one message.
pub const CHANGES_MAX: usize = 256;

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToHub {
    /// The lease is taken, the journal recovered.
    Opened(Opened),
    /// The pending transaction is ended; the release the node is at.
    Settled {
        /// The release, if any.
        release: Option<ReleaseId>,
    },
    /// The tree is being inspected; this much of the manifest is missing.
    Lacks {
        /// The manifest is not there.
        manifest: bool,
        /// A release whose manifest is, which a delta may start from.
        base: Option<ReleaseId>,
    },
    /// Paths that change.
    Changes(Vec<Change>),
    /// What it takes.
    Planned(Planned),
    /// Staged, verified, durable.
    Prepared,
    /// Live, verified, durable.
    Committed {
        /// How long the tree was a mix, in microseconds.
        window_us: u64,
    },
    /// Dropped; nothing changed.
    Aborted,
    /// The agent is there.
    Alive,
    /// It cannot go on. Nothing changed unless it says so.
    Failed(Failed),
    /// What would fail, or is not as it should be.
    Examined(Examined),
}

/// The lease is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The release the node is at, if it knows.
    pub release: Option<ReleaseId>,
    /// A prepared transaction that waits for its decision.
    pub pending: Option<Pending>,
    /// The highest fence seen.
    pub fence: u64,
    /// The agent's clock.
    pub clock: Timestamp,
    /// The agent acts as root.
    pub is_root: bool,
    /// The real path of the directory, escaped.
    pub real_path: String,
    /// What the operator should know, escaped.
    pub notes: Vec<String>,
    /// Room at the target, where its file system tells.
    pub free: Option<Free>,
    /// Who holds the lease, escaped; only told to a hub that just looks.
    pub holder: Option<String>,
}

/// Room on a file system for a user without privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Bytes.
    pub bytes: u64,
    /// Inodes; none where the file system makes them as needed.
    pub inodes: Option<u64>,
}

/// A prepared transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The transaction.
    pub txid: Txid,
    /// The release it leads to.
    pub release: ReleaseId,
}

/// What it takes to get to the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Nothing at all: the tree is as it should be, and the node knows its release.
    pub is_clean: bool,
    /// Entries touched.
    pub counts: Counts,
    /// What the deletion guard looks at.
    pub deletes: Deletes,
    /// The chunks that no file here has.
    pub wanted: Wanted,
    /// What is here in their place.
    pub near: Near,
    /// What the operator should know, escaped.
    pub notes: Vec<String>,
    /// Why a push would be refused here.
    pub refusal: Option<Failed>,
}

/// Why an agent cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The class of exit code.
    pub class: FailedClass,
    /// A stable word for machines.
    pub kind: String,
    /// A lowercase sentence, escaped.
    pub message: String,
    /// The causes, outermost first, escaped.
    pub causes: Vec<String>,
    /// One action that helps.
    pub hint: Option<String>,
    /// The run that holds the lease, where that is the reason.
    pub holder: Option<Txid>,
}

/// The class of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedClass {
    /// This node cannot.
    Fail,
    /// Another run holds the lease.
    Busy,
    /// The lease is held by this very run: two names for one node.
    SameRun,
    /// A guard refuses.
    Guard,
    /// Not allowed here.
    Trust,
    /// Journal, release or protocol.
    Integrity,
    /// What was asked for makes no sense.
    Usage,
    /// The decision stands but could not be carried out yet.
    Pending,
}

const CLASSES: [FailedClass; 8] = [
    FailedClass::Fail,
    FailedClass::Busy,
    FailedClass::SameRun,
    FailedClass::Guard,
    FailedClass::Trust,
    FailedClass::Integrity,
    FailedClass::Usage,
    FailedClass::Pending,
];
const CHANGE_KINDS: [ChangeKind; 5] = [
    ChangeKind::Create,
    ChangeKind::Update,
    ChangeKind::Delete,
    ChangeKind::Metadata,
    ChangeKind::Type,
];

impl ToHub {
    /// The control bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let w = &mut writer;
        match self {
            Self::Opened(opened) => {
                w.u8(0);
                opened.encode(w);
            }
            Self::Settled { release } => {
                w.u8(1);
                w.option(*release, |w, release| w.digest(&release));
            }
            Self::Lacks { manifest, base } => {
                w.u8(2);
                w.bool(*manifest);
                w.option(*base, |w, base| w.digest(&base));
            }
            Self::Changes(changes) => {
                w.u8(3);
                w.list(changes, |w, change| {
                    w.path(&change.path);
                    w.u8(tag_in(&CHANGE_KINDS, &change.kind));
                    w.u64(change.bytes);
                });
            }
            Self::Planned(planned) => {
                w.u8(4);
                planned.encode(w);
            }
            Self::Prepared => w.u8(5),
            Self::Committed { window_us } => {
                w.u8(6);
                w.u64(*window_us);
            }
            Self::Aborted => w.u8(7),
            Self::Alive => w.u8(8),
            Self::Failed(failed) => {
                w.u8(9);
                failed.encode(w);
            }
            Self::Examined(examined) => {
                w.u8(10);
                examined.encode(w);
            }
        }
        writer.finish()
    }

    /// Reads control bytes.
    ///
    /// # Errors
    /// Any error of the codec; the message is refused whole.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "message from the agent");
        let r = &mut reader;
        let message = match r.u8()? {
            0 => Self::Opened(Opened::decode(r)?),
            1 => Self::Settled { release: r.option(Reader::digest)? },
            2 => Self::Lacks { manifest: r.bool()?, base: r.option(Reader::digest)? },
            3 => Self::Changes(r.list(CHANGES_MAX, |r| {
                Ok(Change { path: r.path()?, kind: from_tag(r, &CHANGE_KINDS)?, bytes: r.u64()? })
            })?),
            4 => Self::Planned(Planned::decode(r)?),
            5 => Self::Prepared,
            6 => Self::Committed { window_us: r.u64()? },
            7 => Self::Aborted,
            8 => Self::Alive,
            9 => Self::Failed(Failed::decode(r)?),
            10 => Self::Examined(Examined::decode(r)?),
            tag => return Err(r.unknown(u64::from(tag))),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl Opened {
    fn encode(&self, w: &mut Writer) {
        w.option(self.release, |w, release| w.digest(&release));
        w.option(self.pending.as_ref(), |w, pending| {
            w.raw(&pending.txid.0);
            w.digest(&pending.release);
        });
        w.u64(self.fence);
        put_time(w, self.clock);
        w.bool(self.is_root);
        put_text(w, &self.real_path);
        put_texts(w, &self.notes);
        w.option(self.free, |w, free| {
            w.u64(free.bytes);
            w.option(free.inodes, Writer::u64);
        });
        w.option(self.holder.as_deref(), put_text);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            release: r.option(Reader::digest)?,
            pending: r.option(|r| Ok(Pending { txid: get_txid(r)?, release: r.digest()? }))?,
            fence: r.u64()?,
            clock: get_time(r)?,
            is_root: r.bool()?,
            real_path: r.text(TEXT_BYTES_MAX)?,
            notes: get_texts(r)?,
            free: r.option(|r| Ok(Free { bytes: r.u64()?, inodes: r.option(Reader::u64)? }))?,
            holder: r.option(|r| r.text(TEXT_BYTES_MAX))?,
        })
    }
}

impl Planned {
    fn encode(&self, w: &mut Writer) {
        w.bool(self.is_clean);
        let counts = self.counts;
        for count in [counts.created, counts.updated, counts.deleted, counts.metadata] {
            w.u64(count);
        }
        w.u64(self.deletes.lost);
        w.u64(self.deletes.of);
        self.wanted.encode(w);
        self.near.encode(w);
        put_texts(w, &self.notes);
        w.option(self.refusal.as_ref(), |w, refusal| refusal.encode(w));
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            is_clean: r.bool()?,
            counts: Counts {
                created: r.u64()?,
                updated: r.u64()?,
                deleted: r.u64()?,
                metadata: r.u64()?,
            },
            deletes: Deletes { lost: r.u64()?, of: r.u64()? },
            wanted: Wanted::decode(r)?,
            near: Near::decode(r)?,
            notes: get_texts(r)?,
            refusal: r.option(Failed::decode)?,
        })
    }
}

impl Failed {
    fn encode(&self, w: &mut Writer) {
        w.u8(tag_in(&CLASSES, &self.class));
        put_text(w, &self.kind);
        put_text(w, &self.message);
        put_texts(w, &self.causes);
        w.option(self.hint.as_deref(), put_text);
        w.option(self.holder, |w, holder| w.raw(&holder.0));
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            class: from_tag(r, &CLASSES)?,
            kind: r.text(TEXT_BYTES_MAX)?,
            message: r.text(TEXT_BYTES_MAX)?,
            causes: get_texts(r)?,
            hint: r.option(|r| r.text(TEXT_BYTES_MAX))?,
            holder: r.option(get_txid)?,
        })
    }
}
