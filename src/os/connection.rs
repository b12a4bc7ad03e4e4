//! The TCP connection that a child process has opened, made quick for an exchange of many small packets.
//!
//! A login by ssh is a conversation, and by default each end of it holds small packets back for an acknowledgement that
//! the other end delays: twice 41.5 ms of a login's 200. A program that cannot be told otherwise shares its socket with
//! its parent (`pidfd_getfd`, Linux 5.6), which can.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::child::Process;

/// A program that has just started has its connection among these.
const HANDLES: std::ops::Range<i32> = 3..10;
/// How long to wait before looking for a connection again; grows while there is none.
const LOOK_FIRST: Duration = Duration::from_millis(2);
const LOOK_MAX: Duration = Duration::from_millis(50);

/// Keeps the TCP connection of `child` quick, from when there is one until this is dropped.
///
/// Guarantees: never ends; changes nothing but when packets and acknowledgements leave; where the child has no connection
/// of its own, or the system does not share it, nothing happens.
pub fn quicken(child: &Process) -> impl Future<Output = Infallible> + Send + use<> {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // Opened now, before the child can be reaped and its number used again.
    let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    async move {
        if let Some(process) = process {
            // An error means that it cannot be done here, or that the connection has ended.
            let _slow = keep_quick(&process).await;
        }
        std::future::pending().await
    }
}

async fn keep_quick(process: &OwnedFd) -> io::Result<()> {
    let mut wait = LOOK_FIRST;
    let connection = loop {
        let found = connection_of(process)?;
        if let Some(found) = &found {
            make_quick(found)?;
        }
        // A program makes its connection non-blocking when it has been made; it is the program's to do so.
        match found {
            Some(found) if fcntl_getfl(&found)?.contains(OFlags::NONBLOCK) => break found,
            _ => {}
        }
        // Nobody is told when another process opens a socket.
        tokio::time::sleep(wait).await;
        wait = LOOK_MAX.min(wait + wait / 4);
    };
    let connection = TcpStream::from_std(connection.into())?;
    loop {
        // The kernel forgets it with every answer that is sent.
        make_quick(&connection)?;
        // Ready once for every arrival, whoever takes the bytes; for ever once there is an end, which is no arrival.
        let ready = connection.ready(Interest::READABLE).await?;
        if ready.is_read_closed() || ready.is_error() {
            return Ok(());
        }
        let not_ours = || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into());
        drop(connection.try_io(Interest::READABLE, not_ours));
    }
}

fn make_quick(connection: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(&connection, true)?;
    Ok(sockopt::set_tcp_quickack(&connection, true)?)
}

/// The first TCP socket of `process`.
fn connection_of(process: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    for handle in HANDLES {
        let found = match pidfd_getfd(process, handle, PidfdGetfdFlags::empty()) {
            Ok(found) => found,
            Err(rustix::io::Errno::BADF) => continue,
            Err(error) => return Err(error.into()),
        };
        let is_stream = sockopt::socket_type(&found) == Ok(SocketType::STREAM);
        let domain = sockopt::socket_domain(&found);
        if is_stream && matches!(domain, Ok(AddressFamily::INET | AddressFamily::INET6)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::os::child::{Invocation, Piped};

    /// A child that holds a connection as its handle 3, and this test's end of it.
    fn child_with_connection() -> (Piped, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo there; cat <&3");
        let arguments = ["-c", &script].map(OsString::from).to_vec();
        let invocation = Invocation { program: "bash".into(), arguments, environment: Vec::new() };
        let piped = invocation.spawn().unwrap();
        (piped, listener.accept().unwrap().0)
    }

    /// Carries `work` out in a thread of its own, so that a future that keeps its thread busy fails the test.
    fn bounded(work: impl Future<Output = ()> + Send + 'static) {
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(work);
            done.send(()).unwrap();
        });
        is_done.recv_timeout(Duration::from_secs(20)).expect("it ends, and well");
    }

    #[test]
    fn a_connection_is_found_made_quick_and_left_alone_when_it_ends() {
        bounded(found_quick_and_left_alone());
    }

    async fn found_quick_and_left_alone() {
        let (mut piped, mut far) = child_with_connection();
        let mut said = [0; 6];
        tokio::io::AsyncReadExt::read_exact(&mut piped.streams.stdout, &mut said).await.unwrap();
        let id = i32::try_from(piped.process.id().unwrap()).unwrap();
        let process = pidfd_open(Pid::from_raw(id).unwrap(), PidfdFlags::empty()).unwrap();
        let found = connection_of(&process).unwrap().expect("the child has a connection");
        assert!(!sockopt::tcp_nodelay(&found).unwrap());
        rustix::io::ioctl_fionbio(&found, true).unwrap();

        let quick = tokio::spawn(quicken(&piped.process));
        // poll: nobody is told of another's socket options
        while !sockopt::tcp_nodelay(&found).unwrap() {
            tokio::task::yield_now().await;
        }
        rustix::io::ioctl_fionbio(&found, false).unwrap();
        far.write_all(b"more").unwrap();
        let mut more = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut piped.streams.stdout, &mut more).await.unwrap();
        assert_eq!(&more, b"more", "what arrives is the child's");

        drop(far);
        piped.process.wait().await.unwrap();
        // The only thread of this runtime would never come back from here if the end kept it busy.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert!(!quick.is_finished());
        quick.abort();
    }

    #[tokio::test]
    async fn a_child_without_a_connection_is_waited_for_in_peace() {
        let invocation =
            Invocation { program: "true".into(), arguments: Vec::new(), environment: Vec::new() };
        let mut piped = invocation.spawn().unwrap();
        let quick = tokio::spawn(quicken(&piped.process));
        piped.process.wait().await.unwrap();
        assert!(!quick.is_finished());
        quick.abort();
    }
}
