//! The same as JSON Lines.
//!
//! FORMAT: the keys and words of the lines are promises, as in [`crate::report::json`].

use serde::Serialize;

use super::{Changes, at_release, received, sent};
use crate::hub::history::{Node, Run};
use crate::report::figures;
use crate::report::json::{self, CountsValue, FORMAT_VERSION, PathKey};

#[derive(Serialize)]
struct RunLine<'a> {
    r#type: &'static str,
    format_version: u32,
    run: i64,
    act: &'a str,
    started: String,
    exit: u8,
    outcome: &'a str,
    release: Option<String>,
    source: &'a str,
    user: &'a str,
    host: &'a str,
    message: Option<&'a str>,
    duration_ms: i64,
    scan_ms: i64,
    prepare_ms: Option<i64>,
    commit_window_ms: Option<i64>,
    nodes: usize,
    nodes_at_release: usize,
    bytes_sent: u64,
    bytes_received: u64,
    error: Option<MessageValue<'a>>,
    #[serde(flatten)]
    changes: Option<ChangesKeys>,
}

/// What `show` adds to the line of a run.
#[derive(Serialize)]
struct ChangesKeys {
    release_before: Option<String>,
    /// How many paths follow; none where it cannot be told.
    changes: Option<usize>,
}

/// Of an error the history keeps the message alone.
#[derive(Serialize)]
struct MessageValue<'a> {
    message: &'a str,
}

impl<'a> MessageValue<'a> {
    fn of(message: Option<&'a String>) -> Option<Self> {
        message.map(|message| Self { message })
    }
}

#[derive(Serialize)]
struct NodeLine<'a> {
    r#type: &'static str,
    format_version: u32,
    run: i64,
    target: &'a str,
    state: &'a str,
    release: Option<String>,
    counts: CountsValue,
    bytes_sent: u64,
    bytes_received: u64,
    duration_ms: i64,
    phases_ms: PhasesValue,
    error: Option<MessageValue<'a>>,
}

#[derive(Serialize)]
struct PhasesValue {
    connect: i64,
    inspect: i64,
    stage: i64,
    wait: i64,
    commit: i64,
}

#[derive(Serialize)]
struct ChangeLine<'a> {
    r#type: &'static str,
    format_version: u32,
    run: i64,
    #[serde(flatten)]
    path: PathKey<'a>,
    change: &'static str,
    bytes: u64,
}

/// One line for each run, in the order given.
pub fn lines(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        json::push(&mut text, &run_line(run, None));
    }
    text
}

/// The line of `run`, of each of its nodes, and of each path that its release changed.
pub fn shown_lines(run: &Run, changes: &Changes) -> String {
    let mut text = String::new();
    let paths = match changes {
        Changes::Listed { paths, .. } => Some(paths),
        Changes::Untold { .. } => None,
    };
    let release_before = changes.before().map(|release| release.to_string());
    let keys = ChangesKeys { release_before, changes: paths.map(Vec::len) };
    json::push(&mut text, &run_line(run, Some(keys)));
    for node in &run.nodes {
        json::push(&mut text, &node_line(run, node));
    }
    for one in paths.into_iter().flatten() {
        let line = ChangeLine {
            r#type: "change",
            format_version: FORMAT_VERSION,
            run: run.id,
            path: PathKey::of(&one.path),
            change: one.kind.word(),
            bytes: one.bytes,
        };
        json::push(&mut text, &line);
    }
    text
}

fn run_line(run: &Run, changes: Option<ChangesKeys>) -> RunLine<'_> {
    RunLine {
        r#type: "run",
        format_version: FORMAT_VERSION,
        run: run.id,
        act: &run.act,
        started: figures::utc(run.started),
        exit: run.exit,
        outcome: &run.outcome,
        release: run.release.map(|release| release.to_string()),
        source: &run.source,
        user: &run.user,
        host: &run.host,
        message: run.message.as_deref(),
        duration_ms: run.duration_ms,
        scan_ms: run.scan_ms,
        prepare_ms: run.prepare_ms,
        commit_window_ms: run.commit_ms,
        nodes: run.nodes.len(),
        nodes_at_release: at_release(run),
        bytes_sent: sent(run),
        bytes_received: received(run),
        error: MessageValue::of(run.error.as_ref()),
        changes,
    }
}

fn node_line<'a>(run: &Run, node: &'a Node) -> NodeLine<'a> {
    let [connect, inspect, stage, wait, commit] = node.phases_ms;
    NodeLine {
        r#type: "node",
        format_version: FORMAT_VERSION,
        run: run.id,
        target: &node.target,
        state: &node.state,
        release: node.release.map(|release| release.to_string()),
        counts: CountsValue::of(node.counts),
        bytes_sent: node.bytes_sent,
        bytes_received: node.bytes_received,
        duration_ms: node.duration_ms,
        phases_ms: PhasesValue { connect, inspect, stage, wait, commit },
        error: MessageValue::of(node.error.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{listed, release, run};
    use super::*;

    #[test]
    fn the_keys_are_the_promised_ones() {
        let text = shown_lines(&run(), &listed(1));
        assert!(text.is_ascii() && !text.contains('\x1b'));
        let parsed = |text: &str| -> Vec<Value> {
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
        };
        let all = parsed(&text);
        let mut expected = json!({"type": "run", "format_version": 1, "run": 12, "act": "push", "started": "2026-11-28T11:44:04Z",
            "exit": 3, "outcome": "partial", "release": release("new").to_string(), "source": "/srv/s\n", "user": "ann",
            "host": "hub", "message": "why\x1b[2J it was done, at a length that no table can take", "duration_ms": 1250,
            "scan_ms": 20, "prepare_ms": 700, "commit_window_ms": 35, "nodes": 2, "nodes_at_release": 1, "bytes_sent": 2048,
            "bytes_received": 20, "error": null});
        assert_eq!(parsed(&lines(&[run()])), [expected.clone()]);
        expected["release_before"] = release("old").to_string().into();
        expected["changes"] = 1.into();
        assert_eq!(all[0], expected);
        assert_eq!(
            all[2],
            json!({"type": "node", "format_version": 1, "run": 12, "target": "mi-2:x", "state": "unreachable", "release": null,
                "counts": {"created": 0, "updated": 0, "deleted": 0, "metadata": 0}, "bytes_sent": 1024, "bytes_received": 10,
                "duration_ms": 40, "phases_ms": {"connect": 1, "inspect": 2, "stage": 3, "wait": 4, "commit": 30},
                "error": {"message": "no route\x1b[31m"}})
        );
        assert_eq!(
            all[3],
            json!({"type": "change", "format_version": 1, "run": 12, "path": "f00\x1b", "change": "update", "bytes": 5})
        );
        let untold = Changes::Untold { before: None, why: "why".into() };
        assert_eq!(parsed(&shown_lines(&run(), &untold))[0]["changes"], Value::Null);
    }
}
