//! [`Bulk`]: bytes made once and sent to many, and [`Outlet`]: where they are sent to.
//!
//! Long ones lie in a memory file, or in one of a [`Spool`](super::spool::Spool), and go out by `sendfile(2)`: a pipe takes their pages as they are, so that the cost of
//! sending them does not grow with the number of receivers. PERF: writing a release of 160 MB into a pipe costs
//! the hub 0.17 s of processor time, for each node again.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::fs::{MemfdFlags, SealFlags};
use tokio::io::{AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedWriteHalf, pipe};
use tokio::process::ChildStdin;

use super::spool::Claim;

/// Shorter ones are not worth a file.
const FILE_BYTES_MIN: usize = 64 * 1024;

/// Bytes that do not change any more. A clone is the same bytes.
#[derive(Debug, Clone, Default)]
pub struct Bulk(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    place: Place,
    _claim: Option<Claim>,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    File { file: Arc<File>, at: u64, bytes: usize },
}

impl Default for Place {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl Bulk {
    /// Takes a copy of `bytes` into memory.
    pub fn new(bytes: &[u8]) -> Self {
        Self::claiming(bytes, None)
    }

    /// As [`Bulk::new`]; the last clone to go gives `claim` back.
    pub(super) fn claiming(bytes: &[u8], claim: Option<Claim>) -> Self {
        let file = if bytes.len() < FILE_BYTES_MIN { None } else { sealed(bytes).ok() };
        let place = match file {
            Some(file) => Place::File { file: Arc::new(file), at: 0, bytes: bytes.len() },
            // No such files here, or no handles left for one.
            None => Place::Memory(bytes.to_vec()),
        };
        Self(Arc::new(Held { place, _claim: claim }))
    }

    /// The `bytes` bytes of `file` at `at`, which nobody changes any more.
    pub(super) fn of_file(file: Arc<File>, at: u64, bytes: usize) -> Self {
        Self(Arc::new(Held { place: Place::File { file, at, bytes }, _claim: None }))
    }

    /// How many bytes they are.
    pub fn len(&self) -> usize {
        match &self.0.place {
            Place::Memory(bytes) => bytes.len(),
            Place::File { bytes, .. } => *bytes,
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if `other` is a clone of this one.
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A copy of them.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        match &self.0.place {
            Place::Memory(bytes) => Ok(bytes.clone()),
            Place::File { file, at, bytes } => {
                let mut copy = vec![0; *bytes];
                file.read_exact_at(&mut copy, *at).map(|()| copy)
            }
        }
    }

    /// Writes some of them from the byte `from` on.
    fn send_to(&self, to: impl AsFd, from: usize) -> io::Result<usize> {
        match &self.0.place {
            Place::Memory(bytes) => {
                let rest = bytes.get(from..).unwrap_or_default();
                Ok(rustix::io::write(to, rest)?)
            }
            Place::File { file, at, bytes } => {
                let rest = bytes.saturating_sub(from);
                let mut from = at.saturating_add(from as u64);
                Ok(rustix::fs::sendfile(to, file, Some(&mut from), rest)?)
            }
        }
    }
}

/// A memory file of `bytes` that nobody can change any more.
fn sealed(bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("depsync-bulk", flags)?);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(file)
}

/// A pipe or a socket that is written to without blocking. Dropped, the far end sees the end of the stream.
#[derive(Debug)]
pub enum Outlet {
    /// The end of a pipe to write to.
    Pipe(pipe::Sender),
    /// A socket's half to write to.
    Socket(OwnedWriteHalf),
    /// A stream of this process's own.
    Memory(Memory),
}

/// A stream of this process's own, such as one that a simulation looks into.
pub struct Memory(Box<dyn AsyncWrite + Send + Sync + Unpin>);

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Outlet {
    /// Writes into the standard input of a child. Needs a runtime.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn of_child(stdin: ChildStdin) -> io::Result<Self> {
        Self::of_pipe(stdin.into_owned_fd()?)
    }

    /// Writes into `pipe`, the end to write to. Needs a runtime.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn of_pipe(pipe: OwnedFd) -> io::Result<Self> {
        pipe::Sender::from_file(pipe.into()).map(Self::Pipe)
    }

    /// Writes into `stream`, which is not the system's.
    pub fn of_memory(stream: impl AsyncWrite + Send + Sync + Unpin + 'static) -> Self {
        Self::Memory(Memory(Box::new(stream)))
    }

    /// Sends some of `bulk` from its byte `at` on, at least one if there is one; says how many.
    ///
    /// # Errors
    /// As the operating system says; `WriteZero` if it takes none.
    pub async fn send(&mut self, bulk: &Bulk, at: usize) -> io::Result<usize> {
        if at >= bulk.len() {
            return Ok(0);
        }
        if let Self::Memory(memory) = self {
            let bytes = bulk.to_vec()?;
            let rest = bytes.get(at..).unwrap_or_default();
            return memory.0.write_all(rest).await.map(|()| rest.len());
        }
        loop {
            self.writable().await?;
            let sent = match &*self {
                Self::Memory(_) => return Err(ErrorKind::Unsupported.into()),
                Self::Pipe(pipe) => pipe.try_io(|| bulk.send_to(pipe, at)),
                Self::Socket(half) => {
                    let socket: &UnixStream = half.as_ref();
                    socket.try_io(Interest::WRITABLE, || bulk.send_to(socket, at))
                }
            };
            match sent {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Pipe(pipe) => pipe.writable().await,
            Self::Socket(half) => half.writable().await,
        }
    }
}

