//! [`Link`]: an agent that has answered, and the two streams to it.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::mux::Remote;
use super::reuse::Shared;
use super::stderr::Tail;
use crate::os::bulk::{Bulk, Outlet};

/// How long the end of standard error is waited for after ssh has ended.
const STDERR_SETTLES: Duration = Duration::from_millis(300);

/// What the hub reads from.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// What the hub writes to.
pub type Writer = Counted<Outlet>;

/// An agent that has answered: its preamble is read, the hub's is written.
pub struct Link {
    /// The stream from the agent, right behind its preamble.
    pub reader: Reader,
    /// The stream to the agent, right behind the hub's preamble. Dropping it tells the agent to end.
    pub writer: Writer,
    /// What carries the streams. Dropping it cuts them.
    pub session: Session,
}

/// What carries a [`Link`]'s streams. Dropped, it kills a local ssh child and cuts an agent in process off.
#[derive(Debug)]
pub struct Session {
    carrier: Carrier,
    counters: Arc<Counters>,
    shared: Option<Shared>,
    notes: Vec<String>,
}

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The last lines of standard error, escaped.
    pub stderr: String,
    /// ssh's exit status, which is the agent's; `None` in process, and if it had to be killed at the deadline.
    pub status: Option<ExitStatus>,
}

#[derive(Debug)]
pub(super) enum Carrier {
    Ssh {
        remote: Remote,
        stderr: Tail,
    },
    /// The connection ends when `severed` is dropped.
    Thread {
        severed: Box<dyn Any + Send + Sync>,
        ended: oneshot::Receiver<()>,
    },
}

/// A second handle of the socket to a thread; the connection ends with it.
#[derive(Debug)]
pub(super) struct Severed(pub(super) UnixStream);

#[derive(Debug, Default)]
pub(super) struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Link {
    /// Ends both streams and [closes](Session::close) the session.
    pub async fn close(self, deadline: Duration) -> Closed {
        drop(self.writer);
        drop(self.reader);
        self.session.close(deadline).await
    }

    /// [Aborts](Session::abort) the session.
    pub fn abort(self) {
        self.session.abort();
    }
}

impl Session {
    pub(super) fn new(
        carrier: Carrier,
        counters: Arc<Counters>,
        shared: Option<Shared>,
        notes: Vec<String>,
    ) -> Self {
        Self { carrier, counters, shared, notes }
    }

    pub(super) fn add_notes(&mut self, notes: impl IntoIterator<Item = String>) {
        self.notes.extend(notes);
    }

    /// Waits for the agent's end, at most for `deadline`, then cuts it off. The writer must have been dropped before.
    pub async fn close(self, deadline: Duration) -> Closed {
        match self.carrier {
            Carrier::Ssh { mut remote, mut stderr } => {
                let ended = tokio::time::timeout(deadline, remote.wait()).await;
                let status = ended.ok().and_then(Result::ok);
                if status.is_none() {
                    remote.kill();
                    drop(remote.wait().await);
                }
                stderr.settle(STDERR_SETTLES).await;
                Closed { stderr: stderr.shown(), status }
            }
            Carrier::Thread { severed, ended } => {
                drop(tokio::time::timeout(deadline, ended).await);
                drop(severed);
                Closed { stderr: String::new(), status: None }
            }
        }
    }

    /// Cuts the session off at once: the ssh child is killed and reaped, an agent in process sees the end of its
    /// stream. A shared connection stays open for the next run.
    pub fn abort(self) {
        if let Carrier::Ssh { mut remote, .. } = self.carrier {
            remote.kill();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                drop(runtime.spawn(async move { remote.wait().await }));
            }
        }
    }

    /// [Aborts](Self::abort) the session of a node that does not answer, and takes its shared connection out of use, so
    /// that the next run connects anew. Takes about a second at most.
    pub async fn retire(mut self) {
        let shared = self.shared.take();
        self.abort();
        if let Some(shared) = shared {
            shared.retire().await;
        }
    }

    /// True if the connection can serve the next run as well.
    pub fn is_reused(&self) -> bool {
        self.shared.is_some()
    }

    /// Bytes written to the agent and to what started it.
    pub fn bytes_sent(&self) -> u64 {
        self.counters.sent.load(Ordering::Relaxed)
    }

    /// Bytes read from the agent and from what started it.
    pub fn bytes_received(&self) -> u64 {
        self.counters.received.load(Ordering::Relaxed)
    }

    /// The last lines of standard error so far, escaped.
    pub fn stderr(&self) -> String {
        match &self.carrier {
            Carrier::Ssh { stderr, .. } => stderr.shown(),
            Carrier::Thread { .. } => String::new(),
        }
    }

    /// What the operator should know although it worked, escaped.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Drop for Severed {
    fn drop(&mut self) {
        // An error means that the other end is gone.
        drop(self.0.shutdown(Shutdown::Both));
    }
}

/// A stream that counts what passes, with bytes that were read too early put back before it.
#[derive(Debug)]
pub struct Counted<S> {
    inner: S,
    early: Vec<u8>,
    counters: Arc<Counters>,
}

impl<S> Counted<S> {
    pub(super) fn new(inner: S, counters: &Arc<Counters>) -> Self {
        Self { inner, early: Vec::new(), counters: Arc::clone(counters) }
    }

    /// Puts back what was read.
    pub(super) fn unread(&mut self, early: Vec<u8>) {
        self.early = early;
    }
}

impl Writer {
    /// Sends all of `bulk`.
    ///
    /// # Errors
    /// As the operating system says.
    pub async fn send(&mut self, bulk: &Bulk) -> io::Result<()> {
        let mut at = 0;
        while at < bulk.len() {
            let count = self.inner.send(bulk, at).await?;
            self.counters.sent.fetch_add(count as u64, Ordering::Relaxed);
            at += count;
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            let early: Vec<u8> = self.early.drain(..count).collect();
            buffer.put_slice(&early);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let count = buffer.filled().len().saturating_sub(before);
        self.counters.received.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &polled {
            self.counters.sent.fetch_add(u64::try_from(*count).unwrap_or(0), Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
