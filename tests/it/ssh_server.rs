//! A real sshd of a test's own, on the loopback address, and agents to start behind it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use depsync::link::{AgentProgram, Link, LinkOptions};
use depsync::model::target::{LocalPath, SshTarget, Target};
use depsync::wire::preamble::HUB;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What every test here needs.
pub(crate) const TOOLS: &[&str] = &["ssh", "sshd", "ssh-keygen"];

/// A fake agent: verifies anything, answers, and sends back what it reads.
pub(crate) const ECHO_AGENT: &str = "#!/bin/sh\n[ \"$2\" = --verify ] && exit 0\nprintf '\\000depsync-agent\\000\\004\\000\\n'\nexec cat\n";

/// A running sshd; it and its control sockets' masters end with the value.
pub(crate) struct SshServer {
    pub(crate) directory: TempDir,
    pub(crate) port: u16,
    settings: String,
    daemon: Child,
}

impl SshServer {
    /// Starts one with `settings` added to its configuration; they win over its own.
    pub(crate) fn start(settings: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("ds").tempdir().unwrap();
        let path = directory.path();
        for name in ["host", "user"] {
            keygen(&path.join(name), "");
        }
        fs::copy(path.join("user.pub"), path.join("authorized")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let key = fs::read_to_string(path.join("host.pub")).unwrap();
        fs::write(path.join("known"), format!("[127.0.0.1]:{port} {key}")).unwrap();
        script(&path.join("agent"), ECHO_AGENT);
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let daemon = daemon(path, port, settings);
        Self { directory, port, settings: settings.to_owned(), daemon }
    }

    /// Kills the daemon with all its sessions, and starts it anew on the same port.
    pub(crate) fn restart(&mut self) {
        for session in self.sessions() {
            signal(&session, "KILL");
        }
        self.stop();
        self.daemon = daemon(self.directory.path(), self.port, &self.settings);
    }

    fn stop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }

    /// The process ids of its sessions, parents first.
    pub(crate) fn sessions(&self) -> Vec<String> {
        let mut found = vec![self.daemon.id().to_string()];
        let mut next = 0;
        while let Some(parent) = found.get(next).cloned() {
            let children = format!("/proc/{parent}/task/{parent}/children");
            let children = fs::read_to_string(children).unwrap_or_default();
            found.extend(children.split_whitespace().map(str::to_owned));
            next += 1;
        }
        found.split_off(1)
    }

    /// What the daemon has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// How many logins it has seen.
    pub(crate) fn logins(&self) -> usize {
        self.log().matches("Accepted publickey").count()
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The target behind it.
    pub(crate) fn target(&self) -> SshTarget {
        target("127.0.0.1", self.port)
    }

    /// Options that log in, upload the echo agent, and use a new connection each time.
    pub(crate) fn options(&self) -> LinkOptions {
        LinkOptions {
            identities: vec![self.path("user")],
            known_hosts: Some(self.path("known")),
            ssh_options: vec!["IdentityAgent=none".to_owned()],
            reuse: Duration::ZERO,
            accept_new_host_keys: false,
            connect_timeout: Duration::from_secs(10),
            agent: AgentProgram::UploadFrom(self.path("agent")),
            sudo_user: None,
            control_dir: self.path("control"),
        }
    }

    /// The files of the node's agent cache.
    pub(crate) fn cached(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("cache/depsync")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        for session in self.sessions() {
            signal(&session, "KILL");
        }
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

/// A target at `host` and `port`.
pub(crate) fn target(host: &str, port: u16) -> SshTarget {
    let text = format!("ssh://{host}:{port}/srv/app");
    match Target::parse(text.as_bytes(), &LocalPath::new(b"/tmp").unwrap()).unwrap() {
        Target::Ssh(target) => target,
        Target::Local(path) => panic!("{path:?} is no ssh target"),
    }
}

/// Makes a key pair at `path`.
pub(crate) fn keygen(path: &Path, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-C", "test", "-N", passphrase, "-f"]).arg(path);
    assert!(command.status().unwrap().success());
}

/// Writes an executable script.
pub(crate) fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Sends a signal to a process of the test's own server.
pub(crate) fn signal(process: &str, name: &str) {
    let mut command = Command::new("kill");
    command.arg(format!("-{name}")).arg(process).stderr(Stdio::null());
    command.status().unwrap();
}

/// Polls `condition` until it holds, for at most ten seconds.
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(Duration::from_secs(10), what, condition);
}

/// Polls `condition` until it holds, for at most `limit`.
pub(crate) fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "in {limit:?} not: {what}");
        std::thread::sleep(Duration::from_millis(10)); // poll: the condition
    }
}

/// Sends `text` to an echo agent and asserts that it comes back, behind the hub's preamble.
pub(crate) async fn assert_echo(link: &mut Link, text: &[u8]) {
    link.writer.write_all(text).await.unwrap();
    link.writer.flush().await.unwrap();
    let mut answer = vec![0; HUB.len() + text.len()];
    link.reader.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [HUB, text].concat());
}

/// Starts the daemon and waits until it listens.
fn daemon(directory: &Path, port: u16, settings: &str) -> Child {
    let at = |name: &str| directory.join(name).display().to_string();
    let (host, keys, cache) = (at("host"), at("authorized"), at("cache"));
    let text = format!(
        "{settings}\nPort {port}\nListenAddress 127.0.0.1\nHostKey {host}\nAuthorizedKeysFile {keys}\n\
         StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPrintMotd no\nLogLevel VERBOSE\nSetEnv XDG_CACHE_HOME={cache} SHLVL=1\n"
    );
    fs::write(directory.join("config"), text).unwrap();
    let listening = || {
        let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
        log.matches("Server listening").count()
    };
    let before = listening();
    let log = File::options().create(true).append(true).open(directory.join("log")).unwrap();
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(directory.join("config")).stdin(Stdio::null());
    let daemon = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    eventually("sshd listens", || listening() > before);
    daemon
}
