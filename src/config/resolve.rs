//! [`resolve`]: merged settings and the defaults, made into the options of a run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::nodes::{ListedNode, limit};
use super::presets::{self, Preset};
use super::{Environment, Error, Settings, cluster, values};
use crate::hub::options::{
    GuardOptions, Keep, MaxDelete, Mode, NodeOptions, Origin, Require, RunOptions,
};
use crate::link::{AgentProgram, LinkOptions};
use crate::model::limits::{NODES_FILE_BYTES_MAX, RULES_BYTES_MAX, TREES_MAX};
use crate::model::manifest::Capture;
use crate::model::path::TreePath;
use crate::os::{host, operator_file};
use crate::source::{self, lint};

/// Runs that the history keeps: a week of one each minute.
const HISTORY_RUNS: u32 = 10_000;

/// What a run needs.
#[derive(Debug)]
pub struct Resolved {
    /// The cluster's name.
    pub cluster: String,
    /// The options of the run.
    pub run: RunOptions,
}

/// What a removed file is called on a share as long as a server has it open: it is nobody's drift.
const LEFT_BY_SHARES: [&str; 2] = [".nfs0*", ".fuse_hidden*"];

/// Makes `settings` the options of a run, with the defaults of the reference where they are silent.
///
/// Reads the nodes file and lists of patterns; contacts nobody and does not look at the source.
///
/// # Errors
/// [`Error`]: what is missing, not readable or does not go together.
pub fn resolve(
    settings: Settings,
    environment: &Environment,
    mode: Mode,
) -> Result<Resolved, Error> {
    let source = source_of(&settings)?;
    let list = settings.nodes.as_ref().ok_or_else(|| Error::Contradiction {
        message: "no nodes are given".to_owned(),
        hint: "give --nodes FILE or --node TARGET, or write a configuration with 'depsync init'",
    })?;
    let listed = list.list()?;
    let name = settings.name.clone().unwrap_or_else(|| {
        cluster::default_name(&source, list, settings.config_file.as_deref(), &listed)
    });
    let state_home = cluster::state_home(environment)?;
    let nodes = limit(listed, &settings.limit)?;
    if settings.share.is_some() {
        refuse_other_names(&nodes)?;
    }
    let link = link(&settings, &nodes, cluster::control_dir(&state_home, &name));
    let source = source_options(&settings, source)?;
    let run = RunOptions {
        source,
        targets: nodes.into_iter().map(|node| node.target).collect(),
        state_dir: state_home.join(&name),
        link,
        guard: GuardOptions {
            max_delete: settings.max_delete.unwrap_or(MaxDelete::Percent(50)),
            accept_source_change: settings.accept_source_change.unwrap_or(false),
            min_free_percent: settings.min_free.unwrap_or(5),
        },
        node: NodeOptions {
            no_delete: settings.no_delete.unwrap_or(false),
            make_path: settings.make_path.unwrap_or(false),
            state_dir: settings.node_state_dir,
            commit: settings.commit.unwrap_or_default(),
            share: settings.share,
        },
        keep: Keep {
            releases: settings.keep_releases.unwrap_or(Keep::default().releases),
            age: settings.keep_age,
            bytes: settings.keep_bytes,
        },
        history_runs: settings.keep_runs.unwrap_or(HISTORY_RUNS),
        require: settings.require.unwrap_or(Require::Reachable),
        parallel: settings.parallel.unwrap_or(64),
        timeout: settings.timeout.unwrap_or(Duration::from_mins(1)),
        deadline: settings.deadline.unwrap_or(Duration::from_hours(1)),
        lock_timeout: settings.lock_timeout.unwrap_or(Duration::ZERO),
        bytes_per_second_max: settings.bytes_per_second_max,
        mode,
        origin: Origin::Source,
        list_changes: mode.is_read_only(),
        reread: settings.force.unwrap_or(false),
        read_rate: None,
        force: settings.force.unwrap_or(false),
        unpin: settings.unpin.unwrap_or(false),
        operator: environment.user.clone().unwrap_or_else(host::user_name),
        message: settings.message,
    };
    Ok(Resolved { cluster: name, run })
}

/// Nodes that share a directory find its state by the directory's name.
fn refuse_other_names(nodes: &[ListedNode]) -> Result<(), Error> {
    let name = |node: &ListedNode| {
        let directory = node.target.directory().trim_ascii_end();
        let directory = directory.strip_suffix(b"/").unwrap_or(directory);
        directory.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec()
    };
    let first = nodes.first().map(name);
    match nodes.iter().find(|node| first.as_ref().is_some_and(|first| *first != name(node))) {
        None => Ok(()),
        Some(other) => Err(Error::Contradiction {
            message: format!(
                "the share has another name at {} than at the first node",
                other.target
            ),
            hint: "mount it under one name on every node: its state is found by that",
        }),
    }
}

