//! [`Notes`]: the findings as they come, with the lines they are said of; and the keys that are set.

use std::collections::BTreeMap;

use super::finding::{Finding, Level};
use crate::model::untrusted::Untrusted;

/// Text from outside, as a message may hold it.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    let cut: String = text.chars().take(CHARS_MAX).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", Untrusted::new(cut.as_bytes()))
}

/// Findings that are kept: a hostile text must not fill memory with them.
const FINDINGS_MAX: usize = 1000;

/// The findings, and the lines of the text.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) findings: Vec<Finding>,
    lines: Vec<String>,
}

impl Notes {
    pub(super) fn new(text: &str) -> Self {
        Self { findings: Vec::new(), lines: text.lines().map(str::to_owned).collect() }
    }

    /// A finding of a line.
    pub(super) fn say(
        &mut self,
        line: Option<usize>,
        (check, level): (&'static str, Level),
        message: impl Into<String>,
        instead: impl Into<String>,
    ) {
        if self.findings.len() >= FINDINGS_MAX {
            return;
        }
        let text = line.and_then(|line| self.lines.get(line.checked_sub(1)?));
        let text = text.map_or("", String::as_str);
        self.findings.push(Finding::new(line, check, level, message, instead).with_text(text));
    }

    /// A finding of which there is one for the whole text.
    pub(super) fn say_once(
        &mut self,
        line: Option<usize>,
        (check, level): (&'static str, Level),
        message: impl Into<String>,
        instead: impl Into<String>,
    ) {
        if !self.findings.iter().any(|finding| finding.check == check) {
            self.say(line, (check, level), message, instead);
        }
    }

    /// What was said, faults and losses each in the order of the lines.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| (finding.level, finding.line.unwrap_or(usize::MAX)));
        self.findings.dedup();
        self.findings
    }
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// Texts.
    List(Vec<String>),
    /// Yes or no.
    Flag(bool),
}

/// Keys with their sections.
pub type Keys = BTreeMap<(&'static str, &'static str), Value>;

/// Adds `text` to a list.
pub(super) fn add(keys: &mut Keys, section: &'static str, key: &'static str, text: String) {
    let list = keys.entry((section, key)).or_insert_with(|| Value::List(Vec::new()));
    if let Value::List(list) = list
        && !list.contains(&text)
    {
        list.push(text);
    }
}

/// Puts the keys of another command beside `keys`. Lists grow; gives the keys whose value would be another one.
pub(super) fn merge(keys: &mut Keys, others: &Keys) -> Vec<(&'static str, &'static str)> {
    let mut clashes = Vec::new();
    for ((section, key), value) in others {
        match value {
            Value::List(texts) => {
                for text in texts {
                    add(keys, section, key, text.clone());
                }
            }
            value => {
                let old = keys.entry((section, key)).or_insert_with(|| value.clone());
                if old != value {
                    clashes.push((*section, *key));
                }
            }
        }
    }
    clashes
}
