//! How the hub reaches a node's agent: in process, or through the system's `ssh`. Knows nothing of releases.
//!
//! Start reading at [`open_ssh`] and `attempt.rs`. ssh is the user's own: its configuration, keys, agent and
//! known hosts count; what may not be weakened is in `ssh.rs`.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::target::{SshTarget, SshUser};
use crate::os::child::Invocation;

pub mod agent_binary;
mod attempt;
mod bootstrap;
mod ciphers;
mod classify;
mod error;
mod handshakes;
mod host_keys;
mod local;
mod mux;
mod preamble;
mod reuse;
mod session;
mod ssh;
mod stderr;

pub use classify::SshFault;
pub use error::{BootstrapFault, Error};
pub use handshakes::HANDSHAKES_MAX;
pub use local::{Streams, open_local, open_streams};
#[doc(hidden)]
pub use mux::packets;
#[doc(hidden)]
pub use preamble::scan;
pub use session::{Closed, Link, Reader, Session, Writer};

use agent_binary::AgentBinary;
use attempt::Attempt;
use handshakes::Place;
use mux::Remote;
use reuse::Shared;
use ssh::{Control, HostKeys};

/// How nodes are reached.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Private keys to offer (`-i`); ssh's own choice if empty.
    pub identities: Vec<PathBuf>,
    /// The file of known host keys that alone counts; ssh's own files if not given.
    pub known_hosts: Option<PathBuf>,
    /// Further `-o` options for ssh, each `Key=value`.
    pub ssh_options: Vec<String>,
    /// How long a connection stays open for the next run; zero for a new one each run.
    pub reuse: Duration,
    /// Learn the keys of unknown hosts.
    pub accept_new_host_keys: bool,
    /// The longest from ssh's start to the agent's preamble, an upload of the agent not counted.
    pub connect_timeout: Duration,
    /// Where the agent comes from.
    pub agent: AgentProgram,
    /// The user the agent runs as, by `sudo -n`, if not the login user.
    pub sudo_user: Option<SshUser>,
    /// The directory for control sockets and the agent's digest, mode 0700, made if missing; empty to remember neither.
    pub control_dir: PathBuf,
}

/// Where a node's agent comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentProgram {
    /// The slim program beside this one, or this one, is uploaded once: see [`AgentBinary::open`].
    Upload,
    /// The program at this path of the hub is uploaded once.
    UploadFrom(PathBuf),
    /// An installed program, by absolute path.
    Installed(String),
}

/// The most that retries may take, in connect timeouts.
const BUDGET_TIMEOUTS: u32 = 3;

/// Brings the agent on `target`'s node to answer.
///
/// Guarantees: never asks anybody for anything; ends within four times `options.connect_timeout`, the wait for a free
/// place among at most [`HANDSHAKES_MAX`] handshakes and an upload not counted; dropped half-way, or failed, it leaves
/// no process of its own behind. A host that closes the connection before login, as an overloaded one does, is tried
/// again within that time; a refused login is not. A reused connection that gives no agent is replaced once.
///
/// # Errors
/// Any [`Error`]; [`Error::stops_run`] tells a changed host key.
pub async fn open_ssh(target: &SshTarget, options: &LinkOptions) -> Result<Link, Error> {
    let opening = Opening {
        target,
        options,
        command: ssh::remote_command(options)?,
        binary: agent_to_upload(options).await?,
        host_keys: HostKeys::Known,
        ciphers: tokio::task::spawn_blocking(ciphers::preference).await.ok().flatten(),
    };
    let (shared, note) = match Shared::of(target, options) {
        Ok(shared) => (shared, None),
        Err(why) => (None, Some(why)),
    };
    let mut opened = opening.over_any(shared.clone()).await;
    if let Err(Error::Ssh { fault: SshFault::HostKeyUnknown, words }) = &opened
        && options.accept_new_host_keys
    {
        let words = words.clone();
        opened = opening.over_new_host(shared, words).await;
    }
    if let Err(Error::Ssh { fault: SshFault::Proxy, words }) = &mut opened
        && let Some(name) = reuse::proxy_name(target, options).await
    {
        *words = if words.is_empty() { name } else { format!("{name}: {words}") };
    }
    opened.map(|mut link| {
        link.session.add_notes(note);
        link
    })
}

/// What is the same for every attempt.
struct Opening<'a> {
    target: &'a SshTarget,
    options: &'a LinkOptions,
    command: Vec<std::ffi::OsString>,
    binary: Option<AgentBinary>,
    host_keys: HostKeys,
    ciphers: Option<&'static str>,
}

