//! Sessions on a connection of OpenSSH that is open already, asked for at its control socket.
//!
//! `ssh` itself could be started for each session, and would do no more than this: but starting it takes longer than all
//! the rest of a push that has nothing to do. The protocol is version 4 of `PROTOCOL.mux` in OpenSSH's source: packets of a
//! length and its bytes, numbers big endian, and the session's three streams passed as file descriptors.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

use crate::os::child::Process;
use crate::os::pipes::{self, Streams};

const VERSION: u32 = 4;
const HELLO: u32 = 0x0000_0001;
const NEW_SESSION: u32 = 0x1000_0002;
const PERMISSION_DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const EXIT_MESSAGE: u32 = 0x8000_0004;
const SESSION_OPENED: u32 = 0x8000_0006;
/// As long as any packet that is answered; what is longer is none.
const PACKET_BYTES_MAX: usize = 64 * 1024;
const NO_ESCAPE: u32 = u32::MAX;
/// What ssh exits with when it has lost its connection.
const LOST: i32 = 255;

/// What runs a remote command.
#[derive(Debug)]
pub(super) enum Remote {
    /// An ssh of our own.
    Ssh(Process),
    /// A session on an open connection.
    Session(Session),
}

/// A session on an open connection; dropped, it is closed, and its remote command sees its streams end.
#[derive(Debug)]
pub(super) struct Session {
    master: Option<UnixStream>,
    /// Of the packets behind the answer, what has come so far.
    received: Vec<u8>,
}

impl Remote {
    /// Waits for the end of the command, or of what carries it. May be cancelled and called again.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            Self::Ssh(process) => process.wait().await,
            Self::Session(session) => session.wait().await,
        }
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        match self {
            Self::Ssh(process) => process.kill(),
            Self::Session(session) => session.master = None,
        }
    }
}

/// Has the master at `socket` run `command`.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` where there is no master; any other where it cannot or will not.
pub(super) async fn run(socket: &Path, command: &[OsString]) -> io::Result<(Streams, Session)> {
    let mut master = UnixStream::connect(socket).await?;
    master.write_all(&packet(HELLO, &[Field::Number(VERSION)])).await?;
    let hello = read_packet(&mut master).await?;
    if numbers(&hello) != [Some(HELLO), Some(VERSION), None] {
        return Err(unexpected(&hello));
    }
    let request = 0;
    let mut words = Vec::new();
    for word in command {
        words.extend_from_slice(word.as_encoded_bytes());
        words.push(b' ');
    }
    words.pop();
    let no = Field::Number(0);
    let session = [
        Field::Number(request),
        Field::Text(b""),
        // No terminal, no X11, no agent, no subsystem.
        no,
        no,
        no,
        no,
        Field::Number(NO_ESCAPE),
        Field::Text(b""),
        Field::Text(&words),
        Field::Text(b"LC_ALL=C"),
    ];
    master.write_all(&packet(NEW_SESSION, &session)).await?;
    let (streams, far) = Streams::open()?;
    for handle in &far {
        master.async_io(Interest::WRITABLE, || pipes::pass(&master, handle)).await?;
    }
    drop(far);
    let answer = read_packet(&mut master).await?;
    match numbers(&answer) {
        [Some(SESSION_OPENED), Some(of), Some(_)] if of == request => {
            Ok((streams, Session { master: Some(master), received: Vec::new() }))
        }
        [Some(PERMISSION_DENIED | FAILURE), ..] => Err(ErrorKind::PermissionDenied.into()),
        _ => Err(unexpected(&answer)),
    }
}

impl Session {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            while let Some(packet) = self.next_packet()? {
                if let [Some(EXIT_MESSAGE), Some(_), Some(code)] = numbers(&packet) {
                    let code = i32::try_from(code & 0xff).unwrap_or(LOST);
                    return Ok(ExitStatus::from_raw(code << 8));
                }
            }
            let Some(master) = &self.master else { return Ok(ExitStatus::from_raw(LOST << 8)) };
            master.readable().await?;
            let mut bytes = [0; 256];
            match master.try_read(&mut bytes) {
                Ok(0) => self.master = None,
                Ok(count) => {
                    self.received.extend_from_slice(bytes.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.master = None,
            }
        }
    }

    /// Takes the next packet out of what was received, if it is there whole.
    fn next_packet(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((length, rest)) = self.received.split_first_chunk::<4>() else { return Ok(None) };
        let length = packet_bytes(*length)?;
        if rest.len() < length {
            return Ok(None);
        }
        let mut packet: Vec<u8> = self.received.drain(..length.saturating_add(4)).collect();
        Ok(Some(packet.split_off(4)))
    }
}

/// The lengths of the packets that a control socket's `bytes` are cut into, and how many bytes are left.
///
/// # Errors
/// A packet that is longer than any that is answered.
#[doc(hidden)]
pub fn packets(bytes: &[u8]) -> io::Result<(Vec<usize>, usize)> {
    let mut session = Session { master: None, received: bytes.to_vec() };
    let mut lengths = Vec::new();
    while let Some(packet) = session.next_packet()? {
        // Whatever it holds, it has three first numbers or fewer.
        let read = numbers(&packet).iter().flatten().count();
        debug_assert_eq!(read, packet.len().checked_div(4).unwrap_or_default().min(3));
        lengths.push(packet.len());
    }
    Ok((lengths, session.received.len()))
}

#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u32),
    Text(&'a [u8]),
}

fn packet(kind: u32, fields: &[Field<'_>]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    for field in fields {
        match field {
            Field::Number(number) => bytes.extend_from_slice(&number.to_be_bytes()),
            Field::Text(text) => {
                bytes.extend_from_slice(&length_of(text));
                bytes.extend_from_slice(text);
            }
        }
    }
    let mut packet = length_of(&bytes).to_vec();
    packet.append(&mut bytes);
    packet
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn packet_bytes(length: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > PACKET_BYTES_MAX {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "a packet of a control socket is too long",
        ));
    }
    Ok(length)
}

async fn read_packet(master: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    master.read_exact(&mut length).await?;
    let mut packet = vec![0; packet_bytes(length)?];
    master.read_exact(&mut packet).await?;
    Ok(packet)
}

/// The first three numbers of a packet.
fn numbers(packet: &[u8]) -> [Option<u32>; 3] {
    let (words, _) = packet.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_be_bytes(*word));
    [words.next(), words.next(), words.next()]
}

fn unexpected(packet: &[u8]) -> io::Error {
    let told = format!("a control socket answered {:x?}", numbers(packet));
    io::Error::new(ErrorKind::InvalidData, told)
}

#[cfg(test)]
mod tests;
