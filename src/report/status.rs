//! Where every node stands: one screen, and the same as JSON Lines.
//!
//! FORMAT: the keys and words of the lines are promises, as in [`super::json`].

use std::fmt::Write as _;

use serde::Serialize;

use super::figures;
use super::human::{self, Color, Style, push_line};
use super::json::{self, CountsValue, ErrorValue, FORMAT_VERSION};
use crate::hub::history::Look;
use crate::hub::outcome::{NodeOutcome, NodeState};
use crate::hub::status::{NodeStatus, Status};

/// Where a node stands, in one word.
fn word(outcome: &NodeOutcome, node: &NodeStatus) -> (&'static str, Color) {
    if node.holder.is_some() {
        return ("busy", Color::Yellow);
    }
    if node.is_reachable == Some(false) {
        return (outcome.state.word(), Color::Red);
    }
    match (node.is_pending, node.release, node.behind) {
        (true, ..) => ("pending", Color::Yellow),
        (false, Some(_), Some(0)) => ("current", Color::Green),
        (false, Some(_), Some(_)) => ("behind", Color::Yellow),
        // A release that this hub does not know.
        (false, Some(_), None) => ("other", Color::Yellow),
        (false, None, _) if node.is_reachable.is_some() => ("empty", Color::Yellow),
        (false, None, _) => ("unknown", Color::Red),
    }
}

fn ago(now: i64, at: i64) -> String {
    format!("{} ago", figures::age(now.saturating_sub(at)))
}

fn contact(status: &Status, node: &NodeStatus) -> String {
    match node.last_contact {
        Some(at) if at == status.now && node.is_reachable.is_some() => "now".into(),
        Some(at) => ago(status.now, at),
        None => "never".into(),
    }
}

fn has_drift(node: &NodeStatus) -> bool {
    node.last_look.is_some_and(|look| look.drift.total() > 0)
}

fn drift(now: i64, look: Option<Look>) -> String {
    look.map_or_else(
        || "-".into(),
        |look| {
            let found = human::changed(look.drift);
            let found = if found == "-" { "none".to_owned() } else { found };
            format!("{found}, {}", ago(now, look.at))
        },
    )
}

/// One line for each node, with a head; empty if there is none.
pub fn table(status: &Status, style: Style) -> String {
    if status.nodes.is_empty() {
        return String::new();
    }
    let head = ["node", "state", "release", "behind", "age", "contact", "drift", "free", "inodes"];
    let dash = || "-".to_owned();
    let all = || status.run.nodes.iter().zip(&status.nodes);
    let rows = all().map(|(outcome, node)| {
        vec![
            outcome.target.to_string(),
            word(outcome, node).0.to_owned(),
            node.release.map_or_else(dash, |release| release.short()),
            node.behind.map_or_else(dash, |behind| behind.to_string()),
            node.since.map_or_else(dash, |at| figures::age(status.now.saturating_sub(at))),
            contact(status, node),
            drift(status.now, node.last_look),
            node.free.map_or_else(dash, |free| figures::bytes(free.bytes)),
            node.free.and_then(|free| free.inodes).map_or_else(dash, figures::count),
        ]
    });
    let table = human::ruled_table(&head, &[3, 4, 7, 8], rows.collect()).to_string();
    let lead = table.lines().count().saturating_sub(status.nodes.len());
    let mut text = String::new();
    let mut nodes = all();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        match if number < lead { None } else { nodes.next() } {
            None => push_line(&mut text, &style.paint(Color::Dim, line)),
            Some((outcome, node)) => {
                let after = outcome.target.to_string().len();
                let (word, color) = word(outcome, node);
                let mut line = human::paint_word(line, after, word, style, color);
                if has_drift(node) {
                    let drift = drift(status.now, node.last_look);
                    line = human::paint_word(&line, after, &drift, style, Color::Yellow);
                }
                push_line(&mut text, &line);
            }
        }
    }
    text
}

