//! The arguments of `depsync recipe`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::values;

#[derive(Args, Debug)]
pub(in crate::cli) struct RecipeArgs {
    #[command(subcommand)]
    pub(in crate::cli) kind: RecipeKind,
}

#[derive(Subcommand, Debug)]
pub(in crate::cli) enum RecipeKind {
    /// A crontab that pushes each minute
    Cron(CronArgs),
    /// A service and a timer that push, and the unit that recovers a node at boot
    Systemd(SystemdArgs),
    /// One tree for all nodes by NFS: the server's exports, the nodes' mounts
    Nfs(NfsArgs),
    /// A role that applies a release file, with inventory and playbook of this cluster
    Ansible(SharedArgs),
    /// A module with the defined type depsync::release
    Puppet(SharedArgs),
    /// A cookbook with the resource depsync_release
    Chef(SharedArgs),
    /// An image with the release, and a deployment with init container and sidecar
    Kubernetes(KubernetesArgs),
}

impl RecipeKind {
    /// What all kinds take.
    pub(in crate::cli) fn shared(&self) -> &SharedArgs {
        match self {
            Self::Cron(cron) => &cron.shared,
            Self::Systemd(systemd) => &systemd.shared,
            Self::Nfs(nfs) => &nfs.shared,
            Self::Ansible(shared) | Self::Puppet(shared) | Self::Chef(shared) => shared,
            Self::Kubernetes(kubernetes) => &kubernetes.shared,
        }
    }
}

/// What all kinds take.
#[derive(Args, Debug)]
pub(in crate::cli) struct SharedArgs {
    /// The configuration that the files are for; depsync.toml in the working directory
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,
    /// Where the program is on the host that runs it [default: this very file]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) program: Option<PathBuf>,
    /// Write the files below this directory instead of printing them
    #[arg(short, long, value_name = "DIR")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// Replace files that are there and differ
    #[arg(long)]
    pub(in crate::cli) force: bool,
    /// Take templates from this directory where it has one of the same name
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) templates: Option<PathBuf>,
    /// Print the templates themselves, not filled
    #[arg(long, conflicts_with = "config")]
    pub(in crate::cli) show_templates: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct CronArgs {
    #[command(flatten)]
    pub(in crate::cli) shared: SharedArgs,
    /// How often to push: minutes that divide an hour, hours that divide a day
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = values::duration)]
    pub(in crate::cli) every: Duration,
    /// Who runs it [default: whoever runs this command]
    #[arg(long, value_name = "USER")]
    pub(in crate::cli) user: Option<String>,
    /// A file for /etc/cron.d, not lines for the user's own crontab
    #[arg(long)]
    pub(in crate::cli) system: bool,
    /// Who gets cron's mail, in the file for /etc/cron.d
    #[arg(long, value_name = "ADDRESS", default_value = "root", requires = "system")]
    pub(in crate::cli) mail_to: String,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct SystemdArgs {
    #[command(flatten)]
    pub(in crate::cli) shared: SharedArgs,
    /// How long after the end of one push the next starts
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = values::duration)]
    pub(in crate::cli) every: Duration,
    /// Who runs it [default: whoever runs this command]
    #[arg(long, value_name = "USER")]
    pub(in crate::cli) user: Option<String>,
    /// A unit that is to start after the recovery, such as wso2mi.service; repeatable
    #[arg(long, value_name = "UNIT")]
    pub(in crate::cli) before: Vec<String>,
    /// Write the units of this host into /etc/systemd/system, and say what to run next
    #[arg(long, conflicts_with_all = ["output", "show_templates"])]
    pub(in crate::cli) install: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct NfsArgs {
    #[command(flatten)]
    pub(in crate::cli) shared: SharedArgs,
    /// The server, as nodes name it [default: this host]
    #[arg(long, value_name = "HOST")]
    pub(in crate::cli) server: Option<String>,
    /// The directory to export [default: the source]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) export: Option<String>,
    /// Where nodes mount it [default: the directory of their targets]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) mount: Option<String>,
    /// A configuration of NFS-Ganesha, not of the kernel's server
    #[arg(long)]
    pub(in crate::cli) ganesha: bool,
    /// Nodes may write
    #[arg(long)]
    pub(in crate::cli) writable: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct KubernetesArgs {
    #[command(flatten)]
    pub(in crate::cli) shared: SharedArgs,
    /// The image that brings the release [default: registry.example.org/CLUSTER-release:1]
    #[arg(long, value_name = "IMAGE")]
    pub(in crate::cli) image: Option<String>,
    /// The image of the server [default: registry.example.org/CLUSTER-server:1]
    #[arg(long, value_name = "IMAGE")]
    pub(in crate::cli) server_image: Option<String>,
    /// The number of the user that all containers run as
    #[arg(long, value_name = "UID", default_value_t = 10_001, value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) user_id: u32,
}
