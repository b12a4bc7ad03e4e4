//! What the hub says, and its encoding.

use std::time::Duration;

use super::examine::Examine;
use super::{TEXT_BYTES_MAX, Txid, from_tag, get_time, get_txid, put_text, put_time, tag_in};
use crate::model::codec::{Reader, Result, Writer};
use crate::model::entry::Timestamp;
use crate::model::keep::Keep;
use crate::model::limits;
use crate::model::manifest::ReleaseId;
use crate::model::plan::{CommitStyle, MaxDelete};

/// What the hub says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAgent {
    /// Take the lease of a target.
    Open(Open),
    /// End the pending transaction as it was decided.
    Settle {
        /// The pending transaction.
        txid: Txid,
        /// The hub holds a decision for it.
        decided: bool,
    },
    /// This release is wanted.
    Offer(Offer),
    /// Part of a manifest or delta; the bulk bytes, compressed.
    Manifest(ManifestPart),
    /// Get ready.
    Stage(Stage),
    /// The next batch of wanted chunks; the bulk bytes.
    Batch {
        /// What the bulk bytes are.
        packing: Packing,
    },
    /// Make it live.
    Commit {
        /// The transaction.
        txid: Txid,
    },
    /// Drop it.
    Abort,
    /// The hub is there.
    Alive,
    /// Say what would fail, in the place of [`ToAgent::Open`].
    Examine(Examine),
    /// A witness looks at the share once more, and says *Opened*.
    Look,
}

/// Which part an agent has in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The target is its node's own.
    Own,
    /// The target is on a file system that all nodes mount, and it writes there for all of them.
    Writer,
    /// The target is on a file system that all nodes mount, and it looks at what the writer wrote, through its own node's
    /// mount: it takes no lease and changes nothing.
    Witness,
}

const PARTS: [Part; 3] = [Part::Own, Part::Writer, Part::Witness];

/// What is expected of the file system under a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mounted {
    /// Which part the agent has.
    pub part: Part,
    /// A share may be a file system that is not known as one that several hosts mount: this host may be its server.
    pub allow_local: bool,
}

impl Mounted {
    /// What is expected where each node has a directory of its own.
    pub const OWN: Self = Self { part: Part::Own, allow_local: false };
}

/// How the chunks of a batch travel. The bytes of its history are those of the compressed batches since the last fresh
/// one; plain batches and patches are no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As they are.
    Plain,
    /// As the first bytes of a zstd frame, flushed at the end of the batch: history begins here.
    Fresh,
    /// As the next bytes of the frame of the compressed batch before, flushed likewise.
    Continued,
    /// As a patch to what the node named in the place of the chunks, in a zstd frame of its own.
    Patch {
        /// Length of the patch before compression.
        bytes: usize,
    },
}

/// Take the lease of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "two switches of the command line and a kind of run"
)]
pub struct Open {
    /// The run, by which two names for one node are found.
    pub run: Txid,
    /// The cluster's name.
    pub cluster: String,
    /// Who runs it, for people.
    pub holder: String,
    /// The directory: absolute, or relative to the home.
    pub directory: Vec<u8>,
    /// Where the state lies, if not beside the directory.
    pub state_dir: Option<String>,
    /// Make missing parents.
    pub make_path: bool,
    /// The hub's clock.
    pub clock: Timestamp,
    /// Nothing may be changed: a plan.
    pub read_only: bool,
    /// Where the source is, so that a target that overlaps it is found wherever it is named from.
    pub source: SourcePlace,
    /// Take no lease and end with *Opened*: a look at the journal, beside whatever run is under way. Goes with `read_only`.
    pub looks_only: bool,
    /// The place of this target among those of the run: two that are one directory are found by it.
    pub number: u32,
    /// What its file system is to be.
    pub mounted: Mounted,
}

/// Where a source is: on which machine, and below which directories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourcePlace {
    /// The machine's boot id; empty if it is not known.
    pub boot: String,
    /// Device and inode of each directory from `/` down to the source.
    pub ancestry: Vec<(u64, u64)>,
}

/// This release is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "switches of the command line")]
pub struct Offer {
    /// The release.
    pub release: ReleaseId,
    /// The header of its manifest, in canonical bytes.
    pub header: Vec<u8>,
    /// Keep what the release does not have.
    pub no_delete: bool,
    /// The most that may go.
    pub max_delete: MaxDelete,
    /// Say every path that changes.
    pub list_changes: bool,
    /// Read every file again, whatever the index says.
    pub reread: bool,
    /// Content is read no faster than so many bytes a second.
    pub read_rate: Option<u64>,
    /// Bring what a server here has rejected once more.
    pub force: bool,
    /// Share of the file system that must stay free, in percent.
    pub min_free_percent: u8,
    /// How it becomes live.
    pub commit: CommitStyle,
}

/// Part of a manifest, or of a delta to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestPart {
    /// The release the delta starts from; the whole manifest if none.
    pub base: Option<ReleaseId>,
    /// Length of this part before compression.
    pub raw_bytes: usize,
    /// Nothing follows.
    pub is_last: bool,
}

/// Get ready to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The transaction.
    pub txid: Txid,
    /// A number that only grows; a lower one than ever seen is refused.
    pub fence: u64,
    /// How much of earlier releases stays.
    pub keep: Keep,
}

