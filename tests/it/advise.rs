//! `depsync advise`: by a history of real runs with older dates, and by the dates of a source.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, params};
use serde_json::Value;

use crate::cli_bench::{Bench, USAGE};
use crate::cluster::{Cluster, Outcome, set_mtime, stamps};
use crate::history::{damage, seen};

const DAY: i64 = 86_400;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("small")
}

fn advise(cluster: &Cluster, more: &[&str]) -> Outcome {
    cluster.run("advise", &cluster.source(), more)
}

/// The only line of an advice.
#[track_caller]
fn advice(outcome: &Outcome) -> &Value {
    outcome.expect(0);
    let [line] = &outcome.lines[..] else { panic!("{outcome:?}") };
    assert_eq!((&line["type"], &line["format_version"]), (&"advice".into(), &1.into()));
    line
}

fn sqlite(cluster: &Cluster) -> Connection {
    Connection::open(cluster.hub_state().join("history.db")).expect("a database")
}

/// Pushes twice, the second time with a change, and once more with nothing to do.
fn pushed(nodes: usize) -> Cluster {
    let cluster = Cluster::new(nodes);
    cluster.write("api/a.xml", "one");
    cluster.write("app.car", [7; 3_000]);
    cluster.push(&[]).expect(0);
    cluster.write("api/a.xml", "a longer one");
    cluster.push(&[]).expect(0);
    cluster.push(&[]).expect(0);
    cluster
}

/// Dates the first run so many days back, and each further one a second after it.
fn date_back(cluster: &Cluster, days: i64) {
    let sql = "UPDATE run SET started = ?1 + id";
    sqlite(cluster).execute(sql, [now() - days * DAY]).expect("dated");
}

/// Adds `count` runs that went back and forth between the two releases, a minute apart, the last one a day ago.
fn add_changes(cluster: &Cluster, count: i64, duration_ms: i64) {
    let sql =
        "INSERT INTO run SELECT NULL, 'push', ?1, ?2, scan_ms, prepare_ms, commit_ms, user, host,
        source, message, release, 1, 0, 'done', NULL FROM run WHERE id = ?3";
    let db = sqlite(cluster);
    for number in 0..count {
        let started = now() - DAY - (count - number) * 60;
        let like = 1 + number % 2;
        db.execute(sql, params![started, duration_ms, like]).expect("a run");
        let id = db.last_insert_rowid();
        let node = "INSERT INTO node SELECT ?1, target, 'committed', release, 0, 2, 0, 0, 500, 10, 5, 1, 1, 1, 1, 1, NULL
            FROM node WHERE run = ?2";
        db.execute(node, [id, like]).expect("its nodes");
    }
}

/// A source with files of 1,000 bytes, each dated so many seconds ago, and everything else long before.
fn dated(nodes: usize, ages: &[i64]) -> Cluster {
    let cluster = Cluster::new(nodes);
    for (number, age) in ages.iter().enumerate() {
        let path = cluster.write(format!("d/f{number}"), [1; 1_000]);
        set_mtime(&path, now() - age, 0);
    }
    set_mtime(&cluster.at("d"), 1_000_000_000, 0);
    cluster
}

#[test]
fn a_history_of_some_days_gives_the_rate_the_sizes_and_the_times() {
    let cluster = pushed(2);
    date_back(&cluster, 6);
    let outcome = advise(&cluster, &[]);
    let line = advice(&outcome);
    assert_eq!((&line["basis"], &line["changes"]), (&"history".into(), &1.into()));
    assert_eq!((&line["approach"], &line["nodes"]), (&"copy-on-change".into(), &2.into()));
    let days = line["span_seconds"].as_i64().unwrap();
    assert!((6 * DAY - 60..6 * DAY + 600).contains(&days), "{days}");
    let sent: i64 = sqlite(&cluster)
        .query_row("SELECT max(bytes_sent) FROM node WHERE run = 2", [], |row| row.get(0))
        .expect("sent");
    assert_eq!(line["change_bytes"], sent);
    // The file, and the directory whose time went with it only if the write made one anew.
    assert!(line["change_names"].as_u64().unwrap() >= 1, "{line}");
    assert_eq!((&line["full_names"], &line["full_bytes"]), (&3.into(), &3_012.into()));
    assert!(line["push_ms"].is_u64() && line["idle_push_ms"].is_u64(), "{line}");
}

