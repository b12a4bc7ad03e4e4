//! Presets on homes of servers: what is a tree, what is left out, what nodes keep. And that the document says the same.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use depsync::config::presets;

use crate::archives::{car, zip};
use crate::cli_bench::repository_file;
use crate::cluster::{Cluster, Outcome, names_below, set_mtime};
use crate::doctor::assert_found;

const SERVER: &str = "repository/deployment/server";

/// A cluster whose configuration is `preset` and `more` lines of `[cluster]`, further sections included.
fn cluster(preset: &str, more: &str) -> Cluster {
    let cluster = Cluster::new(1);
    let text = format!("[cluster]\npreset = \"{preset}\"\n{more}\n");
    fs::write(cluster.path().join("depsync.toml"), text).expect("written");
    cluster
}

/// A home of the Micro Integrator with all that is not to be synchronised.
fn mi(more: &str) -> Cluster {
    let cluster = cluster("wso2-mi", more);
    // A home on a node has the parents of its trees.
    fs::create_dir_all(cluster.on(0, "repository/deployment")).expect("a directory");
    for name in [
        "bin/micro-integrator.sh",
        "conf/deployment.toml",
        "registry/x",
        "tmp/y",
        "repository/logs/z",
    ] {
        cluster.write(name, "the node's own");
    }
    cluster.write(format!("{SERVER}/carbonapps/shop.car"), car("Shop", "1", "<api/>"));
    cluster.write(format!("{SERVER}/synapse-configs/default/api/a.xml"), "<api/>");
    fs::create_dir_all(cluster.at(format!("{SERVER}/synapse-libs"))).expect("a directory");
    cluster
}

/// The files and empty directories of a node.
fn leaves(cluster: &Cluster) -> Vec<String> {
    let names = names_below(&cluster.nodes[0]);
    let is_leaf =
        |path: &&PathBuf| !names.keys().any(|other| other != *path && other.starts_with(path));
    let leaves = names.keys().filter(is_leaf);
    leaves.map(|path| path.to_string_lossy().into_owned()).collect()
}

fn notes(outcome: &Outcome) -> String {
    outcome.summary()["notes"].to_string()
}

#[test]
fn a_home_gives_its_deployment_directory_and_a_deployment_directory_itself() {
    let cluster = mi("");
    cluster.write(format!("{SERVER}/upload.car.part"), "half");
    cluster.push(&[]).expect(0);
    let below = ["carbonapps/shop.car", "synapse-configs/default/api/a.xml", "synapse-libs"];
    assert_eq!(leaves(&cluster), below.map(|name| format!("{SERVER}/{name}")));

    let other = cluster.path().join("other");
    fs::create_dir(&other).expect("a node");
    let run = |options: &[&str]| {
        let mut command = cluster.command("push");
        command.arg("--source").arg(cluster.at(SERVER)).arg("--node").arg(&other);
        Outcome::of(command.args(options))
    };
    run(&[]).expect(0);
    assert!(other.join("carbonapps/shop.car").is_file() && !other.join("upload.car.part").exists());
    // What the operator says comes last.
    run(&["--exclude", "!*.part"]).expect(0);
    assert!(other.join("upload.car.part").is_file());
}

#[test]
fn tenants_are_taken_under_either_name_and_both_are_told() {
    for name in ["repository/tenants", "repository/tenant"] {
        let cluster = mi("");
        cluster.write(format!("{name}/1/carbonapps/shop.car"), car("Shop", "1", "<api/>"));
        let outcome = cluster.push(&[]);
        outcome.expect(0);
        assert_eq!(notes(&outcome), "[]");
        assert!(cluster.on(0, format!("{name}/1/carbonapps/shop.car")).is_file());
        assert_found(&cluster.run("doctor", &cluster.source(), &[]), &[]);
        let second = ["repository/tenant", "repository/tenants"]
            .into_iter()
            .find(|other| *other != name)
            .expect("the other");
        cluster.write(format!("{second}/1/carbonapps/shop.car"), car("Shop", "1", "<api/>"));
        let outcome = cluster.push(&[]);
        outcome.expect(0);
        assert!(notes(&outcome).contains("both repository/tenants and repository/tenant"));
    }
}

#[test]
fn a_home_without_its_directories_is_refused_by_name() {
    let cluster = mi("");
    cluster.push(&[]).expect(0);
    let before = names_below(&cluster.nodes[0]);
    fs::rename(cluster.at(SERVER), cluster.at("elsewhere")).expect("renamed");
    for (sign, told) in [
        (
            true,
            "a home of wso2-mi, as it has bin/micro-integrator.sh, but repository/deployment/server is not",
        ),
        (
            false,
            "none of axis2services, carbonapps, dataservices, synapse-configs, synapse-libs is",
        ),
    ] {
        if !sign {
            fs::remove_file(cluster.at("bin/micro-integrator.sh")).expect("removed");
        }
        let outcome = cluster.push(&[]);
        let error = &outcome.expect(64).summary()["error"];
        assert_eq!(error["kind"], "source-layout");
        assert!(error["message"].as_str().expect("a text").contains(told), "{error}");
        assert_found(&cluster.run("doctor", &cluster.source(), &[]), &["hub source-layout error"]);
        assert_eq!(names_below(&cluster.nodes[0]), before);
    }
    // Nothing at all is most likely a file system that is not mounted.
    fs::remove_dir_all(cluster.source()).expect("removed");
    fs::create_dir(cluster.source()).expect("made");
    assert_eq!(cluster.push(&[]).expect(5).summary()["error"]["kind"], "source-empty");
    fs::remove_dir(cluster.source()).expect("removed");
    assert_eq!(cluster.push(&[]).expect(64).summary()["error"]["kind"], "source-missing");
}

