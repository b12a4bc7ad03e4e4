//! `depsync history` and `history show`: what was done comes back, beside whatever run is under way.

use std::fs;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde_json::Value;

use crate::cluster::{Cluster, Outcome};
use crate::prerequisite::require;

/// `depsync history` with the cluster's options and `more`.
fn history(cluster: &Cluster, more: &[&str]) -> Outcome {
    cluster.run("history", &cluster.source(), more)
}

/// The same as people see it: exit code, standard output and standard error.
pub(crate) fn seen(cluster: &Cluster, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_depsync"));
    command.args(words).arg("--source").arg(cluster.source());
    for node in &cluster.nodes {
        command.arg("--node").arg(node);
    }
    command.env("XDG_STATE_HOME", cluster.path().join("state")).env("HOME", cluster.path());
    command.current_dir(cluster.path()).stdin(Stdio::null());
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an end"), text(output.stdout), text(output.stderr))
}

/// Makes the history what no program can read.
pub(crate) fn damage(cluster: &Cluster) {
    let file = cluster.hub_state().join("history.db");
    for name in ["history.db-wal", "history.db-shm"] {
        drop(fs::remove_file(file.with_file_name(name)));
    }
    fs::write(&file, "no database".repeat(999)).expect("written");
}

fn of_type<'a>(outcome: &'a Outcome, kind: &str) -> Vec<&'a Value> {
    outcome.lines.iter().filter(|line| line["type"] == kind).collect()
}

/// Two nodes that had two releases, one after the other, and were verified.
fn deployed() -> Cluster {
    let cluster = Cluster::new(2);
    cluster.write("api/a.xml", "one");
    cluster.write("api/b.xml", "one");
    cluster.write("app.car", "one");
    cluster.push(&["-m", "the first"]).expect(0);
    cluster.write("api/a.xml", "a longer one");
    cluster.write("new/c", "three");
    fs::remove_file(cluster.at("app.car")).expect("removed");
    cluster.push(&["-m", "the \u{1b}[2Jsecond ü"]).expect(0);
    cluster.run("verify", &cluster.source(), &[]).expect(0);
    cluster
}

#[test]
fn past_runs_are_listed_newest_first_with_who_when_and_how() {
    let cluster = deployed();
    let outcome = history(&cluster, &[]);
    outcome.expect(0);
    let acts: Vec<_> = outcome.lines.iter().map(|line| line["act"].as_str().unwrap()).collect();
    assert_eq!(acts, ["verify", "push", "push"]);
    let run = &outcome.lines[1];
    assert_eq!(
        (&run["type"], &run["format_version"], &run["run"]),
        (&"run".into(), &1.into(), &2.into())
    );
    assert_eq!((&run["exit"], &run["outcome"]), (&0.into(), &"done".into()));
    assert_eq!((&run["nodes"], &run["nodes_at_release"]), (&2.into(), &2.into()));
    assert_eq!(run["message"], "the \u{1b}[2Jsecond ü");
    assert_eq!(run["source"], cluster.source().to_str().unwrap());
    let started = run["started"].as_str().expect("a time");
    assert!(
        started.len() == 20 && started.ends_with('Z') && started.starts_with("20"),
        "{started}"
    );
    assert!(
        run["bytes_sent"].as_u64().unwrap() > 0 && run["release"].as_str().unwrap().len() == 64
    );
    assert_eq!(history(&cluster, &["--limit", "1"]).lines, outcome.lines[..1]);
    let (code, text, _) = seen(&cluster, &["history"]);
    assert!(code == 0 && !text.contains('\u{1b}'), "{text}");
    assert!(text.contains("the \\u{1b}[2Jsecond ü") && text.lines().count() == 5, "{text}");
}