fn link(settings: &Settings, nodes: &[ListedNode], control_dir: PathBuf) -> LinkOptions {
    let mut identities = settings.identities.clone();
    for identity in nodes.iter().filter_map(|node| node.identity.as_ref()) {
        if !identities.contains(identity) {
            identities.push(identity.clone());
        }
    }
    LinkOptions {
        identities,
        known_hosts: settings.known_hosts.clone(),
        ssh_options: settings.ssh_options.clone(),
        reuse: settings.ssh_reuse.unwrap_or(Duration::from_mins(10)),
        accept_new_host_keys: settings.accept_new_host_keys.unwrap_or(false),
        connect_timeout: settings.connect_timeout.unwrap_or(Duration::from_secs(10)),
        agent: settings.agent.clone().unwrap_or(AgentProgram::Upload),
        sudo_user: settings.sudo_user.clone(),
        control_dir,
    }
}

/// Makes `settings` the options under which a source is read, where no nodes are asked for.
///
/// # Errors
/// As [`resolve`], of what concerns the source.
pub fn resolve_source(settings: &Settings) -> Result<source::Options, Error> {
    source_options(settings, source_of(settings)?)
}

fn source_of(settings: &Settings) -> Result<PathBuf, Error> {
    settings.source.clone().ok_or_else(|| Error::Contradiction {
        message: "no source is given".to_owned(),
        hint: "name the directory (depsync push DIR), or write a configuration with 'depsync init'",
    })
}

fn source_options(settings: &Settings, root: PathBuf) -> Result<source::Options, Error> {
    let mut ignore = settings.exclude.clone();
    for path in &settings.exclude_from {
        ignore.extend(read_patterns(path)?);
    }
    if settings.share.is_some() {
        ignore.extend(LEFT_BY_SHARES.map(str::to_owned));
    }
    let bytes: usize = ignore.iter().chain(&settings.protect).map(String::len).sum();
    if bytes > RULES_BYTES_MAX {
        return Err(Error::Contradiction {
            message: format!("the patterns are over {RULES_BYTES_MAX} bytes long"),
            hint: "exclude directories instead of the files in them",
        });
    }
    let preset = settings.preset.as_deref().and_then(presets::find);
    let lint = preset.as_ref().map(Preset::lint).unwrap_or_default();
    Ok(source::Options {
        root,
        trees: trees(settings.trees.clone())?,
        layout: preset.as_ref().and_then(Preset::layout),
        ignore,
        protect: settings.protect.clone(),
        capture: Capture {
            xattrs: settings.xattrs.unwrap_or(false),
            acls: settings.acls.unwrap_or(false),
            hard_links: settings.hard_links.unwrap_or(false),
        },
        owner: settings.owner.clone().unwrap_or_default(),
        checks: source::Checks {
            safe_links: settings.safe_links.unwrap_or(false),
            skip_specials: settings.skip_specials.unwrap_or(false),
            allow_empty: settings.allow_empty.unwrap_or(false),
        },
        lint: lint::Options { level: settings.lint.unwrap_or(lint.level), ..lint },
        marker: settings.marker.clone(),
        threads: 0,
    })
}

/// The trees, sorted, none within another; the root itself if none is given.
fn trees(trees: Option<Vec<TreePath>>) -> Result<Vec<TreePath>, Error> {
    let refused =
        |message: String| Error::Contradiction { message, hint: "see 'trees' in [cluster]" };
    let Some(mut trees) = trees else { return Ok(vec![TreePath::root()]) };
    trees.sort();
    if trees.is_empty() || trees.len() > TREES_MAX {
        return Err(refused(format!(
            "there are {} trees; 1 to {TREES_MAX} are taken",
            trees.len()
        )));
    }
    for (outer, inner) in trees.iter().zip(trees.iter().skip(1)) {
        if inner.is_within(outer) {
            return Err(refused(format!("the tree {inner} lies within the tree {outer}")));
        }
    }
    Ok(trees)
}