#[test]
fn the_rate_of_the_history_decides_between_the_approaches() {
    let cluster = pushed(1);
    date_back(&cluster, 10);
    add_changes(&cluster, 100, 400);
    let outcome = advise(&cluster, &[]);
    let line = advice(&outcome);
    assert_eq!((&line["approach"], &line["push_ms"]), (&"copy-each-minute".into(), &400.into()));
    assert_eq!((&line["change_names"], &line["change_bytes"]), (&2.into(), &500.into()));
    // 100 pushes of four hours each do not go into ten days.
    sqlite(&cluster).execute("UPDATE run SET duration_ms = 14400000", []).expect("slow");
    let outcome = advise(&cluster, &[]);
    let line = advice(&outcome);
    assert_eq!(line["approach"], "shared");
    assert!(line["reasons"][0].as_str().unwrap().contains("here it is"), "{line}");
    let steps = line["steps"].to_string();
    assert!(
        steps.contains("depsync recipe nfs --server HOST --export DIR -c depsync.toml"),
        "{steps}"
    );
    assert!(steps.contains("\"depsync init\""), "there is no configuration yet: {steps}");
}

#[test]
fn a_young_history_gives_the_times_and_the_source_gives_the_rate() {
    let cluster = pushed(1);
    let outcome = advise(&cluster, &[]);
    let line = advice(&outcome);
    assert_eq!(line["basis"], "source");
    assert!(line["push_ms"].is_u64() && line["idle_push_ms"].is_u64(), "{line}");
    date_back(&cluster, 6);
    assert_eq!(advice(&advise(&cluster, &[]))["basis"], "history");
    assert_eq!(advice(&advise(&cluster, &["--since", "7d"]))["basis"], "source");
}

#[test]
fn the_dates_of_a_source_are_counted_by_the_minute_and_within_the_span() {
    // On whole minutes, so that which of them share one does not depend on when the test runs.
    let minute = now() % 60;
    let ages = [3 * DAY + minute, 3 * DAY + minute - 9, 5 * DAY, 20 * DAY, 300 * DAY, -DAY];
    let cluster = dated(3, &ages);
    let outcome = advise(&cluster, &["--since", "7d"]);
    let line = advice(&outcome);
    assert_eq!((&line["changes"], &line["nodes"]), (&2.into(), &3.into()));
    assert_eq!((&line["full_names"], &line["full_bytes"]), (&7.into(), &6_000.into()));
    assert_eq!(line["push_ms"], Value::Null);
    assert!(line["reasons"].to_string().contains("1 name with a time that is yet to come"));
    assert_eq!(advice(&advise(&cluster, &[]))["changes"], 3, "thirty days if nobody says");
    assert_eq!(advice(&advise(&cluster, &["--since", "2000-01-01"]))["changes"], 5);
    let outcome = advise(&cluster, &["--since", "366d"]);
    assert_eq!(advice(&outcome)["changes"], 4);
}

#[test]
fn what_a_release_leaves_out_does_not_count() {
    let cluster = dated(1, &[DAY, 2 * DAY, 3 * DAY]);
    set_mtime(&cluster.write("d/.depsyncignore", "f1\n"), 1_000_000_000, 0);
    set_mtime(&cluster.at("d"), 1_000_000_000, 0);
    assert_eq!(advice(&advise(&cluster, &["--since", "7d"]))["changes"], 2);
    cluster.write("d/.depsyncignore", [0xff, 0xfe]);
    let outcome = advise(&cluster, &["--since", "7d"]);
    outcome.expect(USAGE);
    assert!(outcome.stderr.contains("d/.depsyncignore is not UTF-8 text"), "{}", outcome.stderr);
}

#[test]
fn many_nodes_and_rare_changes_are_advised_release_files() {
    let cluster = dated(10, &[2 * DAY]);
    let outcome = advise(&cluster, &["--since", "14d"]);
    let line = advice(&outcome);
    assert_eq!(
        (&line["approach"], &line["other"]),
        (&"release-files".into(), &"copy-on-change".into())
    );
    let steps = line["steps"].to_string();
    assert!(steps.contains(".depsync -t DIR") && steps.contains("recipe ansible"), "{steps}");
}

