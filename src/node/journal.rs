//! The journal: what was begun, prepared, decided and committed on this node, in the order in which it became durable.
//!
//! ```text
//! record = length u32 · sequence u64 · head check u32 · payload · BLAKE3 of all before it
//! ```
//! A record that was torn while it was written can only be the last: it is cut off. Anything unreadable with a good
//! record behind it is damage, and the node refuses to change.
//! FORMAT: every line of the encoders and decoders below.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::io::{Seek as _, SeekFrom, Write as _};

use super::error::{Error, io_error};
use crate::model::codec::{self, Reader, Writer};
use crate::model::digest::{Digest, Domain};
use crate::model::manifest::ReleaseId;
use crate::os::dir::Dir;
use crate::os::durable;
use crate::wire::message::Txid;

pub(super) const NAME: &[u8] = b"journal";
const WHAT: &str = "journal";
const VERSION: u64 = 1;
const HEAD_BYTES: usize = 16;
const PAYLOAD_BYTES_MAX: usize = 1024;
/// A longer journal is written anew, with one record, when nothing is in flight.
const COMPACT_BYTES: u64 = 64 * 1024;
/// More than the records of one transaction take.
const RESERVED_BYTES: u64 = 4096;
/// A journal that grew past this was not written by depsync.
pub(super) const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// All that came before, in one.
    Checkpoint(Standing),
    /// A transaction stages; nothing of the live tree has changed.
    Begin {
        /// The transaction.
        txid: Txid,
        /// Its fence.
        fence: u64,
        /// The release it leads to.
        release: ReleaseId,
    },
    /// It is staged and verified, and waits for the decision.
    Prepared {
        /// The transaction.
        txid: Txid,
        /// The digest of its list of steps.
        steps: Digest,
    },
    /// The decision has come; from here on it only goes forward.
    Committing {
        /// The transaction.
        txid: Txid,
    },
    /// The release is live.
    Committed {
        /// The transaction.
        txid: Txid,
    },
    /// It is dropped; nothing of the live tree has changed.
    Aborted {
        /// The transaction.
        txid: Txid,
    },
}

/// Where the node stands: what its records come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The release that is live, if depsync put one there.
    pub release: Option<ReleaseId>,
    /// How many commits there were.
    pub commits: u64,
    /// The highest fence seen.
    pub fence: u64,
    /// The transaction in flight.
    pub flight: Option<Flight>,
}

/// A transaction in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// The transaction.
    pub txid: Txid,
    /// The release it leads to.
    pub release: ReleaseId,
    /// How far it is.
    pub phase: Phase,
}

/// How far a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It stages.
    Begun,
    /// It waits for the decision; its list of steps has this digest.
    Prepared(Digest),
    /// It becomes live; its list of steps has this digest.
    Committing(Digest),
}

impl Standing {
    /// Takes `record`.
    ///
    /// # Errors
    /// [`codec::Error::NotCanonical`] for a record that cannot follow the ones before it.
    pub fn apply(&mut self, record: &Record) -> codec::Result<()> {
        let misplaced = codec::Error::NotCanonical { what: WHAT };
        let flight = self.flight.as_ref();
        let phase_of =
            |txid: &Txid| flight.filter(|flight| flight.txid == *txid).map(|flight| flight.phase);
        let next = match record {
            Record::Checkpoint(standing) => {
                *self = standing.clone();
                return Ok(());
            }
            Record::Begin { txid, fence, release } if flight.is_none() && *fence >= self.fence => {
                self.fence = *fence;
                Some(Flight { txid: *txid, release: *release, phase: Phase::Begun })
            }
            Record::Prepared { txid, steps } if phase_of(txid) == Some(Phase::Begun) => {
                flight.map(|flight| Flight { phase: Phase::Prepared(*steps), ..flight.clone() })
            }
            Record::Committing { txid } => match (phase_of(txid), flight) {
                (Some(Phase::Prepared(steps)), Some(flight)) => {
                    Some(Flight { phase: Phase::Committing(steps), ..flight.clone() })
                }
                _ => return Err(misplaced),
            },
            Record::Committed { txid } if matches!(phase_of(txid), Some(Phase::Committing(_))) => {
                self.release = flight.map(|flight| flight.release);
                self.commits = self.commits.saturating_add(1);
                None
            }
            Record::Aborted { txid }
                if matches!(phase_of(txid), Some(Phase::Begun | Phase::Prepared(_))) =>
            {
                None
            }
            _ => return Err(misplaced),
        };
        self.flight = next;
        Ok(())
    }
}

