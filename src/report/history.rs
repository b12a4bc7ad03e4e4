//! Past runs: a table or one run whole, and the same as JSON Lines.
//!
//! What stands in a history was written by operators, nodes and whoever can write the file: all of it is escaped here (rule S20).

mod lines;

use super::figures;
use super::human::{self, Color, Style, push_line};
use crate::hub::history::{Node, Run};
use crate::model::changes::Changed;
use crate::model::manifest::ReleaseId;
use crate::model::plan::Counts;
use crate::model::untrusted::{Untrusted, escaped_once};

pub use lines::{lines, shown_lines};

/// Characters of a message in the table.
const MESSAGE_CHARS_MAX: usize = 40;

/// What a run's release has otherwise than the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// These paths, against that release.
    Listed {
        /// The release that was live before.
        before: ReleaseId,
        /// The paths, in order.
        paths: Vec<Changed>,
    },
    /// It cannot be told, or there is nothing to tell; why, in one sentence.
    Untold {
        /// The release that was live before, if there was one.
        before: Option<ReleaseId>,
        /// Why.
        why: String,
    },
}

impl Changes {
    fn before(&self) -> Option<ReleaseId> {
        match self {
            Self::Listed { before, .. } => Some(*before),
            Self::Untold { before, .. } => *before,
        }
    }
}

/// Text that nobody has escaped before.
fn raw(text: &str) -> String {
    Untrusted::new(text.as_bytes()).to_string()
}

fn who(run: &Run) -> String {
    format!("{}@{}", escaped_once(&run.user), raw(&run.host))
}

fn is_there(node: &Node) -> bool {
    matches!(node.state.as_str(), "unchanged" | "committed")
}

fn at_release(run: &Run) -> usize {
    run.nodes.iter().filter(|node| is_there(node)).count()
}

fn sent(run: &Run) -> u64 {
    run.nodes.iter().fold(0, |sum, node| sum.saturating_add(node.bytes_sent))
}

fn received(run: &Run) -> u64 {
    run.nodes.iter().fold(0, |sum, node| sum.saturating_add(node.bytes_received))
}

/// What changed on the node where most did.
fn most_changed(run: &Run) -> Counts {
    run.nodes.iter().map(|node| node.counts).max_by_key(|counts| counts.total()).unwrap_or_default()
}

