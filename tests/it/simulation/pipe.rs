//! The ends of simulated links: what an agent's threads and a hub's tasks read, write and wait by.

use std::any::Any;
use std::io::{self, Read, Write};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use depsync::os::clock::Turned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::{Role, Way};
use super::net::Net;

/// Bytes under way to one side before the other has to wait.
const ROOM_BYTES: usize = 1 << 20;

/// What an agent's thread is unwound with when its machine is to die. No panic: nothing is printed.
pub(crate) struct Died;

/// What the waits of one agent go by.
#[derive(Debug)]
pub(crate) struct AgentClock {
    pub(crate) net: Arc<Net>,
    pub(crate) link: usize,
}

impl Turned for AgentClock {
    fn now(&self) -> Duration {
        self.net.lock().now
    }

    fn pause(&self, until: Duration) {
        let role = role_here();
        if self.net.pause(self.link, role, until) && role == Role::Converse {
            resume_unwind(Box::new(Died));
        }
    }

    fn nudge(&self) {
        self.net.lock().end_role(self.link, Role::Alive);
        self.net.tell_if_idle();
    }
}

fn role_here() -> Role {
    if thread::current().name() == Some("alive") { Role::Alive } else { Role::Converse }
}

/// What an agent reads from.
pub(crate) struct AgentReader {
    pub(crate) net: Arc<Net>,
    pub(crate) link: usize,
}

impl Read for AgentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut net = self.net.lock();
            // RACE: what was handed on before is seen by the thread that works before this one counts as waiting.
            net.poke(self.link, Role::Converse);
            let link = &mut net.links[self.link];
            if link.is_dead {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let way = &mut link.ways[Way::ToAgent as usize];
            if !way.arrived.is_empty() {
                let count = way.arrived.len().min(buffer.len());
                for (to, byte) in buffer.iter_mut().zip(way.arrived.drain(..count)) {
                    *to = byte;
                }
                return Ok(count);
            }
            if way.has_ended {
                return Ok(0);
            }
            drop(net);
            self.net.pause(self.link, Role::Frames, Duration::MAX);
        }
    }
}

impl Drop for AgentReader {
    fn drop(&mut self) {
        let mut net = self.net.lock();
        net.poke(self.link, Role::Converse);
        net.end_role(self.link, Role::Frames);
        drop(net);
        self.net.tell_if_idle();
    }
}

/// What an agent writes to.
pub(crate) struct AgentWriter {
    pub(crate) net: Arc<Net>,
    pub(crate) link: usize,
}

impl Write for AgentWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let role = role_here();
        let mut net = self.net.lock();
        let is_broken = {
            let link = &net.links[self.link];
            link.is_dead || link.ways[Way::ToAgent as usize].has_ended
        };
        if is_broken {
            if role == Role::Alive {
                // It ends now.
                net.end_role(self.link, role);
            }
            drop(net);
            self.net.tell_if_idle();
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if role == Role::Converse && net.dies_saying(self.link, bytes) {
            drop(net);
            resume_unwind(Box::new(Died));
        }
        net.links[self.link].ways[Way::ToHub as usize].written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a hub reads from.
pub(crate) struct HubReader {
    pub(crate) net: Arc<Net>,
    pub(crate) link: usize,
}

impl AsyncRead for HubReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut net = self.net.lock();
        let way = &mut net.links[self.link].ways[Way::ToHub as usize];
        if way.arrived.is_empty() && !way.has_ended {
            way.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = way.arrived.len().min(buffer.remaining());
        let bytes: Vec<u8> = way.arrived.drain(..count).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

/// What a hub writes to.
pub(crate) struct HubWriter {
    pub(crate) net: Arc<Net>,
    pub(crate) link: usize,
}

impl AsyncWrite for HubWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut net = self.net.lock();
        let link = &mut net.links[self.link];
        if link.ways[Way::ToHub as usize].has_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if link.is_orphan {
            // A dead hub's words.
            return Poll::Ready(Ok(bytes.len()));
        }
        let way = &mut link.ways[Way::ToAgent as usize];
        if way.written.len() + way.under_way >= ROOM_BYTES {
            way.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        way.written.extend_from_slice(bytes);
        drop(net);
        self.net.tell();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.net.hub_closes(self.link);
        Poll::Ready(Ok(()))
    }
}

impl Drop for HubWriter {
    fn drop(&mut self) {
        self.net.hub_closes(self.link);
    }
}

/// Ends the connection when the hub lets its session go.
pub(crate) struct Severed {
    pub(crate) net: Arc<Net>,
    pub(crate) link: usize,
}

impl Drop for Severed {
    fn drop(&mut self) {
        self.net.hub_closes(self.link);
    }
}

/// True if a thread's end was [`Died`] and no panic of its own.
pub(crate) fn is_death(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Died>()
}
