//! [`Values`]: what all recipes are made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::value::Value;

use super::Error;
use super::templates::Context;
use crate::agent;
use crate::hub::options::RunOptions;
use crate::link::AgentProgram;
use crate::model::target::{SshTarget, Target};
use crate::model::untrusted::Untrusted;

/// Where nodes are expected to have the program, if the configuration names no place.
const NODE_PROGRAM: &str = "/usr/local/bin/depsync";

/// Variables of the environment: names and directories.
pub type Variables = Vec<(&'static str, PathBuf)>;

/// What a recipe knows of this cluster and of the host that will run it.
#[derive(Debug)]
pub struct Values {
    /// The cluster's name.
    pub cluster: String,
    /// The options of a push, as the configuration alone gives them.
    pub run: RunOptions,
    /// The program, absolute.
    pub program: PathBuf,
    /// The configuration, absolute.
    pub config: PathBuf,
    /// The log that the configuration names.
    pub log_file: Option<PathBuf>,
    /// Who is to run it: a login name.
    pub user: String,
    /// Variables without which a run by itself would take another state directory than one by hand.
    pub variables: Variables,
    /// The name of this host.
    pub host: String,
}

/// Nodes on which one user has the same targets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Who the agent is there.
    pub(super) user: String,
    /// The targets' directories, as the agent is told them.
    pub(super) directories: Vec<String>,
    /// The hosts; none for this one.
    pub(super) hosts: Vec<String>,
}

impl Values {
    /// What every template may name: `cluster`, `program`, `config`, `user`, `source`, `state_dir`, `variables` (each with
    /// `name` and `value`).
    pub(super) fn context(&self) -> Result<Context, Error> {
        let variable = |(name, value): &(&'static str, PathBuf)| {
            let value = path_text("the directory", value)?;
            Ok(Value::from_pairs([("name", Value::from(*name)), ("value", Value::from(value))]))
        };
        let variables: Vec<Value> =
            self.variables.iter().map(variable).collect::<Result<_, Error>>()?;
        Ok(vec![
            ("cluster", Value::from(self.cluster.as_str())),
            ("program", Value::from(path_text("the program", &self.program)?)),
            ("config", Value::from(path_text("the configuration", &self.config)?)),
            ("user", Value::from(self.user.as_str())),
            ("source", Value::from(path_text("the source", &self.run.source.root)?)),
            ("state_dir", Value::from(path_text("the state directory", &self.run.state_dir)?)),
            ("variables", Value::from(variables)),
        ])
    }

    /// Where a run tells what became of it: what the configuration says, or `depsync.log` in the cluster's state directory.
    pub(super) fn log_file(&self) -> Result<String, Error> {
        let own = || self.run.state_dir.join("depsync.log");
        path_text("the log", &self.log_file.clone().unwrap_or_else(own))
    }

    /// The program that nodes run by themselves. Where the slim one is installed as agent, which cannot do it, this is the
    /// whole one beside it.
    pub(super) fn node_program(&self) -> String {
        match &self.run.link.agent {
            AgentProgram::Installed(path) => match path.strip_suffix(agent::NAME) {
                Some(directory) if directory.ends_with('/') => format!("{directory}depsync"),
                _ => path.clone(),
            },
            AgentProgram::Upload | AgentProgram::UploadFrom(_) => NODE_PROGRAM.to_owned(),
        }
    }

    /// The targets behind ssh.
    pub(super) fn remote(&self) -> impl Iterator<Item = &SshTarget> {
        self.run.targets.iter().filter_map(|target| match target {
            Target::Ssh(target) => Some(target),
            Target::Local(_) => None,
        })
    }

    /// The directories of the targets on this host.
    pub(super) fn local(&self) -> Result<Vec<String>, Error> {
        let local = self.run.targets.iter().filter(|target| matches!(target, Target::Local(_)));
        local.map(directory_text).collect()
    }

    /// All nodes, those together that need the same; this host first.
    pub(super) fn groups(&self) -> Result<Vec<Group>, Error> {
        let mut nodes: BTreeMap<(String, Option<String>), Vec<String>> = BTreeMap::new();
        for target in &self.run.targets {
            let node = match target {
                Target::Local(_) => (self.user.clone(), None),
                Target::Ssh(ssh) => {
                    let user = self.run.link.sudo_user.as_ref().or(ssh.user.as_ref());
                    let user = user.map_or(self.user.as_str(), |user| user.as_str()).to_owned();
                    (user, Some(ssh.host.as_str().to_owned()))
                }
            };
            nodes.entry(node).or_default().push(directory_text(target)?);
        }
        let mut groups: Vec<Group> = Vec::new();
        for ((user, host), mut directories) in nodes {
            directories.sort();
            directories.dedup();
            let is_same = |group: &&mut Group| {
                group.user == user
                    && group.directories == directories
                    && group.hosts.is_empty() == host.is_none()
            };
            match groups.iter_mut().find(is_same) {
                Some(group) => group.hosts.extend(host),
                None => groups.push(Group { user, directories, hosts: host.into_iter().collect() }),
            }
        }
        groups.sort_by_key(|group| !group.hosts.is_empty());
        Ok(groups)
    }
}

/// The directory of a target as a text.
pub(super) fn directory_text(target: &Target) -> Result<String, Error> {
    text("the target", target.directory())
}

/// A path as a text.
pub(super) fn path_text(what: &'static str, path: &Path) -> Result<String, Error> {
    text(what, path.as_os_str().as_encoded_bytes())
}

/// Bytes as a text that these files can hold: UTF-8 without control characters.
pub(super) fn text(what: &'static str, bytes: &[u8]) -> Result<String, Error> {
    let refused = |why| Error::Text { what, text: Untrusted::new(bytes).to_string(), why };
    let text = std::str::from_utf8(bytes).map_err(|_invalid| refused("is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(refused("holds a control character"));
    }
    Ok(text.to_owned())
}

/// What an agent writes to besides a target: the directory around it, where its state is and new names are made; for a
/// relative one it is not known.
pub(super) fn around(directory: &str) -> Option<String> {
    let (parent, _) = directory.strip_prefix('/')?.rsplit_once('/').unwrap_or_default();
    Some(format!("/{parent}"))
}