impl ToAgent {
    /// The control bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let w = &mut writer;
        match self {
            Self::Open(open) => {
                w.u8(0);
                open.encode(w);
            }
            Self::Settle { txid, decided } => {
                w.u8(1);
                w.raw(&txid.0);
                w.bool(*decided);
            }
            Self::Offer(offer) => {
                w.u8(2);
                offer.encode(w);
            }
            Self::Manifest(part) => {
                w.u8(3);
                w.option(part.base, |w, base| w.digest(&base));
                w.u64(part.raw_bytes as u64);
                w.bool(part.is_last);
            }
            Self::Stage(stage) => {
                w.u8(4);
                w.raw(&stage.txid.0);
                w.u64(stage.fence);
                let Keep { releases, age, bytes } = stage.keep;
                w.u64(u64::from(releases));
                w.option(age, |w, age| w.u64(age.as_secs()));
                w.option(bytes, Writer::u64);
            }
            Self::Batch { packing } => {
                w.u8(5);
                match packing {
                    Packing::Plain => w.u8(0),
                    Packing::Fresh => w.u8(1),
                    Packing::Continued => w.u8(2),
                    Packing::Patch { bytes } => {
                        w.u8(3);
                        w.u64(*bytes as u64);
                    }
                }
            }
            Self::Commit { txid } => {
                w.u8(6);
                w.raw(&txid.0);
            }
            Self::Abort => w.u8(7),
            Self::Alive => w.u8(8),
            Self::Examine(examine) => {
                w.u8(9);
                examine.encode(w);
            }
            Self::Look => w.u8(10),
        }
        writer.finish()
    }

    /// Reads control bytes.
    ///
    /// # Errors
    /// Any error of the codec; the message is refused whole.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "message from the hub");
        let r = &mut reader;
        let message = match r.u8()? {
            0 => Self::Open(Open::decode(r)?),
            1 => Self::Settle { txid: get_txid(r)?, decided: r.bool()? },
            2 => Self::Offer(Offer::decode(r)?),
            3 => Self::Manifest(ManifestPart {
                base: r.option(Reader::digest)?,
                raw_bytes: r.size(limits::BATCH_BYTES_MAX)?,
                is_last: r.bool()?,
            }),
            4 => {
                let (txid, fence, releases) = (get_txid(r)?, r.u64()?, r.u32()?);
                let age = r.option(Reader::u64)?.map(Duration::from_secs);
                let keep = Keep { releases, age, bytes: r.option(Reader::u64)? };
                Self::Stage(Stage { txid, fence, keep })
            }
            5 => Self::Batch {
                packing: match r.u8()? {
                    0 => Packing::Plain,
                    1 => Packing::Fresh,
                    2 => Packing::Continued,
                    3 => Packing::Patch { bytes: r.size(limits::BATCH_BYTES_MAX)? },
                    tag => return Err(r.unknown(u64::from(tag))),
                },
            },
            6 => Self::Commit { txid: get_txid(r)? },
            7 => Self::Abort,
            8 => Self::Alive,
            9 => Self::Examine(Examine::decode(r)?),
            10 => Self::Look,
            tag => return Err(r.unknown(u64::from(tag))),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl Open {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.raw(&self.run.0);
        put_text(w, &self.cluster);
        put_text(w, &self.holder);
        w.bytes(&self.directory);
        w.option(self.state_dir.as_deref(), Writer::text);
        w.bool(self.make_path);
        put_time(w, self.clock);
        w.bool(self.read_only);
        put_text(w, &self.source.boot);
        w.list(&self.source.ancestry, |w, (device, inode)| {
            w.u64(*device);
            w.u64(*inode);
        });
        w.bool(self.looks_only);
        w.u64(u64::from(self.number));
        w.u8(tag_in(&PARTS, &self.mounted.part));
        w.bool(self.mounted.allow_local);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            run: get_txid(r)?,
            cluster: r.text(TEXT_BYTES_MAX)?,
            holder: r.text(TEXT_BYTES_MAX)?,
            directory: r.bytes(limits::PATH_BYTES_MAX)?.to_vec(),
            state_dir: r.option(|r| r.text(limits::PATH_BYTES_MAX))?,
            make_path: r.bool()?,
            clock: get_time(r)?,
            read_only: r.bool()?,
            source: SourcePlace {
                boot: r.text(TEXT_BYTES_MAX)?,
                ancestry: r.list(limits::PATH_BYTES_MAX, |r| Ok((r.u64()?, r.u64()?)))?,
            },
            looks_only: r.bool()?,
            number: r.u32()?,
            mounted: Mounted { part: from_tag(r, &PARTS)?, allow_local: r.bool()? },
        })
    }
}

impl Offer {
    fn encode(&self, w: &mut Writer) {
        w.digest(&self.release);
        w.bytes(&self.header);
        w.bool(self.no_delete);
        match self.max_delete {
            MaxDelete::Count(count) => {
                w.u8(0);
                w.u64(count);
            }
            MaxDelete::Percent(percent) => {
                w.u8(1);
                w.u8(percent);
            }
        }
        w.bool(self.list_changes);
        w.bool(self.reread);
        w.u8(self.min_free_percent);
        w.bool(self.commit == CommitStyle::Swap);
        w.option(self.read_rate, Writer::u64);
        w.bool(self.force);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            release: r.digest()?,
            header: r.bytes(limits::FRAME_BYTES_MAX)?.to_vec(),
            no_delete: r.bool()?,
            max_delete: match r.u8()? {
                0 => MaxDelete::Count(r.u64()?),
                1 => MaxDelete::Percent(r.u8()?),
                tag => return Err(r.unknown(u64::from(tag))),
            },
            list_changes: r.bool()?,
            reread: r.bool()?,
            min_free_percent: r.u8()?,
            commit: if r.bool()? { CommitStyle::Swap } else { CommitStyle::InPlace },
            read_rate: r.option(Reader::u64)?,
            force: r.bool()?,
        })
    }
}