fn millis(millis: i64) -> String {
    figures::duration(std::time::Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

fn short(release: Option<ReleaseId>) -> String {
    release.map_or_else(|| "-".into(), |release| release.short())
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MESSAGE_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(MESSAGE_CHARS_MAX.saturating_sub(1)).chain(['…']).collect()
}

/// One line for each run, in the order given; times are UTC.
pub fn table(runs: &[Run], style: Style) -> String {
    if runs.is_empty() {
        return "no run is recorded yet\n".into();
    }
    let head = [
        "run",
        "when (UTC)",
        "what",
        "outcome",
        "nodes",
        "release",
        "changed",
        "sent",
        "time",
        "who",
        "message",
    ];
    let rows = runs.iter().map(|run| {
        vec![
            run.id.to_string(),
            figures::utc(run.started),
            raw(&run.act),
            raw(&run.outcome),
            format!("{}/{}", at_release(run), run.nodes.len()),
            short(run.release),
            human::changed(most_changed(run)),
            figures::bytes(sent(run)),
            millis(run.duration_ms),
            who(run),
            cut(&raw(run.message.as_deref().unwrap_or_default())),
        ]
    });
    let table = human::ruled_table(&head, &[0, 4, 7, 8], rows.collect()).to_string();
    let lead = table.lines().count().saturating_sub(runs.len());
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        match number.checked_sub(lead).and_then(|index| runs.get(index)) {
            None => push_line(&mut text, &style.paint(Color::Dim, line)),
            Some(run) => {
                let when = figures::utc(run.started);
                let after = line.find(&when).map_or(0, |at| at.saturating_add(when.len()));
                let word = raw(&run.outcome);
                push_line(&mut text, &human::paint_word(line, after, &word, style, color_of(run)));
            }
        }
    }
    text
}

fn color_of(run: &Run) -> Color {
    match run.exit {
        0 => Color::Green,
        2..=4 => Color::Yellow,
        _ => Color::Red,
    }
}

/// One run whole: itself, its nodes, and the paths that its release changed.
pub fn shown(run: &Run, changes: &Changes, style: Style) -> String {
    let mut text = String::new();
    let title =
        format!("run {}: {} by {}, {}", run.id, raw(&run.act), who(run), figures::utc(run.started));
    push_line(&mut text, &style.paint(Color::Bold, &title));
    let mut fact = |name: &str, value: &str| {
        push_line(
            &mut text,
            &format!("  {} {value}", style.paint(Color::Dim, &format!("{name:<8}"))),
        );
    };
    if let Some(message) = &run.message {
        fact("message", &raw(message));
    }
    fact("source", &raw(&run.source));
    if let Some(release) = run.release {
        let state = if run.is_live { "" } else { " (not made live by this run)" };
        fact("release", &format!("{release}{state}"));
    }
    if let Some(before) = changes.before() {
        fact("before", &before.to_string());
    }
    let outcome = style.paint(color_of(run), &raw(&run.outcome));
    let (there, all) = (at_release(run), figures::nodes(run.nodes.len()));
    fact("outcome", &format!("{outcome} (exit {}), {there} of {all} at the release", run.exit));
    if let Some(error) = &run.error {
        fact("error", &escaped_once(error));
    }
    let phase = |name: &str, time: Option<i64>| {
        time.map_or_else(String::new, |time| format!(", {name} {}", millis(time)))
    };
    let phases = [
        phase("source", Some(run.scan_ms)),
        phase("preparing", run.prepare_ms),
        phase("commit window", run.commit_ms),
    ];
    fact("time", &format!("{}{}", millis(run.duration_ms), phases.concat()));
    push_nodes(&mut text, run, style);
    push_changes(&mut text, changes, style);
    text
}

fn push_nodes(text: &mut String, run: &Run, style: Style) {
    if run.nodes.is_empty() {
        return;
    }
    text.push('\n');
    let head = [
        "node", "outcome", "release", "changed", "sent", "received", "time", "connect", "inspect",
        "stage", "wait", "commit",
    ];
    let rows = run.nodes.iter().map(|node| {
        let phases = node.phases_ms.iter().map(|time| millis(*time));
        let facts = [
            escaped_once(&node.target),
            raw(&node.state),
            short(node.release),
            human::changed(node.counts),
            figures::bytes(node.bytes_sent),
            figures::bytes(node.bytes_received),
            millis(node.duration_ms),
        ];
        facts.into_iter().chain(phases).collect()
    });
    let table = human::ruled_table(&head, &[4, 5, 6, 7, 8, 9, 10, 11], rows.collect()).to_string();
    let lead = table.lines().count().saturating_sub(run.nodes.len());
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        match number.checked_sub(lead).and_then(|index| run.nodes.get(index)) {
            None => push_line(text, &style.paint(Color::Dim, line)),
            Some(node) => {
                let color = if is_there(node) { Color::Green } else { Color::Yellow };
                let after = escaped_once(&node.target).len();
                push_line(text, &human::paint_word(line, after, &raw(&node.state), style, color));
            }
        }
    }
    for node in &run.nodes {
        if let Some(error) = &node.error {
            let word = style.paint(Color::Red, "error:");
            push_line(
                text,
                &format!("{word} {}: {}", escaped_once(&node.target), escaped_once(error)),
            );
        }
    }
}

