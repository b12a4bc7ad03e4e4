//! The outcome as text for people: a table and one sentence on standard output, failures with causes and hints beside it.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets};

use super::drift::Drift;
use super::figures;
use crate::hub::options::Mode;
use crate::hub::outcome::{ChangeKind, Counts, Failure, NodeOutcome, NodeState, RunOutcome};
use crate::model::path::TreePath;

/// Paths shown of one plan unless all are asked for.
pub(super) const PATHS_MAX: usize = 50;

/// How text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// With colours.
    pub color: bool,
    /// All paths of a plan, however many.
    pub all_paths: bool,
}

/// What a text is shown in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// For what is wrong.
    Red,
    /// For what is well.
    Green,
    /// For what is to be looked at.
    Yellow,
    /// For what matters less.
    Dim,
    /// For heads.
    Bold,
}

impl Style {
    /// `text` in the colour, if there are colours.
    pub fn paint(self, color: Color, text: &str) -> String {
        let code = match color {
            Color::Red => "31",
            Color::Green => "32",
            Color::Yellow => "33",
            Color::Dim => "2",
            Color::Bold => "1",
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `+3 ~2 -1 m4`, or `-` if nothing changes.
pub fn changed(counts: Counts) -> String {
    let Counts { created, updated, deleted, metadata } = counts;
    let parts = [('+', created), ('~', updated), ('-', deleted), ('m', metadata)];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(sign, count)| format!("{sign}{count}"))
        .collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

/// The paths of each plan; nodes with the same plan share one list.
pub fn changes(outcome: &RunOutcome, mode: Mode, style: Style) -> String {
    let mut plans: Vec<Vec<&NodeOutcome>> = Vec::new();
    for node in outcome.nodes.iter().filter(|node| !node.changes.is_empty()) {
        match plans.iter_mut().find(|plan| plan.iter().any(|other| other.changes == node.changes)) {
            Some(plan) => plan.push(node),
            None => plans.push(vec![node]),
        }
    }
    let mut text = String::new();
    for plan in plans {
        for node in &plan {
            push_line(&mut text, &style.paint(Color::Bold, &node.target.to_string()));
        }
        let changes = plan.first().map_or(&[][..], |node| &node.changes);
        let shown = if style.all_paths { changes.len() } else { changes.len().min(PATHS_MAX) };
        for change in changes.iter().take(shown) {
            if mode == Mode::Verify {
                let word = Drift::of(change, changes).word();
                let line = format!("  {word:<8} {}", change.path);
                push_line(&mut text, &style.paint(Color::Yellow, &line));
                continue;
            }
            push_line(&mut text, &changed_path(change.kind, &change.path, style));
        }
        if shown < changes.len() {
            push_line(&mut text, &more_paths(changes.len() - shown));
        }
        text.push('\n');
    }
    text
}

/// The line of one path that changes.
pub(super) fn changed_path(kind: ChangeKind, path: &TreePath, style: Style) -> String {
    let (sign, color) = match kind {
        ChangeKind::Create => ('+', Color::Green),
        ChangeKind::Update => ('~', Color::Yellow),
        ChangeKind::Delete => ('-', Color::Red),
        ChangeKind::Metadata => ('m', Color::Dim),
        ChangeKind::Type => ('t', Color::Yellow),
    };
    style.paint(color, &format!("  {sign} {path}"))
}

/// The line in the place of `count` paths that are not shown.
pub(super) fn more_paths(count: usize) -> String {
    format!("  … and {count} more (-v shows all)")
}

/// A table with a rule below `head` and no other lines, and the cells of the columns `right` at their right side.
pub(super) fn ruled_table(head: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table.load_style(presets::NOTHING.header_separator(rule));
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((u16::from(index > 0), 1));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// One line for each node, with a head; empty if no node was contacted.
pub fn table(outcome: &RunOutcome, mode: Mode, style: Style) -> String {
    if outcome.nodes.is_empty() {
        return String::new();
    }
    let mut head = vec!["node", "outcome", "changed", "sent", "time"];
    if mode.is_read_only() {
        head.remove(3);
    }
    let last = head.len() - 1;
    let rows = outcome.nodes.iter().map(|node| {
        let mut row = vec![
            node.target.to_string(),
            node.state.word().to_owned(),
            changed(node.counts),
            figures::bytes(node.bytes_sent),
            figures::duration(node.duration),
        ];
        if mode.is_read_only() {
            row.remove(3);
        }
        row
    });
    let right: Vec<usize> = (last.min(3)..=last).collect();
    let table = ruled_table(&head, &right, rows.collect());
    let lead = table.to_string().lines().count().saturating_sub(outcome.nodes.len());
    let mut text = String::new();
    for (number, line) in table.to_string().lines().enumerate() {
        let node = number.checked_sub(lead).and_then(|index| outcome.nodes.get(index));
        push_line(&mut text, &paint_state(line.trim_end(), node, style));
    }
    text
}

/// The line of `node` with its state in colour.
fn paint_state(line: &str, node: Option<&NodeOutcome>, style: Style) -> String {
    let Some(node) = node else { return style.paint(Color::Dim, line) };
    let color = match node.state {
        NodeState::Committed => Color::Green,
        NodeState::Unchanged => Color::Dim,
        NodeState::Differs | NodeState::Pending => Color::Yellow,
        NodeState::Unreachable | NodeState::Refused | NodeState::Failed => Color::Red,
    };
    // The name comes first and may hold the word of a state itself.
    paint_word(line, node.target.to_string().len(), node.state.word(), style, color)
}

/// `line` with the first `word` behind its first `after` bytes in colour.
pub(super) fn paint_word(
    line: &str,
    after: usize,
    word: &str,
    style: Style,
    color: Color,
) -> String {
    let at = line.get(after..).and_then(|rest| rest.find(word)).map(|at| at.saturating_add(after));
    match at.and_then(|at| line.split_at_checked(at)) {
        Some((before, rest)) => {
            format!(
                "{before}{}{}",
                style.paint(color, word),
                rest.strip_prefix(word).unwrap_or(rest)
            )
        }
        None => line.to_owned(),
    }
}

/// The run in one sentence; empty if no node was contacted.
pub fn summary(outcome: &RunOutcome, mode: Mode, style: Style) -> String {
    let (Some(release), false) = (outcome.release, outcome.nodes.is_empty()) else {
        return String::new();
    };
    let all = outcome.nodes.len();
    let there = outcome.nodes.iter().filter(|node| node.state.is_at_release()).count();
    let committed = outcome.nodes.iter().filter(|node| node.state == NodeState::Committed).count();
    let release = format!("release {}", release.short());
    let time = figures::duration(outcome.duration);
    let mut sentence = match mode {
        Mode::Plan | Mode::Verify if there == all => {
            format!("no difference: {} at {release}", figures::nodes(all))
        }
        Mode::Verify => {
            let differ =
                outcome.nodes.iter().filter(|node| node.state == NodeState::Differs).count();
            format!("{differ} of {} differ from {release}", figures::nodes(all))
        }
        Mode::Plan => {
            let differ =
                outcome.nodes.iter().filter(|node| node.state == NodeState::Differs).count();
            format!("{differ} of {} would change to {release}", figures::nodes(all))
        }
        Mode::Push if there == all && committed == 0 => {
            format!("nothing changed: {} at {release}", figures::nodes(all))
        }
        Mode::Push if there == all => format!("{} at {release}", figures::nodes(all)),
        Mode::Push => format!("{there} of {} at {release}", figures::nodes(all)),
    };
    for state in [NodeState::Pending, NodeState::Unreachable, NodeState::Refused, NodeState::Failed]
    {
        let count = outcome.nodes.iter().filter(|node| node.state == state).count();
        if count > 0 {
            // Writing to a string does not fail.
            let _ = write!(sentence, ", {count} {}", state.word());
        }
    }
    let _ = write!(sentence, " in {time}");
    if let Some(window) = outcome.commit_window.filter(|_| committed > 0) {
        let _ = write!(sentence, " (commit window {})", figures::duration(window));
    }
    let color = if there == all { Color::Green } else { Color::Bold };
    format!("{}\n", style.paint(color, &sentence))
}

/// What the operator should know although it worked, one line each.
pub fn notes(outcome: &RunOutcome, style: Style) -> String {
    let mut text = note_lines(&outcome.notes, style);
    for node in &outcome.nodes {
        let notes = node.notes.iter().map(|note| format!("{}: {note}", node.target));
        text += &note_lines(notes, style);
    }
    text
}

/// What the operator should know, one line each.
pub(super) fn note_lines(
    notes: impl IntoIterator<Item = impl std::fmt::Display>,
    style: Style,
) -> String {
    let word = style.paint(Color::Yellow, "note:");
    let mut text = String::new();
    for note in notes {
        push_line(&mut text, &format!("{word} {note}"));
    }
    text
}

/// Why the run or its nodes failed; nodes that failed alike share one message.
pub fn failures(outcome: &RunOutcome, style: Style) -> String {
    let mut text = String::new();
    let mut alike: Vec<(&Failure, Vec<String>)> = Vec::new();
    for node in &outcome.nodes {
        let Some(failure) = &node.failure else { continue };
        match alike.iter_mut().find(|(other, _)| *other == failure) {
            Some((_, names)) => names.push(node.target.to_string()),
            None => alike.push((failure, vec![node.target.to_string()])),
        }
    }
    for (node_failure, names) in alike {
        text.push_str(&failure(&format!("{}: ", names.join(", ")), node_failure, style));
    }
    if let Some(run_failure) = outcome.failure.as_ref().filter(|failure| !is_told(outcome, failure))
    {
        text.push_str(&failure("", run_failure, style));
    }
    text
}

/// True if the run was stopped by one node's failure, which stands among the nodes' own already.
fn is_told(outcome: &RunOutcome, run_failure: &Failure) -> bool {
    outcome.nodes.iter().any(|node| {
        node.failure.as_ref().is_some_and(|failure| {
            run_failure.kind == failure.kind
                && run_failure.message == format!("{}: {}", node.target, failure.message)
        })
    })
}

/// `error: <what>`, `  caused by: <chain>`, `hint: <one action>`.
pub fn failure(place: &str, failure: &Failure, style: Style) -> String {
    let mut text = String::new();
    push_line(
        &mut text,
        &format!("{} {place}{}", style.paint(Color::Red, "error:"), failure.message),
    );
    for cause in &failure.causes {
        push_line(&mut text, &format!("  caused by: {cause}"));
    }
    if let Some(hint) = &failure.hint {
        push_line(&mut text, &format!("{} {hint}", style.paint(Color::Yellow, "hint:")));
    }
    text
}

/// Adds a line.
pub fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;
    use crate::hub::outcome::Verdict;

    const PLAIN: Style = Style { color: false, all_paths: false };

    #[test]
    fn a_node_that_stops_the_run_is_told_once() {
        let mut outcome = examples::partial();
        let before = failures(&outcome, PLAIN);
        let node = outcome.nodes.iter().find(|node| node.failure.is_some()).expect("one failed");
        let failure = node.failure.clone().expect("it failed");
        let message = format!("{}: {}", node.target, failure.message);
        outcome.failure = Some(Failure { message, ..failure.clone() });
        assert_eq!(failures(&outcome, PLAIN), before);
        outcome.failure = Some(Failure { message: "something else".into(), ..failure });
        assert!(failures(&outcome, PLAIN).starts_with(&format!("{before}error: something else\n")));
    }

    #[test]
    fn a_push_is_a_table_and_a_sentence() {
        let outcome = examples::partial();
        assert_eq!(
            table(&outcome, Mode::Push, PLAIN),
            "\
node                                                 outcome       changed          sent    time
─────────────────────────────────────────────────────────────────────────────────────────────────
wso2@mi-1:/opt/wso2mi/repository/deployment/server   committed     +3 ~2 -1 m4   1.2 MiB   1.1 s
wso2@mi-2:/opt/wso2mi/repository/deployment/server   committed     +3 ~2 -1 m4   1.2 MiB   1.1 s
/srv/server                                          unchanged     -               310 B   84 ms
mi-4:server                                          unreachable   -               310 B   84 ms
"
        );
        let release = outcome.release.expect("a release").short();
        assert_eq!(
            summary(&outcome, Mode::Push, PLAIN),
            format!(
                "3 of 4 nodes at release {release}, 1 unreachable in 1.2 s (commit window 35 ms)\n"
            )
        );
        assert_eq!(
            failures(&outcome, PLAIN),
            "error: mi-4:server: the host key of mi-3 is not known\n  caused by: ssh ended with code 255\n  \
             caused by: Host key verification failed.\nhint: check the key and add it with ssh-keyscan, or pass \
             --accept-new-host-keys\n"
        );
        assert_eq!(
            notes(&outcome, PLAIN),
            "note: wso2@mi-1:/opt/wso2mi/repository/deployment/server: the target is a link to /data/server\n"
        );
    }

    #[test]
    fn sentences_fit_the_outcome() {
        let node = examples::node;
        let release = examples::partial().release.expect("a release").short();
        for (mode, states, expected) in [
            (
                Mode::Push,
                &[NodeState::Unchanged][..],
                "nothing changed: 1 node at release R in 1.2 s",
            ),
            (
                Mode::Push,
                &[NodeState::Unchanged, NodeState::Committed],
                "2 nodes at release R in 1.2 s (commit window 35 ms)",
            ),
            (
                Mode::Push,
                &[NodeState::Failed, NodeState::Pending],
                "0 of 2 nodes at release R, 1 pending, 1 failed in 1.2 s",
            ),
            (Mode::Plan, &[NodeState::Unchanged], "no difference: 1 node at release R in 1.2 s"),
            (
                Mode::Plan,
                &[NodeState::Differs, NodeState::Unreachable],
                "1 of 2 nodes would change to release R, 1 unreachable in 1.2 s",
            ),
        ] {
            let nodes = states.iter().map(|state| node("h:x", *state)).collect();
            let told = summary(&examples::run(Verdict::Done, nodes), mode, PLAIN);
            assert_eq!(told.trim_end().replace(&release, "R"), expected);
        }
        assert_eq!(summary(&examples::run(Verdict::Guard, Vec::new()), Mode::Push, PLAIN), "");
        assert_eq!(table(&examples::run(Verdict::Guard, Vec::new()), Mode::Push, PLAIN), "");
    }

    #[test]
    fn equal_plans_are_listed_once_and_long_ones_in_part() {
        let outcome = examples::plan();
        let text = changes(&outcome, Mode::Plan, PLAIN);
        let start = "mi-1:server\nmi-2:server\n  + carbonapps/new.car\n  - carbonapps/old.car\n  ~ conf/\\u{1b}[31m\\xff\n  t lib\n  m .\n\nmi-3:server\n  + f00\n";
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with("  + f49\n  … and 10 more (-v shows all)\n\n"), "{text}");
        let all = changes(&outcome, Mode::Plan, Style { all_paths: true, ..PLAIN });
        assert!(all.ends_with("  + f59\n\n"), "{all}");
    }

    #[test]
    fn fault_011_no_byte_of_a_path_moves_a_terminal() {
        let outcome = examples::plan();
        let text = changes(&outcome, Mode::Plan, PLAIN) + &table(&outcome, Mode::Plan, PLAIN);
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn colour_touches_the_state_alone() {
        let mut outcome = examples::partial();
        let base = crate::model::target::LocalPath::new(b"/").expect("the root");
        outcome.nodes[0].target =
            crate::model::target::Target::parse(b"committed:/x committed", &base)
                .expect("a target");
        let style = Style { color: true, all_paths: false };
        let colored = table(&outcome, Mode::Push, style);
        assert!(colored.contains("\ncommitted:/x committed  "), "{colored}");
        assert!(colored.contains("\x1b[32mcommitted\x1b[0m     +3"), "{colored}");
        let plain: String = ["2", "31", "32", "0"]
            .iter()
            .fold(colored, |text, code| text.replace(&format!("\x1b[{code}m"), ""));
        assert_eq!(plain, table(&outcome, Mode::Push, PLAIN));
    }

    #[test]
    fn nodes_that_failed_alike_share_a_message() {
        let mut outcome = examples::partial();
        outcome.nodes[2].failure = Some(examples::failure());
        outcome.failure = Some(Failure { hint: None, causes: Vec::new(), ..examples::failure() });
        let text = failures(&outcome, PLAIN);
        assert!(text.starts_with("error: /srv/server, mi-4:server: the host key"), "{text}");
        assert!(text.ends_with("\nerror: the host key of mi-3 is not known\n"), "{text}");
    }
}
