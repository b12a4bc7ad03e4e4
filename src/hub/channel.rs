//! Messages over a link: the hub's side. A task reads, a task writes; between them a session waits on what it likes.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::link::{Reader, Writer};
use crate::model::codec;
use crate::os::bulk::Bulk;
use crate::wire::frame::{self, HEADER_BYTES, Header};
use crate::wire::message::{ToAgent, ToHub};

/// How often the hub says that it is there while it has nothing else to say.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// Frames queued for a node beyond the one being written: each node's own pace, bounded memory.
const FRAMES_QUEUED: usize = 1;

/// Why no message comes, or none goes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream ended or failed.
    #[error("the connection to the agent ended")]
    Ended,
    /// Nothing came for the longest a node may be silent.
    #[error("nothing came from the node for {seconds} s")]
    Silent {
        /// How long.
        seconds: u64,
    },
    /// A frame that is none.
    #[error("read a frame")]
    Frame(#[source] frame::Error),
    /// A message that is none.
    #[error("read a message")]
    Message(#[source] codec::Error),
}

/// One conversation with an agent.
#[derive(Debug)]
pub struct Channel {
    inbox: mpsc::Receiver<Result<ToHub, Error>>,
    outbox: mpsc::Sender<Outgoing>,
    reader: Reading,
    writer: JoinHandle<()>,
}

/// The task that reads; one left behind would keep the stream open.
#[derive(Debug)]
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Outgoing {
    control: Vec<u8>,
    bulk: Bulk,
}

impl Channel {
    /// Speaks over the two streams of a link; a node silent for longer than `timeout` is given up.
    pub fn new(reader: Reader, writer: Writer, timeout: Duration) -> Self {
        let (inbox_of, inbox) = mpsc::channel(4);
        let (outbox, outbox_of) = mpsc::channel(FRAMES_QUEUED);
        let reader = Reading(tokio::spawn(read_all(reader, inbox_of, timeout)));
        let writer = tokio::spawn(write_all(writer, outbox_of));
        Self { inbox, outbox, reader, writer }
    }

    /// The next message that is not just a sign of life. May be dropped while it waits.
    ///
    /// # Errors
    /// As [`Error`] says; after one, none follows.
    pub async fn receive(&mut self) -> Result<ToHub, Error> {
        loop {
            match self.inbox.recv().await {
                Some(Ok(ToHub::Alive)) => {}
                Some(received) => return received,
                None => return Err(Error::Ended),
            }
        }
    }

    /// True if no message will come any more, but for those that have come already.
    pub fn has_ended(&self) -> bool {
        self.reader.0.is_finished()
    }

    /// A handle to send with while another part waits for messages.
    pub fn sender(&self) -> Sender {
        Sender(self.outbox.clone())
    }

    /// Sends `message`.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub async fn send(&self, message: &ToAgent) -> Result<(), Error> {
        self.sender().send(message, Bulk::default()).await
    }

    /// Ends the stream to the agent behind what was sent; what does not go out within `deadline` is lost.
    pub async fn finish(mut self, deadline: Duration) {
        drop(self.outbox);
        if tokio::time::timeout(deadline, &mut self.writer).await.is_err() {
            // A node that has stopped reading holds the writer for as long as its connection seems alive.
            self.writer.abort();
        }
        drop(self.reader);
    }
}

/// Sends messages with bulk bytes.
#[derive(Debug, Clone)]
pub struct Sender(mpsc::Sender<Outgoing>);

impl Sender {
    /// Sends `message`, waiting for room in the node's queue.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub async fn send(&self, message: &ToAgent, bulk: Bulk) -> Result<(), Error> {
        self.room().await?.send(message, bulk);
        Ok(())
    }

    /// Waits for room in the node's queue: what is to be sent need not be in memory before.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub async fn room(&self) -> Result<Room<'_>, Error> {
        self.0.reserve().await.map(Room).map_err(|_error| Error::Ended)
    }
}

/// Room for one message in a node's queue.
#[derive(Debug)]
pub struct Room<'a>(mpsc::Permit<'a, Outgoing>);

impl Room<'_> {
    /// Sends `message`.
    pub fn send(self, message: &ToAgent, bulk: Bulk) {
        self.0.send(Outgoing { control: message.encode(), bulk });
    }
}

async fn read_all(
    mut stream: Reader,
    inbox: mpsc::Sender<Result<ToHub, Error>>,
    timeout: Duration,
) {
    let mut sequence = 0;
    loop {
        let received = match tokio::time::timeout(timeout, read_one(&mut stream, sequence)).await {
            Ok(received) => received,
            Err(_elapsed) => Err(Error::Silent { seconds: timeout.as_secs() }),
        };
        sequence = sequence.wrapping_add(1);
        let is_last = received.is_err();
        if inbox.send(received).await.is_err() || is_last {
            return;
        }
    }
}

async fn read_one(stream: &mut Reader, sequence: u32) -> Result<ToHub, Error> {
    let ended = |_error| Error::Ended;
    let mut head = [0; HEADER_BYTES];
    stream.read_exact(&mut head).await.map_err(ended)?;
    let header = Header::parse(&head).map_err(Error::Frame)?;
    let mut control = vec![0; header.control_bytes];
    stream.read_exact(&mut control).await.map_err(ended)?;
    header.verify(sequence, &control).map_err(Error::Frame)?;
    if header.bulk_bytes > 0 {
        // No message of an agent has bulk bytes.
        return Err(Error::Frame(frame::Error::TooLong { bytes: header.bulk_bytes as u64 }));
    }
    ToHub::decode(&control).map_err(Error::Message)
}

async fn write_all(mut stream: Writer, mut outbox: mpsc::Receiver<Outgoing>) {
    let mut sequence = 0;
    loop {
        let next = match tokio::time::timeout(ALIVE_EVERY, outbox.recv()).await {
            Ok(Some(outgoing)) => outgoing,
            Ok(None) => break,
            Err(_elapsed) => Outgoing { control: ToAgent::Alive.encode(), bulk: Bulk::default() },
        };
        let head = frame::encode(sequence, &next.control, next.bulk.len());
        sequence = sequence.wrapping_add(1);
        let written = async {
            stream.write_all(&head).await?;
            stream.send(&next.bulk).await?;
            stream.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
    drop(stream.shutdown().await);
}
