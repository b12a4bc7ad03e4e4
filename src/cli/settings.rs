//! Arguments and environment as [`Settings`]; relative paths start at the working directory.

use clap::ArgMatches;
use clap::parser::ValueSource;
use std::path::{Path, PathBuf};

use super::args::{ContentArgs, OptionArgs, PlaceArgs};
use super::usage;
use crate::config::{Nodes, Settings};
use crate::hub::outcome::Failure;

/// What the command line and `DEPSYNC_*` say. `matches` tells which of the two it was.
///
/// # Errors
/// A target that is none, and what is said twice in different ways.
pub(super) fn of_arguments(
    run: &OptionArgs,
    source_argument: Option<&PathBuf>,
    matches: Option<&ArgMatches>,
    working_directory: &Path,
) -> Result<Settings, Failure> {
    let at = |path: &PathBuf| working_directory.join(path);
    let all_at = |paths: &[PathBuf]| paths.iter().map(at).collect();
    let set = |flag: bool| flag.then_some(true);
    let (cluster, link, guard, rollout) = (&run.cluster, &run.link, &run.guard, &run.rollout);
    let place = of_place(&cluster.place, source_argument, matches, working_directory)?;
    Ok(Settings {
        limit: cluster.limit.clone(),
        message: cluster.message.clone(),
        identities: all_at(&link.identity),
        known_hosts: link.known_hosts.as_ref().map(at),
        ssh_options: link.ssh_option.clone(),
        ssh_reuse: link.ssh_reuse,
        accept_new_host_keys: set(link.accept_new_host_keys),
        make_path: set(run.target.mkpath),
        no_delete: set(run.target.no_delete),
        max_delete: guard.max_delete,
        allow_empty: guard.allow_empty,
        accept_source_change: set(guard.accept_source_change),
        force: set(guard.force),
        require: rollout.require,
        commit: rollout.commit,
        parallel: rollout.parallel,
        bytes_per_second_max: rollout.bwlimit,
        connect_timeout: rollout.connect_timeout,
        timeout: rollout.timeout,
        deadline: rollout.deadline,
        lock_timeout: rollout.lock_timeout,
        log_file: run.output.log_file.as_ref().map(at),
        ..place.over(of_content(&run.content, working_directory))
    })
}

/// What they say of the content.
pub(super) fn of_content(content: &ContentArgs, working_directory: &Path) -> Settings {
    let at = |path: &PathBuf| working_directory.join(path);
    Settings {
        exclude: content.exclude.clone(),
        exclude_from: content.exclude_from.iter().map(at).collect(),
        xattrs: content.xattrs,
        acls: content.acls,
        hard_links: content.hard_links,
        owner: content.owner.clone(),
        safe_links: content.safe_links,
        skip_specials: content.skip_specials,
        ..Settings::default()
    }
}

/// What they say of which cluster it is.
///
/// # Errors
/// As [`of_arguments`].
pub(super) fn of_place(
    place: &PlaceArgs,
    source_argument: Option<&PathBuf>,
    matches: Option<&ArgMatches>,
    working_directory: &Path,
) -> Result<Settings, Failure> {
    let typed = |name: &str| {
        matches.and_then(|matches| matches.value_source(name)) == Some(ValueSource::CommandLine)
    };
    if source_argument.is_some() && typed("source") {
        let hint = Some("give it once".to_owned());
        return Err(usage("the source is given both as SOURCE and as --source", Vec::new(), hint));
    }
    let source = source_argument.or(place.source.as_ref());
    Ok(Settings {
        source: source.map(|path| working_directory.join(path)),
        nodes: nodes(place, &typed, working_directory)?,
        ..Settings::default()
    })
}

/// `--nodes` or `--node`; what is typed stands over the environment.
fn nodes(
    place: &PlaceArgs,
    typed: &impl Fn(&str) -> bool,
    working_directory: &Path,
) -> Result<Option<Nodes>, Failure> {
    let (file, names) = (&place.nodes, &place.node);
    let named =
        || Nodes::from_options(names, working_directory).map(Some).map_err(|error| error.failure());
    match file {
        None if names.is_empty() => Ok(None),
        None => named(),
        Some(_) if !names.is_empty() && typed("node") == typed("nodes") => {
            let hint = Some("name the nodes in one place".to_owned());
            Err(usage("there are both --nodes and --node", Vec::new(), hint))
        }
        Some(_) if typed("node") => named(),
        Some(file) => Ok(Some(Nodes::File(working_directory.join(file)))),
    }
}