#[test]
fn trees_and_lint_of_the_operator_stand_over_the_preset() {
    let cluster = mi("trees = [\"bin\", \"repository\", \"tmp\"]\n[source]\nlint = \"deny\"");
    cluster.push(&[]).expect(0);
    let below = leaves(&cluster);
    // A tree that is named is never ignored itself.
    assert!(
        below.contains(&"tmp/y".to_owned())
            && below.contains(&"bin/micro-integrator.sh".to_owned())
    );
    assert!(!below.iter().any(|name| name.contains("logs") || name.contains("conf/")), "{below:?}");
    cluster.write(format!("{SERVER}/carbonapps/bad.car"), "no archive");
    assert_eq!(cluster.push(&[]).expect(5).summary()["error"]["kind"], "lint");
}

#[test]
fn what_a_server_rejected_is_seen_under_a_preset_too() {
    let cluster = mi("");
    let api = format!("{SERVER}/synapse-configs/default/api/a.xml");
    cluster.push(&[]).expect(0);
    fs::rename(cluster.on(0, &api), cluster.on(0, format!("{api}.back"))).expect("renamed");
    cluster.write_on(0, &api, "<api name='old'/>");
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert!(outcome.error(0).contains(&format!("rejected {api}")), "{}", outcome.error(0));
}

#[test]
fn applications_that_tomcat_unpacked_stay_until_the_rule_is_taken_back() {
    for (prefix, rule) in [("webapps/", "!/webapps/*/"), ("", "!/*/")] {
        let cluster = cluster("tomcat", "");
        let war = |text: &str| zip(&[("index.html", text.as_bytes())]);
        cluster.write(format!("{prefix}shop.war"), war("one"));
        if !prefix.is_empty() {
            cluster.write("conf/server.xml", "<Server/>");
        }
        cluster.push(&[]).expect(0);
        let unpacked = format!("{prefix}shop/index.html");
        cluster.write_on(0, &unpacked, "one");
        cluster.write_on(0, format!("{prefix}old.war"), war("old"));
        set_mtime(&cluster.write(format!("{prefix}shop.war"), war("two")), 5, 0);
        cluster.push(&[]).expect(0);
        assert!(cluster.on(0, &unpacked).is_file() && !cluster.on(0, "conf").exists());
        assert!(!cluster.on(0, format!("{prefix}old.war")).exists());
        let text = format!("[cluster]\npreset = \"tomcat\"\n[guard]\nprotect = [\"{rule}\"]\n");
        fs::write(cluster.path().join("depsync.toml"), text).expect("written");
        cluster.push(&[]).expect(0);
        assert!(!cluster.on(0, &unpacked).exists(), "{prefix}");
    }
}

#[test]
fn tomcats_home_without_applications_is_refused() {
    let cluster = cluster("tomcat", "");
    cluster.write("conf/server.xml", "<Server/>");
    let outcome = cluster.push(&[]);
    let message = outcome.expect(64).summary()["error"]["message"].to_string();
    assert!(message.contains("as it has conf/server.xml, but webapps is not"), "{message}");
}

#[test]
fn plain_changes_nothing() {
    let cluster = cluster("plain", "");
    for name in ["a.tmp", "webapps/x.war", SERVER, ".git/config"] {
        cluster.write(name, "no archive");
    }
    let outcome = cluster.push(&[]);
    outcome.expect(0);
    assert_eq!(notes(&outcome), "[]");
    cluster.assert_same();
}

/// The section of docs/presets.md about each preset, made from the table in src/config/presets.toml.
fn sections() -> String {
    let table: toml::Table = repository_file("src/config/presets.toml").parse().expect("TOML");
    let shared = table["reasons"].as_table().expect("reasons");
    let mut text = String::new();
    for preset in table["preset"].as_array().expect("presets") {
        let preset = preset.as_table().expect("a table");
        let own = preset.get("reasons").and_then(toml::Value::as_table);
        let word = |key: &str| preset[key].as_str().expect("a text");
        let (name, server) = (word("name"), word("server"));
        writeln!(text, "\n## {name}: {server}").expect("written");
        text += "| key | value | because |\n|---|---|---|\n";
        for (key, value) in preset {
            if ["name", "server", "reasons"].contains(&key.as_str()) {
                continue;
            }
            let values = match value {
                toml::Value::Array(values) => {
                    values.iter().filter_map(toml::Value::as_str).collect()
                }
                value => vec![value.as_str().expect("a text")],
            };
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            let values = if values.is_empty() { "—".to_owned() } else { values.join(" ") };
            let reason = own.and_then(|own| own.get(key)).or_else(|| shared.get(key));
            let reason =
                reason.and_then(toml::Value::as_str).unwrap_or_else(|| panic!("why {key}?"));
            writeln!(text, "| `{key}` | {values} | {reason} |").expect("written");
        }
    }
    text
}

#[test]
fn the_document_says_what_the_table_says() {
    let document = repository_file("docs/presets.md");
    let at = document.find("\n## wso2-mi:").expect("the first preset");
    let (head, said) = document.split_at(at);
    if said != sections() {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("presets.md");
        fs::write(&made, head.to_owned() + &sections()).expect("written");
        panic!("docs/presets.md is out of date: cp {} docs/presets.md", made.display());
    }
    for preset in presets::all() {
        assert!(document.contains(&format!("\n## {}: ", preset.name)));
    }
}
