//! The command line of the system's `ssh`. Pure.
//!
//! ssh takes the first value of an option, and the command line before its files. So come first the rules that
//! nobody may weaken (host keys, no prompt, no forwarding), then the operator's `--ssh-option`s, then what is only
//! our preference. Everything else is left to the user's ssh configuration: aliases, jump hosts, keys.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::model::target::SshTarget;
use crate::os::child::Invocation;

use super::error::Error;
use super::{AgentProgram, LinkOptions};

/// What nobody may weaken (rules S17, S18), whatever the user's ssh configuration says.
const RULES: &[&str] = &[
    "BatchMode=yes",
    "NumberOfPasswordPrompts=0",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    "AddKeysToAgent=no",
    "NoHostAuthenticationForLocalhost=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "Tunnel=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "EscapeChar=none",
    "LogLevel=INFO",
];

/// The environment of every ssh: nothing that could ask, and words that can be classified.
const ENVIRONMENT: &[(&str, Option<&str>)] = &[
    ("SSH_ASKPASS", None),
    ("DISPLAY", None),
    ("WAYLAND_DISPLAY", None),
    ("SSH_ASKPASS_REQUIRE", Some("never")),
    ("LC_ALL", Some("C")),
];

/// How one ssh uses connections of others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Control<'a> {
    /// A connection of its own.
    Own,
    /// The connection behind this socket; if there is none, a new one that stays open for so long after its last use.
    Shared(&'a Path, Duration),
}

/// Which hosts are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostKeys {
    /// Those whose key is known.
    Known,
    /// Those and new ones, whose key is learned.
    Learned,
}

/// ssh with every option for `target`, up to and including the host; a remote command may follow. `ciphers` stand over
/// the user's configuration, but not over the operator's options.
///
/// # Errors
/// [`Error::Option`] if a path cannot be told to ssh.
pub(super) fn invocation(
    target: &SshTarget,
    options: &LinkOptions,
    control: Control<'_>,
    host_keys: HostKeys,
    ciphers: Option<&str>,
) -> Result<Invocation, Error> {
    let mut arguments = vec![OsString::from("-T")];
    let mut option = |value: &str| {
        arguments.push("-o".into());
        arguments.push(value.into());
    };
    for rule in RULES {
        option(rule);
    }
    option(match host_keys {
        HostKeys::Known => "StrictHostKeyChecking=yes",
        HostKeys::Learned => "StrictHostKeyChecking=accept-new",
    });
    if let Some(known_hosts) = &options.known_hosts {
        option(&format!("UserKnownHostsFile={}", quoted("known_hosts", known_hosts)?));
        option("GlobalKnownHostsFile=/dev/null");
        option("VerifyHostKeyDNS=no");
        // Older versions do not know the option, and need not.
        option("IgnoreUnknown=KnownHostsCommand");
        option("KnownHostsCommand=none");
    }
    match control {
        Control::Own => {
            option("ControlMaster=no");
            option("ControlPath=none");
            option("ControlPersist=no");
        }
        Control::Shared(socket, persist) => {
            option("ControlMaster=auto");
            option(&format!("ControlPath={}", quoted("control_dir", socket)?));
            option(&format!("ControlPersist={}", persist.as_secs().max(1)));
        }
    }
    for identity in &options.identities {
        option(&format!("IdentityFile={}", quoted("identity", identity)?));
    }
    if !options.identities.is_empty() {
        option("IdentitiesOnly=yes");
    }
    for own in &options.ssh_options {
        option(own);
    }
    if let Some(ciphers) = ciphers {
        option(&format!("Ciphers={ciphers}"));
    }
    let connect_timeout = options.connect_timeout;
    let seconds = connect_timeout.as_secs() + u64::from(connect_timeout.subsec_nanos() > 0);
    option(&format!("ConnectTimeout={}", seconds.max(1)));
    option("ConnectionAttempts=1");
    // A dead connection is found within 30 seconds, even where nothing else waits with a deadline.
    option("ServerAliveInterval=10");
    option("ServerAliveCountMax=2");
    if let Some(port) = target.port {
        arguments.extend(["-p".into(), port.to_string().into()]);
    }
    if let Some(user) = &target.user {
        arguments.extend(["-l".into(), user.as_str().into()]);
    }
    arguments.extend(["--".into(), target.host.as_str().into()]);
    Ok(Invocation { program: "ssh".into(), arguments, environment: ENVIRONMENT.to_vec() })
}

/// The constant words of the remote command; they mean the same to every login shell.
///
/// # Errors
/// [`Error::Option`] if the installed agent's path is not absolute or has other letters than `[A-Za-z0-9._/+-]`.
pub(super) fn remote_command(options: &LinkOptions) -> Result<Vec<OsString>, Error> {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(user) = &options.sudo_user {
        words.extend(["sudo", "-n", "-H", "-u", user.as_str()].map(OsString::from));
    }
    match &options.agent {
        AgentProgram::Upload | AgentProgram::UploadFrom(_) => words.push("sh".into()),
        AgentProgram::Installed(path) => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._/+-".contains(&byte);
            if !path.starts_with('/') || !path.bytes().all(allowed) {
                return Err(unusable("agent", path.as_bytes()));
            }
            words.extend([path, "agent"].map(OsString::from));
        }
    }
    Ok(words)
}