fn push_changes(text: &mut String, changes: &Changes, style: Style) {
    text.push('\n');
    match changes {
        Changes::Untold { why, .. } => push_line(text, why),
        Changes::Listed { before, paths } if paths.is_empty() => {
            push_line(text, &format!("nothing is otherwise than in release {}", before.short()));
        }
        Changes::Listed { before, paths } => {
            let count =
                if paths.len() == 1 { "1 path".into() } else { format!("{} paths", paths.len()) };
            push_line(text, &format!("{count} otherwise than in release {}", before.short()));
            let shown =
                if style.all_paths { paths.len() } else { paths.len().min(human::PATHS_MAX) };
            for one in paths.iter().take(shown) {
                push_line(text, &human::changed_path(one.kind, &one.path, style));
            }
            if shown < paths.len() {
                push_line(text, &human::more_paths(paths.len().saturating_sub(shown)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;
    use crate::model::digest::{Digest, Domain};
    use crate::model::plan::ChangeKind;

    const PLAIN: Style = Style { color: false, all_paths: false };

    pub(super) fn release(name: &str) -> ReleaseId {
        Digest::of(Domain::Tree, name.as_bytes())
    }

    fn node(target: &str, state: &str, counts: Counts) -> Node {
        Node {
            target: target.into(),
            state: state.into(),
            release: (state == "committed").then(|| release("new")),
            counts,
            bytes_sent: 1_024,
            bytes_received: 10,
            duration_ms: 40,
            phases_ms: [1, 2, 3, 4, 30],
            error: (state != "committed").then(|| "no route\x1b[31m".into()),
        }
    }

    pub(super) fn run() -> Run {
        let counts = Counts { created: 1, updated: 2, deleted: 0, metadata: 0 };
        Run {
            id: 12,
            act: "push".into(),
            started: 1_795_866_244,
            duration_ms: 1_250,
            scan_ms: 20,
            prepare_ms: Some(700),
            commit_ms: Some(35),
            user: "ann".into(),
            host: "hub".into(),
            source: "/srv/s\n".into(),
            message: Some("why\x1b[2J it was done, at a length that no table can take".into()),
            release: Some(release("new")),
            is_live: true,
            exit: 3,
            outcome: "partial".into(),
            error: None,
            nodes: vec![
                node("mi-1:x", "committed", counts),
                node("mi-2:x", "unreachable", Counts::default()),
            ],
        }
    }

    pub(super) fn listed(count: usize) -> Changes {
        let path = |number: usize| Changed {
            path: examples::path(format!("f{number:02}\x1b").as_bytes()),
            kind: ChangeKind::Update,
            bytes: 5,
        };
        Changes::Listed { before: release("old"), paths: (0..count).map(path).collect() }
    }

    #[test]
    fn runs_are_listed_and_nothing_that_was_recorded_moves_a_terminal() {
        let text = table(&[run()], PLAIN).replace(&release("new").short(), "NEW");
        let expected = "\
run   when (UTC)             what   outcome   nodes   release        changed      sent    time   who       message
";
        assert!(text.starts_with(expected), "{text}");
        let row = " 12   2026-11-28T11:44:04Z   push   partial     1/2   NEW   +1 ~2     2.0 KiB   1.2 s   ann@hub   why\\u{1b}[2J it was done, at a length t…\n";
        assert!(text.ends_with(row), "{text}");
        let colored = table(&[run()], Style { color: true, ..PLAIN });
        assert!(colored.contains("push   \x1b[33mpartial\x1b[0m     1/2"), "{colored}");
        assert_eq!(table(&[], PLAIN), "no run is recorded yet\n");
    }

    #[test]
    fn one_run_is_shown_whole() {
        let text = shown(&run(), &listed(2), PLAIN);
        let expected = format!(
            "\
run 12: push by ann@hub, 2026-11-28T11:44:04Z
  message  why\\u{{1b}}[2J it was done, at a length that no table can take
  source   /srv/s\\n
  release  {}
  before   {}
  outcome  partial (exit 3), 1 of 2 nodes at the release
  time     1.2 s, source 20 ms, preparing 700 ms, commit window 35 ms

node     outcome       release        changed      sent   received    time   connect   inspect   stage   wait   commit
",
            release("new"),
            release("old"),
        );
        assert!(text.starts_with(&expected), "{text}");
        assert!(text.contains("\nerror: mi-2:x: no route\\u{1b}[31m\n"), "{text}");
        let tail = format!(
            "\n2 paths otherwise than in release {}\n  ~ f00\\u{{1b}}\n  ~ f01\\u{{1b}}\n",
            release("old").short()
        );
        assert!(text.ends_with(&tail), "{text}");
    }

    #[test]
    fn many_paths_are_cut_unless_all_are_asked_for() {
        let text = shown(&run(), &listed(60), PLAIN);
        assert!(text.ends_with("f49\\u{1b}\n  … and 10 more (-v shows all)\n"), "{text}");
        let text = shown(&run(), &listed(60), Style { all_paths: true, ..PLAIN });
        assert!(text.ends_with("f59\\u{1b}\n"), "{text}");
        let why = "it cannot be told".to_owned();
        let text = shown(&run(), &Changes::Untold { before: None, why }, PLAIN);
        assert!(text.ends_with("\n\nit cannot be told\n") && !text.contains("before"), "{text}");
        let text = shown(&run(), &listed(0), PLAIN);
        assert!(text.contains("nothing is otherwise than in release"), "{text}");
    }
}
