//! What can go wrong between the hub and an agent, and what an operator does about it.

use std::io;

use rustix::io::Errno;

use crate::wire::preamble::PROTOCOL_VERSION;

use super::classify::SshFault;

/// Why there is no link. Texts from outside are already escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option cannot be carried out as it is.
    #[error("{what} is not usable: {value}")]
    Option {
        /// Which option.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// Something on the hub itself failed before ssh came to speak.
    #[error("{act}")]
    Hub {
        /// What was to be done.
        act: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// ssh gave no session.
    #[error("{}", describe(fault.sentence(), words))]
    Ssh {
        /// What kind of failure.
        fault: SshFault,
        /// ssh's own last words.
        words: String,
    },
    /// No answer within the time given.
    #[error("{}", describe("no agent answered in time", words))]
    Timeout {
        /// The last words on standard error.
        words: String,
    },
    /// The remote command ended, or talked on and on, without an agent's preamble.
    #[error("no agent answered (exit status {status}): {sample}")]
    NoAgent {
        /// The remote command's exit status, or why there is none.
        status: String,
        /// What was printed instead.
        sample: String,
    },
    /// The bootstrap script could not bring the agent to run.
    #[error("{}", describe(fault.sentence(), words))]
    Bootstrap {
        /// What kind of failure.
        fault: BootstrapFault,
        /// What the node's tools said.
        words: String,
    },
    /// The node cannot run this program.
    #[error("the node is {node}, this program is for {ours}")]
    Architecture {
        /// System and machine as the node names them.
        node: String,
        /// System and machine of this program.
        ours: String,
    },
    /// The agent speaks another protocol.
    #[error("the agent speaks protocol {theirs}, this program {PROTOCOL_VERSION}")]
    Version {
        /// The agent's version.
        theirs: u16,
    },
    /// The stream broke while the agent was being started.
    #[error("{act}")]
    Stream {
        /// What was to be done.
        act: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// Why the bootstrap script gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BootstrapFault {
    /// Neither `HOME` nor `XDG_CACHE_HOME` names a directory.
    NoHome,
    /// The cache directory cannot be made, or is not the user's alone.
    CacheDirectory,
    /// No space, or no quota, for the agent.
    NoSpace,
    /// The agent's file cannot be written for another reason.
    Write,
    /// The home directory does not let programs run.
    NoExec,
    /// What arrived is not what was sent.
    Mismatch,
    /// The agent was started and failed.
    NoStart,
}

fn describe(sentence: &str, words: &str) -> String {
    if words.is_empty() { sentence.to_owned() } else { format!("{sentence}: {words}") }
}

/// True for the errors of a system that has too many processes or open files just now.
fn is_short_of_resources(code: i32) -> bool {
    [Errno::AGAIN, Errno::MFILE, Errno::NFILE, Errno::NOMEM]
        .map(Errno::raw_os_error)
        .contains(&code)
}

impl BootstrapFault {
    /// Understands the script's word for it; an unknown one is [`Self::NoStart`].
    pub(super) fn parse(word: &str) -> Self {
        match word {
            "no-home" => Self::NoHome,
            "cache-directory" => Self::CacheDirectory,
            "no-space" => Self::NoSpace,
            "write" => Self::Write,
            "noexec" => Self::NoExec,
            "mismatch" => Self::Mismatch,
            _ => Self::NoStart,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::NoHome => "no-home",
            Self::CacheDirectory => "cache-directory",
            Self::NoSpace => "no-space",
            Self::Write => "agent-write",
            Self::NoExec => "noexec",
            Self::Mismatch => "agent-mismatch",
            Self::NoStart => "agent-start",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::NoHome => "the node's user has no home directory for the agent",
            Self::CacheDirectory => "the node's cache directory cannot hold the agent",
            Self::NoSpace => "no space on the node for the agent",
            Self::Write => "the agent cannot be written on the node",
            Self::NoExec => "the node's home directory does not let programs run",
            Self::Mismatch => "the uploaded agent is not what was sent",
            Self::NoStart => "the uploaded agent does not start on the node",
        }
    }
}

impl Error {
    /// A stable word for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Option { .. } => "ssh-option",
            Self::Hub { .. } => "hub",
            Self::Ssh { fault, .. } => fault.kind(),
            Self::Timeout { .. } => "timeout",
            Self::NoAgent { .. } => "no-agent",
            Self::Bootstrap { fault, .. } => fault.kind(),
            Self::Architecture { .. } => "arch",
            Self::Version { .. } => "version",
            Self::Stream { .. } => "stream",
        }
    }

    /// True if another try soon may succeed. [`super::open_ssh`] has tried within its budget already.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Ssh { fault, .. } => {
                matches!(fault, SshFault::HandshakeClosed | SshFault::SessionRefused)
            }
            Self::Hub { source, .. } => source.raw_os_error().is_some_and(is_short_of_resources),
            _ => false,
        }
    }

    /// True if it is a matter of host keys or of logging in.
    pub fn is_trust(&self) -> bool {
        matches!(self, Self::Ssh { fault, .. } if fault.is_trust())
    }

    /// True if it must stop the whole run: a host key that changed.
    pub fn stops_run(&self) -> bool {
        matches!(self, Self::Ssh { fault: SshFault::HostKeyChanged, .. })
    }

    /// True if the operator's options are at fault, not a node.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Option { .. } | Self::Ssh { fault: SshFault::Configuration, .. })
    }

    /// One action that helps.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Ssh { fault, .. } => return fault.hint().map(str::to_owned),
            Self::Bootstrap { fault: BootstrapFault::NoSpace, .. } => {
                "free some space below the login user's ~/.cache"
            }
            Self::Bootstrap { .. } | Self::Architecture { .. } => {
                "install depsync on the node and name it: [ssh] agent = \"/path/of/depsync\""
            }
            Self::NoAgent { .. } => {
                "the login user needs a shell that runs `sh`, or depsync as its forced command"
            }
            Self::Version { .. } => {
                "install this version of depsync on the node, or let depsync upload its agent"
            }
            Self::Timeout { .. } => {
                "see whether `ssh` logs in from here; a slow node needs a longer --connect-timeout"
            }
            Self::Option { .. } | Self::Hub { .. } | Self::Stream { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
