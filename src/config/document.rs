//! `depsync.toml`: its keys, and what is said of a key or value that is not taken.

mod value;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nodes::{ListedNode, Nodes, base_of};
use super::{Error, Place, Settings, presets, values};
use crate::hub::options::{CommitStyle, MaxDelete, Require, ShareOptions};
use crate::link::AgentProgram;
use crate::model::limits::NODES_FILE_BYTES_MAX;
use crate::model::manifest::OwnerPolicy;
use crate::model::path::TreePath;
use crate::model::target::{SshUser, Target};
use crate::model::untrusted::Untrusted;
use crate::os::operator_file;
use crate::source::lint::Level;

/// Every section with its keys.
pub const KEYS: &[(&str, &[&str])] = &[
    ("cluster", &["name", "preset", "source", "trees", "nodes"]),
    ("node", &["target", "labels", "identity"]),
    ("ssh", &["identity", "known_hosts", "options", "reuse", "agent", "sudo_user"]),
    ("guard", &["max_delete", "allow_empty", "min_free", "marker", "protect"]),
    (
        "source",
        &[
            "exclude",
            "exclude_from",
            "xattrs",
            "acls",
            "hard_links",
            "owner",
            "safe_links",
            "skip_specials",
            "lint",
        ],
    ),
    ("rollout", &["require", "parallel"]),
    ("keep", &["releases", "age", "bytes", "runs"]),
    ("storage", &["approach", "share_wait", "allow_local", "state_dir", "commit"]),
    ("run", &["timeout", "connect_timeout", "deadline", "lock_timeout", "bwlimit", "log_file"]),
];

/// How long nodes with a share may take to see what one of them wrote: Linux forgets what it knows of a file on NFS after a minute.
const SHARE_WAIT: Duration = Duration::from_secs(90);

