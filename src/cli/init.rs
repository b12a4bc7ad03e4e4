//! `depsync init`: writes a configuration in which every key is explained.

mod home;

use std::path::{Path, PathBuf};

use super::args::{ColorWhen, InitArgs};
use super::console::Console;
use super::{environment, refuse, usage};
use crate::config::presets::{self, Preset};
use crate::hub::outcome::Failure;
use crate::model::untrusted::Untrusted;
use crate::os::operator_file;
use home::Home;

/// Explains every key; `@preset@`, `@source@`, `@trees@` and `@nodes@` are filled in.
const TEMPLATE: &str = include_str!("init.toml");

/// What the template shows where nothing is known.
const EXAMPLE_TREES: [&str; 2] = ["repository/deployment/server", "repository/tenants"];

/// The name that WSO2's documentation gives to the nodes file.
const NODES_FILE: &str = "nodes-list.txt";

/// Writes the configuration and says so; gives the exit code.
pub(super) fn run(arguments: &InitArgs) -> u8 {
    let console = Console::new(ColorWhen::Auto, false);
    match write(arguments) {
        Ok(said) => {
            for warning in &said.warnings {
                console.warn(warning);
            }
            console.results(&said.results).exit_code(0)
        }
        Err(failure) => refuse(console, &failure),
    }
}

/// What is told of a configuration that was written.
struct Said {
    results: String,
    warnings: Vec<String>,
}

fn write(arguments: &InitArgs) -> Result<Said, Failure> {
    let here = environment::read()?.working_directory;
    let config = here.join(&arguments.config);
    let directory = config.parent().unwrap_or(&here);
    let nodes = arguments.nodes.clone().or_else(|| {
        Some(PathBuf::from(NODES_FILE)).filter(|file| operator_file::exists(&directory.join(file)))
    });
    // A relative path in the file starts at the file's directory, one on the command line at this one.
    let placed = |path: &Path| if directory == here { path.to_owned() } else { here.join(path) };
    let typed_nodes = arguments.nodes.as_deref().map(placed);
    let given = arguments.preset.as_deref().and_then(presets::find);
    let home = arguments.home.as_deref().map(|home| Home::look(&here.join(home), given.clone()));
    let home = home.transpose()?;
    let values = Values {
        preset: home.as_ref().map_or(given, |home| home.preset.clone()),
        source: arguments.source.as_deref().or(arguments.home.as_deref()).map(placed),
        trees: home.as_ref().map(|home| home.trees.clone()),
        nodes: typed_nodes.or(nodes),
    };
    let text = filled(&values)?;
    let shown = Untrusted::new(arguments.config.as_os_str().as_encoded_bytes()).to_string();
    operator_file::write_operator_file(&config, text.as_bytes(), arguments.force).map_err(
        |error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                let hint = Some("pass --force to replace it".to_owned());
                return usage(format!("{shown} exists already"), Vec::new(), hint);
            }
            usage(format!("write {shown}"), vec![error.to_string()], None)
        },
    )?;
    let next = match (&values.source, &values.nodes) {
        (Some(_), Some(_)) => "see what would change with 'depsync plan'",
        _ => "name the source and the nodes in it, then see what would change with 'depsync plan'",
    };
    let (found, warnings) = home.map(|home| (home.found, home.warnings)).unwrap_or_default();
    let wrote = format!("wrote {shown}; {next}\n");
    let lines: Vec<String> = found.into_iter().chain([wrote]).collect();
    Ok(Said { results: lines.join("\n"), warnings })
}

/// What is known of the cluster already.
#[derive(Debug, Default)]
pub(super) struct Values {
    preset: Option<Preset>,
    source: Option<PathBuf>,
    trees: Option<Vec<String>>,
    nodes: Option<PathBuf>,
}

pub(super) fn filled(values: &Values) -> Result<String, Failure> {
    let path = |key: &str, path: &Option<PathBuf>, example: &str| match path {
        Some(path) => quoted(path).map(|path| format!("{key} = {path}")),
        None => Ok(format!("#{key} = \"{example}\"")),
    };
    let source = path("source", &values.source, "/opt/wso2mi/repository/deployment/server")?;
    let nodes = path("nodes", &values.nodes, NODES_FILE)?;
    let trees = match &values.trees {
        Some(trees) => format!("trees = {trees:?}"),
        None => format!("#trees = {EXAMPLE_TREES:?}"),
    };
    let preset = match &values.preset {
        Some(preset) => format!("preset = {:?}", preset.name),
        None => "#preset = \"wso2-mi\"".to_owned(),
    };
    let text = TEMPLATE.replace("@preset@", &preset).replace("@source@", &source);
    Ok(text.replace("@trees@", &trees).replace("@nodes@", &nodes))
}

/// A path as a text of TOML.
fn quoted(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().ok_or_else(|| {
        let shown = Untrusted::new(path.as_os_str().as_encoded_bytes()).to_string();
        usage(
            format!("the path {shown} is not UTF-8, which a configuration must be"),
            Vec::new(),
            None,
        )
    })?;
    Ok(toml::Value::String(text.to_owned()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KEYS, read_file};

    fn uncommented(line: &str) -> &str {
        line.strip_prefix('#').expect("a comment")
    }

    fn reads(text: &str) -> Result<(), String> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("depsync.toml");
        operator_file::write_operator_file(&file, text.as_bytes(), false).expect("written");
        read_file(&file).map(drop).map_err(|error| error.failure().message)
    }

    #[test]
    fn what_is_written_is_read() {
        for values in [
            Values::default(),
            Values {
                source: Some("/srv/a \"b\"\\ü".into()),
                preset: presets::find("tomcat"),
                trees: Some(EXAMPLE_TREES.map(str::to_owned).to_vec()),
                nodes: Some("nodes-list.txt".into()),
            },
        ] {
            let text = filled(&values).expect("UTF-8");
            assert!(!text.contains('@') || text.contains("wso2@mi-1"), "{text}");
            assert_eq!(reads(&text), Ok(()), "{text}");
        }
    }

    #[test]
    fn every_key_is_explained_and_its_example_is_taken() {
        let text = filled(&Values::default()).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        let mut section = "";
        let mut seen = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            let bare = line.trim_start_matches(['#', '[']);
            if let Some(name) =
                bare.strip_suffix("]]").or(bare.strip_suffix(']')).filter(|_| !line.contains('='))
            {
                section = name;
            }
            let Some((key, _)) = line.strip_prefix('#').and_then(|line| line.split_once(" = "))
            else {
                continue;
            };
            seen.push((section, key));
            let mut edited = lines.clone();
            edited[number] = uncommented(line);
            if section == "node" {
                let head = lines.iter().position(|line| *line == "#[[node]]").expect("the table");
                edited[head] = uncommented(lines[head]);
                edited[head + 1] = uncommented(lines[head + 1]);
            }
            assert_eq!(reads(&edited.join("\n")), Ok(()), "{line}");
        }
        let expected: Vec<(&str, &str)> = KEYS
            .iter()
            .flat_map(|(section, keys)| keys.iter().map(move |key| (*section, *key)))
            .collect();
        for key in &expected {
            assert!(seen.contains(key), "{key:?} is not explained");
        }
        assert_eq!(seen.len(), expected.len());
    }
}
