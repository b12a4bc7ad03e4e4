//! The one binary encoding: everything depsync stores or sends is written by [`Writer`] and read by [`Reader`].
//!
//! Canonical by construction (rule S34): an integer has one encoding (LEB128 without padding), a string is its
//! length and its bytes, nothing is optional without a tag. A reader refuses the second encoding of anything,
//! bytes left over, and every length above the bound its caller names, before it allocates.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::digest::Digest;
use super::path::{self, TreePath};

/// Why bytes are not what they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end inside a value.
    #[error("{what} ends early")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// A length or number above its bound.
    #[error("{what} is {value}, above the limit of {limit}")]
    TooLarge {
        /// What was being read.
        what: &'static str,
        /// The number found.
        value: u64,
        /// The bound.
        limit: u64,
    },
    /// A second way to write what has one encoding, an unknown tag, or a broken order.
    #[error("{what} is not in its canonical form")]
    NotCanonical {
        /// What was being read.
        what: &'static str,
    },
    /// Bytes after the end.
    #[error("{bytes} bytes follow the end of {what}")]
    Trailing {
        /// What was being read.
        what: &'static str,
        /// How many bytes follow.
        bytes: usize,
    },
    /// A version or tag that this build does not know.
    #[error("{what} {value} is unknown to this build")]
    Unknown {
        /// What was being read.
        what: &'static str,
        /// The version or tag found.
        value: u64,
    },
    /// A path that is not one.
    #[error("bad path in {what}")]
    Path {
        /// What was being read.
        what: &'static str,
        /// The rule it breaks.
        source: path::Error,
    },
    /// A digest that does not match the bytes it stands for.
    #[error("{what} does not match its digest")]
    Digest {
        /// What was being read.
        what: &'static str,
    },
}

/// Appends values to a byte vector.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer that appends to `bytes`.
    pub fn append_to(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// An unsigned integer in LEB128: 1 to 10 bytes.
    pub fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.bytes.push(value.to_le_bytes()[0]);
    }

    /// A signed integer, zigzag then LEB128.
    pub fn i64(&mut self, value: i64) {
        self.u64((value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned());
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// A truth value in one byte.
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }

    /// A length and the bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// Text, as its UTF-8 bytes.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// Bytes without a length.
    pub fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    /// A digest.
    pub fn digest(&mut self, value: &Digest) {
        self.raw(&value.0);
    }

    /// A tag and, if there is one, the value.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// A count and the values.
    pub fn list<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.u64(values.len() as u64);
        for value in values {
            write(self, value);
        }
    }

    /// A path below a root.
    pub fn path(&mut self, value: &TreePath) {
        self.bytes(value.as_bytes());
    }

    /// The bytes written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes were written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True if nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads values from bytes, refusing whatever a [`Writer`] would not have written.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

/// The result of reading one value.
pub type Result<T> = std::result::Result<T, Error>;

impl<'a> Reader<'a> {
    /// Reads `bytes`; `what` names them in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The name given to these bytes in errors.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// The error for a value that breaks its own rules.
    pub fn not_canonical(&self) -> Error {
        Error::NotCanonical { what: self.what }
    }