impl Record {
    /// The payload of the record.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let w = &mut writer;
        match self {
            Self::Checkpoint(standing) => {
                debug_assert!(standing.flight.is_none(), "a journal is compacted at rest");
                w.u8(0);
                w.u64(VERSION);
                w.option(standing.release, |w, release| w.digest(&release));
                w.u64(standing.commits);
                w.u64(standing.fence);
            }
            Self::Begin { txid, fence, release } => {
                w.u8(1);
                w.raw(&txid.0);
                w.u64(*fence);
                w.digest(release);
            }
            Self::Prepared { txid, steps } => {
                w.u8(2);
                w.raw(&txid.0);
                w.digest(steps);
            }
            Self::Committing { txid } => {
                w.u8(3);
                w.raw(&txid.0);
            }
            Self::Committed { txid } => {
                w.u8(4);
                w.raw(&txid.0);
            }
            Self::Aborted { txid } => {
                w.u8(5);
                w.raw(&txid.0);
            }
        }
        writer.finish()
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Any error of the codec.
    pub fn decode(payload: &[u8]) -> codec::Result<Self> {
        let mut r = Reader::new(payload, WHAT);
        let tag = r.u8()?;
        if tag == 0 {
            let version = r.u64()?;
            if version != VERSION {
                return Err(codec::Error::Unknown { what: "journal version", value: version });
            }
            let standing = Standing {
                release: r.option(Reader::digest)?,
                commits: r.u64()?,
                fence: r.u64()?,
                flight: None,
            };
            r.finish()?;
            return Ok(Self::Checkpoint(standing));
        }
        let bytes = r.raw(16)?;
        let txid = Txid(bytes.try_into().map_err(|_error| r.not_canonical())?);
        let record = match tag {
            1 => Self::Begin { txid, fence: r.u64()?, release: r.digest()? },
            2 => Self::Prepared { txid, steps: r.digest()? },
            3 => Self::Committing { txid },
            4 => Self::Committed { txid },
            5 => Self::Aborted { txid },
            _ => return Err(r.unknown(u64::from(tag))),
        };
        r.finish()?;
        Ok(record)
    }
}

/// The open journal of a target.
#[derive(Debug)]
pub struct Journal {
    file: crate::os::File,
    standing: Standing,
    sequence: u64,
    length: u64,
}

impl Journal {
    /// Opens the journal in `state`, creating an empty one if there is none.
    ///
    /// # Errors
    /// [`Error::State`] for a damaged middle, a record that cannot follow, or an unknown version.
    pub fn open(state: &Dir) -> Result<Self, Error> {
        let bytes = durable::read(state, NAME, FILE_BYTES_MAX).map_err(io_error("read", NAME))?;
        let damaged = |source| Error::State { what: "the journal".into(), source };
        let read = Replay::of(bytes.as_deref().unwrap_or_default()).map_err(damaged)?;
        if read.sequence == 0 || read.length > COMPACT_BYTES && read.standing.flight.is_none() {
            return Self::start(state, read.standing, read.sequence);
        }
        let mut file = state.open_file_for_writing(NAME).map_err(io_error("open", NAME))?;
        if bytes.is_some_and(|bytes| bytes.len() as u64 > read.length) {
            file.set_len(read.length).map_err(io_error("cut", NAME))?;
            file.sync_all().map_err(io_error("sync", NAME))?;
        }
        file.seek(SeekFrom::Start(read.length)).map_err(io_error("read", NAME))?;
        let Replay { standing, sequence, length } = read;
        Ok(Self { file, standing, sequence, length })
    }

