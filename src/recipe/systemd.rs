//! The units: a push by a timer on the hub, and what ends a crash's leftovers when a node boots.

use std::time::Duration;

use minijinja::value::Value;

use super::templates::Context;
use super::values::{Group, around, path_text};
use super::{Error, File, Recipe, Templates, Values, quote};
use crate::model::untrusted::Untrusted;

/// How the units are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// From the end of one push to the start of the next.
    pub every: Duration,
    /// Units on the nodes that start after the recovery.
    pub before: Vec<String>,
}

/// The units for `values`.
///
/// # Errors
/// [`Error`]; an interval below one second, or what is no name of a unit.
pub fn recipe(values: &Values, options: &Options, templates: &Templates) -> Result<Recipe, Error> {
    if options.every < Duration::from_secs(1) {
        return Err(Error::Contradiction {
            message: "the interval is below one second".to_owned(),
            hint: "give one such as 1m",
        });
    }
    for unit in &options.before {
        let taken = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.@\\".contains(&byte);
        if !unit.bytes().all(taken) || !unit.contains('.') {
            return Err(Error::Text {
                what: "the unit",
                text: Untrusted::new(unit.as_bytes()).to_string(),
                why: "is no name of a unit such as wso2mi.service",
            });
        }
    }
    let push = format!("depsync-{}", values.cluster);
    let mut context = values.context()?;
    context.extend(push_context(values, options)?);
    let mut files = vec![
        File::new(format!("hub/{push}.service"), templates.fill("systemd/push.service", &context)?),
        File::new(format!("hub/{push}.timer"), templates.fill("systemd/push.timer", &context)?),
    ];
    let groups = values.groups()?;
    let remote = groups.iter().filter(|group| !group.hosts.is_empty()).count();
    let mut number = 0;
    for group in &groups {
        let mut context = values.context()?;
        context.extend(recover_context(values, group, options)?);
        let text = templates.fill("systemd/recover.service", &context)?;
        let path = match (group.hosts.is_empty(), remote) {
            (true, _) => format!("hub/{push}-recover.service"),
            (false, 1) => format!("node/{push}-recover.service"),
            (false, _) => {
                number += 1;
                format!("node-{number}/{push}-recover-{number}.service")
            }
        };
        files.push(File::new(path, text));
    }
    let next = next(values, &files);
    Ok(Recipe { files, next })
}

/// What to do once the units of the hub are in `/etc/systemd/system`.
fn next(values: &Values, files: &[File]) -> Vec<String> {
    let config = quote::shell(&values.config.to_string_lossy());
    let program = quote::shell(&values.program.to_string_lossy());
    let names = |part: &str, wanted: &str| -> Vec<String> {
        let named = files.iter().filter_map(|file| file.path.split_once('/'));
        let of_part =
            named.filter(|(directory, name)| directory.starts_with(part) && name.ends_with(wanted));
        of_part.map(|(_, name)| name.to_owned()).collect()
    };
    let variable = |(name, value): &(&str, std::path::PathBuf)| {
        format!("{name}={} ", quote::shell(&value.to_string_lossy()))
    };
    let variables = values.variables.iter().map(variable).collect::<Vec<_>>().concat();
    let mut next = vec![
        // It makes the state directory, which the unit must find.
        format!("as {}, once: {variables}{program} plan -c {config}", values.user),
        "systemctl daemon-reload".to_owned(),
    ];
    next.extend(
        names("hub", ".timer").iter().map(|timer| format!("systemctl enable --now {timer}")),
    );
    next.extend(
        names("hub", "-recover.service").iter().map(|unit| format!("systemctl enable {unit}")),
    );
    for unit in names("node", ".service") {
        next.push(format!(
            "on its nodes: /etc/systemd/system/{unit}, then systemctl enable {unit}"
        ));
    }
    next
}

fn list<'a>(texts: impl IntoIterator<Item = &'a String>) -> Value {
    Value::from(texts.into_iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>())
}

fn is_root(user: &str) -> bool {
    user == "root" || user == "0"
}

/// True if one of `paths` lies where a private `/tmp` would hide it.
fn needs_tmp<'a>(paths: impl IntoIterator<Item = &'a String>) -> bool {
    paths.into_iter().any(|path| path.starts_with("/tmp/") || path.starts_with("/var/tmp/"))
}

fn push_context(values: &Values, options: &Options) -> Result<Context, Error> {
    let run = &values.run;
    let local = values.local()?;
    // State and control sockets of this cluster lie below the directory of all clusters' state.
    let state = path_text("the state directory", run.state_dir.parent().unwrap_or(&run.state_dir))?;
    let mut writable = vec![state];
    for directory in &local {
        writable.extend(around(directory));
        writable.extend(run.node.state_dir.clone());
    }
    if let Some(log) = &values.log_file {
        writable.push(path_text("the log", log.parent().unwrap_or(log))?);
    }
    writable.sort();
    writable.dedup();
    let mut mounts = vec![path_text("the source", &run.source.root)?];
    mounts.extend(local.clone());
    let used = [
        path_text("the program", &values.program)?,
        path_text("the configuration", &values.config)?,
    ];
    Ok(vec![
        ("seconds", Value::from(options.every.as_secs())),
        // Hubs of many clusters do not start them all in the same second.
        ("spread", Value::from((options.every.as_secs() / 10).clamp(1, 60))),
        ("is_remote", Value::from(values.remote().next().is_some())),
        ("is_local", Value::from(!local.is_empty())),
        ("is_root", Value::from(is_root(&values.user))),
        ("needs_tmp", Value::from(needs_tmp(writable.iter().chain(&mounts).chain(&used)))),
        ("writable", list(&writable)),
        ("mounts", list(&mounts)),
    ])
}

fn recover_context(values: &Values, group: &Group, options: &Options) -> Result<Context, Error> {
    let state_dir = &values.run.node.state_dir;
    let mut writable: Vec<String> =
        group.directories.iter().filter_map(|directory| around(directory)).collect();
    writable.extend(state_dir.clone());
    writable.sort();
    writable.dedup();
    let is_relative = |directory: &String| !directory.starts_with('/');
    let program = if group.hosts.is_empty() {
        path_text("the program", &values.program)?
    } else {
        values.node_program()
    };
    Ok(vec![
        ("node_program", Value::from(program)),
        ("node_user", Value::from(group.user.as_str())),
        ("hosts", list(&group.hosts)),
        ("directories", list(&group.directories)),
        ("absolute", list(group.directories.iter().filter(|directory| !is_relative(directory)))),
        ("is_relative", Value::from(group.directories.iter().any(is_relative))),
        ("node_state_dir", Value::from(state_dir.clone().unwrap_or_default())),
        ("is_root", Value::from(is_root(&group.user))),
        ("needs_tmp", Value::from(needs_tmp(&writable))),
        ("writable", list(&writable)),
        ("before", list(&options.before)),
    ])
}
