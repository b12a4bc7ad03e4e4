//! Wanted bytes as a difference from what a node has in their place.
//!
//! ```text
//! node: old bytes ─▶ pieces ─▶ ids ──────────▶ hub: new bytes ─▶ pieces ─▶ those of a known id by number, the rest whole
//! node: old pieces + patch ─▶ new bytes ◀───── patch
//! patch = bytes(op*) · literal bytes
//! op    = count × 2                            so many literal bytes
//!       | count × 2 + 1 · start i64            so many pieces; start as the difference to the end of the copy before
//! ```
//! Content decides where pieces are cut, on both sides alike, and finds the same places again behind an edit. An id is
//! eight bytes under a key of the run's own: nobody can prepare two pieces with one id, and that chance gives one to any
//! of 2^17 pieces there and as many here happens once in 10^9 such runs. Even then nothing wrong is staged: what a patch
//! makes is checked against the digests of its chunks, and the next run has another key.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashMap;
use std::ops::Range;

use super::codec::{Error, Reader, Result, Writer};
use super::digest::{Digest, Domain};
use super::limits::{PIECE_BYTES_AVG, PIECE_BYTES_MAX, PIECE_BYTES_MIN, PIECES_MAX};
use super::ordinals::Ordinals;

const WHAT: &str = "patch";

/// A short name of a piece's bytes, of no use beyond one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PieceId([u8; PieceId::BYTES]);

impl PieceId {
    /// Bytes of an id.
    pub const BYTES: usize = 8;
}

/// Cuts bytes into pieces, and names them under the key of one run.
#[derive(Debug, Clone)]
pub struct Cutter {
    key: Digest,
    masks: (u64, u64),
}

impl Cutter {
    /// Of the run with the id `run`.
    pub fn new(run: &[u8]) -> Self {
        let level = fastcdc::v2020::Normalization::Level1;
        let masks = fastcdc::v2020::select_masks(PIECE_BYTES_AVG, level);
        Self { key: Digest::of(Domain::Piece, run), masks }
    }

    /// The pieces of `bytes` in order.
    ///
    /// Guarantees: none is empty or longer than [`PIECE_BYTES_MAX`]; together they are `bytes`. Where one ends depends on
    /// its own bytes alone.
    pub fn cut<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let (short, long) = self.masks;
        let mut rest = bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (_, end) = fastcdc::v2020::cut(
                rest,
                PIECE_BYTES_MIN,
                PIECE_BYTES_AVG,
                PIECE_BYTES_MAX,
                short,
                long,
                short << 1,
                long << 1,
            );
            let (piece, behind) = rest.split_at_checked(end)?;
            rest = behind;
            Some(piece)
        })
    }

    /// The id of `piece`.
    pub fn id(&self, piece: &[u8]) -> PieceId {
        let digest = Digest::keyed(&self.key, piece);
        PieceId(digest.0.first_chunk().copied().unwrap_or_default())
    }
}

/// The ids of the pieces that a node has, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PieceIds(Vec<PieceId>);

impl PieceIds {
    /// Adds the next; false, and nothing was added, if there are [`PIECES_MAX`] already.
    #[must_use]
    pub fn push(&mut self, id: PieceId) -> bool {
        let has_room = self.0.len() < PIECES_MAX;
        if has_room {
            self.0.push(id);
        }
        has_room
    }

    /// The id of the piece `number`.
    pub fn get(&self, number: usize) -> Option<PieceId> {
        self.0.get(number).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the ids to `writer`.
    pub fn encode(&self, writer: &mut Writer) {
        writer.list(&self.0, |writer, id| writer.raw(&id.0));
    }

    /// Reads what [`PieceIds::encode`] wrote.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than [`PIECES_MAX`].
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let ids = reader.list(PIECES_MAX, |reader| {
            let id = reader.raw(PieceId::BYTES)?;
            id.try_into().map(PieceId).map_err(|_error| reader.not_canonical())
        })?;
        Ok(Self(ids))
    }
}

/// What a node has in the place of wanted chunks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Near {
    /// The wanted chunks in whose place it has anything, by ordinal.
    pub chunks: Ordinals,
    /// Its pieces, in whatever order.
    pub pieces: PieceIds,
}

impl Near {
    /// Appends it to `writer`.
    pub fn encode(&self, writer: &mut Writer) {
        self.chunks.encode(writer);
        self.pieces.encode(writer);
    }

    /// Reads what [`Near::encode`] wrote.
    ///
    /// # Errors
    /// As [`Ordinals::decode`] and [`PieceIds::decode`].
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { chunks: Ordinals::decode(reader)?, pieces: PieceIds::decode(reader)? })
    }

    /// Equal for equal values, so that nodes that are alike can share what is made for one of them.
    pub fn digest(&self) -> Digest {
        let mut writer = Writer::new();
        self.encode(&mut writer);
        Digest::of(Domain::State, &writer.finish())
    }
}

/// What a node has near, to be looked up.
#[derive(Debug)]
pub struct Known {
    near: Near,
    numbers: HashMap<PieceId, usize>,
    digest: Digest,
}

