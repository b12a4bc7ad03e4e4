//! The outcome as JSON Lines, which other programs read: see "JSON Lines" in the reference.
//!
//! FORMAT: every key and word below is a promise; a changed meaning raises [`FORMAT_VERSION`]. The lines are ASCII: whatever
//! a path holds, a terminal that shows them stays as it is.

use std::io;

use base64::Engine as _;
use serde::Serialize;

use super::drift::Drift;
use crate::hub::options::Mode;
use crate::hub::outcome::{Change, Counts, Failure, NodeOutcome, RunOutcome};
use crate::model::path::TreePath;

/// The version of the meaning of all keys.
pub const FORMAT_VERSION: u32 = 1;

#[derive(Serialize)]
struct ChangeLine<'a> {
    r#type: &'static str,
    format_version: u32,
    target: String,
    #[serde(flatten)]
    path: PathKey<'a>,
    change: &'static str,
    /// What kind of drift it is; verify alone knows of drift.
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<&'static str>,
    bytes: u64,
}

/// A path as text, or in base64 if it is not UTF-8. The root is `.`.
#[derive(Serialize)]
pub(super) enum PathKey<'a> {
    #[serde(rename = "path")]
    Text(&'a str),
    #[serde(rename = "path_b64")]
    Bytes(String),
}

#[derive(Serialize)]
struct NodeLine<'a> {
    r#type: &'static str,
    format_version: u32,
    target: String,
    state: &'static str,
    release: Option<String>,
    counts: CountsValue,
    bytes_sent: u64,
    bytes_received: u64,
    duration_ms: u64,
    notes: &'a [String],
    error: Option<ErrorValue<'a>>,
}

#[derive(Serialize)]
pub(super) struct CountsValue {
    created: u64,
    updated: u64,
    deleted: u64,
    metadata: u64,
}

#[derive(Serialize)]
pub(super) struct ErrorValue<'a> {
    kind: &'a str,
    message: &'a str,
    causes: &'a [String],
    hint: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct SummaryLine<'a> {
    r#type: &'static str,
    format_version: u32,
    exit: u8,
    outcome: &'static str,
    release: Option<String>,
    nodes: usize,
    nodes_at_release: usize,
    duration_ms: u64,
    commit_window_ms: Option<u64>,
    notes: &'a [String],
    error: Option<ErrorValue<'a>>,
}

impl CountsValue {
    pub(super) fn of(counts: Counts) -> Self {
        let Counts { created, updated, deleted, metadata } = counts;
        Self { created, updated, deleted, metadata }
    }
}

impl<'a> PathKey<'a> {
    pub(super) fn of(path: &'a TreePath) -> Self {
        match std::str::from_utf8(path.as_bytes()) {
            Ok("") => Self::Text("."),
            Ok(text) => Self::Text(text),
            Err(_) => {
                Self::Bytes(base64::engine::general_purpose::STANDARD.encode(path.as_bytes()))
            }
        }
    }
}

impl<'a> ErrorValue<'a> {
    pub(super) fn of(failure: &'a Failure) -> Self {
        let Failure { verdict: _, kind, message, causes, hint } = failure;
        Self { kind: kind.as_ref(), message, causes, hint: hint.as_deref() }
    }
}

/// All lines of an outcome: of each node its changes and itself, at last the summary. `exit` is the code of the process.
pub fn lines(outcome: &RunOutcome, mode: Mode, exit: u8) -> String {
    let mut text = String::new();
    for node in &outcome.nodes {
        for change in &node.changes {
            let drift = (mode == Mode::Verify).then(|| Drift::of(change, &node.changes).word());
            push(&mut text, &change_line(node, change, drift));
        }
        push(&mut text, &node_line(node));
    }
    push_summary(&mut text, outcome, exit);
    text
}

fn change_line<'a>(
    node: &NodeOutcome,
    change: &'a Change,
    drift: Option<&'static str>,
) -> ChangeLine<'a> {
    ChangeLine {
        r#type: "change",
        format_version: FORMAT_VERSION,
        target: node.target.to_string(),
        path: PathKey::of(&change.path),
        change: change.kind.word(),
        drift,
        bytes: change.bytes,
    }
}

fn node_line(node: &NodeOutcome) -> NodeLine<'_> {
    NodeLine {
        r#type: "node",
        format_version: FORMAT_VERSION,
        target: node.target.to_string(),
        state: node.state.word(),
        release: node.release.map(|release| release.to_string()),
        counts: CountsValue::of(node.counts),
        bytes_sent: node.bytes_sent,
        bytes_received: node.bytes_received,
        duration_ms: millis(node.duration),
        notes: &node.notes,
        error: node.failure.as_ref().map(ErrorValue::of),
    }
}

