//! Frames: how messages are cut out of a byte stream.
//!
//! ```text
//! control length u32 · bulk length u32 · sequence u32 · check u32 · control bytes · bulk bytes      (little-endian)
//! ```
//! The check covers the three numbers and the control bytes; it is there for noise in the stream (a background job of
//! a login shell), since ssh already protects against an attacker. Bulk bytes are content, which is known by digest.
//! FORMAT: every line of [`Header`].
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::model::digest::{Domain, Hasher};
use crate::model::limits::FRAME_BYTES_MAX;

/// Why a frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The check does not fit: noise, or the stream is out of step.
    #[error("a frame's check does not fit: something else wrote into the stream")]
    Check,
    /// A frame was lost, repeated or reordered.
    #[error("frame {found} arrived where {expected} was due")]
    Sequence {
        /// The number that was due.
        expected: u32,
        /// The number that came.
        found: u32,
    },
    /// A frame is longer than any may be.
    #[error("a frame of {bytes} bytes is longer than the limit of {FRAME_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: u64,
    },
}

/// Bytes of a frame before its control bytes.
pub const HEADER_BYTES: usize = 16;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Length of the control bytes.
    pub control_bytes: usize,
    /// Length of the bulk bytes.
    pub bulk_bytes: usize,
    check: [u8; 4],
    sequence: u32,
}

fn check(lengths: &[u8], control: &[u8]) -> [u8; 4] {
    let mut hasher = Hasher::new(Domain::Frame);
    hasher.update(lengths);
    hasher.update(control);
    let [a, b, c, d, ..] = hasher.finish().0;
    [a, b, c, d]
}

impl Header {
    /// Reads a head.
    ///
    /// # Errors
    /// [`Error::TooLong`]; nothing is allocated before it is ruled out.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Error> {
        let (words, _) = bytes.as_chunks::<4>();
        let [control, bulk, sequence, check] = *words else { return Err(Error::Check) };
        let [control, bulk, sequence] = [control, bulk, sequence].map(u32::from_le_bytes);
        let bytes = u64::from(control).saturating_add(u64::from(bulk));
        if bytes > FRAME_BYTES_MAX as u64 {
            return Err(Error::TooLong { bytes });
        }
        Ok(Self { control_bytes: control as usize, bulk_bytes: bulk as usize, check, sequence })
    }

    /// Checks that the frame is the one that was due and that `control` is what was sent.
    ///
    /// # Errors
    /// [`Error::Check`], [`Error::Sequence`].
    pub fn verify(&self, expected: u32, control: &[u8]) -> Result<(), Error> {
        if check(&self.numbers(), control) != self.check {
            return Err(Error::Check);
        }
        let found = self.sequence;
        if found == expected { Ok(()) } else { Err(Error::Sequence { expected, found }) }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "both were read from 32 bits, or checked in encode"
    )]
    fn numbers(&self) -> [u8; 12] {
        let mut numbers = [0; 12];
        let words = [self.control_bytes as u32, self.bulk_bytes as u32, self.sequence];
        for (to, word) in numbers.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        numbers
    }
}

/// The head and the control bytes of a frame; `bulk_bytes` bytes must follow them on the stream.
pub fn encode(sequence: u32, control: &[u8], bulk_bytes: usize) -> Vec<u8> {
    let mut header = Header { control_bytes: control.len(), bulk_bytes, check: [0; 4], sequence };
    debug_assert!(control.len().saturating_add(bulk_bytes) <= FRAME_BYTES_MAX);
    header.check = check(&header.numbers(), control);
    let mut bytes = Vec::with_capacity(HEADER_BYTES.saturating_add(control.len()));
    bytes.extend_from_slice(&header.numbers());
    bytes.extend_from_slice(&header.check);
    bytes.extend_from_slice(control);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &[u8]) -> [u8; HEADER_BYTES] {
        bytes[..HEADER_BYTES].try_into().expect("a whole head")
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let bytes = encode(7, b"control", 5);
        let header = Header::parse(&head(&bytes)).expect("a head");
        assert_eq!((header.control_bytes, header.bulk_bytes), (7, 5));
        assert_eq!(header.verify(7, &bytes[HEADER_BYTES..]), Ok(()));
    }

    #[test]
    fn fault_112_a_repeated_or_reordered_frame_is_refused() {
        let bytes = encode(7, b"control", 0);
        let header = Header::parse(&head(&bytes)).expect("a head");
        let error = Error::Sequence { expected: 8, found: 7 };
        assert_eq!(header.verify(8, &bytes[HEADER_BYTES..]), Err(error));
    }

    #[test]
    fn fault_123_noise_in_the_stream_fails_the_check() {
        let bytes = encode(0, b"control", 0);
        for at in 8..bytes.len() {
            let mut noisy = bytes.clone();
            noisy[at] ^= 1;
            let header = Header::parse(&head(&noisy)).expect("lengths stand");
            assert_eq!(header.verify(0, &noisy[HEADER_BYTES..]), Err(Error::Check), "byte {at}");
        }
        assert!(matches!(Header::parse(b"Welcome to web-3"), Err(Error::TooLong { .. })));
    }
}
