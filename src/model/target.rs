//! [`Target`]: a node and the directory on it, and the one grammar that names them.
//!
//! ```text
//! target = [user@]host:path | ssh://[user@]host[:port]/path | /path | ./path | ../path | file:///path
//! ```
//! The reading is in `target/grammar.rs`; here stand the values and how they print. What prints reads back as the same value
//! (unless a path holds bytes that are escaped on screen), so two equal prints mean one target. An explicit port stays
//! distinct from none, even port 22: which port is ssh's default is the business of the user's ssh configuration.

mod grammar;

use std::fmt;

use super::untrusted::Untrusted;

/// Why text is not a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing at all.
    #[error("the target is empty")]
    Empty,
    /// A control character, newline or NUL.
    #[error("the target holds a control character")]
    Control,
    /// Neither a host with a colon nor a path with a slash in front.
    #[error("'{text}' is neither a host with a path nor a local path")]
    Bare {
        /// The text, escaped.
        text: String,
    },
    /// A scheme other than `ssh` and `file`, or a form of URL that is not taken.
    #[error("the address is not taken: {what}")]
    Url {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The login name is empty or holds what no login name may.
    #[error("'{text}' is not a login name")]
    User {
        /// The text, escaped.
        text: String,
    },
    /// The host is empty or holds what no host may.
    #[error("'{text}' is not a host")]
    Host {
        /// The text, escaped.
        text: String,
    },
    /// Two `@` before the path.
    #[error("there are two '@' before the path")]
    TwoAt,
    /// An IPv6 address outside brackets, or what stands in brackets is none.
    #[error("'{text}' is not an IPv6 address in brackets")]
    Ipv6 {
        /// The text, escaped.
        text: String,
    },
    /// Not a port.
    #[error("'{text}' is not a port from 1 to 65535")]
    Port {
        /// The text, escaped.
        text: String,
    },
    /// The path is not taken.
    #[error("the path is not taken: {what}")]
    Path {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Error {
    /// One action that helps, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Bare { .. } => "write ./dir for a local directory, or host:dir for one on a node",
            Self::Ipv6 { .. } => {
                "write [2001:db8::1]:dir, or ssh://[2001:db8::1]:22/dir with a port"
            }
            Self::Port { .. } => "write ssh://host:2222/dir",
            Self::Host { .. } => "a host is made of letters, digits, '.' and '-', or is an address",
            Self::User { .. } => "a login name is made of letters, digits, '.', '_' and '-'",
            Self::Url { .. } => "write ssh://[user@]host[:port]/dir, or file:///dir",
            Self::Empty | Self::Control | Self::TwoAt | Self::Path { .. } => return None,
        })
    }
}

/// Where a release goes: a node and a directory on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A directory of this machine, absolute.
    Local(LocalPath),
    /// A directory behind ssh.
    Ssh(SshTarget),
}

/// An absolute path of this machine, as bytes, without control characters, trailing or doubled slash, and `.` and `..`
/// components.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalPath(pub(super) Box<[u8]>);

/// A directory behind ssh.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SshTarget {
    /// Login name; ssh's own default if not given.
    pub user: Option<SshUser>,
    /// Host name, alias of the user's ssh configuration, or address.
    pub host: SshHost,
    /// Port; ssh's own default if not given.
    pub port: Option<u16>,
    /// Directory on the node: absolute, or relative to the remote home (`~/` is dropped).
    pub path: RemotePath,
}

/// A login name of `[A-Za-z0-9._-]` that does not start with `-` (rule S16).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SshUser(pub(super) String);

/// A host of `[A-Za-z0-9.-]` or an IP literal with optional zone, not starting with `-` (rule S16).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SshHost(pub(super) String);

/// A directory on a node, as bytes: no control characters, not empty, without trailing or doubled slash, without `.` and
/// `..` components, not the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemotePath(pub(super) Box<[u8]>);

impl LocalPath {
    /// Checks `bytes`, and drops doubled and trailing slashes and `.` components.
    ///
    /// # Errors
    /// [`Error::Control`]; [`Error::Path`] if not absolute, too long, or with a `..` component, which only the file system
    /// could resolve.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.iter().any(u8::is_ascii_control) {
            return Err(Error::Control);
        }
        if !bytes.starts_with(b"/") {
            return Err(Error::Path { what: "it is not absolute" });
        }
        grammar::normal_path(bytes).map(Self)
    }

    /// The bytes of the path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl SshUser {
    /// Checks a login name.
    ///
    /// # Errors
    /// [`Error::User`] if it is empty, starts with `-` or holds anything but `[A-Za-z0-9._-]`.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        let taken = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        grammar::word(bytes, taken)
            .map(Self)
            .ok_or_else(|| Error::User { text: Untrusted::new(bytes).to_string() })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SshHost {
    /// Checks a host name, an alias or an IPv4 address.
    ///
    /// # Errors
    /// [`Error::Host`] if it is empty, starts with `-` or holds anything but `[A-Za-z0-9.-]`.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        let taken = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
        grammar::word(bytes, taken)
            .filter(|host| host.bytes().any(|byte| byte.is_ascii_alphanumeric()))
            .map(Self)
            .ok_or_else(|| Error::Host { text: Untrusted::new(bytes).to_string() })
    }

    /// The host, without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RemotePath {
    /// The bytes of the path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Target {
    /// Reads one target. A relative local path starts at `base`.
    ///
    /// Guarantees: the text is taken whole or not at all; nothing of it can be an option or a shell's word (rule S16).
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &[u8], base: &LocalPath) -> Result<Self, Error> {
        grammar::parse(text, base)
    }

    /// The directory on the node, as the agent is told it.
    pub fn directory(&self) -> &[u8] {
        match self {
            Self::Local(path) => path.as_bytes(),
            Self::Ssh(target) => target.path.as_bytes(),
        }
    }
}

/// The normal form: `/dir` for a local directory, else `[user@]host:dir`, with `ssh://` where there is a port.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => Untrusted::new(path.as_bytes()).fmt(f),
            Self::Ssh(target) => target.fmt(f),
        }
    }
}

impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map_or(String::new(), |user| format!("{}@", user.0));
        let host = &self.host.0;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let path = Untrusted::new(&self.path.0);
        match self.port {
            Some(port) if self.path.0.starts_with(b"/") => {
                write!(f, "ssh://{user}{host}:{port}{path}")
            }
            Some(port) => write!(f, "ssh://{user}{host}:{port}/~/{path}"),
            None if grammar::needs_dot(&self.path.0) => write!(f, "{user}{host}:./{path}"),
            None => write!(f, "{user}{host}:{path}"),
        }
    }
}

#[cfg(test)]
mod tests;
