//! What `depsync recipe` makes, at work: `cargo xtask approaches`.
//!
//! ```text
//! cron     a cron of its own, in namespaces of its own (cron.sh), each minute for some minutes
//! machine  a Debian with systemd as process 1 (machine.sh, prepare.sh), in which timers push (watch.sh)
//! ansible  a role on four hosts of the lab          puppet  a module on this machine
//! shared   NFS and Gluster, on whose clients a push must be seen; `DEPSYNC_SCENARIO` chooses by parts of names
//! validate what cannot run here, by its own checkers
//! ```
//! A task drives the built program, never the library, and prints one line of figures in the end.

mod ansible;
mod cron;
mod machine;
mod puppet;
mod shared;
mod validate;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result, at};
use crate::{figures, program, workspace};

/// Which recipe is put to work; all if none is named
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only this one
    #[arg(value_enum)]
    approach: Option<Approach>,
    /// Write the figures into docs/approaches.md
    #[arg(long)]
    record: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Approach {
    /// A push each minute by cron
    Cron,
    /// Pushes by a timer of systemd, under the unit's hardening
    Systemd,
    /// A release file by Ansible, on four hosts of the lab
    Ansible,
    /// A release file by Puppet, in a directory of this machine
    Puppet,
    /// One tree on a shared file system: NFS and Gluster
    Shared,
    /// The manifests for Kubernetes, by its schemas
    Kubernetes,
    /// The cookbook for Chef, by Ruby's syntax alone
    Chef,
}

/// Puts the recipes to work.
///
/// # Errors
/// A recipe does not do what it is for, or something that the task needs is missing.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let cargo = workspace::cargo();
    program::run(&[&*cargo, "build", "--quiet", "--package", "depsync", "--bin", "depsync"])?;
    for (approach, name, run) in [
        (Approach::Cron, "cron", cron::run as fn() -> Result<String>),
        (Approach::Systemd, "systemd", machine::run),
        (Approach::Ansible, "ansible", ansible::run),
        (Approach::Puppet, "puppet", puppet::run),
        (Approach::Shared, "shared", shared::run),
        (Approach::Kubernetes, "kubernetes", validate::kubernetes),
        (Approach::Chef, "chef", validate::chef),
    ] {
        if arguments.approach.is_some_and(|wanted| wanted != approach) {
            continue;
        }
        let came_to = run()?;
        println!("{name}: {came_to}");
        if arguments.record {
            figures::record_in("docs/approaches.md", name, &came_to)?;
        }
    }
    Ok(())
}

/// The built program.
fn depsync() -> PathBuf {
    workspace::target().join("debug/depsync")
}

/// Refuses to go on without root and these commands, each with the Debian package that has it.
fn require(needed: &[(&str, &str)]) -> Result {
    if !program::is_root() {
        return Err(Failure::unavailable("only the super-user can make the namespaces for this"));
    }
    match needed.iter().find(|(command, _)| !program::exists(command)) {
        Some((command, package)) => Err(Failure::unavailable(format!(
            "{command} is missing; to install: sudo apt-get install -y --no-install-recommends {package}"
        ))),
        None => Ok(()),
    }
}

/// An empty directory for one approach.
fn ground(name: &str) -> Result<PathBuf> {
    let path = workspace::target().join("approaches").join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).map_err(at("remove", &path))?;
    }
    std::fs::create_dir_all(&path).map_err(at("create", &path))?;
    Ok(path)
}

fn write(path: &std::path::Path, bytes: impl AsRef<[u8]>) -> Result {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(at("create", parent))?;
    }
    std::fs::write(path, bytes).map_err(at("write", path))
}

/// A script in namespaces of its own; whatever runs in them ends with this value.
struct Apart(Child);

impl Apart {
    fn start(namespaces: &[&str], script: &str, words: &[&std::path::Path]) -> Result<Self> {
        let path = workspace::target().join("approaches/script.sh");
        write(&path, script)?;
        let child = Command::new("unshare")
            .args(namespaces)
            .args(["--kill-child", "sh"])
            .arg(&path)
            .args(words)
            .stdin(Stdio::null())
            .spawn();
        child.map(Self).map_err(|error| Failure::new(format!("cannot start unshare: {error}")))
    }

    /// Waits until `is_reached`, the script's end, or for at most `patience`; false if it was not reached.
    fn wait(&mut self, patience: Duration, is_reached: impl Fn() -> bool) -> bool {
        let started = Instant::now();
        loop {
            let has_ended = self.0.try_wait().is_ok_and(|status| status.is_some());
            if is_reached() {
                return true;
            }
            if has_ended || started.elapsed() > patience {
                return false;
            }
            std::thread::sleep(Duration::from_millis(200)); // poll: what the script's programs come to
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
