//! Child processes of the hub, and the few files that starting them needs.
//!
//! A child gets pipes for all three streams, a session of its own where the system has `setsid(1)` (no terminal to ask
//! on, no Ctrl-C meant for the hub), and dies with its [`Process`].

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use super::bulk::Outlet;
use super::pipes::Streams;
use super::program::Program;

/// Where `setsid(1)` is found.
const SETSID: &str = "/usr/bin/setsid";

/// What to start: a program by argv, never through a shell.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The program, looked up in `PATH` if it has no slash.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables to set, or to remove, in an environment that is otherwise inherited.
    pub environment: Vec<(&'static str, Option<&'static str>)>,
}

/// A started child and its streams.
#[derive(Debug)]
pub struct Piped {
    /// Its streams.
    pub streams: Streams,
    /// The child itself.
    pub process: Process,
}

/// A running child, killed with its whole process group when dropped, and reaped by the runtime.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Invocation {
    fn command(&self) -> Command {
        let mut command;
        if Path::new(SETSID).exists() {
            // Started as an ordinary member of our group, setsid(1) need not fork: the process id stays.
            command = Command::new(SETSID);
            command.arg(&self.program);
        } else {
            command = Command::new(&self.program);
            command.process_group(0);
        }
        command.args(&self.arguments).kill_on_drop(true);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Starts it.
    ///
    /// # Errors
    /// The system's error if it cannot be started. With `setsid(1)` a missing program shows as exit status 127.
    pub fn spawn(&self) -> io::Result<Piped> {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(io::Error::other("a stream of the child is missing"));
        };
        super::file::widen_pipe(&stdin);
        let stdin = Outlet::of_child(stdin)?;
        Ok(Piped { streams: Streams { stdin, stdout, stderr }, process: Process { child } })
    }

    /// Runs it to its end with an empty standard input and returns its exit status and standard output.
    ///
    /// # Errors
    /// The system's error, or [`io::ErrorKind::TimedOut`] after `deadline`, when the child is killed.
    pub async fn output(&self, deadline: Duration) -> io::Result<(ExitStatus, Vec<u8>)> {
        self.output_of(Stdio::null(), deadline).await
    }

    /// Runs it as [`output`](Self::output) does, with the bytes of `program` as its standard input.
    ///
    /// # Errors
    /// As [`output`](Self::output).
    pub async fn filter(
        &self,
        program: &Program,
        deadline: Duration,
    ) -> io::Result<(ExitStatus, Vec<u8>)> {
        self.output_of(program.reopened()?.into(), deadline).await
    }

    async fn output_of(
        &self,
        stdin: Stdio,
        deadline: Duration,
    ) -> io::Result<(ExitStatus, Vec<u8>)> {
        let mut command = self.command();
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null());
        match tokio::time::timeout(deadline, command.output()).await {
            Ok(output) => output.map(|output| (output.status, output.stdout)),
            Err(elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)),
        }
    }
}

impl Process {
    /// The process id, until the child is reaped.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end. May be cancelled and called again.
    ///
    /// # Errors
    /// The system's error.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills it and its process group, at once.
    pub fn kill(&mut self) {
        // Not reaped while `id` is given, so the number is still ours. An error means that it is gone already.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            drop(self.child.start_kill());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes `path` a directory that only this user may enter: created if missing, with its parents.
///
/// Guarantees on success: a real directory, owned by this user, mode 0700.
///
/// # Errors
/// The system's error, or [`io::ErrorKind::PermissionDenied`] where somebody else owns or may enter it.
pub fn private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let status = fs::symlink_metadata(path)?;
    let is_ours = status.uid() == rustix::process::geteuid().as_raw();
    if status.is_dir() && is_ours && status.mode() & 0o7777 == 0o700 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a directory of this user's alone"))
}

/// The runtime directory of this user's login session, if there is one that only this user may enter.
pub fn session_directory() -> Option<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let path = PathBuf::from(format!("/run/user/{uid}"));
    let status = fs::symlink_metadata(&path).ok()?;
    (status.is_dir() && status.uid() == uid && status.mode() & 0o7777 == 0o700).then_some(path)
}

/// True if there is a socket at `path`.
pub fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    fs::symlink_metadata(path).is_ok_and(|status| status.file_type().is_socket())
}

/// Removes the socket at `path`; true if none is left there.
pub fn remove_socket(path: &Path) -> bool {
    !is_socket(path) || fs::remove_file(path).is_ok()
}

/// Runs `work` in a thread of the given name with one end of a new socket pair, and returns the other end.
///
/// # Errors
/// The system's error if there is no socket or no thread to be had.
pub fn thread_with_socket<F>(name: &str, work: F) -> io::Result<UnixStream>
where
    F: FnOnce(UnixStream) + Send + 'static,
{
    let (ours, theirs) = UnixStream::pair()?;
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(theirs))?;
    drop(thread);
    Ok(ours)
}
