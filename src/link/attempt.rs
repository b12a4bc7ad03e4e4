//! One attempt to bring an agent to answer: ssh is started, the agent uploaded if need be, preambles are exchanged.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::process::ChildStdout;

use crate::os::child::Invocation;
use crate::os::connection;
use crate::os::pipes::Streams;
use crate::wire::preamble::{HUB, PROTOCOL_VERSION};

use super::Error;
use super::agent_binary::AgentBinary;
use super::bootstrap;
use super::classify::{self, SshFault};
use super::error::BootstrapFault;
use super::handshakes::Place;
use super::mux::Remote;
use super::preamble::{Scanner, Sign, Silence};
use super::reuse::Shared;
use super::session::{Carrier, Counted, Counters, Link, Session, Writer};
use super::stderr::{Tail, last_words, shortened};

/// How long an upload may make no progress.
const UPLOAD_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the last bytes of an upload may be under way, and be written and verified on the node. A connection that
/// is dead is noticed by ssh long before.
const UPLOAD_END_TIMEOUT: Duration = Duration::from_mins(5);
/// How long ssh may take to end once its streams have.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// What to start, and what to send it.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) binary: Option<&'a AgentBinary>,
    pub(super) nonce: u128,
    pub(super) timeout: Duration,
    pub(super) shared: Option<Shared>,
    pub(super) place: Option<Place>,
}

/// A started command and its streams.
struct Running {
    remote: Remote,
    stderr: Tail,
    reader: Counted<ChildStdout>,
    writer: Writer,
    scanner: Scanner,
    counters: Arc<Counters>,
}

impl Attempt<'_> {
    /// Carries it out with an ssh of its own. Dropped half-way it kills what it started.
    pub(super) async fn run(self, invocation: &Invocation) -> Result<Link, Error> {
        let hub = |source| Error::Hub { act: "start ssh", source };
        let piped = invocation.spawn().map_err(hub)?;
        let quick = connection::quicken(&piped.process);
        let attempt = Box::pin(self.run_over(piped.streams, Remote::Ssh(piped.process)));
        tokio::select! {
            link = attempt => link,
            never = quick => match never {},
        }
    }

    /// Carries it out with a command that was started. Dropped half-way it kills that.
    pub(super) async fn run_over(
        mut self,
        streams: Streams,
        remote: Remote,
    ) -> Result<Link, Error> {
        let counters = Arc::new(Counters::default());
        let mut running = Running {
            remote,
            stderr: Tail::of(streams.stderr),
            reader: Counted::new(streams.stdout, &counters),
            writer: Counted::new(streams.stdin, &counters),
            scanner: Scanner::default(),
            counters,
        };
        if let Some(binary) = self.binary {
            let script = bootstrap::start(binary);
            // The script fits the pipe. An error means that ssh has ended, which reading finds out and explains.
            drop(running.writer.write_all(script.as_bytes()).await);
        }
        let first = running.sign(self.timeout, self.place.take()).await?;
        let sign = match first {
            Sign::Need(node) => match self.binary {
                Some(binary) => running.upload(binary, &node, self.nonce, self.timeout).await?,
                None => return Err(running.no_agent().await),
            },
            other => other,
        };
        match sign {
            Sign::Agent(version) => running.into_link(version, self.shared).await,
            Sign::Fail(word, detail) => Err(bootstrap_failure(&word, &detail)),
            Sign::Need(_) => Err(running.no_agent().await),
        }
    }
}

impl Running {
    /// Waits for a sign; `place` is given back when the node has spoken.
    async fn sign(&mut self, timeout: Duration, place: Option<Place>) -> Result<Sign, Error> {
        let searching = self.scanner.next(&mut self.reader);
        let found = match place {
            Some(place) => tokio::time::timeout(timeout, place.held_during(searching)).await,
            None => tokio::time::timeout(timeout, searching).await,
        };
        match found {
            Ok(Ok(sign)) => Ok(sign),
            Ok(Err(silence)) => Err(self.explain(silence).await),
            Err(_elapsed) => {
                self.remote.kill();
                let text = self.stderr.text();
                let mut words = last_words(&text);
                if words.is_empty() {
                    words = shortened(self.scanner.sample());
                }
                let fault = SshFault::PromptNeeded;
                let is_prompt = classify::is_prompt(&text);
                Err(if is_prompt { Error::Ssh { fault, words } } else { Error::Timeout { words } })
            }
        }
    }

