use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{Environment, Nodes, Resolved, Settings, resolve};
use crate::hub::options::Mode;

const DOCUMENT: &str = include_str!("../../docs/recipes.md");

/// The cluster, the host and the user of the examples in the document.
fn values() -> Values {
    let directory = "/opt/wso2mi/repository/deployment/server";
    let nodes = ["mi-1", "mi-2"].map(|host| format!("wso2@{host}:{directory}"));
    let settings = Settings {
        name: Some("mi".to_owned()),
        source: Some(directory.into()),
        nodes: Some(Nodes::from_options(&nodes, Path::new("/")).expect("targets")),
        ..Settings::default()
    };
    let environment = Environment { home: Some("/home/depsync".into()), ..Environment::default() };
    let Resolved { cluster, run } = resolve(settings, &environment, Mode::Push).expect("options");
    Values {
        cluster,
        run,
        program: "/usr/local/bin/depsync".into(),
        config: "/etc/depsync/depsync.toml".into(),
        log_file: None,
        user: "depsync".to_owned(),
        variables: Vec::new(),
        host: "hub".to_owned(),
    }
}

#[test]
fn the_examples_of_the_document_are_what_is_made() {
    let every = Duration::from_mins(1);
    let (values, built_in) = (values(), Templates::built_in);
    let options = cron::Options { every, is_system: true, mail_to: "root".to_owned() };
    let cron = cron::recipe(&values, &options, &built_in("cron"));
    let options = systemd::Options { every, before: vec!["wso2mi.service".to_owned()] };
    let systemd = systemd::recipe(&values, &options, &built_in("systemd"));
    let options = nfs::Options {
        server: Some("nfs-1".to_owned()),
        export: None,
        mount: None,
        is_ganesha: false,
        is_writable: false,
    };
    let nfs = nfs::recipe(&values, &options, &built_in("nfs"));
    for recipe in [cron, systemd, nfs] {
        let text = recipe.expect("a recipe").text();
        assert!(DOCUMENT.contains(&text), "docs/recipes.md does not have:\n{text}");
    }
}