    /// The error for an unknown tag or version.
    pub fn unknown(&self, value: u64) -> Error {
        Error::Unknown { what: self.what, value }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8]> {
        let (value, rest) =
            self.rest.split_at_checked(count).ok_or(Error::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(value)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn u8(&mut self) -> Result<u8> {
        match self.raw(1)? {
            [byte] => Ok(*byte),
            _ => Err(Error::Truncated { what: self.what }),
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] for a byte that is neither 0 nor 1.
    pub fn bool(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.not_canonical()),
        }
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// [`Error::NotCanonical`] for padding or a value over 64 bits.
    pub fn u64(&mut self) -> Result<u64> {
        // PERF: most numbers are small.
        if let [byte @ ..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        let mut value = 0u64;
        for shift in (0..64u32).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.not_canonical());
            }
            value |= bits.wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(self.not_canonical()) } else { Ok(value) };
            }
        }
        Err(self.not_canonical())
    }

    /// An unsigned integer of at most `limit`.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn u64_max(&mut self, limit: u64) -> Result<u64> {
        match self.u64()? {
            value if value <= limit => Ok(value),
            value => Err(Error::TooLarge { what: self.what, value, limit }),
        }
    }

    /// An unsigned integer of at most 32 bits.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn u32(&mut self) -> Result<u32> {
        let value = self.u64_max(u64::from(u32::MAX))?;
        u32::try_from(value).map_err(|_error| self.not_canonical())
    }

    /// An unsigned integer of at most `limit`, as a size in memory.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn size(&mut self, limit: usize) -> Result<usize> {
        let value = self.u64_max(limit as u64)?;
        usize::try_from(value).map_err(|_error| self.not_canonical())
    }

    /// A signed integer.
    ///
    /// # Errors
    /// As [`Reader::u64`].
    pub fn i64(&mut self) -> Result<i64> {
        let value = self.u64()?;
        Ok((value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg())
    }

    /// A length of at most `limit` and its bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Truncated`].
    pub fn bytes(&mut self, limit: usize) -> Result<&'a [u8]> {
        let count = self.size(limit)?;
        self.raw(count)
    }

    /// UTF-8 text of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Reader::bytes`]; [`Error::NotCanonical`] if it is not UTF-8.
    pub fn text(&mut self, limit: usize) -> Result<String> {
        let bytes = self.bytes(limit)?;
        String::from_utf8(bytes.to_vec()).map_err(|_error| self.not_canonical())
    }

    /// A digest.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn digest(&mut self) -> Result<Digest> {
        let bytes = self.raw(Digest::BYTES)?;
        bytes.try_into().map(Digest).map_err(|_error| self.not_canonical())
    }

    /// An optional value.
    ///
    /// # Errors
    /// What `read` gives.
    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    /// A count of at most `limit` and its values. Memory grows with the values read, not with the count claimed.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and what `read` gives.
    pub fn list<T>(
        &mut self,
        limit: usize,
        mut read: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let count = self.size(limit)?;
        let mut values = Vec::with_capacity(count.min(self.rest.len()).min(1024));
        for _ in 0..count {
            values.push(read(self)?);
        }
        Ok(values)
    }

    /// A path below a root.
    ///
    /// # Errors
    /// [`Error::Path`].
    pub fn path(&mut self) -> Result<TreePath> {
        let bytes = self.bytes(super::limits::PATH_BYTES_MAX)?;
        TreePath::new(bytes).map_err(|source| Error::Path { what: self.what, source })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Error::Trailing`] if bytes are left.
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::Trailing { what: self.what, bytes: self.rest.len() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_trip_and_have_one_encoding() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut writer = Writer::new();
            writer.u64(value);
            writer.i64(value.cast_signed());
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes, "number");
            assert_eq!(reader.u64(), Ok(value));
            assert_eq!(reader.i64(), Ok(value.cast_signed()));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn fault_148_and_149_padded_huge_and_trailing_values_are_refused() {
        let read = |bytes: &[u8]| Reader::new(bytes, "number").u64();
        assert_eq!(read(&[0x80, 0]), Err(Error::NotCanonical { what: "number" }));
        assert_eq!(read(&[0xff; 10]), Err(Error::NotCanonical { what: "number" }));
        let over = [[0xff; 9].as_slice(), &[2]].concat();
        assert_eq!(read(&over), Err(Error::NotCanonical { what: "number" }), "65 bits");
        assert_eq!(read(&[0x80]), Err(Error::Truncated { what: "number" }));
        assert!(Reader::new(&[2], "truth").bool().is_err());
        let mut huge = Writer::new();
        huge.u64(1 << 63);
        let huge = huge.finish();
        assert!(matches!(Reader::new(&huge, "b").bytes(10), Err(Error::TooLarge { .. })));
        assert!(matches!(Reader::new(&huge, "l").list(9, Reader::u8), Err(Error::TooLarge { .. })));
        assert!(matches!(Reader::new(&[0], "x").finish(), Err(Error::Trailing { .. })));
    }
}
