//! Drains a child's standard error, keeps its end, and shows it escaped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::JoinHandle;

use crate::model::limits::STDERR_BYTES_MAX;
use crate::model::untrusted::Untrusted;

/// Lines of standard error that are shown.
const LINES_SHOWN_MAX: usize = 20;

/// The end of a stream that is read to its end, whatever its length.
#[derive(Debug)]
pub(super) struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    drain: JoinHandle<()>,
}

impl Tail {
    /// Starts to drain `stream`.
    pub(super) fn of<R: AsyncRead + Unpin + Send + 'static>(mut stream: R) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&kept);
        let drain = tokio::spawn(async move {
            let mut buffer = vec![0; STDERR_BYTES_MAX];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(buffer.iter().take(length));
                let excess = kept.len().saturating_sub(STDERR_BYTES_MAX);
                kept.drain(..excess);
            }
        });
        Self { kept, drain }
    }

    /// Waits for the stream's end, at most for `deadline`: a connection kept open in the background may hold it.
    pub(super) async fn settle(&mut self, deadline: Duration) {
        if !self.drain.is_finished() {
            drop(tokio::time::timeout(deadline, &mut self.drain).await);
        }
    }

    /// What is kept, as it came.
    pub(super) fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }

    /// The last lines, escaped, joined by `\n`.
    pub(super) fn shown(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&[u8]> = lines(&kept).collect();
        let first = lines.len().saturating_sub(LINES_SHOWN_MAX);
        let shown = lines.iter().skip(first).map(|line| Untrusted::new(line).to_string());
        shown.collect::<Vec<String>>().join("\n")
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.drain.abort();
    }
}

/// The lines of `bytes` that are not empty, without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

/// The lines of `text` that say most about a failure, escaped, on one line: the warnings' frames are left out.
pub(super) fn last_words(text: &str) -> String {
    let telling = |line: &&str| !line.is_empty() && !line.starts_with('@');
    let lines: Vec<&str> = text.lines().map(str::trim).filter(telling).collect();
    let first = lines.len().saturating_sub(3);
    let words = lines.get(first..).unwrap_or_default().join("; ");
    shortened(words.as_bytes())
}

/// At most the last 400 bytes of `bytes`, escaped.
pub(super) fn shortened(bytes: &[u8]) -> String {
    let first = bytes.len().saturating_sub(400);
    Untrusted::new(bytes.get(first..).unwrap_or_default()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fault_124_a_flood_is_drained_and_its_end_kept() {
        let (reader, mut writer) = tokio::io::duplex(4096);
        let mut tail = Tail::of(reader);
        for _ in 0..4096 {
            tokio::io::AsyncWriteExt::write_all(&mut writer, &[b'x'; 4096]).await.unwrap();
        }
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"\nlast \x1b[31m\n").await.unwrap();
        drop(writer);
        tail.settle(Duration::from_secs(10)).await;
        assert_eq!(tail.text().len(), STDERR_BYTES_MAX);
        assert!(tail.shown().ends_with("\nlast \\u{1b}[31m"), "escaped");
    }

    #[test]
    fn the_last_words_are_one_escaped_line() {
        assert_eq!(last_words("@@@@\n@ W @\n\nfirst\r\nsecond\x1b\n"), "first; second\\u{1b}");
        assert_eq!(last_words(""), "");
    }
}