/// What later versions take: sections whole, and keys of a section.
const LATER_SECTIONS: &[&str] = &["gate", "hooks", "watch", "web", "store", "publish", "pull"];
const LATER_KEYS: &[(&str, &[&str])] =
    &[("rollout", &["strategy", "max_parallel", "stagger", "max_failed_nodes", "auto_revert"])];

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Document {
    cluster: Cluster,
    node: Vec<Node>,
    ssh: Ssh,
    guard: Guard,
    source: Source,
    rollout: Rollout,
    keep: Keep,
    storage: Storage,
    run: Run,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Cluster {
    #[serde(deserialize_with = "value::name")]
    name: Option<String>,
    preset: Option<Spanned<String>>,
    source: Option<PathBuf>,
    #[serde(deserialize_with = "value::trees")]
    trees: Option<Vec<TreePath>>,
    nodes: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    target: Spanned<String>,
    #[serde(default)]
    labels: Vec<String>,
    identity: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Ssh {
    #[serde(deserialize_with = "value::paths")]
    identity: Vec<PathBuf>,
    known_hosts: Option<PathBuf>,
    #[serde(deserialize_with = "value::ssh_options")]
    options: Vec<String>,
    #[serde(deserialize_with = "value::duration")]
    reuse: Option<Duration>,
    #[serde(deserialize_with = "value::agent")]
    agent: Option<AgentProgram>,
    #[serde(deserialize_with = "value::user")]
    sudo_user: Option<SshUser>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Guard {
    #[serde(deserialize_with = "value::max_delete")]
    max_delete: Option<MaxDelete>,
    allow_empty: Option<bool>,
    #[serde(deserialize_with = "value::percent")]
    min_free: Option<u8>,
    #[serde(deserialize_with = "value::tree_path")]
    marker: Option<TreePath>,
    #[serde(deserialize_with = "value::patterns")]
    protect: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Source {
    #[serde(deserialize_with = "value::patterns")]
    exclude: Vec<String>,
    #[serde(deserialize_with = "value::paths")]
    exclude_from: Vec<PathBuf>,
    xattrs: Option<bool>,
    acls: Option<bool>,
    hard_links: Option<bool>,
    #[serde(deserialize_with = "value::owner")]
    owner: Option<OwnerPolicy>,
    safe_links: Option<bool>,
    skip_specials: Option<bool>,
    #[serde(deserialize_with = "value::lint")]
    lint: Option<Level>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Rollout {
    #[serde(deserialize_with = "value::require")]
    require: Option<Require>,
    #[serde(deserialize_with = "value::parallel")]
    parallel: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Keep {
    releases: Option<u32>,
    #[serde(deserialize_with = "value::time_limit")]
    age: Option<Duration>,
    #[serde(deserialize_with = "value::rate")]
    bytes: Option<u64>,
    #[serde(deserialize_with = "value::parallel")]
    runs: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Storage {
    approach: Option<Spanned<String>>,
    #[serde(deserialize_with = "value::time_limit")]
    share_wait: Option<Duration>,
    allow_local: Option<bool>,
    #[serde(deserialize_with = "value::remote_directory")]
    state_dir: Option<String>,
    #[serde(deserialize_with = "value::commit_style")]
    commit: Option<CommitStyle>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Run {
    #[serde(deserialize_with = "value::time_limit")]
    timeout: Option<Duration>,
    #[serde(deserialize_with = "value::time_limit")]
    connect_timeout: Option<Duration>,
    #[serde(deserialize_with = "value::time_limit")]
    deadline: Option<Duration>,
    #[serde(deserialize_with = "value::duration")]
    lock_timeout: Option<Duration>,
    #[serde(deserialize_with = "value::rate")]
    bwlimit: Option<u64>,
    log_file: Option<PathBuf>,
}

/// Reads a configuration file; its relative paths start at its directory.
///
/// # Errors
/// [`Error::File`] by the rules of [`operator_file`]; [`Error::Document`] for the first place that is not taken.
pub fn read_file(path: &Path) -> Result<Settings, Error> {
    let bytes =
        operator_file::read_operator_file(path, NODES_FILE_BYTES_MAX).map_err(|source| {
            Error::File { what: "the configuration", path: path.to_owned(), source }
        })?;
    read_bytes(path, &bytes)
}

/// Takes `bytes` as what the configuration file at `path` holds.
///
/// # Errors
/// [`Error::Document`] for the first place that is not taken.
pub fn read_bytes(path: &Path, bytes: &[u8]) -> Result<Settings, Error> {
    Reader { path, text: &String::from_utf8_lossy(bytes) }.read(std::str::from_utf8(bytes).is_ok())
}

/// A configuration being read.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn read(&self, is_utf8: bool) -> Result<Settings, Error> {
        if !is_utf8 {
            let at = self.text.find('\u{fffd}').unwrap_or_default();
            return Err(self.error(&(at..at), "the text is not UTF-8".to_owned(), None));
        }
        let syntax = |error: toml::de::Error| {
            self.error(&error.span().unwrap_or_default(), error.message().to_owned(), None)
        };
        self.check_keys(DeTable::parse(self.text).map_err(syntax)?.get_ref())?;
        let document = toml::from_str(self.text).map_err(syntax)?;
        self.settings(document)
    }

    /// Refuses unknown keys and says which ones were likely meant.
    fn check_keys(&self, sections: &DeTable<'_>) -> Result<(), Error> {
        for (section, value) in sections {
            let name = section.get_ref().as_ref();
            let Some((_, keys)) = KEYS.iter().find(|(known, _)| *known == name) else {
                return Err(self.unknown_section(name, &section.span()));
            };
            match value.get_ref() {
                DeValue::Table(table) => self.check_section(name, keys, table)?,
                DeValue::Array(tables) if name == "node" => {
                    for table in tables.iter().filter_map(|table| table.get_ref().as_table()) {
                        self.check_section(name, keys, table)?;
                    }
                }
                _ => {
                    let message = format!("'{name}' is a section, not a key");
                    let hint = home_of(name).map(|home| format!("write it below [{home}]"));
                    return Err(self.error(&section.span(), message, hint));
                }
            }
        }
        Ok(())
    }

    fn check_section(
        &self,
        section: &str,
        keys: &[&str],
        table: &DeTable<'_>,
    ) -> Result<(), Error> {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if keys.contains(&name) {
                continue;
            }
            let later = LATER_KEYS.iter().any(|(of, keys)| *of == section && keys.contains(&name));
            if later {
                let message = format!("'{name}' in [{section}] is not supported by this version");
                return Err(self.error(&key.span(), message, None));
            }
            let hint = home_of(name)
                .map(|home| format!("'{name}' is a key of [{home}]"))
                .or_else(|| nearest(name, keys).map(|key| format!("did you mean '{key}'?")))
                .unwrap_or_else(|| format!("[{section}] takes {}", keys.join(", ")));
            let message =
                format!("unknown key '{}' in [{section}]", Untrusted::new(name.as_bytes()));
            return Err(self.error(&key.span(), message, Some(hint)));
        }
        Ok(())
    }

    fn unknown_section(&self, name: &str, span: &Range<usize>) -> Error {
        if LATER_SECTIONS.contains(&name) {
            return self.error(span, format!("[{name}] is not supported by this version"), None);
        }
        let sections: Vec<&str> = KEYS.iter().map(|(section, _)| *section).collect();
        let hint = home_of(name)
            .map(|home| format!("'{name}' is a key of [{home}]"))
            .or_else(|| {
                nearest(name, &sections).map(|section| format!("did you mean [{section}]?"))
            })
            .unwrap_or_else(|| format!("the sections are {}", sections.join(", ")));
        let message = format!("unknown section or key '{}'", Untrusted::new(name.as_bytes()));
        self.error(span, message, Some(hint))
    }

    fn settings(&self, document: Document) -> Result<Settings, Error> {
        let Document { cluster, node, ssh, guard, source, rollout, keep, storage, run } = document;
        let share = self.share(&storage)?;
        let directory = self.path.parent().unwrap_or(Path::new(""));
        let nodes = self.nodes(cluster.nodes, node)?;
        let absolute = |path: PathBuf| directory.join(path);
        let all_absolute = |paths: Vec<PathBuf>| paths.into_iter().map(absolute).collect();
        Ok(Settings {
            config_file: Some(self.path.to_owned()),
            name: cluster.name,
            preset: cluster.preset.map(|preset| self.preset(&preset)).transpose()?,
            source: cluster.source.map(absolute),
            trees: cluster.trees,
            nodes,
            identities: all_absolute(ssh.identity),
            known_hosts: ssh.known_hosts.map(absolute),
            ssh_options: ssh.options,
            ssh_reuse: ssh.reuse,
            agent: ssh.agent,
            sudo_user: ssh.sudo_user,
            max_delete: guard.max_delete,
            allow_empty: guard.allow_empty,
            min_free: guard.min_free,
            marker: guard.marker,
            protect: guard.protect,
            exclude: source.exclude,
            exclude_from: all_absolute(source.exclude_from),
            xattrs: source.xattrs,
            acls: source.acls,
            hard_links: source.hard_links,
            owner: source.owner,
            safe_links: source.safe_links,
            skip_specials: source.skip_specials,
            lint: source.lint,
            require: rollout.require,
            parallel: rollout.parallel,
            keep_releases: keep.releases,
            keep_age: keep.age,
            keep_bytes: keep.bytes,
            keep_runs: keep.runs.map(|runs| u32::try_from(runs).unwrap_or(u32::MAX)),
            node_state_dir: storage.state_dir,
            share,
            commit: storage.commit,
            timeout: run.timeout,
            connect_timeout: run.connect_timeout,
            deadline: run.deadline,
            lock_timeout: run.lock_timeout,
            bytes_per_second_max: run.bwlimit,
            log_file: run.log_file.map(absolute),
            ..Settings::default()
        })
    }

    fn share(&self, storage: &Storage) -> Result<Option<ShareOptions>, Error> {
        let approach = storage.approach.as_ref();
        match approach.map_or("copy", |approach| approach.get_ref().as_str()) {
            "shared" => Ok(Some(ShareOptions {
                wait: storage.share_wait.unwrap_or(SHARE_WAIT),
                allow_local: storage.allow_local.unwrap_or(false),
            })),
            "copy" => Ok(None),
            other => {
                let message = format!("unknown approach '{}'", Untrusted::new(other.as_bytes()));
                let hint = "it is \"copy\" or \"shared\"".to_owned();
                let span = approach.map_or(0..0, Spanned::span);
                Err(self.error(&span, message, Some(hint)))
            }
        }
    }

    fn preset(&self, name: &Spanned<String>) -> Result<String, Error> {
        let text = name.get_ref();
        values::preset(text).map_err(|_refused| {
            let message = format!("unknown preset '{}'", Untrusted::new(text.as_bytes()));
            let hint = nearest(text, &presets::NAMES).map(|near| format!("did you mean '{near}'?"));
            let all = || format!("the presets are {}", presets::NAMES.join(", "));
            self.error(&name.span(), message, Some(hint.unwrap_or_else(all)))
        })
    }

    fn nodes(
        &self,
        file: Option<Spanned<PathBuf>>,
        listed: Vec<Node>,
    ) -> Result<Option<Nodes>, Error> {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        if let Some(file) = file {
            if !listed.is_empty() {
                let message = "there are both 'nodes' and [[node]]".to_owned();
                let hint = "name the nodes in one place".to_owned();
                return Err(self.error(&file.span(), message, Some(hint)));
            }
            return Ok(Some(Nodes::File(directory.join(file.into_inner()))));
        }
        if listed.is_empty() {
            return Ok(None);
        }
        let base = base_of(self.path)?;
        let mut nodes: Vec<ListedNode> = Vec::new();
        for node in listed {
            let target =
                Target::parse(node.target.get_ref().as_bytes(), &base).map_err(|error| {
                    self.error(
                        &node.target.span(),
                        error.to_string(),
                        error.hint().map(str::to_owned),
                    )
                })?;
            if nodes.iter().any(|other| other.target == target) {
                let message = format!("the target {target} is listed twice");
                return Err(self.error(&node.target.span(), message, None));
            }
            let identity = node.identity.map(|path| directory.join(path));
            nodes.push(ListedNode { target, labels: node.labels, identity });
        }
        Ok(Some(Nodes::Configured(nodes)))
    }

    /// The error at `span`, with the line's text and a mark below it.
    fn error(&self, span: &Range<usize>, message: String, hint: Option<String>) -> Error {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count().saturating_add(1);
        let start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let text = self.text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        let shown = |text: &str| Untrusted::new(text.replace('\t', " ").as_bytes()).to_string();
        let lead = shown(before.get(start..).unwrap_or_default()).chars().count();
        let marked = self
            .text
            .get(span.clone())
            .and_then(|text| text.lines().next())
            .map_or(1, |text| shown(text).chars().count().max(1));
        let number = line.to_string();
        let gap = " ".repeat(number.len());
        let excerpt = format!(
            "  {number} | {}\n  {gap} | {}{}",
            shown(text),
            " ".repeat(lead),
            "^".repeat(marked)
        );
        Error::Document(Box::new(Place {
            file: self.path.to_owned(),
            line,
            excerpt,
            message,
            hint,
        }))
    }
}

/// The section that has a key of this name, if exactly one has.
fn home_of(key: &str) -> Option<&'static str> {
    let mut homes =
        KEYS.iter().filter(|(_, keys)| keys.contains(&key)).map(|(section, _)| *section);
    homes.next().filter(|_| homes.next().is_none())
}

/// The most similar of `known`, if one is similar at all.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(name, key), *key))
        .min()
        .filter(|(edits, key)| *edits <= 1.max(key.len() / 3))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests;