pub(super) fn summary_line(outcome: &RunOutcome, exit: u8) -> SummaryLine<'_> {
    SummaryLine {
        r#type: "summary",
        format_version: FORMAT_VERSION,
        exit,
        outcome: outcome.verdict.word(),
        release: outcome.release.map(|release| release.to_string()),
        nodes: outcome.nodes.len(),
        nodes_at_release: outcome.nodes.iter().filter(|node| node.state.is_at_release()).count(),
        duration_ms: millis(outcome.duration),
        commit_window_ms: outcome.commit_window.map(millis),
        notes: &outcome.notes,
        error: outcome.failure.as_ref().map(ErrorValue::of),
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The line that ends a report. `exit` is the code of the process.
pub(super) fn push_summary(text: &mut String, outcome: &RunOutcome, exit: u8) {
    push(text, &summary_line(outcome, exit));
}

/// Adds `line`, which has text keys, as one line of ASCII.
#[expect(clippy::missing_panics_doc, reason = "an invariant, not a case")]
pub fn push(text: &mut String, line: &impl Serialize) {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Ascii);
    line.serialize(&mut serializer)
        .expect("invariant: these structs have text keys, and memory takes every byte");
    text.push_str(&String::from_utf8_lossy(&bytes));
    text.push('\n');
}

/// Escapes DEL and everything beyond ASCII: terminals obey some of it.
struct Ascii;

impl serde_json::ser::Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for character in fragment.chars() {
            if matches!(character, ' '..='~') {
                write!(writer, "{character}")?;
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::examples;
    use super::*;
    use crate::hub::outcome::{NodeState, Verdict};

    fn parsed(outcome: &RunOutcome, exit: u8) -> Vec<Value> {
        lines(outcome, Mode::Plan, exit)
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }

    #[test]
    fn each_line_has_type_and_version() {
        let lines = parsed(&examples::plan(), 2);
        assert_eq!(lines.len(), 5 + 1 + 5 + 1 + 60 + 1 + 1 + 1);
        assert!(lines.iter().all(|line| line["format_version"] == 1 && line["type"].is_string()));
    }

    #[test]
    fn the_keys_are_the_promised_ones() {
        let lines = parsed(&examples::partial(), 3);
        let release = examples::partial().release.expect("a release").to_string();
        assert_eq!(
            lines[0],
            json!({"type": "node", "format_version": 1, "target": "wso2@mi-1:/opt/wso2mi/repository/deployment/server",
                "state": "committed", "release": release, "counts": {"created": 3, "updated": 2, "deleted": 1, "metadata": 4},
                "bytes_sent": 1_258_291, "bytes_received": 120, "duration_ms": 1190,
                "notes": ["the target is a link to /data/server"], "error": null})
        );
        assert_eq!(lines[3]["error"]["kind"], "host-key-unknown");
        assert_eq!(lines[3]["error"]["causes"][0], "ssh ended with code 255");
        assert_eq!(lines[3]["release"], Value::Null);
        assert_eq!(
            lines[4],
            json!({"type": "summary", "format_version": 1, "exit": 3, "outcome": "partial", "release": release, "nodes": 4,
                "nodes_at_release": 3, "duration_ms": 1234, "commit_window_ms": 35, "notes": [], "error": null})
        );
    }

    #[test]
    fn fault_010_and_011_any_path_is_told_and_no_byte_moves_a_terminal() {
        let mut outcome = examples::plan();
        outcome.nodes[3].changes = vec![Change {
            path: examples::path("ü\u{9b}31m\n\u{202e}\u{7f}😀".as_bytes()),
            kind: crate::hub::outcome::ChangeKind::Create,
            bytes: 1,
        }];
        let text = lines(&outcome, Mode::Plan, 2);
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{text}");
        let lines = parsed(&outcome, 2);
        assert_eq!(lines[2]["path_b64"], "Y29uZi8bWzMxbf8=");
        assert_eq!(lines[2].get("path"), None);
        assert_eq!(lines[4]["path"], ".");
        assert!(lines.iter().any(|line| line["path"] == "ü\u{9b}31m\n\u{202e}\u{7f}😀"));
    }

    #[test]
    fn a_run_that_contacted_nobody_is_a_summary_alone() {
        let mut outcome = examples::run(Verdict::Usage, Vec::new());
        outcome.failure = Some(examples::failure());
        outcome.release = None;
        outcome.commit_window = None;
        let lines = parsed(&outcome, 64);
        assert_eq!(lines.len(), 1);
        assert_eq!((&lines[0]["exit"], &lines[0]["outcome"]), (&json!(64), &json!("usage")));
        assert_eq!(
            (&lines[0]["release"], &lines[0]["commit_window_ms"]),
            (&Value::Null, &Value::Null)
        );
        assert!(
            lines[0]["error"]["hint"].as_str().is_some_and(|hint| hint.contains("ssh-keyscan"))
        );
        assert_eq!(NodeState::Differs.word(), "differs");
    }
}
