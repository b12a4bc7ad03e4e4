//! Finds, behind whatever a login shell prints, the agent's preamble or the bootstrap script's word.
//!
//! ```text
//! noise … \0depsync-agent\0 version(2) \n            the agent is there; what follows is the stream
//! noise … \0depsync-need\0 system machine \n          the script asks for the agent's bytes
//! noise … \0depsync-fail\0 fault detail \n            the script gave up
//! ```

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::model::limits::NOISE_BYTES_MAX;
use crate::wire::preamble::{AGENT, PROTOCOL_VERSION};

/// What every sign begins with.
const LEAD: &[u8] = b"\0depsync-";
/// Longest line after a sign's name.
const LINE_BYTES_MAX: usize = 1024;
/// How much of the noise is kept to be shown.
const SAMPLE_BYTES_MAX: usize = 400;

/// What was found behind the noise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sign {
    /// The agent's preamble, with its protocol's version.
    Agent(u16),
    /// The script has no agent: system and machine of the node.
    Need(String),
    /// The script gave up: its word for the fault, and what tools said.
    Fail(String, String),
}

/// What a scanner makes of a stream of these `bytes`: how many signs it finds, how much it skips, and what it leaves.
#[doc(hidden)]
pub fn scan(bytes: &[u8]) -> (usize, usize, Vec<u8>) {
    let (mut scanner, mut stream, mut signs) = (Scanner::default(), bytes, 0);
    // Bytes in memory are always ready.
    let mut waker = std::task::Context::from_waker(std::task::Waker::noop());
    while std::pin::pin!(scanner.next(&mut stream)).poll(&mut waker).map(|sign| sign.is_ok())
        == std::task::Poll::Ready(true)
    {
        signs += 1;
    }
    (signs, scanner.noise_bytes(), scanner.into_rest())
}

/// Why no sign came.
#[derive(Debug)]
pub(super) enum Silence {
    /// The stream ended.
    Ended,
    /// Nothing but noise, and more than is skipped.
    Noise,
    /// The stream broke.
    Broken(io::Error),
}

/// Takes bytes as they come and finds signs in them.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    pending: Vec<u8>,
    noise_bytes: usize,
    sample: Vec<u8>,
}

/// What the bytes at the start of a possible sign are.
enum Match {
    Sign(Sign, usize),
    Incomplete,
    Noise,
}

impl Scanner {
    /// Reads until a sign is found. May be cancelled and called again.
    pub(super) async fn next<R: AsyncRead + Unpin>(
        &mut self,
        stream: &mut R,
    ) -> Result<Sign, Silence> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(sign) = self.find() {
                return Ok(sign);
            }
            if self.noise_bytes.saturating_add(self.pending.len()) > NOISE_BYTES_MAX {
                self.sample_pending();
                return Err(Silence::Noise);
            }
            match stream.read(&mut buffer).await {
                Ok(0) => {
                    self.sample_pending();
                    return Err(Silence::Ended);
                }
                Ok(length) => self.pending.extend(buffer.iter().take(length)),
                Err(error) => return Err(Silence::Broken(error)),
            }
        }
    }

    /// The beginning of what was skipped.
    pub(super) fn sample(&self) -> &[u8] {
        &self.sample
    }

    /// How much was skipped.
    pub(super) fn noise_bytes(&self) -> usize {
        self.noise_bytes
    }

    /// What was read behind the last sign.
    pub(super) fn into_rest(self) -> Vec<u8> {
        self.pending
    }

    fn find(&mut self) -> Option<Sign> {
        loop {
            let start = self.pending.windows(LEAD.len()).position(|window| window == LEAD);
            let Some(start) = start else {
                // The last bytes may be the beginning of a sign.
                let noise = self.pending.len().saturating_sub(LEAD.len() - 1);
                self.skip(noise);
                return None;
            };
            self.skip(start);
            match examine(&self.pending) {
                Match::Sign(sign, length) => {
                    self.pending.drain(..length);
                    return Some(sign);
                }
                Match::Incomplete => return None,
                Match::Noise => self.skip(1),
            }
        }
    }

    fn skip(&mut self, count: usize) {
        let room = SAMPLE_BYTES_MAX.saturating_sub(self.sample.len());
        self.sample.extend(self.pending.drain(..count).take(room));
        self.noise_bytes = self.noise_bytes.saturating_add(count);
    }

    fn sample_pending(&mut self) {
        self.skip(self.pending.len());
    }
}