impl AsyncWrite for Outlet {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Memory(memory) => Pin::new(&mut memory.0).poll_write(context, bytes),
            Self::Pipe(pipe) => Pin::new(pipe).poll_write(context, bytes),
            Self::Socket(half) => Pin::new(half).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Memory(memory) => Pin::new(&mut memory.0).poll_flush(context),
            Self::Pipe(pipe) => Pin::new(pipe).poll_flush(context),
            Self::Socket(half) => Pin::new(half).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Memory(memory) => Pin::new(&mut memory.0).poll_shutdown(context),
            Self::Pipe(pipe) => Pin::new(pipe).poll_shutdown(context),
            Self::Socket(half) => Pin::new(half).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn bytes_of(length: usize) -> Vec<u8> {
        (0..length).map(|at| at.to_le_bytes()[at % 2]).collect()
    }

    async fn send_all(mut outlet: Outlet, bulk: Bulk) -> usize {
        let mut at = 0;
        while at < bulk.len() {
            at += outlet.send(&bulk, at).await.expect("sent");
        }
        at
    }

    #[test]
    fn short_and_long_bytes_are_what_they_were() {
        for length in [0, 1, FILE_BYTES_MIN - 1, FILE_BYTES_MIN, 3 * FILE_BYTES_MIN + 1] {
            let bulk = Bulk::new(&bytes_of(length));
            assert_eq!(bulk.len(), length);
            assert_eq!(matches!(&bulk.0.place, Place::File { .. }), length >= FILE_BYTES_MIN);
            assert_eq!(bulk.to_vec().expect("read"), bytes_of(length));
        }
    }

    #[test]
    fn long_bytes_cannot_be_changed() {
        let bulk = Bulk::new(&bytes_of(FILE_BYTES_MIN));
        let Place::File { file, .. } = &bulk.0.place else { panic!("a file") };
        assert!(file.write_at(b"x", 0).is_err() && file.set_len(0).is_err());
    }

    #[tokio::test]
    async fn more_than_a_pipe_or_a_socket_holds_arrives_whole_and_ends() {
        for length in [0, 10, FILE_BYTES_MIN - 1, 5 * 1024 * 1024 + 3] {
            let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
            let (ours, theirs) = UnixStream::pair().expect("sockets");
            let mut theirs = theirs.into_std().expect("a socket");
            theirs.set_nonblocking(false).expect("one that blocks");
            let mut pipe = File::from(from);
            let by_pipe = std::thread::spawn(move || {
                let mut read = Vec::new();
                pipe.read_to_end(&mut read).map(|_| read)
            });
            let by_socket = std::thread::spawn(move || {
                let mut read = Vec::new();
                theirs.read_to_end(&mut read).map(|_| read)
            });
            let bulk = Bulk::new(&bytes_of(length));
            let pipe = Outlet::of_pipe(to).expect("an outlet");
            let socket = Outlet::Socket(ours.into_split().1);
            let both = (send_all(pipe, bulk.clone()), send_all(socket, bulk));
            assert_eq!(tokio::join!(both.0, both.1), (length, length));
            for read in [by_pipe, by_socket] {
                let read = tokio::task::spawn_blocking(move || read.join()).await;
                assert_eq!(read.unwrap().expect("no panic").expect("read"), bytes_of(length));
            }
        }
    }

    #[tokio::test]
    async fn a_stream_in_memory_takes_all_of_it() {
        for length in [0, 10, 3 * FILE_BYTES_MIN + 1] {
            let (ours, mut theirs) = tokio::io::duplex(1000);
            let sent = send_all(Outlet::of_memory(ours), Bulk::new(&bytes_of(length)));
            let mut read = Vec::new();
            let both = tokio::join!(sent, theirs.read_to_end(&mut read));
            assert_eq!((both.0, both.1.expect("read")), (length, length));
            assert_eq!(read, bytes_of(length));
        }
    }

    #[tokio::test]
    async fn a_far_end_that_is_gone_is_an_error() {
        let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        drop(from);
        let mut outlet = Outlet::of_pipe(to).expect("an outlet");
        let sent = outlet.send(&Bulk::new(&bytes_of(FILE_BYTES_MIN)), 0).await;
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
