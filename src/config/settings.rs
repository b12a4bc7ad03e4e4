//! [`Settings`]: what one source of settings says.

use std::path::PathBuf;
use std::time::Duration;

use crate::hub::options::{CommitStyle, MaxDelete, Require, ShareOptions};
use crate::link::AgentProgram;
use crate::model::manifest::OwnerPolicy;
use crate::model::path::TreePath;
use crate::model::target::SshUser;
use crate::source::lint::Level;

use super::nodes::Nodes;

/// What one source of settings says; every path is absolute.
#[derive(Debug, Clone, Default)]
#[expect(
    missing_docs,
    reason = "each field is the option or key of its name, which the reference explains"
)]
pub struct Settings {
    pub config_file: Option<PathBuf>,
    pub name: Option<String>,
    pub preset: Option<String>,
    pub source: Option<PathBuf>,
    pub trees: Option<Vec<TreePath>>,
    pub nodes: Option<Nodes>,
    pub limit: Vec<String>,

    pub identities: Vec<PathBuf>,
    pub known_hosts: Option<PathBuf>,
    pub ssh_options: Vec<String>,
    pub ssh_reuse: Option<Duration>,
    pub accept_new_host_keys: Option<bool>,
    pub agent: Option<AgentProgram>,
    pub sudo_user: Option<SshUser>,

    pub max_delete: Option<MaxDelete>,
    pub allow_empty: Option<bool>,
    pub accept_source_change: Option<bool>,
    pub min_free: Option<u8>,
    pub marker: Option<TreePath>,
    pub protect: Vec<String>,

    pub exclude: Vec<String>,
    pub exclude_from: Vec<PathBuf>,
    pub xattrs: Option<bool>,
    pub acls: Option<bool>,
    pub hard_links: Option<bool>,
    pub owner: Option<OwnerPolicy>,
    pub safe_links: Option<bool>,
    pub skip_specials: Option<bool>,
    pub lint: Option<Level>,

    pub require: Option<Require>,
    pub parallel: Option<usize>,
    pub keep_releases: Option<u32>,
    pub keep_age: Option<Duration>,
    pub keep_bytes: Option<u64>,
    pub keep_runs: Option<u32>,
    pub node_state_dir: Option<String>,
    pub share: Option<ShareOptions>,
    pub commit: Option<CommitStyle>,
    pub no_delete: Option<bool>,
    pub make_path: Option<bool>,
    pub force: Option<bool>,
    pub unpin: Option<bool>,
    pub message: Option<String>,

    pub timeout: Option<Duration>,
    pub connect_timeout: Option<Duration>,
    pub deadline: Option<Duration>,
    pub lock_timeout: Option<Duration>,
    pub bytes_per_second_max: Option<u64>,
    pub log_file: Option<PathBuf>,
}

impl Settings {
    /// These settings, and what `lower` says where they are silent.
    ///
    /// Lists: patterns of `lower` come first, because the last rule that matches wins; options of ssh come last, because ssh
    /// takes the first; other lists replace.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        let replaced =
            |own: Vec<PathBuf>, other: Vec<PathBuf>| if own.is_empty() { other } else { own };
        Self {
            config_file: self.config_file.or(lower.config_file),
            name: self.name.or(lower.name),
            preset: self.preset.or(lower.preset),
            source: self.source.or(lower.source),
            trees: self.trees.or(lower.trees),
            nodes: self.nodes.or(lower.nodes),
            limit: if self.limit.is_empty() { lower.limit } else { self.limit },
            identities: replaced(self.identities, lower.identities),
            known_hosts: self.known_hosts.or(lower.known_hosts),
            ssh_options: [self.ssh_options, lower.ssh_options].concat(),
            ssh_reuse: self.ssh_reuse.or(lower.ssh_reuse),
            accept_new_host_keys: self.accept_new_host_keys.or(lower.accept_new_host_keys),
            agent: self.agent.or(lower.agent),
            sudo_user: self.sudo_user.or(lower.sudo_user),
            max_delete: self.max_delete.or(lower.max_delete),
            allow_empty: self.allow_empty.or(lower.allow_empty),
            accept_source_change: self.accept_source_change.or(lower.accept_source_change),
            min_free: self.min_free.or(lower.min_free),
            marker: self.marker.or(lower.marker),
            protect: [lower.protect, self.protect].concat(),
            exclude: [lower.exclude, self.exclude].concat(),
            exclude_from: [lower.exclude_from, self.exclude_from].concat(),
            xattrs: self.xattrs.or(lower.xattrs),
            acls: self.acls.or(lower.acls),
            hard_links: self.hard_links.or(lower.hard_links),
            owner: self.owner.or(lower.owner),
            safe_links: self.safe_links.or(lower.safe_links),
            skip_specials: self.skip_specials.or(lower.skip_specials),
            lint: self.lint.or(lower.lint),
            require: self.require.or(lower.require),
            parallel: self.parallel.or(lower.parallel),
            keep_releases: self.keep_releases.or(lower.keep_releases),
            keep_age: self.keep_age.or(lower.keep_age),
            keep_bytes: self.keep_bytes.or(lower.keep_bytes),
            keep_runs: self.keep_runs.or(lower.keep_runs),
            node_state_dir: self.node_state_dir.or(lower.node_state_dir),
            share: self.share.or(lower.share),
            commit: self.commit.or(lower.commit),
            no_delete: self.no_delete.or(lower.no_delete),
            make_path: self.make_path.or(lower.make_path),
            force: self.force.or(lower.force),
            unpin: self.unpin.or(lower.unpin),
            message: self.message.or(lower.message),
            timeout: self.timeout.or(lower.timeout),
            connect_timeout: self.connect_timeout.or(lower.connect_timeout),
            deadline: self.deadline.or(lower.deadline),
            lock_timeout: self.lock_timeout.or(lower.lock_timeout),
            bytes_per_second_max: self.bytes_per_second_max.or(lower.bytes_per_second_max),
            log_file: self.log_file.or(lower.log_file),
        }
    }
}