impl Known {
    /// Looks up in `near`. Memory: about forty bytes for each piece.
    pub fn new(near: Near) -> Self {
        let mut numbers = HashMap::with_capacity(near.pieces.len());
        for (number, id) in near.pieces.0.iter().enumerate() {
            numbers.entry(*id).or_insert(number);
        }
        let digest = near.digest();
        Self { near, numbers, digest }
    }

    /// As [`Near::digest`].
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// True if there is anything in the place of one of these chunks.
    pub fn is_near(&self, ordinals: impl IntoIterator<Item = u64>) -> bool {
        ordinals.into_iter().any(|ordinal| self.near.chunks.contains(ordinal))
    }

    /// The number of the piece `id`; `next` if that is one.
    fn find(&self, id: PieceId, next: usize) -> Option<usize> {
        if self.near.pieces.get(next) == Some(id) {
            return Some(next);
        }
        self.numbers.get(&id).copied()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Op {
    Literal(usize),
    Copy(Range<usize>),
}

/// Tells `spans`, one behind the other, by the pieces that are `known`; `None` if that leaves more than fifteen sixteenths
/// of the bytes to be sent all the same.
///
/// Cost: one pass over the bytes, and one short digest for each piece.
pub fn diff<'s>(
    cutter: &Cutter,
    known: &Known,
    spans: impl IntoIterator<Item = &'s [u8]>,
) -> Option<Vec<u8>> {
    let mut ops: Vec<Op> = Vec::new();
    let mut literals = Vec::new();
    let mut bytes_count = 0usize;
    let mut next = 0usize;
    for piece in spans.into_iter().flat_map(|span| cutter.cut(span)) {
        bytes_count = bytes_count.saturating_add(piece.len());
        let Some(number) = known.find(cutter.id(piece), next) else {
            literals.extend_from_slice(piece);
            match ops.last_mut() {
                Some(Op::Literal(count)) => *count = count.saturating_add(piece.len()),
                _ => ops.push(Op::Literal(piece.len())),
            }
            continue;
        };
        next = number.saturating_add(1);
        match ops.last_mut() {
            Some(Op::Copy(numbers)) if numbers.end == number => numbers.end = next,
            _ => ops.push(Op::Copy(number..next)),
        }
    }
    if literals.len() > bytes_count.saturating_sub(bytes_count.div_ceil(16)) {
        return None;
    }
    let mut writer = Writer::new();
    writer.bytes(&encode_ops(&ops));
    writer.raw(&literals);
    Some(writer.finish())
}

fn encode_ops(ops: &[Op]) -> Vec<u8> {
    let mut writer = Writer::new();
    let mut end = 0usize;
    for op in ops {
        match op {
            Op::Literal(count) => writer.u64((*count as u64).wrapping_shl(1)),
            Op::Copy(numbers) => {
                writer.u64((numbers.len() as u64).wrapping_shl(1) | 1);
                writer.i64((numbers.start as u64).wrapping_sub(end as u64).cast_signed());
                end = numbers.end;
            }
        }
    }
    writer.finish()
}

/// Makes the `length` bytes that `patch` tells, in `into`, whose content is replaced. `copy` appends the bytes of the pieces
/// with these numbers, at least one, to it; it gives an error if there are no such pieces, or they are longer than the room
/// it is told.
///
/// Memory: `length` bytes, whatever `patch` says.
///
/// # Errors
/// A patch that tells more or fewer bytes, or that no [`diff`] gives; what `copy` gives.
pub fn apply<E: From<Error>>(
    patch: &[u8],
    length: usize,
    mut copy: impl FnMut(Range<usize>, usize, &mut Vec<u8>) -> std::result::Result<(), E>,
    into: &mut Vec<u8>,
) -> std::result::Result<(), E> {
    let mut reader = Reader::new(patch, WHAT);
    let mut ops = Reader::new(reader.bytes(patch.len())?, WHAT);
    let not_canonical = Error::NotCanonical { what: WHAT };
    let mut end = 0u64;
    let mut is_after_literal = None;
    into.clear();
    into.reserve(length);
    while !ops.rest().is_empty() {
        let room = length.saturating_sub(into.len());
        let word = ops.u64()?;
        let count = usize::try_from(word >> 1).unwrap_or(usize::MAX);
        if count == 0 || count > room {
            return Err(not_canonical.into());
        }
        let is_literal = word & 1 == 0;
        if is_literal && is_after_literal == Some(true) {
            return Err(not_canonical.into());
        }
        if is_literal {
            into.extend_from_slice(reader.raw(count)?);
        } else {
            let gap = ops.i64()?;
            let start = end.wrapping_add(gap.cast_unsigned());
            end = start.saturating_add(count as u64);
            let is_within = end <= PIECES_MAX as u64 && start < end;
            if !is_within || (gap == 0 && is_after_literal == Some(false)) {
                return Err(not_canonical.into());
            }
            let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
            copy(number(start)..number(end), room, into)?;
            if into.len() > length {
                return Err(not_canonical.into());
            }
        }
        is_after_literal = Some(is_literal);
    }
    reader.finish()?;
    if into.len() == length { Ok(()) } else { Err(Error::Truncated { what: WHAT }.into()) }
}

#[cfg(test)]
mod tests;