/// All nodes in one sentence; empty if there is none.
pub fn summary(status: &Status, style: Style) -> String {
    let (run, nodes) = (&status.run, &status.nodes);
    if nodes.is_empty() {
        return String::new();
    }
    let there = run.nodes.iter().filter(|node| node.state.is_at_release()).count();
    let all = figures::nodes(nodes.len());
    let mut sentence = match run.release {
        None => "nothing was deployed from here yet".to_owned(),
        Some(release) if there == nodes.len() => format!("{all} at release {}", release.short()),
        Some(release) => format!("{there} of {all} at release {}", release.short()),
    };
    if let Some(at) = status.deployed {
        // Writing to a string does not fail.
        let _ = write!(sentence, ", deployed {}", ago(status.now, at));
    }
    let drifted = nodes.iter().filter(|node| has_drift(node)).count();
    let is_busy = |node: &&NodeStatus| node.holder.is_some();
    let is_pending = |node: &&NodeStatus| node.is_pending;
    let in_state = |state| run.nodes.iter().filter(|node| node.state == state).count();
    for (count, word) in [
        (nodes.iter().filter(is_busy).count(), "busy"),
        (nodes.iter().filter(is_pending).count(), "pending"),
        (in_state(NodeState::Unreachable), "unreachable"),
        (in_state(NodeState::Refused), "refused"),
        (in_state(NodeState::Failed), "failed"),
        (drifted, "with drift when last looked at"),
    ] {
        if count > 0 {
            let _ = write!(sentence, ", {count} {word}");
        }
    }
    let is_offline = nodes.iter().all(|node| node.is_reachable.is_none());
    let time = figures::duration(run.duration);
    if is_offline {
        sentence.push_str(" (by the history alone)");
    } else {
        let _ = write!(sentence, " (asked in {time})");
    }
    let color = if there == nodes.len() { Color::Green } else { Color::Bold };
    format!("{}\n", style.paint(color, &sentence))
}

#[derive(Serialize)]
struct StatusLine<'a> {
    r#type: &'static str,
    format_version: u32,
    target: String,
    state: &'static str,
    reachable: Option<bool>,
    release: Option<String>,
    behind: Option<usize>,
    since: Option<String>,
    last_contact: Option<String>,
    drift: Option<DriftValue>,
    free_bytes: Option<u64>,
    free_inodes: Option<u64>,
    pending: bool,
    holder: Option<&'a str>,
    error: Option<ErrorValue<'a>>,
}

#[derive(Serialize)]
struct DriftValue {
    run: i64,
    at: String,
    counts: CountsValue,
}