#[test]
fn a_source_that_a_plan_would_refuse_is_refused_with_the_same_words() {
    let cluster = Cluster::new(1);
    let same = |code: i32| {
        let (plan, advise) = (cluster.plan(&[]), advise(&cluster, &[]));
        plan.expect(code);
        advise.expect(code);
        assert_eq!(plan.stderr, advise.stderr);
        assert_eq!(plan.summary()["error"], advise.summary()["error"]);
    };
    same(5);
    cluster.write(".depsyncignore", "*\n");
    cluster.write("a", "one");
    same(5);
    fs::remove_dir_all(cluster.source()).expect("removed");
    same(USAGE);
}

#[test]
fn a_history_needs_no_source() {
    let cluster = pushed(1);
    date_back(&cluster, 6);
    fs::remove_dir_all(cluster.source()).expect("removed");
    assert_eq!(advice(&advise(&cluster, &[]))["full_bytes"], 3_012);
    advise(&cluster, &["--since", "7d"]).expect(USAGE);
}

#[test]
fn nothing_is_changed_no_lock_is_taken_and_no_node_is_asked() {
    let cluster = dated(1, &[2 * DAY]);
    let before = stamps(cluster.path());
    advise(&cluster, &["--since", "14d"]).expect(0);
    assert_eq!(before, stamps(cluster.path()), "not even a state directory is made");
    let cluster = pushed(1);
    date_back(&cluster, 6);
    // A node that is not there would be an error, if it were asked.
    fs::remove_dir_all(&cluster.nodes[0]).expect("removed");
    let under_lock = |what: &str| {
        let mut command = Command::new("flock");
        command.arg(cluster.hub_state().join("lock")).arg(env!("CARGO_BIN_EXE_depsync"));
        command.args([what, "--json", "--source"]).arg(cluster.source());
        command.arg("--node").arg(&cluster.nodes[0]).env("HOME", cluster.path());
        Outcome::of(command.env("XDG_STATE_HOME", cluster.path().join("state")))
    };
    under_lock("push").expect(4);
    advice(&under_lock("advise"));
}

#[test]
fn a_history_that_cannot_be_read_is_an_error() {
    let cluster = pushed(1);
    damage(&cluster);
    let outcome = advise(&cluster, &[]);
    outcome.expect(1);
    assert!(outcome.stderr.contains("move the file away"), "{}", outcome.stderr);
}

#[test]
fn since_is_a_day_ago_at_least() {
    let cluster = dated(1, &[DAY]);
    for (text, words) in [
        ("23h", "less than a day ago"),
        ("2999-01-01", "less than a day ago"),
        ("20261101", "is not a date"),
        ("tomorrow", "is not a date"),
    ] {
        let outcome = advise(&cluster, &["--since", text]);
        outcome.expect(USAGE);
        assert!(outcome.stderr.contains(words), "{text}: {}", outcome.stderr);
    }
}

#[test]
fn the_commands_are_for_the_configuration_and_its_name_is_one_word() {
    let bench = Bench::with_source();
    let text = "[cluster]\nname = \"mi\"\nsource = \"source\"\n[[node]]\ntarget = \"h1:/srv/x y\"\n[[node]]\ntarget = \"h2:/srv/x y\"\n";
    bench.write("the cluster's.toml", text.as_bytes());
    let ran = bench.run(&["advise", "-c", "the cluster's.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.starts_with("mi: copy on change\n"), "{}", ran.stdout);
    let file = bench.at("the cluster's.toml").display().to_string().replace('\'', "'\"'\"'");
    assert!(ran.stdout.contains(&format!("  depsync push -c '{file}'  # ")), "{}", ran.stdout);
    assert!(!ran.stdout.contains("init") && !ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    let quiet = bench.run(&["advise", "-q", "-c", "the cluster's.toml"]);
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""));
    let colored = bench.run(&["advise", "--color", "always", "-c", "the cluster's.toml"]);
    assert!(colored.stdout.starts_with("\u{1b}[1mmi:\u{1b}[0m \u{1b}[32mcopy on change"));
}

#[test]
fn people_read_the_same_numbers() {
    let cluster = pushed(2);
    date_back(&cluster, 6);
    let (code, text, stderr) = seen(&cluster, &["advise"]);
    assert_eq!(code, 0, "{stderr}");
    for words in [
        ": copy on change\n",
        "1 new release in 3 runs of the 6 days since ",
        "\n  nodes       2\n",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
