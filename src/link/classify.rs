//! Reads from ssh's own words why it gave no session. Pure.

/// What kind of failure of ssh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SshFault {
    /// The host shows another key than the known one, or a revoked one.
    HostKeyChanged,
    /// No key of the host is known.
    HostKeyUnknown,
    /// The host takes none of our keys.
    LoginRefused,
    /// The host, a key or a token wants something typed or touched.
    PromptNeeded,
    /// `sudo -n` was refused.
    SudoRefused,
    /// The name does not resolve.
    Unresolved,
    /// Nothing listens on the port.
    Refused,
    /// No answer.
    Timeout,
    /// No route to the host.
    NoRoute,
    /// A jump host or proxy command failed.
    Proxy,
    /// The host closed the connection before login, as an overloaded one does.
    HandshakeClosed,
    /// The host refused one more session on an open connection.
    SessionRefused,
    /// What listens there is no ssh server, or has no algorithm in common with us.
    Negotiation,
    /// ssh does not accept its configuration.
    Configuration,
    /// Anything else.
    Other,
}

/// Words of ssh (in the C locale) and what they mean; the first entry that is found counts.
const WORDS: &[(&str, SshFault)] = &[
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", SshFault::HostKeyChanged),
    ("REVOKED HOST KEY DETECTED", SshFault::HostKeyChanged),
    ("host key is known for", SshFault::HostKeyUnknown),
    ("Host key verification failed", SshFault::HostKeyUnknown),
    ("Bad configuration option", SshFault::Configuration),
    ("Bad owner or permissions on", SshFault::Configuration),
    ("terminating, 1 bad configuration", SshFault::Configuration),
    ("command-line line 0", SshFault::Configuration),
    ("Confirm user presence for key", SshFault::PromptNeeded),
    ("Permission denied (password)", SshFault::PromptNeeded),
    ("Permission denied (keyboard-interactive)", SshFault::PromptNeeded),
    ("Permission denied (password,keyboard-interactive)", SshFault::PromptNeeded),
    ("Permission denied (", SshFault::LoginRefused),
    ("Too many authentication failures", SshFault::LoginRefused),
    ("No supported authentication methods available", SshFault::LoginRefused),
    ("port 65535", SshFault::Proxy),
    ("stdio forwarding failed", SshFault::Proxy),
    ("UNKNOWN port", SshFault::Proxy),
    ("Could not resolve hostname", SshFault::Unresolved),
    ("Connection refused", SshFault::Refused),
    ("No route to host", SshFault::NoRoute),
    ("Network is unreachable", SshFault::NoRoute),
    ("timed out", SshFault::Timeout),
    ("not responding", SshFault::Timeout),
    ("Session open refused by peer", SshFault::SessionRefused),
    ("open failed: administratively prohibited", SshFault::SessionRefused),
    ("Unable to negotiate", SshFault::Negotiation),
    ("banner line contains invalid characters", SshFault::Negotiation),
    ("invalid format", SshFault::Negotiation),
    ("Protocol major versions differ", SshFault::Negotiation),
    ("kex_exchange_identification", SshFault::HandshakeClosed),
    ("closed by remote host", SshFault::HandshakeClosed),
    ("Connection closed by", SshFault::HandshakeClosed),
    ("Connection reset by", SshFault::HandshakeClosed),
    ("Broken pipe", SshFault::HandshakeClosed),
];

/// Words of `sudo -n` that mean a refusal.
const SUDO_WORDS: &[&str] = &[
    "sudo: a password is required",
    "sudo: a terminal is required",
    "is not in the sudoers file",
    "may not run sudo",
    "is not allowed to execute",
    "sudo: unknown user",
    "sudo: you must have a tty",
];

/// The fault that `stderr` of an ssh that ended with 255 tells of.
pub(super) fn ssh_fault(stderr: &str) -> SshFault {
    let found = WORDS.iter().find(|(words, _)| stderr.contains(words));
    found.map_or(SshFault::Other, |(_, fault)| *fault)
}

/// True if `stderr` tells of a refusal by `sudo -n`.
pub(super) fn is_sudo_refusal(stderr: &str) -> bool {
    SUDO_WORDS.iter().any(|words| stderr.contains(words))
}

/// True if an attempt that did not end in time was waiting for a person.
pub(super) fn is_prompt(stderr: &str) -> bool {
    ssh_fault(stderr) == SshFault::PromptNeeded
}

