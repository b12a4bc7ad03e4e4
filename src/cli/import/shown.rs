//! What import says: the findings line by line, what was written, and what to do next.

use serde::Serialize;

use super::Made;
use crate::config::import::{Finding, Imported, Level, Nodes};
use crate::model::untrusted::Untrusted;
use crate::report::human::{Color, Style, push_line};
use crate::report::json;

/// The heads of what is said, in its order.
const HEADS: &[(Level, &str, Color)] = &[
    (Level::Lost, "not in the configuration: decide what becomes of it", Color::Red),
    (Level::Fault, "faults that end with it", Color::Yellow),
    (Level::Note, "how it was taken", Color::Dim),
];

/// For people. `written` is the file that was written, if one was.
pub(super) fn text(made: &Made, written: Option<&str>, style: Style) -> String {
    let mut text = String::new();
    for (level, head, color) in HEADS {
        let findings: Vec<&Finding> =
            made.imported.findings.iter().filter(|finding| finding.level == *level).collect();
        if findings.is_empty() {
            continue;
        }
        push_line(&mut text, &style.paint(*color, head));
        let mut before = None;
        for finding in findings {
            if let (Some(line), true) = (finding.line, finding.line != before) {
                let shown = Untrusted::new(finding.text.as_bytes());
                push_line(&mut text, &style.paint(Color::Bold, &format!("  line {line}: {shown}")));
            }
            before = finding.line;
            push_line(&mut text, &format!("    {}", finding.message));
            push_line(
                &mut text,
                &style.paint(Color::Dim, &format!("      -> {}", finding.instead)),
            );
        }
        text.push('\n');
    }
    if let Some(name) = written {
        push_line(&mut text, &style.paint(Color::Green, &sentence(made, name)));
    }
    for line in next(made, written.is_some()) {
        push_line(&mut text, &line);
    }
    text
}

fn counted(imported: &Imported, level: Level, one: &str, many: &str) -> Option<String> {
    match imported.findings.iter().filter(|finding| finding.level == level).count() {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    }
}

fn sentence(made: &Made, name: &str) -> String {
    let counts = [
        counted(&made.imported, Level::Lost, "thing to decide", "things to decide"),
        counted(&made.imported, Level::Fault, "fault", "faults"),
        counted(&made.imported, Level::Note, "note", "notes"),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let from = made.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    let counts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
    format!("wrote {name}{from}{counts}")
}

/// What to do next.
fn next(made: &Made, is_written: bool) -> Vec<String> {
    let imported = &made.imported;
    let lacks = imported.source.is_none() || imported.nodes == Nodes::None;
    let mut lines = Vec::new();
    if is_written {
        let lead = if lacks { "name what is missing in it, then see" } else { "see" };
        lines.push(format!("{lead} what would change with 'depsync plan{}'", config_option(made)));
    }
    let crontab = crontab(made);
    if !crontab.is_empty() {
        lines.push("then, in the crontab, in the place of its line:".to_owned());
        lines.extend(crontab.into_iter().map(|line| format!("  {line}")));
        lines.push(
            "('depsync recipe cron' and 'depsync recipe systemd' write more than the line)"
                .to_owned(),
        );
    } else if imported.is_script {
        lines.push("then take the script out of the crontab; 'depsync recipe cron' or 'depsync recipe systemd' writes what takes its place".to_owned());
    }
    lines
}

/// The option that names the configuration, where it is not found without.
fn config_option(made: &Made) -> String {
    let is_default = made.config.file_name().is_some_and(|name| name == "depsync.toml");
    if is_default { String::new() } else { format!(" -c {}", super::escaped(&made.config)) }
}

/// The lines that replace those of the crontab.
fn crontab(made: &Made) -> Vec<String> {
    let keeps = if made.imported.deletes { "" } else { " --no-delete" };
    // cron takes a `%` for the line's end, the shell splits at blanks.
    let path = super::escaped(&made.config).replace('%', "\\%").replace('\'', "'\\''");
    let is_plain =
        path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+,@".contains(&byte));
    let path = if is_plain { path } else { format!("'{path}'") };
    let line = |entry: &crate::config::import::Entry| {
        let user = entry.user.as_ref().map(|user| format!("{user} ")).unwrap_or_default();
        format!("{} {user}depsync push -q{keeps} -c {path}", entry.times)
    };
    let mut lines: Vec<String> = made.imported.cron.iter().map(line).collect();
    lines.dedup();
    lines
}

#[derive(Serialize)]
struct FindingLine<'a> {
    r#type: &'static str,
    format_version: u32,
    /// None: it is said of the whole.
    line: Option<usize>,
    text: &'a str,
    check: &'a str,
    level: &'static str,
    message: &'a str,
    instead: &'a str,
}

#[derive(Serialize)]
struct ImportLine<'a> {
    r#type: &'static str,
    format_version: u32,
    exit: u8,
    /// The file that was written; none with `--print`.
    config: Option<String>,
    /// The configuration; with `--print`.
    #[serde(skip_serializing_if = "Option::is_none")]
    toml: Option<&'a str>,
    lost: usize,
    faults: usize,
    notes: usize,
    crontab: Vec<String>,
}

/// One line of JSON for each finding, and one that tells what was written.
pub(super) fn lines(made: &Made, prints: bool) -> String {
    let mut text = String::new();
    let findings = &made.imported.findings;
    for finding in findings {
        let line = FindingLine {
            r#type: "import_finding",
            format_version: json::FORMAT_VERSION,
            line: finding.line,
            text: &finding.text,
            check: finding.check,
            level: finding.level.word(),
            message: &finding.message,
            instead: &finding.instead,
        };
        json::push(&mut text, &line);
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let line = ImportLine {
        r#type: "import",
        format_version: json::FORMAT_VERSION,
        exit: 0,
        config: (!prints).then(|| super::escaped(&made.config)),
        toml: prints.then_some(made.text.as_str()),
        lost: count(Level::Lost),
        faults: count(Level::Fault),
        notes: count(Level::Note),
        crontab: crontab(made),
    };
    json::push(&mut text, &line);
    text
}