#[test]
fn a_run_is_shown_with_its_nodes_and_exactly_the_paths_that_its_release_changed() {
    let cluster = deployed();
    let outcome = history(&cluster, &["show", "2"]);
    outcome.expect(0);
    assert_eq!(outcome.lines[0]["type"], "run");
    assert_eq!(outcome.lines[0]["changes"], 5);
    let first = history(&cluster, &["show", "1"]).lines[0].clone();
    assert_eq!(
        (&outcome.lines[0]["release_before"], &first["changes"]),
        (&first["release"], &Value::Null)
    );
    let nodes = of_type(&outcome, "node");
    assert_eq!(nodes.len(), 2);
    assert_eq!((&nodes[1]["state"], &nodes[1]["run"]), (&"committed".into(), &2.into()));
    assert!(nodes[1]["phases_ms"]["commit"].is_u64() && nodes[1]["error"].is_null());
    let mut changes = outcome.changes();
    changes.sort();
    let expected = [
        (".", "metadata"),
        ("api/a.xml", "update"),
        ("app.car", "delete"),
        ("new", "create"),
        ("new/c", "create"),
    ];
    let expected = expected.map(|(path, change)| (path.to_owned(), change.to_owned()));
    assert_eq!(changes, expected);
    assert!(of_type(&outcome, "change").iter().all(|line| line.get("target").is_none()));
    let verify = history(&cluster, &["show", "3"]);
    assert_eq!((verify.changes().len(), &verify.lines[0]["changes"]), (0, &Value::Null));
    let (_, text, _) = seen(&cluster, &["history", "show", "2"]);
    assert!(text.contains("  message  the \\u{1b}[2Jsecond ü\n"), "{text}");
    assert!(text.contains("\n  ~ api/a.xml\n") && text.contains("\n  - app.car\n"), "{text}");
}

#[test]
fn a_run_is_found_by_its_release_as_well() {
    let cluster = deployed();
    let release =
        history(&cluster, &["show", "1"]).lines[0]["release"].as_str().unwrap().to_owned();
    // Letters make it no number.
    for name in ["@{1}", &release] {
        let outcome = history(&cluster, &["show", name]);
        outcome.expect(0);
        assert_eq!(outcome.lines[0]["run"], 1, "{name}");
    }
    assert_eq!(history(&cluster, &["show", "@{0}"]).lines[0]["run"], 2);
}

#[test]
fn options_may_stand_before_show_and_behind_it() {
    let cluster = deployed();
    let (code, text, stderr) = seen(&cluster, &["history", "show", "1", "--json"]);
    assert!(code == 0 && text.starts_with("{\"type\":\"run\""), "{stderr}");
    let (code, other, stderr) = seen(&cluster, &["history", "--json", "show", "1"]);
    assert!(code == 0 && text == other, "{stderr}");
}

#[test]
fn without_a_history_there_is_nothing_to_list_and_no_such_run() {
    let cluster = Cluster::new(1);
    cluster.write("a", "one");
    assert_eq!(history(&cluster, &[]).expect(0).lines, Vec::<Value>::new());
    assert_eq!(seen(&cluster, &["history"]).1, "no run is recorded yet\n");
    assert!(!cluster.path().join("state").exists(), "a look makes nothing");
    let outcome = history(&cluster, &["show", "1"]);
    outcome.expect(64);
    assert_eq!(outcome.summary()["error"]["kind"], "usage");
    cluster.push(&[]).expect(0);
    for name in ["2", "0", "-1", "abcd", "@{3}", "\u{1b}[2J", ""] {
        let outcome = history(&cluster, &["show", "--", name]);
        outcome.expect(64);
        assert!(!outcome.stderr.contains('\u{1b}'), "{}", outcome.stderr);
    }
}

#[test]
fn a_manifest_that_is_not_stored_any_more_is_said_in_a_sentence() {
    let cluster = deployed();
    let before = history(&cluster, &["show", "1"]).lines[0]["release"].as_str().unwrap().to_owned();
    fs::remove_file(cluster.hub_state().join("manifest").join(&before)).expect("removed");
    let outcome = history(&cluster, &["show", "2"]);
    outcome.expect(0);
    assert_eq!((outcome.changes().len(), &outcome.lines[0]["changes"]), (0, &Value::Null));
    assert_eq!(outcome.lines[0]["release_before"], before.as_str());
    let (code, text, _) = seen(&cluster, &["history", "show", "2"]);
    let short: String = before.chars().take(12).collect();
    let sentence = format!("the manifest of release {short} is not stored any more");
    assert!(code == 0 && text.contains(&sentence), "{text}");
}