/// One line for each node, and at last the summary. `exit` is the code of the process.
pub fn lines(status: &Status, exit: u8) -> String {
    let mut text = String::new();
    for (outcome, node) in status.run.nodes.iter().zip(&status.nodes) {
        let drift = node.last_look.map(|look| DriftValue {
            run: look.run,
            at: figures::utc(look.at),
            counts: CountsValue::of(look.drift),
        });
        let line = StatusLine {
            r#type: "status",
            format_version: FORMAT_VERSION,
            target: outcome.target.to_string(),
            state: word(outcome, node).0,
            reachable: node.is_reachable,
            release: node.release.map(|release| release.to_string()),
            behind: node.behind,
            since: node.since.map(figures::utc),
            last_contact: node.last_contact.map(figures::utc),
            drift,
            free_bytes: node.free.map(|free| free.bytes),
            free_inodes: node.free.and_then(|free| free.inodes),
            pending: node.is_pending,
            holder: node.holder.as_deref(),
            error: outcome.failure.as_ref().map(ErrorValue::of),
        };
        json::push(&mut text, &line);
    }
    json::push_summary(&mut text, &status.run, exit);
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::examples;
    use super::*;
    use crate::hub::outcome::{Counts, Verdict};
    use crate::model::digest::{Digest, Domain};
    use crate::wire::message::Free;

    const PLAIN: Style = Style { color: false, all_paths: false };
    const NOW: i64 = 1_795_866_244;

    /// A node that is current, one that is two behind and drifted, one that does not answer, one that is busy, and one that has
    /// a commit pending.
    fn status() -> Status {
        let [old, new] = ["old", "example"].map(|name| Digest::of(Domain::Tree, name.as_bytes()));
        let free = Some(Free { bytes: 42 << 30, inodes: Some(15_200_000) });
        let look = |drift| Some(Look { run: 7, at: NOW - 90, drift });
        let current = NodeStatus {
            is_reachable: Some(true),
            release: Some(new),
            behind: Some(0),
            since: Some(NOW - 7_200),
            last_contact: Some(NOW),
            last_look: look(Counts::default()),
            free,
            ..NodeStatus::default()
        };
        let drift = Counts { created: 1, updated: 0, deleted: 2, metadata: 0 };
        let behind = NodeStatus {
            release: Some(old),
            behind: Some(2),
            since: Some(NOW - 864_000),
            last_look: look(drift),
            free: Some(Free { bytes: 900, inodes: None }),
            ..current.clone()
        };
        let away = NodeStatus {
            is_reachable: Some(false),
            last_contact: Some(NOW - 300),
            free: None,
            ..behind.clone()
        };
        let busy = NodeStatus { holder: Some("process 7 on hub".into()), ..current.clone() };
        let pending = NodeStatus { is_pending: true, behind: Some(1), ..current.clone() };
        let mut nodes = vec![
            examples::node("mi-1:x", NodeState::Unchanged),
            examples::node("mi-2:x", NodeState::Differs),
            examples::node("mi-3:x", NodeState::Unreachable),
            examples::node("mi-4:x", NodeState::Unchanged),
            examples::node("mi-5:x", NodeState::Differs),
        ];
        nodes[2].failure = Some(examples::failure());
        let run = examples::run(Verdict::Diff, nodes);
        let nodes = vec![current, behind, away, busy, pending];
        Status { run, nodes, deployed: Some(NOW - 7_200), now: NOW }
    }

    #[test]
    fn all_nodes_are_told_on_one_screen() {
        let status = status();
        let text = table(&status, PLAIN) + &summary(&status, PLAIN);
        let [old, new] =
            ["old", "example"].map(|name| Digest::of(Domain::Tree, name.as_bytes()).short());
        let expected = "\
node     state         release        behind    age   contact   drift                free   inodes
───────────────────────────────────────────────────────────────────────────────────────────────────
mi-1:x   current       NEW-RELEASE-        0    2 h   now       none, 1 m ago    42.0 GiB   15.2 M
mi-2:x   behind        OLD-RELEASE-        2   10 d   now       +1 -2, 1 m ago      900 B        -
mi-3:x   unreachable   OLD-RELEASE-        2   10 d   5 m ago   +1 -2, 1 m ago          -        -
mi-4:x   busy          NEW-RELEASE-        0    2 h   now       none, 1 m ago    42.0 GiB   15.2 M
mi-5:x   pending       NEW-RELEASE-        1    2 h   now       none, 1 m ago    42.0 GiB   15.2 M
2 of 5 nodes at release NEW-RELEASE-, deployed 2 h ago, 1 busy, 1 pending, 1 unreachable, \
2 with drift when last looked at (asked in 1.2 s)
";
        assert_eq!(text, expected.replace("NEW-RELEASE-", &new).replace("OLD-RELEASE-", &old));
    }

    #[test]
    fn what_needs_a_look_is_in_colour() {
        let text = table(&status(), Style { color: true, ..PLAIN });
        for painted in [
            "\x1b[32mcurrent\x1b[0m",
            "\x1b[31munreachable\x1b[0m",
            "\x1b[33m+1 -2, 1 m ago\x1b[0m",
        ] {
            assert!(text.contains(painted), "{painted}: {text}");
        }
    }

    #[test]
    fn without_asking_nothing_is_said_to_be_now_and_nobody_to_be_away() {
        let mut status = status();
        for node in &mut status.nodes {
            node.is_reachable = None;
        }
        status.nodes[0].release = None;
        status.nodes[0].behind = None;
        let text = table(&status, PLAIN);
        assert!(text.contains("mi-1:x   unknown") && !text.contains(" now "), "{text}");
        assert!(summary(&status, PLAIN).contains("(by the history alone)"));
        status.run.release = None;
        status.deployed = None;
        assert!(summary(&status, PLAIN).starts_with("nothing was deployed from here yet"));
    }

    #[test]
    fn the_keys_are_the_promised_ones() {
        let text = lines(&status(), 2);
        assert!(text.is_ascii());
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let old = Digest::of(Domain::Tree, b"old").to_string();
        assert_eq!(
            lines[1],
            json!({"type": "status", "format_version": 1, "target": "mi-2:x", "state": "behind", "reachable": true, "release": old,
                "behind": 2, "since": "2026-11-18T11:44:04Z", "last_contact": "2026-11-28T11:44:04Z",
                "drift": {"run": 7, "at": "2026-11-28T11:42:34Z",
                    "counts": {"created": 1, "updated": 0, "deleted": 2, "metadata": 0}},
                "free_bytes": 900, "free_inodes": null, "pending": false, "holder": null, "error": null})
        );
        assert_eq!(
            (&lines[2]["reachable"], &lines[2]["error"]["kind"]),
            (&json!(false), &json!("host-key-unknown"))
        );
        assert_eq!(
            (&lines[3]["holder"], &lines[4]["pending"]),
            (&json!("process 7 on hub"), &json!(true))
        );
        assert_eq!(
            (&lines[5]["type"], &lines[5]["exit"], lines.len()),
            (&json!("summary"), &json!(2), 6)
        );
    }
}