    /// What the journal in `state` says, without changing it.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn look(state: &Dir) -> Result<Standing, Error> {
        let bytes = durable::read(state, NAME, FILE_BYTES_MAX).map_err(io_error("read", NAME))?;
        let damaged = |source| Error::State { what: "the journal".into(), source };
        Ok(Replay::of(bytes.as_deref().unwrap_or_default()).map_err(damaged)?.standing)
    }

    fn start(state: &Dir, standing: Standing, sequence: u64) -> Result<Self, Error> {
        let sequence = sequence.saturating_add(1);
        let bytes = frame(sequence, &Record::Checkpoint(standing.clone()).encode());
        durable::replace(state, NAME, &bytes).map_err(io_error("write", NAME))?;
        let mut file = state.open_file_for_writing(NAME).map_err(io_error("open", NAME))?;
        let length = file.seek(SeekFrom::End(0)).map_err(io_error("read", NAME))?;
        Ok(Self { file, standing, sequence, length })
    }

    /// Where the node stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Room for the records of one transaction, so that a disk that fills up cannot stop a commit half-way (row 62). A file
    /// system that cannot reserve goes without.
    fn reserve(&self) {
        if crate::os::file::reserve(&self.file, self.length, RESERVED_BYTES).is_err() {}
    }

    /// Appends `record`; it is durable on return.
    ///
    /// # Errors
    /// [`Error::Io`]: the record may or may not be there; nothing further may be changed. [`Error::State`] for a
    /// record that cannot follow.
    pub fn append(&mut self, record: &Record) -> Result<(), Error> {
        self.note(record)?;
        self.sync()
    }

    /// Makes all records durable.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(io_error("sync", NAME))
    }

    /// As [`Journal::append`], but durable with the next sync only: for a record that means nothing without what is synced
    /// behind it.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn note(&mut self, record: &Record) -> Result<(), Error> {
        let damaged = |source| Error::State { what: "the journal".into(), source };
        let mut standing = self.standing.clone();
        standing.apply(record).map_err(damaged)?;
        let bytes = frame(self.sequence.saturating_add(1), &record.encode());
        if matches!(record, Record::Begin { .. }) {
            self.reserve();
        }
        self.file.write_all(&bytes).map_err(io_error("write", NAME))?;
        self.sequence = self.sequence.saturating_add(1);
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.standing = standing;
        Ok(())
    }
}

fn head_check(length_and_sequence: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = Digest::of(Domain::State, length_and_sequence).0;
    [a, b, c, d]
}

/// The bytes of the record with `payload` in a journal's file.
#[expect(clippy::cast_possible_truncation, reason = "payloads are a few dozen bytes")]
pub fn frame(sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    let check = head_check(&bytes);
    bytes.extend_from_slice(&check);
    bytes.extend_from_slice(payload);
    let digest = Digest::of(Domain::State, &bytes);
    bytes.extend_from_slice(&digest.0);
    bytes
}