#[test]
fn a_run_whose_node_failed_tells_why() {
    let mut cluster = deployed();
    fs::rename(cluster.path().join("n1"), cluster.path().join("away")).expect("renamed");
    cluster.write("api/a.xml", "a third one");
    let pushed = cluster.push(&["--require", "1"]);
    let line = history(&cluster, &["--limit", "1"]).lines[0].clone();
    assert_eq!((line["exit"].as_i64(), &line["act"]), (pushed.code.map(i64::from), &"push".into()));
    let outcome = history(&cluster, &["show", "4"]);
    let error = outcome.node(1)["error"]["message"].as_str().expect("an error");
    assert!(!error.is_empty() && outcome.node(1)["state"] != "committed");
    assert!(seen(&cluster, &["history", "show", "4"]).1.contains(&format!("/n1/tree: {error}\n")));
    cluster.nodes.pop();
    history(&cluster, &[]).expect(0);
}

#[test]
fn texts_that_somebody_wrote_into_the_history_move_no_terminal() {
    let cluster = deployed();
    let file = Connection::open(cluster.hub_state().join("history.db")).expect("opened");
    let evil = "x\u{1b}[31m\u{202e}\n";
    for column in ["act", "user", "host", "source", "message", "outcome", "error"] {
        file.execute(&format!("UPDATE run SET {column} = ?1"), [evil]).expect("written");
    }
    for column in ["target", "state", "error"] {
        file.execute(&format!("UPDATE node SET {column} = ?1"), [evil]).expect("written");
    }
    drop(file);
    for words in [&["history"][..], &["history", "show", "2"], &["history", "show", "2", "--json"]]
    {
        let (code, text, stderr) = seen(&cluster, words);
        assert_eq!((code, stderr.as_str()), (0, ""), "{words:?}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']) && text.contains("31m"), "{text}");
    }
}

#[test]
fn a_history_that_cannot_be_read_is_an_error_with_a_way_out() {
    let cluster = deployed();
    let file = cluster.hub_state().join("history.db");
    let version = |number: u32| {
        let connection = Connection::open(&file).expect("opened");
        connection.pragma_update(None, "user_version", number).expect("written");
    };
    version(9);
    for words in [&["history"][..], &["history", "show", "1"]] {
        let (code, _, stderr) = seen(&cluster, words);
        assert!(code == 1 && stderr.contains("hint: use the version"), "{stderr}");
    }
    damage(&cluster);
    let outcome = history(&cluster, &[]);
    outcome.expect(1);
    assert!(outcome.stderr.contains("hint: move the file away"), "{}", outcome.stderr);
    assert_eq!(outcome.summary()["error"]["kind"], "history");
}

#[test]
fn a_history_whose_locks_fail_costs_a_run_its_row_and_nothing_else() {
    if !require("history_locks", &["strace"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    cluster.write("a", "one");
    cluster.push(&[]).expect(0);
    cluster.write("a", "two");
    let shared = cluster.hub_state().join("history.db-shm");
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fcntl", "-P"];
    let fault = ["-e".to_owned(), "inject=fcntl:error=ENOLCK".to_owned()];
    cluster.wrapper = words.iter().map(ToString::to_string).collect();
    cluster.wrapper.push(shared.display().to_string());
    cluster.wrapper.extend(fault);
    let pushed = cluster.push(&[]);
    cluster.wrapper.clear();
    let notes = pushed.expect(0).summary()["notes"].to_string();
    assert!(notes.contains("not in the history"), "{notes}");
    cluster.assert_same();
    cluster.push(&[]).expect(0);
    assert_eq!(history(&cluster, &[]).expect(0).lines.len(), 2, "the first and the third");
}
