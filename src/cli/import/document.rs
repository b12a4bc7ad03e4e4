//! The configuration that is written: the template of `depsync init`, with what was imported in the place of its examples.

use std::fmt::Write as _;

use super::super::init;
use crate::config::import::{Imported, Nodes, Value};
use crate::hub::outcome::Failure;

/// The text of the file.
pub(super) fn text(imported: &Imported) -> Result<String, Failure> {
    let mut text = init::filled(&init::Values::default())?;
    if let Some(source) = &imported.source {
        set(&mut text, "cluster", "source", &quoted(source));
    }
    if !imported.trees.is_empty() {
        set(&mut text, "cluster", "trees", &list(&imported.trees));
    }
    match &imported.nodes {
        Nodes::None => {}
        Nodes::File(file) => set(&mut text, "cluster", "nodes", &quoted(file)),
        Nodes::Listed(targets) => tables(&mut text, targets),
    }
    for ((section, key), value) in &imported.keys {
        let value = match value {
            Value::Text(text) => quoted(text),
            Value::List(texts) => list(texts),
            Value::Flag(flag) => flag.to_string(),
        };
        set(&mut text, section, key, &value);
    }
    Ok(text)
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

/// Puts a value in the place of the example of a key.
fn set(text: &mut String, section: &str, key: &str, value: &str) {
    let mut made = String::with_capacity(text.len().saturating_add(value.len()));
    let mut is_inside = false;
    let example = format!("#{key} = ");
    let head = format!("[{section}]");
    for line in text.lines() {
        if line.starts_with('[') {
            is_inside = line == head;
        }
        // Writing to a string does not fail.
        let _ = if is_inside && line.starts_with(&example) {
            is_inside = false;
            writeln!(made, "{key} = {value}")
        } else {
            writeln!(made, "{line}")
        };
    }
    *text = made;
}

/// One table for each target, in the place of the example.
fn tables(text: &mut String, targets: &[String]) {
    let mut made = String::with_capacity(text.len());
    let table = |target: &String| format!("[[node]]\ntarget = {}\n", quoted(target));
    let tables: Vec<String> = targets.iter().map(table).collect();
    for line in text.lines() {
        let _ = match line {
            "#[[node]]" => write!(made, "{}", tables.join("\n")),
            _ if line.starts_with("#target = ") => Ok(()),
            _ => writeln!(made, "{line}"),
        };
    }
    *text = made;
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::import::{Keys, Surroundings, script};
    use crate::config::{KEYS, Settings, read_bytes};

    fn read(text: &str) -> Settings {
        read_bytes(Path::new("/etc/depsync.toml"), text.as_bytes())
            .unwrap_or_else(|error| panic!("{}\n{text}", error.failure().message))
    }

    #[test]
    fn every_key_can_be_set() {
        let plain = Imported {
            source: Some("/a \"b\" $c%d'ü".into()),
            trees: vec!["x y".into(), "z".into()],
            nodes: Nodes::File("/nodes".into()),
            keys: Keys::new(),
            findings: Vec::new(),
            cron: Vec::new(),
            deletes: true,
            is_script: true,
        };
        let settings = read(&text(&plain).expect("a template"));
        assert_eq!(settings.source.as_deref(), Some(Path::new("/a \"b\" $c%d'ü")));
        assert_eq!(settings.trees.map(|trees| trees.len()), Some(2));
        let template = init::filled(&init::Values::default()).expect("a template");
        for (section, keys) in KEYS.iter().filter(|(section, _)| *section != "node") {
            for key in *keys {
                let mut text = template.clone();
                set(&mut text, section, key, "1");
                assert_eq!(text.matches(&format!("\n{key} = 1\n")).count(), 1, "{section}.{key}");
                assert_eq!(text.lines().count(), template.lines().count());
            }
        }
    }

    #[test]
    fn targets_become_tables() {
        let at = Surroundings { working_directory: "/w".into(), ..Surroundings::default() };
        let imported =
            script(b"rsync -a /s/ h:/x\nrsync -a /s/ i:'/y z'\n", &at).expect("an rsync");
        let text = text(&imported).expect("a template");
        let Some(crate::config::Nodes::Configured(nodes)) = read(&text).nodes else {
            panic!("{text}")
        };
        let targets: Vec<String> = nodes.iter().map(|node| node.target.to_string()).collect();
        assert_eq!(targets, ["h:/x", "i:/y z"]);
    }
}
