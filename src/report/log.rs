//! A run as lines of a log: its start, each node, each failure with its causes, the end. Every line stands alone.

use crate::hub::outcome::{Failure, RunOutcome};
use crate::model::untrusted::Untrusted;

use super::figures;
use super::human;

/// The line of a run's start, with the operator's message if there is one.
pub fn start<'a>(
    cluster: &str,
    message: Option<&str>,
    command: impl IntoIterator<Item = &'a [u8]>,
) -> String {
    let words: Vec<String> =
        command.into_iter().map(|word| Untrusted::new(word).to_string()).collect();
    let message = message.map_or(String::new(), |message| {
        format!(" message=\"{}\"", Untrusted::new(message.as_bytes()))
    });
    format!("start cluster={cluster}{message} command={}", words.join(" "))
}

/// The lines of a run's end. `exit` is the code of the process.
pub fn end(outcome: &RunOutcome, exit: u8) -> Vec<String> {
    let mut lines = Vec::new();
    for node in &outcome.nodes {
        lines.push(format!(
            "node {} {} changed={} sent={} received={} time={}",
            node.target,
            node.state.word(),
            human::changed(node.counts).replace(' ', ","),
            node.bytes_sent,
            node.bytes_received,
            figures::duration(node.duration).replace(' ', ""),
        ));
        lines.extend(node.notes.iter().map(|note| format!("note {}: {note}", node.target)));
        if let Some(failure) = &node.failure {
            push_failure(&mut lines, &format!("{}: ", node.target), failure);
        }
    }
    lines.extend(outcome.notes.iter().map(|note| format!("note {note}")));
    if let Some(failure) = &outcome.failure {
        push_failure(&mut lines, "", failure);
    }
    let release = outcome.release.map_or("-".to_owned(), |release| release.to_string());
    let at_release = outcome.nodes.iter().filter(|node| node.state.is_at_release()).count();
    lines.push(format!(
        "end exit={exit} outcome={} release={release} nodes={} at-release={at_release} time={}",
        outcome.verdict.word(),
        outcome.nodes.len(),
        figures::duration(outcome.duration).replace(' ', ""),
    ));
    lines
}

fn push_failure(lines: &mut Vec<String>, place: &str, failure: &Failure) {
    let texts =
        failure.message.lines().chain(failure.causes.iter().flat_map(|cause| cause.lines()));
    for (number, text) in texts.enumerate() {
        let lead = if number == 0 { "error" } else { "  caused by" };
        lines.push(format!("{lead} {place}{text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn a_run_is_told_whole() {
        let lines = end(&examples::partial(), 3);
        assert_eq!(
            lines[0],
            "node wso2@mi-1:/opt/wso2mi/repository/deployment/server committed changed=+3,~2,-1,m4 sent=1258291 received=120 time=1.1s"
        );
        assert!(
            lines.contains(&"error mi-4:server: the host key of mi-3 is not known".to_owned()),
            "{lines:?}"
        );
        assert!(lines.contains(&"  caused by mi-4:server: ssh ended with code 255".to_owned()));
        assert!(
            lines
                .last()
                .is_some_and(|line| line.starts_with("end exit=3 outcome=partial release="))
        );
        assert!(lines.iter().all(|line| !line.contains('\n')));
    }

    #[test]
    fn fault_011_the_command_cannot_forge_a_line() {
        let words: [&[u8]; 2] = [b"depsync", b"a\nend exit=0"];
        assert_eq!(start("mi", None, words), "start cluster=mi command=depsync a\\nend exit=0");
    }
}
