//! The program that is uploaded as a node's agent: this very one, known by its BLAKE3 digest.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::os::child;

/// A program's bytes and their digest.
#[derive(Debug, Clone)]
pub struct AgentBinary {
    bytes: Arc<[u8]>,
    digest: blake3::Hash,
}

impl AgentBinary {
    /// This process's own program. Read once a process, then shared.
    ///
    /// # Errors
    /// The system's error if the program cannot be read.
    pub fn own() -> io::Result<Self> {
        static OWN: OnceLock<AgentBinary> = OnceLock::new();
        if let Some(own) = OWN.get() {
            return Ok(own.clone());
        }
        let own = Self::from_bytes(child::program_image(None)?);
        Ok(OWN.get_or_init(|| own).clone())
    }

    /// The program at `path`.
    ///
    /// # Errors
    /// The system's error if it cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::from_bytes(child::program_image(Some(path))?))
    }

    /// A program of these bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let digest = blake3::hash(&bytes);
        Self { bytes: bytes.into(), digest }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The BLAKE3 digest of its bytes, unkeyed, in 64 hexadecimal digits.
    pub fn digest_hex(&self) -> String {
        self.digest.to_hex().to_string()
    }
}

/// True if this process's own program has the digest `expected_hex`; then it is on disk as well.
///
/// This is what `depsync agent --verify DIGEST` runs on a node after an upload: exit 0 if true, 1 if not.
///
/// # Errors
/// The system's error if the program cannot be read or synced.
pub fn verify(expected_hex: &str) -> io::Result<bool> {
    let is_expected = AgentBinary::own()?.digest_hex() == expected_hex;
    if is_expected {
        child::sync_program_image()?;
    }
    Ok(is_expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_program_is_known_by_its_digest() {
        let own = AgentBinary::own().unwrap();
        assert!(verify(&own.digest_hex()).unwrap());
        assert!(!verify(&AgentBinary::from_bytes(Vec::new()).digest_hex()).unwrap());
    }
}
