//! Messages over a blocking byte stream: the agent's side.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::{self, Read, Write};

use super::frame::{self, HEADER_BYTES, Header};
use super::message::{ToAgent, ToHub};
use super::preamble;
use crate::model::codec;
use crate::model::limits::NOISE_BYTES_MAX;

/// Why a message cannot be received or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream ended or failed.
    #[error("the connection to the hub ended")]
    Io(#[source] io::Error),
    /// A frame that is none.
    #[error("read a frame")]
    Frame(#[source] frame::Error),
    /// A message that is none.
    #[error("read a message")]
    Message(#[source] codec::Error),
    /// No hub spoke.
    #[error("{NOISE_BYTES_MAX} bytes came, and no hub's greeting among them")]
    NoHub,
}

/// A message with its bulk bytes.
#[derive(Debug)]
pub struct Received {
    /// What the hub says.
    pub message: ToAgent,
    /// The bulk bytes; empty for most.
    pub bulk: Vec<u8>,
}

/// Receives messages.
#[derive(Debug)]
pub struct Receiver<R> {
    stream: R,
    sequence: u32,
}

impl<R: Read> Receiver<R> {
    /// Skips what a login shell, or a bootstrap that a forced command ignored, put before the hub's greeting.
    ///
    /// # Errors
    /// [`Error::NoHub`] after 64 KiB without one.
    pub fn open(mut stream: R) -> Result<Self, Error> {
        let mut window = Vec::with_capacity(preamble::HUB.len());
        for _ in 0..NOISE_BYTES_MAX {
            let mut byte = [0];
            stream.read_exact(&mut byte).map_err(Error::Io)?;
            if window.len() == preamble::HUB.len() {
                window.remove(0);
            }
            window.extend_from_slice(&byte);
            if window == preamble::HUB {
                return Ok(Self { stream, sequence: 0 });
            }
        }
        Err(Error::NoHub)
    }

    /// The next message; its bulk bytes take the room of `spare`.
    ///
    /// # Errors
    /// As [`Error`] says; after one, nothing more can be received.
    pub fn receive(&mut self, spare: Vec<u8>) -> Result<Received, Error> {
        let mut head = [0; HEADER_BYTES];
        self.stream.read_exact(&mut head).map_err(Error::Io)?;
        let header = Header::parse(&head).map_err(Error::Frame)?;
        let mut control = vec![0; header.control_bytes];
        self.stream.read_exact(&mut control).map_err(Error::Io)?;
        header.verify(self.sequence, &control).map_err(Error::Frame)?;
        let message = ToAgent::decode(&control).map_err(Error::Message)?;
        let mut bulk = spare;
        bulk.resize(header.bulk_bytes, 0);
        self.stream.read_exact(&mut bulk).map_err(Error::Io)?;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(Received { message, bulk })
    }
}

/// Sends messages.
#[derive(Debug)]
pub struct Sender<W> {
    stream: W,
    sequence: u32,
}

impl<W: Write> Sender<W> {
    /// Sends the agent's greeting.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(mut stream: W) -> Result<Self, Error> {
        stream.write_all(preamble::AGENT).and_then(|()| stream.flush()).map_err(Error::Io)?;
        Ok(Self { stream, sequence: 0 })
    }

    /// Sends `message`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn send(&mut self, message: &ToHub) -> Result<(), Error> {
        let frame = frame::encode(self.sequence, &message.encode(), 0);
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&frame).and_then(|()| self.stream.flush()).map_err(Error::Io)
    }
}