    /// Sends the agent's bytes and waits for what comes of it.
    async fn upload(
        &mut self,
        binary: &AgentBinary,
        node: &str,
        nonce: u128,
        timeout: Duration,
    ) -> Result<Sign, Error> {
        let ours = bootstrap::own_machine();
        let (machine, packer) = bootstrap::told(node);
        if !bootstrap::runs_on(&ours, machine) {
            return Err(Error::Architecture { node: shortened(machine.as_bytes()), ours });
        }
        let unreadable = |source| Error::Hub { act: "read the agent's program", source };
        let parcel = binary.parcel(packer).await.map_err(unreadable)?;
        let script = bootstrap::upload(binary, &parcel, nonce);
        // As with the first script: an error means that ssh has ended, which reading explains.
        drop(self.writer.write_all(script.as_bytes()).await);
        match self.sign(timeout, None).await? {
            Sign::Need(_) => {}
            other => return Ok(other),
        }
        let early = tokio::select! {
            biased;
            found = self.scanner.next(&mut self.reader) => Some(found),
            sent = send(&mut self.writer, &parcel.bytes) => match sent {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(Error::Stream { act: "upload the agent", source: error });
                }
                // Any other error means that the far end has gone, and it says why.
                _ => None,
            },
        };
        match early {
            Some(Ok(sign)) => Ok(sign),
            Some(Err(silence)) => Err(self.explain(silence).await),
            None => self.sign(UPLOAD_END_TIMEOUT, None).await,
        }
    }

    /// Writes the hub's preamble.
    async fn into_link(mut self, version: u16, shared: Option<Shared>) -> Result<Link, Error> {
        check_version(version)?;
        let notes = noise_note(&self.scanner);
        self.reader.unread(self.scanner.into_rest());
        greet(&mut self.writer).await?;
        let carrier = Carrier::Ssh { remote: self.remote, stderr: self.stderr };
        let session = Session::new(carrier, self.counters, shared, notes);
        Ok(Link { reader: Box::new(self.reader), writer: self.writer, session })
    }

    /// Finds out why there is no sign.
    async fn explain(&mut self, silence: Silence) -> Error {
        if let Silence::Broken(source) = silence {
            return Error::Stream { act: "read the agent's preamble", source };
        }
        self.no_agent().await
    }

    /// What the end of ssh, or of the patience with it, means.
    async fn no_agent(&mut self) -> Error {
        let ended = tokio::time::timeout(EXIT_TIMEOUT, self.remote.wait()).await;
        let status: Option<ExitStatus> = ended.ok().and_then(Result::ok);
        self.remote.kill();
        self.stderr.settle(EXIT_TIMEOUT).await;
        let text = self.stderr.text();
        let words = last_words(&text);
        let code = status.and_then(|status| status.code());
        let is_silent = self.scanner.noise_bytes() == 0;
        match code {
            Some(255) if is_silent || classify::ssh_fault(&text) != SshFault::Other => {
                Error::Ssh { fault: classify::ssh_fault(&text), words }
            }
            Some(126 | 127) if text.starts_with("setsid: ") => {
                Error::Hub { act: "start ssh", source: io::Error::other(words) }
            }
            Some(1 | 127) if classify::is_sudo_refusal(&text) => {
                Error::Ssh { fault: SshFault::SudoRefused, words }
            }
            Some(126) if words.contains("ermission denied") => {
                Error::Bootstrap { fault: BootstrapFault::NoExec, words }
            }
            _ => {
                let printed = shortened(self.scanner.sample());
                let both = [printed, words];
                let both: Vec<String> = both.into_iter().filter(|text| !text.is_empty()).collect();
                let status = code.map_or("none".to_owned(), |code| code.to_string());
                Error::NoAgent { status, sample: both.join("; ") }
            }
        }
    }
}

/// Reads the agent's preamble and answers with the hub's; returns notes on the noise before it.
pub(super) async fn exchange_preambles<R, W>(
    reader: &mut Counted<R>,
    writer: &mut W,
) -> Result<Vec<String>, Error>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut scanner = Scanner::default();
    match scanner.next(reader).await {
        Ok(Sign::Agent(version)) => check_version(version)?,
        Err(Silence::Broken(source)) => {
            return Err(Error::Stream { act: "read the agent's preamble", source });
        }
        Ok(_) | Err(Silence::Ended | Silence::Noise) => {
            let sample = shortened(scanner.sample());
            return Err(Error::NoAgent { status: "none".to_owned(), sample });
        }
    }
    let notes = noise_note(&scanner);
    reader.unread(scanner.into_rest());
    greet(writer).await?;
    Ok(notes)
}

fn check_version(theirs: u16) -> Result<(), Error> {
    if theirs == PROTOCOL_VERSION { Ok(()) } else { Err(Error::Version { theirs }) }
}

async fn greet<W: AsyncWrite + Unpin>(writer: &mut W) -> Result<(), Error> {
    let greeting = async {
        writer.write_all(HUB).await?;
        writer.flush().await
    };
    greeting.await.map_err(|source| Error::Stream { act: "greet the agent", source })
}

/// Writes `bytes` as long as there is progress.
async fn send<W: AsyncWrite + Unpin>(writer: &mut W, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let step = tokio::time::timeout(UPLOAD_IDLE_TIMEOUT, writer.write(bytes)).await;
        let count = step.map_err(|elapsed| io::Error::new(io::ErrorKind::TimedOut, elapsed))??;
        bytes = bytes.get(count..).unwrap_or_default();
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    writer.flush().await
}

fn noise_note(scanner: &Scanner) -> Vec<String> {
    if scanner.noise_bytes() == 0 {
        return Vec::new();
    }
    let sample: Vec<u8> = scanner.sample().iter().copied().take(80).collect();
    let (count, sample) = (scanner.noise_bytes(), shortened(&sample));
    vec![format!("the login shell printed {count} bytes before the agent's answer: {sample}")]
}

fn bootstrap_failure(word: &str, detail: &str) -> Error {
    let words = shortened(detail.as_bytes());
    Error::Bootstrap { fault: BootstrapFault::parse(word), words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hub_without_ssh_says_so() {
        let arguments = vec!["--".into(), "host".into()];
        let program = "no-such-ssh".into();
        let invocation = Invocation { program, arguments, environment: Vec::new() };
        let attempt = Attempt {
            binary: None,
            nonce: 0,
            timeout: Duration::from_secs(10),
            shared: None,
            place: None,
        };
        let error = attempt.run(&invocation).await.unwrap_err();
        assert!(matches!(error, Error::Hub { act: "start ssh", .. }), "{error:?}");
        assert!(!error.is_transient());
    }

    #[test]
    fn fault_072_a_hub_that_may_not_fork_just_now_tries_again() {
        let source = io::Error::from_raw_os_error(rustix::io::Errno::AGAIN.raw_os_error());
        assert!(Error::Hub { act: "start ssh", source }.is_transient());
    }
}
