//! The pipes to a process that somebody else starts for us: their far ends are passed over a socket.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::process::{ChildStderr, ChildStdout};

use super::bulk::Outlet;

/// The three streams of a process, as its parent holds them.
#[derive(Debug)]
pub struct Streams {
    /// Its standard input.
    pub stdin: Outlet,
    /// Its standard output.
    pub stdout: ChildStdout,
    /// Its standard error.
    pub stderr: ChildStderr,
}

impl Streams {
    /// New pipes, with the far ends in the order of standard input, output and error. Needs a runtime.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn open() -> io::Result<(Self, [OwnedFd; 3])> {
        let (stdin_far, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdout, stdout_far) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, stderr_far) = pipe_with(PipeFlags::CLOEXEC)?;
        super::file::widen_pipe(&stdin);
        let streams = Self {
            stdin: Outlet::of_pipe(stdin)?,
            stdout: ChildStdout::from_std(process::ChildStdout::from(stdout))?,
            stderr: ChildStderr::from_std(process::ChildStderr::from(stderr))?,
        };
        Ok((streams, [stdin_far, stdout_far, stderr_far]))
    }
}

/// Passes `handle` over `socket`, with a single byte of no meaning.
///
/// # Errors
/// As the operating system says; `WouldBlock` where the socket has no room just now.
pub fn pass(socket: impl AsFd, handle: &OwnedFd) -> io::Result<()> {
    let handles = [handle.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let has_room = control.push(SendAncillaryMessage::ScmRights(&handles));
    debug_assert!(has_room, "the space is that of one handle");
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
