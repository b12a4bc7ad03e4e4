//! A node's agent in this very process: for a directory of this machine, or over streams that somebody else made.

use std::any::Any;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::sync::oneshot;

use crate::os::bulk::Outlet;
use crate::os::child;

use super::Error;
use super::attempt::exchange_preambles;
use super::session::{Carrier, Counted, Counters, Link, Session, Severed};

/// The name of the thread that an agent in process runs in.
const THREAD_NAME: &str = "depsync-agent";

/// Runs `serve` in a thread of its own with the agent's two ends of a stream (to read from, to write to; blocking), and
/// waits for its preamble.
///
/// Guarantees: the agent sees the end of its stream when the link's writer or session is dropped.
///
/// # Errors
/// [`Error::Hub`] if there is no thread or socket to be had, else as [`super::open_ssh`] for an agent that does not
/// answer within `timeout` or answers with another protocol.
pub async fn open_local<F>(serve: F, timeout: Duration) -> Result<Link, Error>
where
    F: FnOnce(UnixStream, UnixStream) + Send + 'static,
{
    let hub = |source| Error::Hub { act: "start the agent of a local directory", source };
    let (tell_end, ended) = oneshot::channel();
    let socket = child::thread_with_socket(THREAD_NAME, move |socket| {
        if let Ok(reader) = socket.try_clone() {
            serve(reader, socket);
        }
        drop(tell_end);
    })
    .map_err(hub)?;
    let severed = Severed(socket.try_clone().map_err(hub)?);
    socket.set_nonblocking(true).map_err(hub)?;
    let (reader, writer) = tokio::net::UnixStream::from_std(socket).map_err(hub)?.into_split();
    let carrier = Carrier::Thread { severed: Box::new(severed), ended };
    open(reader, Outlet::Socket(writer), carrier, timeout).await
}

/// An agent at the far end of streams that somebody else made.
#[derive(Debug)]
pub struct Streams<R> {
    /// What the agent says.
    pub reader: R,
    /// What the agent hears.
    pub writer: Outlet,
    /// Told, or dropped, once the agent has ended.
    pub ended: oneshot::Receiver<()>,
    /// Dropped with the link's session: the connection is to end then, whoever still holds a stream.
    pub severed: Box<dyn Any + Send + Sync>,
}

/// Waits for the preamble of an agent at the far end of `streams`.
///
/// # Errors
/// As [`open_local`].
pub async fn open_streams<R>(streams: Streams<R>, timeout: Duration) -> Result<Link, Error>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let Streams { reader, writer, ended, severed } = streams;
    open(reader, writer, Carrier::Thread { severed, ended }, timeout).await
}

async fn open<R>(
    reader: R,
    writer: Outlet,
    carrier: Carrier,
    timeout: Duration,
) -> Result<Link, Error>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let counters = Arc::new(Counters::default());
    let mut reader = Counted::new(reader, &counters);
    let mut writer = Counted::new(writer, &counters);
    let answer = exchange_preambles(&mut reader, &mut writer);
    let noise = match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => answer?,
        Err(_elapsed) => return Err(Error::Timeout { words: String::new() }),
    };
    let session = Session::new(carrier, counters, None, noise);
    Ok(Link { reader: Box::new(reader), writer, session })
}