/// The patterns of a list: its lines, without blank ones and comments.
fn read_patterns(path: &Path) -> Result<Vec<String>, Error> {
    let bytes = operator_file::read_operator_file(path, NODES_FILE_BYTES_MAX)
        .map_err(|source| Error::File { what: "the patterns", path: path.to_owned(), source })?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut patterns = Vec::new();
    for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.trim_ascii().is_empty() || text.starts_with(b"#") {
            continue;
        }
        // Invalid UTF-8 becomes NUL, which no pattern may hold.
        let text = String::from_utf8(text.to_vec()).unwrap_or_else(|_invalid| "\0".to_owned());
        let pattern = values::pattern(&text).map_err(|source| Error::PatternLine {
            path: path.to_owned(),
            line,
            source,
        })?;
        patterns.push(pattern);
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::super::Nodes;
    use super::*;

    fn environment() -> Environment {
        Environment { state_home: Some("/state".into()), ..Environment::default() }
    }

    fn settings() -> Settings {
        let nodes = Nodes::from_options(&["h:x".to_owned(), "/y".to_owned()], Path::new("/"));
        Settings {
            source: Some("/srv/server".into()),
            nodes: Some(nodes.expect("targets")),
            ..Settings::default()
        }
    }

    fn refused(settings: Settings) -> String {
        resolve(settings, &environment(), Mode::Push).expect_err("refused").failure().message
    }

    #[test]
    fn silent_settings_give_the_defaults_of_the_reference() {
        let Resolved { cluster, run } =
            resolve(settings(), &environment(), Mode::Push).expect("options");
        assert_eq!(run.state_dir, Path::new("/state/depsync").join(&cluster));
        assert_eq!(run.guard.max_delete, MaxDelete::Percent(50));
        assert_eq!((run.guard.min_free_percent, run.keep.releases, run.parallel), (5, 5, 64));
        assert_eq!((run.timeout, run.deadline), (Duration::from_mins(1), Duration::from_hours(1)));
        assert_eq!((run.lock_timeout, run.require), (Duration::ZERO, Require::Reachable));
        assert_eq!(run.link.connect_timeout, Duration::from_secs(10));
        assert_eq!(
            (run.link.reuse, run.link.agent),
            (Duration::from_mins(10), AgentProgram::Upload)
        );
        assert!(
            !run.link.accept_new_host_keys && !run.source.checks.allow_empty && !run.node.no_delete
        );
        assert_eq!(run.source.trees, [TreePath::root()]);
        assert_eq!((run.targets.len(), run.list_changes), (2, false));
        let plan = resolve(settings(), &environment(), Mode::Plan).expect("options");
        assert!(plan.run.list_changes && plan.run.mode == Mode::Plan);
        assert_eq!(plan.cluster, cluster);
    }

    #[test]
    fn flags_stand_over_the_file_and_lists_are_joined_in_the_order_that_counts() {
        let text = |text: &str| text.to_owned();
        let flags = Settings {
            exclude: vec![text("!b")],
            ssh_options: vec![text("A=1")],
            parallel: Some(2),
            xattrs: Some(false),
            identities: vec!["/k1".into()],
            ..settings()
        };
        let file = Settings {
            exclude: vec![text("b")],
            ssh_options: vec![text("A=2")],
            parallel: Some(3),
            xattrs: Some(true),
            acls: Some(true),
            identities: vec!["/k2".into()],
            name: Some(text("mi")),
            ..Settings::default()
        };
        let Resolved { cluster, run } =
            resolve(flags.over(file), &environment(), Mode::Push).expect("options");
        assert_eq!(run.source.ignore, ["b", "!b"], "the last rule wins");
        assert_eq!(run.link.ssh_options, ["A=1", "A=2"], "ssh takes the first");
        assert_eq!(run.link.identities, [Path::new("/k1")]);
        assert_eq!((run.parallel, cluster.as_str()), (2, "mi"));
        assert_eq!((run.source.capture.xattrs, run.source.capture.acls), (false, true));
    }

    #[test]
    fn limit_leaves_the_name_of_the_cluster() {
        let all = resolve(settings(), &environment(), Mode::Push).expect("options");
        let limited = Settings { limit: vec!["h".to_owned()], ..settings() };
        let limited = resolve(limited, &environment(), Mode::Push).expect("options");
        assert_eq!(limited.cluster, all.cluster);
        assert_eq!(limited.run.targets.len(), 1);
    }

    #[test]
    fn trees_do_not_lie_within_each_other() {
        let trees = |names: &[&str]| {
            let path = |name: &&str| TreePath::new(name.as_bytes()).expect("a path");
            Settings { trees: Some(names.iter().map(path).collect()), ..settings() }
        };
        let run =
            resolve(trees(&["b", "a-b", "a"]), &environment(), Mode::Push).expect("options").run;
        assert!(run.source.trees.is_sorted());
        assert_eq!(refused(trees(&["a/b", "a"])), "the tree a/b lies within the tree a");
        assert_eq!(refused(trees(&["a", "a"])), "the tree a lies within the tree a");
        assert!(refused(trees(&[])).contains("0 trees"));
    }

    #[test]
    fn lists_of_patterns_are_read_line_by_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("list");
        let with = |bytes: &[u8]| {
            operator_file::write_operator_file(&file, bytes, file.exists()).expect("written");
            Settings {
                exclude_from: vec![file.clone()],
                exclude: vec!["x".to_owned()],
                ..settings()
            }
        };
        let read = with(b"\xef\xbb\xbf# c\r\n*.log\r\n\n!keep.log\n\\#odd");
        let run = resolve(read, &environment(), Mode::Push).expect("options").run;
        assert_eq!(run.source.ignore, ["x", "*.log", "!keep.log", "\\#odd"]);
        assert!(refused(with(b"good\nb\xffd\n")).ends_with("list:2"));
    }
}
