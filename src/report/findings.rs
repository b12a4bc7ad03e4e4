//! What doctor found, as text and as JSON Lines.

use serde::Serialize;

use super::human::{Color, Style, push_line};
use super::{figures, json};
use crate::hub::examine::{Examination, Finding};
use crate::model::target::Target;
use crate::wire::message::Level;

#[derive(Serialize)]
struct FindingLine<'a> {
    r#type: &'static str,
    format_version: u32,
    /// None: the hub itself.
    target: Option<String>,
    check: &'a str,
    level: &'static str,
    message: &'a str,
    hint: &'a str,
}

/// One line for each finding, with what to do below it; those of one place stand together. Only errors, if `errors_only`.
pub fn text(examination: &Examination, errors_only: bool, style: Style) -> String {
    let mut text = String::new();
    let shown: Vec<&Finding> = examination
        .findings
        .iter()
        .filter(|finding| !errors_only || finding.found.level == Level::Error)
        .collect();
    let width = shown.iter().map(|finding| finding.found.check.len()).max().unwrap_or_default();
    let mut place: Option<&Option<Target>> = None;
    for finding in shown {
        if place != Some(&finding.target) {
            place = Some(&finding.target);
            let name = finding.target.as_ref().map_or("the hub".to_owned(), Target::to_string);
            push_line(&mut text, &style.paint(Color::Bold, &name));
        }
        let found = &finding.found;
        let color = match found.level {
            Level::Error => Color::Red,
            Level::Warning => Color::Yellow,
        };
        let level = style.paint(color, &format!("{:<7}", found.level.word()));
        push_line(&mut text, &format!("  {level}  {:<width$}  {}", found.check, found.message));
        push_line(&mut text, &format!("    -> {}", found.hint));
    }
    text
}

/// The look in one sentence; empty if it was not carried out.
pub fn summary(examination: &Examination, style: Style) -> String {
    let outcome = &examination.outcome;
    if outcome.failure.is_some() {
        return String::new();
    }
    let time = figures::duration(outcome.duration);
    let count =
        |level| examination.findings.iter().filter(|finding| finding.found.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    if errors.saturating_add(warnings) == 0 {
        let nodes = figures::nodes(outcome.nodes.len());
        let sentence = format!("no findings: {nodes} and the hub in {time}");
        return format!("{}\n", style.paint(Color::Green, &sentence));
    }
    let parts: Vec<String> = [(errors, "error"), (warnings, "warning")]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| counted(*count, word))
        .collect();
    let all = counted(errors.saturating_add(warnings), "finding");
    let sentence = format!("{all}: {} in {time}", parts.join(", "));
    format!("{}\n", style.paint(Color::Bold, &sentence))
}

fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// One line of JSON for each finding, and the summary. `exit` is the code of the process.
pub fn lines(examination: &Examination, exit: u8) -> String {
    let mut text = String::new();
    for Finding { target, found } in &examination.findings {
        let line = FindingLine {
            r#type: "finding",
            format_version: json::FORMAT_VERSION,
            target: target.as_ref().map(Target::to_string),
            check: &found.check,
            level: found.level.word(),
            message: &found.message,
            hint: &found.hint,
        };
        json::push(&mut text, &line);
    }
    json::push(&mut text, &json::summary_line(&examination.outcome, exit));
    text
}

/// The findings as lines of a log.
pub fn log(examination: &Examination) -> Vec<String> {
    let line = |Finding { target, found }: &Finding| {
        let place = target.as_ref().map_or("the hub".to_owned(), Target::to_string);
        let level = found.level.word();
        format!("finding {place} {level} {}: {} -> {}", found.check, found.message, found.hint)
    };
    examination.findings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;
    use crate::hub::outcome::{NodeState, Verdict};
    use crate::wire::message;

    const PLAIN: Style = Style { color: false, all_paths: false };

    fn finding(target: Option<&Target>, check: &str, level: Level) -> Finding {
        let (message, hint) = ("it is so".to_owned(), "do that".to_owned());
        let found = message::Finding { check: check.to_owned(), level, message, hint };
        Finding { target: target.cloned(), found }
    }

    fn examination(of: impl Fn(&Target) -> Vec<Finding>) -> Examination {
        let node = examples::node("mi-1:server", NodeState::Failed);
        let mut outcome = examples::run(Verdict::Diff, vec![node]);
        outcome.release = None;
        outcome.commit_window = None;
        let findings = of(&outcome.nodes[0].target.clone());
        Examination { outcome, findings }
    }

    #[test]
    fn findings_stand_below_their_place_with_what_to_do() {
        let examined = examination(|target| {
            vec![
                finding(None, "busy", Level::Warning),
                finding(Some(target), "no-space", Level::Error),
                finding(Some(target), "clock", Level::Warning),
            ]
        });
        assert_eq!(
            text(&examined, false, PLAIN),
            "the hub\n  warning  busy      it is so\n    -> do that\nmi-1:server\n  error    no-space  it is so\n    \
             -> do that\n  warning  clock     it is so\n    -> do that\n"
        );
        assert_eq!(
            text(&examined, true, PLAIN),
            "mi-1:server\n  error    no-space  it is so\n    -> do that\n"
        );
        assert_eq!(summary(&examined, PLAIN), "3 findings: 1 error, 2 warnings in 1.2 s\n");
        assert_eq!(log(&examined)[0], "finding the hub warning busy: it is so -> do that");
    }

    #[test]
    fn nothing_found_is_said() {
        let examined = examination(|_| Vec::new());
        assert_eq!(text(&examined, false, PLAIN), "");
        assert_eq!(summary(&examined, PLAIN), "no findings: 1 node and the hub in 1.2 s\n");
        let one = examination(|_| vec![finding(None, "busy", Level::Error)]);
        assert_eq!(summary(&one, PLAIN), "1 finding: 1 error in 1.2 s\n");
    }

    #[test]
    fn the_keys_are_the_promised_ones() {
        let examined = examination(|target| {
            vec![
                finding(None, "busy", Level::Warning),
                finding(Some(target), "\u{9b}", Level::Error),
            ]
        });
        let text = lines(&examined, 2);
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{text}");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(
            lines[0],
            serde_json::json!({"type": "finding", "format_version": 1, "target": null, "check": "busy", "level": "warning",
                "message": "it is so", "hint": "do that"})
        );
        assert_eq!(lines[1]["target"], "mi-1:server");
        assert_eq!((&lines[2]["type"], &lines[2]["exit"]), (&"summary".into(), &2.into()));
        assert_eq!((&lines[2]["nodes"], &lines[2]["nodes_at_release"]), (&1.into(), &0.into()));
    }
}