impl SshFault {
    /// A stable word for machines.
    pub fn kind(self) -> &'static str {
        match self {
            Self::HostKeyChanged => "host-key-changed",
            Self::HostKeyUnknown => "host-key-unknown",
            Self::LoginRefused => "login-refused",
            Self::PromptNeeded => "prompt-needed",
            Self::SudoRefused => "sudo-refused",
            Self::Unresolved => "unresolved",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::NoRoute => "no-route",
            Self::Proxy => "proxy",
            Self::HandshakeClosed => "handshake-closed",
            Self::SessionRefused => "session-refused",
            Self::Negotiation => "negotiation",
            Self::Configuration => "ssh-config",
            Self::Other => "ssh",
        }
    }

    /// True if it is a matter of host keys or of logging in.
    pub fn is_trust(self) -> bool {
        matches!(
            self,
            Self::HostKeyChanged
                | Self::HostKeyUnknown
                | Self::LoginRefused
                | Self::PromptNeeded
                | Self::SudoRefused
        )
    }

    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::HostKeyChanged => "the host key is not the known one",
            Self::HostKeyUnknown => "the host key is unknown",
            Self::LoginRefused => "the login was refused",
            Self::PromptNeeded => "the login needs a person",
            Self::SudoRefused => "sudo was refused",
            Self::Unresolved => "the name does not resolve",
            Self::Refused => "the connection was refused",
            Self::Timeout => "the host does not answer",
            Self::NoRoute => "there is no route to the host",
            Self::Proxy => "the jump host or proxy failed",
            Self::HandshakeClosed => "the host closed the connection before login",
            Self::SessionRefused => "the host refused one more session",
            Self::Negotiation => "no common ssh protocol",
            Self::Configuration => "ssh does not accept its configuration",
            Self::Other => "ssh failed",
        }
    }

    pub(super) fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::HostKeyChanged => {
                "find out why it changed; only then remove the old key with `ssh-keygen -R HOST`"
            }
            Self::HostKeyUnknown => {
                "compare its fingerprint (`ssh-keyscan HOST | ssh-keygen -lf -`), then log in once by hand or \
                 use --accept-new-host-keys"
            }
            Self::LoginRefused => {
                "the node must know one of the offered keys; a key with a passphrase must be in ssh-agent"
            }
            Self::PromptNeeded => {
                "depsync never asks for a password: give the node's user a key, and load it into ssh-agent"
            }
            Self::SudoRefused => "allow the login user `sudo -n` for the agent, without a password",
            Self::Unresolved => "check the name in the nodes file, or give it in ~/.ssh/config",
            Self::HandshakeClosed => "lower -j, or raise MaxStartups of the node's sshd",
            Self::SessionRefused => "raise MaxSessions of the node's sshd",
            Self::Proxy => "see whether `ssh` reaches the jump host from here",
            Self::Refused
            | Self::Timeout
            | Self::NoRoute
            | Self::Negotiation
            | Self::Configuration
            | Self::Other => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stderr: &str, expected: SshFault) {
        assert_eq!(ssh_fault(stderr), expected, "{stderr}");
    }

    #[test]
    fn the_words_of_ssh_are_understood() {
        check(
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
            SshFault::HostKeyChanged,
        );
        check(
            "No ED25519 host key is known for h and you have requested strict checking.\r\nHost key \
             verification failed.",
            SshFault::HostKeyUnknown,
        );
        check("deploy@h: Permission denied (publickey,password).", SshFault::LoginRefused);
        check("deploy@h: Permission denied (password).", SshFault::PromptNeeded);
        check("ssh: Could not resolve hostname h: Name or service not known", SshFault::Unresolved);
        check("ssh: connect to host h port 22: Connection refused", SshFault::Refused);
        check("ssh: connect to host h port 22: Connection timed out", SshFault::Timeout);
        check("ssh: connect to host h port 22: No route to host", SshFault::NoRoute);
        check("Connection timed out during banner exchange", SshFault::Timeout);
        check(
            "ssh: connect to host jump port 22: Connection refused\nkex_exchange_identification: Connection \
             closed by remote host\nConnection closed by UNKNOWN port 65535",
            SshFault::Proxy,
        );
        check(
            "kex_exchange_identification: read: Connection reset by peer\nConnection reset by 10.0.0.1 port 22",
            SshFault::HandshakeClosed,
        );
        check(
            "kex_exchange_identification: Connection closed by remote host",
            SshFault::HandshakeClosed,
        );
        check(
            "mux_client_request_session: session request failed: Session open refused by peer",
            SshFault::SessionRefused,
        );
        check(
            "Unable to negotiate with h port 22: no matching host key type found. Their offer: ssh-dss",
            SshFault::Negotiation,
        );
        check("command-line: line 0: Bad configuration option: frob", SshFault::Configuration);
        check("", SshFault::Other);
    }

    #[test]
    fn fault_119_the_words_of_sudo_are_understood() {
        assert!(is_sudo_refusal("sudo: a password is required\n"));
        assert!(is_sudo_refusal("deploy is not in the sudoers file."));
        assert!(!is_sudo_refusal("sh: 1: nothing"));
    }

    #[test]
    fn fault_115_a_changed_key_is_trust_and_never_transient() {
        assert!(SshFault::HostKeyChanged.is_trust());
        assert!(!SshFault::HandshakeClosed.is_trust());
    }
}