/// Looks at bytes that begin with [`LEAD`].
fn examine(bytes: &[u8]) -> Match {
    let name = AGENT.get(..15).unwrap_or_default();
    if let Some(rest) = bytes.strip_prefix(name) {
        return match rest {
            [low, high, b'\n', ..] => {
                Match::Sign(Sign::Agent(u16::from_le_bytes([*low, *high])), AGENT.len())
            }
            [_, _, _, ..] => Match::Noise,
            _ => Match::Incomplete,
        };
    }
    for name in [&b"\0depsync-need\0"[..], b"\0depsync-fail\0"] {
        if let Some(rest) = bytes.strip_prefix(name) {
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                let too_long = rest.len() > LINE_BYTES_MAX;
                return if too_long { Match::Noise } else { Match::Incomplete };
            };
            let line = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
            let sign = if name.ends_with(b"need\0") {
                Sign::Need(line.trim().to_owned())
            } else {
                let (word, detail) = line.split_once(' ').unwrap_or((&line, ""));
                Sign::Fail(word.to_owned(), detail.trim().to_owned())
            };
            return Match::Sign(sign, name.len() + end + 1);
        }
        if name.starts_with(bytes) {
            return Match::Incomplete;
        }
    }
    if AGENT.starts_with(bytes) { Match::Incomplete } else { Match::Noise }
}

const _: () = assert!(AGENT.len() == 18 && AGENT[15] == PROTOCOL_VERSION.to_le_bytes()[0]);

#[cfg(test)]
mod tests {
    use super::*;

    async fn signs(bytes: &[u8], piece: usize) -> (Vec<Sign>, Scanner, Silence) {
        let (mut writer, mut reader) = tokio::io::duplex(1 << 20);
        let mut scanner = Scanner::default();
        let mut found = Vec::new();
        let pieces = async {
            for piece in bytes.chunks(piece) {
                tokio::io::AsyncWriteExt::write_all(&mut writer, piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(writer);
        };
        let reading = async {
            loop {
                match scanner.next(&mut reader).await {
                    Ok(sign) => found.push(sign),
                    Err(silence) => break silence,
                }
            }
        };
        let ((), silence) = tokio::join!(pieces, reading);
        (found, scanner, silence)
    }

    #[tokio::test]
    async fn fault_120_signs_are_found_behind_noise_however_it_is_cut() {
        let mut bytes = b"Welcome!\n\0deps\0depsync-x\0depsync-need\0Linux x86_64\n".to_vec();
        bytes.extend(b"more\0depsync-fail\0no-space cannot: No space left\n");
        bytes.extend(b"\0depsync-agent\0abc\0depsync-agent\0\x02\x01\n");
        for piece in [1, 2, 7, 1000] {
            let (found, scanner, silence) = signs(&bytes, piece).await;
            assert_eq!(
                found,
                [
                    Sign::Need("Linux x86_64".to_owned()),
                    Sign::Fail("no-space".to_owned(), "cannot: No space left".to_owned()),
                    Sign::Agent(0x0102),
                ]
            );
            assert!(matches!(silence, Silence::Ended));
            assert!(scanner.sample().starts_with(b"Welcome!\n\0deps\0depsync-xmore"));
        }
    }

    #[tokio::test]
    async fn fault_120_more_noise_than_is_skipped_ends_the_search() {
        let noise = vec![0; NOISE_BYTES_MAX + 10];
        let (found, scanner, silence) = signs(&noise, 1000).await;
        assert!(found.is_empty() && matches!(silence, Silence::Noise));
        assert_eq!(scanner.sample().len(), SAMPLE_BYTES_MAX);

        let mut bytes = vec![b'x'; NOISE_BYTES_MAX - 100];
        bytes.extend(AGENT);
        let (found, scanner, _) = signs(&bytes, 1000).await;
        assert_eq!(found, [Sign::Agent(PROTOCOL_VERSION)]);
        assert_eq!(scanner.noise_bytes(), NOISE_BYTES_MAX - 100);
    }

    #[tokio::test]
    async fn what_follows_the_preamble_is_not_lost() {
        let (mut writer, mut reader) = tokio::io::duplex(1 << 10);
        let mut scanner = Scanner::default();
        tokio::io::AsyncWriteExt::write_all(&mut writer, AGENT).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"stream").await.unwrap();
        assert_eq!(scanner.next(&mut reader).await.unwrap(), Sign::Agent(PROTOCOL_VERSION));
        assert_eq!(scanner.into_rest(), b"stream");
    }
}