/// Reads the record at the start of `bytes`: sequence, payload, length of the whole.
fn unframe(bytes: &[u8]) -> Option<(u64, &[u8], usize)> {
    let (head, _) = bytes.split_at_checked(HEAD_BYTES)?;
    let (numbers, check) = head.split_at_checked(12)?;
    if check != head_check(numbers) {
        return None;
    }
    let (length, sequence) = numbers.split_at_checked(4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let sequence = u64::from_le_bytes(sequence.try_into().ok()?);
    if length > PAYLOAD_BYTES_MAX {
        return None;
    }
    let body = HEAD_BYTES.checked_add(length)?;
    let (covered, rest) = bytes.split_at_checked(body)?;
    let digest = rest.get(..Digest::BYTES)?;
    let whole = body.checked_add(Digest::BYTES)?;
    (Digest::of(Domain::State, covered).0 == *digest)
        .then(|| covered.get(HEAD_BYTES..).map(|payload| (sequence, payload, whole)))?
}

/// What a journal's bytes come to.
#[derive(Debug)]
pub struct Replay {
    /// Where the node stands.
    pub standing: Standing,
    /// The number of the last record; 0 if there is none.
    pub sequence: u64,
    /// Bytes up to the end of the last whole record.
    pub length: u64,
}

impl Replay {
    /// Reads the bytes of a journal's file. A torn tail is left out.
    ///
    /// # Errors
    /// Damage before the last record, a record that cannot follow, or another version.
    pub fn of(bytes: &[u8]) -> codec::Result<Self> {
        let mut replay = Self { standing: Standing::default(), sequence: 0, length: 0 };
        let mut rest = bytes;
        while let Some((sequence, payload, whole)) = unframe(rest) {
            let expected = replay.sequence.saturating_add(1);
            if replay.sequence != 0 && sequence != expected {
                return Err(codec::Error::NotCanonical { what: WHAT });
            }
            replay.standing.apply(&Record::decode(payload)?)?;
            replay.sequence = sequence;
            replay.length = replay.length.saturating_add(whole as u64);
            rest = rest.get(whole..).unwrap_or_default();
        }
        // A torn tail has nothing behind it; damage in the middle has.
        let has_record_behind =
            (1..rest.len()).any(|at| rest.get(at..).is_some_and(|rest| unframe(rest).is_some()));
        if has_record_behind || (replay.sequence == 0 && rest.len() >= HEAD_BYTES) {
            return Err(codec::Error::Digest { what: WHAT });
        }
        Ok(replay)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begun => "begun",
            Self::Prepared(_) => "prepared",
            Self::Committing(_) => "committing",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TXID: Txid = Txid([7; 16]);

    fn release(byte: u8) -> ReleaseId {
        Digest([byte; 32])
    }

    fn history() -> Vec<Record> {
        vec![
            Record::Checkpoint(Standing::default()),
            Record::Begin { txid: TXID, fence: 3, release: release(1) },
            Record::Prepared { txid: TXID, steps: release(9) },
            Record::Committing { txid: TXID },
            Record::Committed { txid: TXID },
        ]
    }

    fn written(records: &[Record]) -> Vec<u8> {
        (1..)
            .zip(records)
            .flat_map(|(sequence, record)| frame(sequence, &record.encode()))
            .collect()
    }

    #[test]
    fn a_whole_history_comes_to_the_committed_release() {
        let replay = Replay::of(&written(&history())).expect("whole");
        let want = Standing { release: Some(release(1)), commits: 1, fence: 3, flight: None };
        assert_eq!(replay.standing, want);
    }

    #[test]
    fn fault_084_a_tail_torn_at_any_byte_is_cut_to_the_last_whole_record() {
        let records = history();
        let bytes = written(&records);
        let head = written(&records[..4]).len();
        for end in head..bytes.len() {
            let replay = Replay::of(&bytes[..end]).expect("torn, not damaged");
            assert_eq!(replay.length, head as u64);
            assert!(replay.standing.flight.is_some());
        }
    }

    #[test]
    fn fault_085_a_flipped_bit_before_the_last_record_is_damage() {
        let bytes = written(&history());
        let last = written(&history()[..4]).len();
        for at in 0..last {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Replay::of(&damaged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn fault_110_a_newer_version_is_refused() {
        let mut writer = Writer::new();
        writer.u8(0);
        writer.u64(VERSION + 1);
        let error = Replay::of(&frame(1, &writer.finish())).err();
        assert!(matches!(error, Some(codec::Error::Unknown { .. })));
    }

    #[test]
    fn records_that_cannot_follow_are_refused() {
        for wrong in [
            Record::Committed { txid: TXID },
            Record::Prepared { txid: TXID, steps: release(1) },
            Record::Committing { txid: TXID },
            Record::Aborted { txid: TXID },
        ] {
            assert!(Standing::default().apply(&wrong).is_err(), "{wrong:?}");
        }
        let mut standing = Standing { fence: 9, ..Standing::default() };
        let stale = Record::Begin { txid: TXID, fence: 8, release: release(1) };
        assert!(standing.apply(&stale).is_err());
    }
}