/// `path` as a value of ssh's options: in quotes, `%` doubled.
fn quoted(what: &'static str, path: &Path) -> Result<String, Error> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let text = path.to_str().ok_or_else(|| unusable(what, bytes))?;
    if text.starts_with('~') || text.contains("${") || text.contains(['"', '\\', '\n', '\0']) {
        return Err(unusable(what, bytes));
    }
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

fn unusable(what: &'static str, value: &[u8]) -> Error {
    Error::Option { what, value: super::stderr::shortened(value) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::model::target::{LocalPath, SshUser, Target};

    use super::*;

    fn options() -> LinkOptions {
        LinkOptions {
            identities: vec!["/home/me/my key".into()],
            known_hosts: Some("/etc/100%".into()),
            ssh_options: vec![
                "StrictHostKeyChecking=no".to_owned(),
                "ConnectTimeout=99".to_owned(),
                "Ciphers=aes256-ctr".to_owned(),
            ],
            reuse: Duration::ZERO,
            accept_new_host_keys: false,
            connect_timeout: Duration::from_millis(2500),
            agent: AgentProgram::Upload,
            sudo_user: None,
            control_dir: PathBuf::from("/nowhere"),
        }
    }

    fn target() -> SshTarget {
        let text = b"ssh://deploy@web-3:2222/srv; touch canary";
        match Target::parse(text, &LocalPath::new(b"/tmp").unwrap()).unwrap() {
            Target::Ssh(target) => target,
            Target::Local(path) => panic!("{path:?} is no ssh target"),
        }
    }

    fn words(options: &LinkOptions) -> Vec<String> {
        let invocation =
            invocation(&target(), options, Control::Own, HostKeys::Known, Some("aes")).unwrap();
        let arguments = invocation.arguments.iter();
        arguments.map(|argument| argument.to_str().unwrap().to_owned()).collect()
    }

    /// The value that counts for ssh: the first.
    fn effective<'a>(words: &'a [String], key: &str) -> &'a str {
        let mut values = words.iter().filter_map(|word| word.split_once('='));
        values.find(|(name, _)| *name == key).unwrap().1
    }

    #[test]
    fn fault_131_the_host_follows_a_double_dash_and_the_path_is_no_argument() {
        let words = words(&options());
        assert_eq!(words[words.len() - 6..], ["-p", "2222", "-l", "deploy", "--", "web-3"]);
        assert!(words.iter().all(|word| !word.contains("canary")));
    }

    #[test]
    fn fault_115_own_options_override_preferences_but_no_rule() {
        let words = words(&options());
        assert_eq!(effective(&words, "StrictHostKeyChecking"), "yes");
        assert_eq!(effective(&words, "ConnectTimeout"), "99");
        assert_eq!(effective(&words, "BatchMode"), "yes");
        assert_eq!(effective(&words, "Ciphers"), "aes256-ctr");
        assert_eq!(effective(&words, "IdentityFile"), "\"/home/me/my key\"");
        assert_eq!(effective(&words, "UserKnownHostsFile"), "\"/etc/100%%\"");
        assert_eq!(effective(&words, "GlobalKnownHostsFile"), "/dev/null");
        let mut plain = options();
        plain.ssh_options.clear();
        assert_eq!(effective(&self::words(&plain), "ConnectTimeout"), "3");
        assert_eq!(effective(&self::words(&plain), "Ciphers"), "aes");
    }

    #[test]
    fn fault_122_the_remote_command_is_constant_words() {
        let command =
            |options: &LinkOptions| remote_command(options).map(|words| words.join(" ".as_ref()));
        let mut options = options();
        assert_eq!(command(&options).unwrap(), "sh");
        options.sudo_user = SshUser::new(b"app").ok();
        assert_eq!(command(&options).unwrap(), "sudo -n -H -u app sh");
        options.agent = AgentProgram::Installed("/usr/bin/depsync".to_owned());
        assert_eq!(command(&options).unwrap(), "sudo -n -H -u app /usr/bin/depsync agent");
        for path in ["depsync", "/a b", "/a;b", "/$x", ""] {
            options.agent = AgentProgram::Installed(path.to_owned());
            assert!(
                matches!(command(&options), Err(Error::Option { what: "agent", .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn paths_that_ssh_would_read_otherwise_are_refused() {
        for path in ["~/x", "a\"b", "a\\b", "a${HOME}", "a\nb"] {
            let options = LinkOptions { known_hosts: Some(path.into()), ..options() };
            let refused = invocation(&target(), &options, Control::Own, HostKeys::Known, None);
            assert!(matches!(refused, Err(Error::Option { what: "known_hosts", .. })), "{path}");
        }
    }
}