impl Opening<'_> {
    /// Over the shared connection if it is there and alive, else over a new one.
    async fn over_any(&self, shared: Option<Shared>) -> Result<Link, Error> {
        let timeout = self.options.connect_timeout;
        if let Some(old) = &shared
            && let Some(session) = old.session(&self.command).await
        {
            // A living connection answers in a round trip or two: half of the time is plenty.
            let attempt = self.attempt(shared.as_ref(), timeout / 2, None);
            let tried = match session {
                Some((streams, session)) => {
                    Box::pin(attempt.run_over(streams, Remote::Session(session))).await
                }
                // What the socket said is for ssh itself to make sense of.
                None => attempt.run(&self.invocation(shared.as_ref())?).await,
            };
            match tried {
                Err(Error::Ssh { fault: SshFault::SessionRefused, .. }) => {
                    return self.over_new(None).await;
                }
                Err(error) if reuse::may_be_stale(&error) => old.retire().await,
                other => return other,
            }
        }
        self.over_new(shared).await
    }

    /// Over a new connection, tried again while the host is merely overloaded.
    async fn over_new(&self, shared: Option<Shared>) -> Result<Link, Error> {
        let timeout = self.options.connect_timeout;
        let mut place = Place::free().await;
        let mut spent = Duration::ZERO;
        let mut tries = 0;
        loop {
            let started = Instant::now();
            let error = match self.once(shared.as_ref(), timeout, place.take()).await {
                Err(error) if error.is_transient() => error,
                other => return other,
            };
            tries += 1;
            let wait = handshakes::back_off(tries);
            // The last try may take a whole timeout.
            spent += started.elapsed() + wait;
            if spent + timeout > timeout * BUDGET_TIMEOUTS {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            place = Place::free().await;
        }
    }

    /// To a host whose key ssh did not know, as its `words` tell: it is learned, and noted.
    async fn over_new_host(mut self, shared: Option<Shared>, words: String) -> Result<Link, Error> {
        let fault = SshFault::HostKeyUnknown;
        let Some(name) = host_keys::name_looked_up(&words) else {
            return Err(Error::Ssh { fault, words });
        };
        match host_keys::known(name, self.options).await {
            Some(known) if known.is_empty() => (),
            Some(known) => {
                let words = format!("{words} Known is {}", known.join(", "));
                return Err(Error::Ssh { fault: SshFault::HostKeyChanged, words });
            }
            None => return Err(Error::Ssh { fault, words }),
        }
        self.host_keys = HostKeys::Learned;
        let mut link = self.over_new(shared).await?;
        let learned = host_keys::known(name, self.options).await.unwrap_or_default();
        link.session.add_notes([format!("learned the host key of {name}: {}", learned.join(", "))]);
        Ok(link)
    }

    async fn once(
        &self,
        shared: Option<&Shared>,
        timeout: Duration,
        place: Option<Place>,
    ) -> Result<Link, Error> {
        self.attempt(shared, timeout, place).run(&self.invocation(shared)?).await
    }

    fn invocation(&self, shared: Option<&Shared>) -> Result<Invocation, Error> {
        let control = shared.map_or(Control::Own, Shared::control);
        let (target, options) = (self.target, self.options);
        let mut invocation =
            ssh::invocation(target, options, control, self.host_keys, self.ciphers)?;
        invocation.arguments.extend_from_slice(&self.command);
        Ok(invocation)
    }

    fn attempt(
        &self,
        shared: Option<&Shared>,
        timeout: Duration,
        place: Option<Place>,
    ) -> Attempt<'_> {
        Attempt {
            binary: self.binary.as_ref(),
            nonce: u128::from(handshakes::random()) << 64 | u128::from(handshakes::random()),
            timeout,
            shared: shared.cloned(),
            place,
        }
    }
}

/// The program to upload, if any; looked at off the threads that wait.
async fn agent_to_upload(options: &LinkOptions) -> Result<Option<AgentBinary>, Error> {
    let path = match &options.agent {
        AgentProgram::Installed(_) => return Ok(None),
        AgentProgram::Upload => None,
        AgentProgram::UploadFrom(path) => Some(path.clone()),
    };
    let memory = options.control_dir.clone();
    let open = move || AgentBinary::open(path.as_deref(), &memory);
    let opened = tokio::task::spawn_blocking(open).await.map_err(std::io::Error::other);
    let binary = opened.and_then(|binary| binary).inspect(AgentBinary::prepare);
    binary.map(Some).map_err(|source| Error::Hub { act: "read the agent's program", source })
}
