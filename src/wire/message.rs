//! Messages: what hub and agent say to each other, and in which order.
//!
//! ```text
//! hub                                agent
//! Open ───────────────────────────▶  lock, recover
//!      ◀───────────────────────────  Opened (a settled or pending commit, room, clock)
//! Settle (only if one is pending) ▶
//!      ◀───────────────────────────  Settled
//! Offer (release, rules, policy) ─▶  inspect; a tree that is the release already is Planned at once
//!      ◀───────────────────────────  Lacks (manifest: none, or against which base)
//! Manifest* ──────────────────────▶  plan
//!      ◀───────────────────────────  Change*, Planned (counts, wanted chunks)
//! Stage ──────────────────────────▶
//! Batch* ─────────────────────────▶  stage, verify, journal
//!      ◀───────────────────────────  Prepared
//! Commit or Abort ────────────────▶  commit through the journal
//!      ◀───────────────────────────  Committed or Aborted
//! Examine (in place of Open) ────▶  look, and change nothing
//!      ◀───────────────────────────  Examined (findings)
//! ```
//! A hub that only looks (`Open::looks_only`) hears Opened, and that is all. A witness (`Open::mounted`) answers Look with Opened
//! and Offer with Planned, as often as it is asked.
//! Either side says Alive every few seconds while it works; the agent may answer anything with Failed, and ends.
//! FORMAT: every line of the encoders and decoders below. `docs/protocol.md` carries the hash of these files.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod examine;
mod to_agent;
mod to_hub;

pub use examine::{Examine, Examined, FINDINGS_MAX, Finding, Identity, Level, Logins};
pub use to_agent::{
    ManifestPart, Mounted, Offer, Open, Packing, Part, SourcePlace, Stage, ToAgent,
};
pub use to_hub::{CHANGES_MAX, Failed, FailedClass, Free, Opened, Pending, Planned, ToHub};

use crate::model::codec::{Reader, Result, Writer};
use crate::model::entry::Timestamp;

/// Most bytes of a text in a message.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Most texts in a list of a message.
const TEXTS_MAX: usize = 256;
/// Names one transaction: 128 random bits of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Txid(pub [u8; 16]);

impl std::fmt::Display for Txid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the tables have fewer than 256 rows")]
fn tag_in<T: PartialEq>(table: &[T], value: &T) -> u8 {
    table.iter().position(|row| row == value).unwrap_or(table.len()) as u8
}

fn from_tag<T: Copy>(reader: &mut Reader<'_>, table: &[T]) -> Result<T> {
    let tag = reader.u8()?;
    table.get(usize::from(tag)).copied().ok_or(reader.unknown(u64::from(tag)))
}

fn put_time(writer: &mut Writer, time: Timestamp) {
    writer.i64(time.seconds);
    writer.u64(u64::from(time.nanos));
}

fn get_time(reader: &mut Reader<'_>) -> Result<Timestamp> {
    let seconds = reader.i64()?;
    let nanos = reader.u64_max(999_999_999)?;
    Ok(Timestamp { seconds, nanos: u32::try_from(nanos).unwrap_or_default() })
}

fn get_txid(reader: &mut Reader<'_>) -> Result<Txid> {
    let bytes = reader.raw(16)?;
    bytes.try_into().map(Txid).map_err(|_error| reader.not_canonical())
}

fn put_texts(writer: &mut Writer, texts: &[String]) {
    let shown = texts.get(..TEXTS_MAX).unwrap_or(texts);
    writer.list(shown, |writer, text| put_text(writer, text));
}

fn get_texts(reader: &mut Reader<'_>) -> Result<Vec<String>> {
    reader.list(TEXTS_MAX, |reader| reader.text(TEXT_BYTES_MAX))
}

/// A text for people; too long a one is cut.
fn put_text(writer: &mut Writer, text: &str) {
    let cut = text.floor_char_boundary(TEXT_BYTES_MAX);
    writer.text(text.get(..cut).unwrap_or_default());
}
