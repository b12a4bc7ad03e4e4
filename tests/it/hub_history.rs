//! `history.db` by itself: what is recorded comes back, and what cannot be used is refused with a way out.

use std::path::PathBuf;
use std::time::Duration;

use depsync::config::{self, Environment, Nodes, Settings};
use depsync::hub::history::{Error, History, NAME};
use depsync::hub::options::{Mode, RunOptions};
use depsync::hub::outcome::{Failure, NodeOutcome, NodeState, Phase, RunOutcome, Verdict};
use depsync::model::digest::{Digest, Domain};
use depsync::model::entry::Timestamp;
use depsync::model::manifest::ReleaseId;
use rusqlite::Connection;

struct Hub(tempfile::TempDir);

impl Hub {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join(NAME)
    }

    /// As anybody else opens it.
    fn sqlite(&self) -> Connection {
        Connection::open(self.file()).expect("a database")
    }

    fn open(&self) -> History {
        History::open(self.0.path()).expect("a history")
    }

    fn options(&self) -> RunOptions {
        let settings = Settings {
            source: Some("/srv/source".into()),
            nodes: Some(
                Nodes::from_options(&["a:x".into(), "b:x".into()], self.0.path()).expect("targets"),
            ),
            message: Some("why".into()),
            ..Settings::default()
        };
        let environment = Environment {
            state_home: Some(self.0.path().into()),
            user: Some("ann".into()),
            ..Environment::default()
        };
        config::resolve(settings, &environment, Mode::Push).expect("options").run
    }

    /// Records a push of the release called `name`.
    fn record(&self, name: &str, seconds: i64) {
        let at = Timestamp { seconds, nanos: 0 };
        let mut history = self.open();
        history.record(at, &self.options(), &outcome(&self.options(), name)).expect("recorded");
    }
}

fn release(name: &str) -> ReleaseId {
    Digest::of(Domain::Tree, name.as_bytes())
}

fn outcome(options: &RunOptions, name: &str) -> RunOutcome {
    let mut outcome = RunOutcome {
        verdict: Verdict::Partial,
        release: Some(release(name)),
        nodes: options.targets.iter().cloned().map(NodeOutcome::unknown).collect(),
        notes: Vec::new(),
        failure: None,
        duration: Duration::from_millis(60),
        scan: Duration::from_millis(3),
        prepare: Some(Duration::from_millis(40)),
        commit_window: Some(Duration::from_millis(5)),
    };
    outcome.nodes[0].state = NodeState::Committed;
    outcome.nodes[0].release = outcome.release;
    outcome.nodes[0].counts.created = 7;
    outcome.nodes[0].bytes_sent = 1 << 40;
    outcome.nodes[0].phases.add(Phase::Staging, Duration::from_millis(11));
    let why = Failure::said(Verdict::Fail, "test", "the disk is full", None);
    outcome.nodes[1].failure = Some(why);
    outcome
}

#[test]
fn a_run_comes_back_as_it_was_recorded() {
    let hub = Hub::new();
    hub.record("one", 1_000);
    hub.record("two", 2_000);
    let runs = hub.open().runs(10).expect("runs");
    let [newest, oldest] = &runs[..] else { panic!("{runs:?}") };
    assert_eq!((newest.id, oldest.id), (2, 1));
    assert_eq!((newest.act.as_str(), newest.started), ("push", 2_000));
    assert_eq!((newest.user.as_str(), newest.message.as_deref()), ("ann", Some("why")));
    assert_eq!((newest.scan_ms, newest.prepare_ms, newest.commit_ms), (3, Some(40), Some(5)));
    assert_eq!((newest.exit, newest.outcome.as_str()), (3, "partial"));
    assert_eq!((newest.release, newest.is_live), (Some(release("two")), true));
    let [committed, failed] = &newest.nodes[..] else { panic!("{newest:?}") };
    assert_eq!((committed.target.as_str(), committed.state.as_str()), ("a:x", "committed"));
    assert_eq!((committed.counts.created, committed.bytes_sent), (7, 1 << 40));
    assert_eq!(committed.phases_ms, [0, 0, 11, 0, 0]);
    assert_eq!((failed.release, failed.error.as_deref()), (None, Some("the disk is full")));
    assert_eq!(hub.open().run(1).expect("read").as_ref(), Some(oldest));
    assert_eq!(hub.open().run(3).expect("read"), None);
    assert_eq!(hub.open().runs(1).expect("read").len(), 1);
}

#[test]
fn releases_are_those_that_were_live_each_from_the_first_moment_on() {
    let hub = Hub::new();
    for (name, at) in [("one", 10), ("two", 20), ("two", 30), ("one", 40)] {
        hub.record(name, at);
    }
    let (options, mut plan) = (hub.options(), outcome(&hub.options(), "three"));
    plan.nodes.clear();
    plan.commit_window = None;
    let at = Timestamp { seconds: 50, nanos: 0 };
    hub.open().record(at, &options, &plan).expect("recorded");
    let expected = [(release("one"), 40), (release("two"), 20), (release("one"), 10)];
    assert_eq!(hub.open().releases().expect("read"), expected);
}

#[test]
fn no_more_runs_stay_than_are_wanted_and_their_nodes_go_with_them() {
    let hub = Hub::new();
    let options = RunOptions { history_runs: 3, ..hub.options() };
    for _ in 0..5 {
        let at = Timestamp { seconds: 1, nanos: 0 };
        hub.open().record(at, &options, &outcome(&options, "one")).expect("recorded");
    }
    let history = hub.open();
    let ids: Vec<i64> = history.runs(10).expect("read").iter().map(|run| run.id).collect();
    assert_eq!(ids, [5, 4, 3]);
    let count = "SELECT count(*) FROM node";
    let nodes: i64 = hub.sqlite().query_row(count, [], |row| row.get(0)).expect("counted");
    assert_eq!(nodes, 6);
}

#[test]
fn a_history_of_a_newer_version_is_refused_and_left_as_it_is() {
    let hub = Hub::new();
    hub.record("one", 1);
    let newer = "PRAGMA user_version = 9";
    hub.sqlite().execute_batch(newer).expect("changed");
    let before = std::fs::read(hub.file()).expect("read");
    let refused = History::open(hub.0.path()).expect_err("refused");
    assert!(matches!(refused, Error::Newer { version: 9 }), "{refused}");
    assert!(refused.hint().contains("version"));
    assert_eq!(std::fs::read(hub.file()).expect("read"), before);
}

#[test]
fn what_is_no_history_is_refused_with_a_way_out() {
    let hub = Hub::new();
    std::fs::write(
        hub.file(),
        "this is no database, and long enough to be seen as none".repeat(99),
    )
    .expect("written");
    let refused = History::open(hub.0.path()).expect_err("refused");
    assert!(refused.hint().starts_with("move the file away"), "{refused:?}");
    assert!(History::look(Hub::new().0.path()).expect("nothing there").is_none());
}

#[test]
fn a_history_that_another_program_holds_is_waited_for_and_then_refused() {
    let hub = Hub::new();
    hub.record("one", 1);
    let holder = hub.sqlite();
    holder.execute_batch("BEGIN IMMEDIATE").expect("held");
    let mut history = hub.open();
    let (options, at) = (hub.options(), Timestamp { seconds: 2, nanos: 0 });
    let refused = history.record(at, &options, &outcome(&options, "two")).expect_err("held");
    assert!(refused.hint().contains("another program"), "{refused:?}");
    holder.execute_batch("ROLLBACK").expect("let go");
    history.record(at, &options, &outcome(&options, "two")).expect("recorded");
    assert_eq!(history.runs(9).expect("read").len(), 2);
}
