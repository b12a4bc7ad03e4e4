//! Connections that outlive a run: OpenSSH's control sockets, in a directory of this user's alone.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::target::SshTarget;
use crate::os::child;
use crate::os::pipes::Streams;

use super::mux;
use super::ssh::{self, Control, HostKeys};
use super::{Error, LinkOptions};

/// The longest path ssh can bind: `sun_path` less its NUL, less the suffix that ssh appends while binding.
const SOCKET_PATH_BYTES_MAX: usize = 107 - 17;
/// How long an old connection may take to answer that it closes.
const RETIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a target's shared connection listens.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    socket: PathBuf,
    target: SshTarget,
    options: LinkOptions,
}

impl Shared {
    /// The shared connection for `target`, existing or not; or why there can be none.
    pub(super) fn of(target: &SshTarget, options: &LinkOptions) -> Result<Option<Self>, String> {
        if options.reuse.is_zero() {
            return Ok(None);
        }
        let name = socket_name(target, options);
        let directory = directory_for(&options.control_dir, name.len());
        let Some(directory) = directory else {
            let shown =
                super::stderr::shortened(options.control_dir.as_os_str().as_encoded_bytes());
            return Err(format!("connections are not reused: {shown} is too long for a socket"));
        };
        match child::private_directory(&directory) {
            Ok(()) => {
                let socket = directory.join(name);
                Ok(Some(Self { socket, target: target.clone(), options: options.clone() }))
            }
            Err(error) => {
                let shown = super::stderr::shortened(directory.as_os_str().as_encoded_bytes());
                Err(format!("connections are not reused: {shown}: {error}"))
            }
        }
    }

    /// How ssh is told of it.
    pub(super) fn control(&self) -> Control<'_> {
        Control::Shared(&self.socket, self.options.reuse)
    }

    /// A session that runs `command`, if a connection is open; the inner `None` is one that did not give a session, or
    /// not in time. The socket that a dead master left is removed.
    pub(super) async fn session(
        &self,
        command: &[OsString],
    ) -> Option<Option<(Streams, mux::Session)>> {
        if !child::is_socket(&self.socket) {
            return None;
        }
        match tokio::time::timeout(RETIRE_TIMEOUT, mux::run(&self.socket, command)).await {
            Ok(Ok(session)) => Some(Some(session)),
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                child::remove_socket(&self.socket);
                None
            }
            Ok(Err(_)) | Err(_) => Some(None),
        }
    }

    /// Takes the connection out of use: it gets no new sessions, and ends with those it has. Bounded, whatever state
    /// the connection is in.
    pub(super) async fn retire(&self) {
        if !child::is_socket(&self.socket) {
            return;
        }
        // "stop" and not "exit": another target of the same host may be using it. A connection that does not answer
        // in time loses its socket, and ends by its own keep-alive.
        if let Ok(mut stop) =
            ssh::invocation(&self.target, &self.options, self.control(), HostKeys::Known, None)
        {
            let host = stop.arguments.split_off(stop.arguments.len().saturating_sub(2));
            stop.arguments.extend(["-O".into(), "stop".into()]);
            stop.arguments.extend(host);
            drop(stop.output(RETIRE_TIMEOUT).await);
        }
        child::remove_socket(&self.socket);
    }
}

/// A name that two connections share only if they log in in the same way.
fn socket_name(target: &SshTarget, options: &LinkOptions) -> String {
    let login = (&target.user, &target.host, target.port);
    let trust = (&options.known_hosts, &options.identities);
    let text = format!("{login:?} {trust:?} {:?}", options.ssh_options);
    let mut name = blake3::hash(text.as_bytes()).to_hex().to_string();
    name.truncate(16);
    name
}

/// The directory for sockets: `wanted`, or a shorter one of this login session where `wanted` is too long.
fn directory_for(wanted: &Path, name_bytes: usize) -> Option<PathBuf> {
    let fits = |path: &Path| path.as_os_str().len() + 1 + name_bytes <= SOCKET_PATH_BYTES_MAX;
    if fits(wanted) {
        return Some(wanted.to_owned());
    }
    let mut name = blake3::hash(wanted.as_os_str().as_encoded_bytes()).to_hex().to_string();
    name.truncate(8);
    let short = child::session_directory()?.join("depsync").join(name);
    fits(&short).then_some(short)
}

/// Names the jump host or proxy command that ssh would use, as far as ssh can tell.
pub(super) async fn proxy_name(target: &SshTarget, options: &LinkOptions) -> Option<String> {
    let mut ask = ssh::invocation(target, options, Control::Own, HostKeys::Known, None).ok()?;
    ask.arguments.insert(0, "-G".into());
    let (_, settings) = ask.output(Duration::from_secs(2)).await.ok()?;
    let settings = String::from_utf8_lossy(&settings).into_owned();
    let value = |key: &str| settings.lines().find_map(|line| line.strip_prefix(key));
    let name = value("proxyjump ").or_else(|| value("proxycommand "))?;
    Some(super::stderr::shortened(name.as_bytes()))
}

/// True if `error` may be the fault of an old connection, so that a new one is worth a try.
pub(super) fn may_be_stale(error: &Error) -> bool {
    use super::classify::SshFault::{HandshakeClosed, Other, SessionRefused, Timeout};
    match error {
        Error::Timeout { .. } | Error::Stream { .. } => true,
        Error::Ssh { fault, .. } => {
            matches!(fault, HandshakeClosed | Other | SessionRefused | Timeout)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_too_long_for_a_socket_is_not_used() {
        let short = Path::new("/var/lib/depsync/ssh");
        assert_eq!(directory_for(short, 16).unwrap(), short);
        let long = PathBuf::from(format!("/{}", "x".repeat(90)));
        assert_ne!(directory_for(&long, 16), Some(long));
    }
}
