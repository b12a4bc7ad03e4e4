//! What depsync said and how it ended.

use std::time::Duration;

use serde_json::Value;

use crate::failure::{Failure, Result};

/// The end of one run with `--json`.
pub(super) struct Told {
    /// The command, for messages.
    pub(super) what: String,
    pub(super) code: Option<i32>,
    pub(super) text: String,
    pub(super) took: Duration,
}

impl Told {
    fn lines(&self) -> impl Iterator<Item = Value> {
        self.text.lines().filter_map(|line| serde_json::from_str(line).ok())
    }

    /// The line about the node whose target begins with `root@<address>:`.
    pub(super) fn node(&self, address: &str) -> Value {
        let start = format!("root@{address}:");
        let is_its = |line: &Value| {
            line["type"] == "node"
                && line["target"].as_str().is_some_and(|target| target.starts_with(&start))
        };
        self.lines().find(is_its).unwrap_or(Value::Null)
    }

    /// The kinds of all errors, of nodes and of the run.
    pub(super) fn kinds(&self) -> Vec<String> {
        self.lines().filter_map(|line| line["error"]["kind"].as_str().map(str::to_owned)).collect()
    }

    /// # Errors
    /// It ended with another code.
    pub(super) fn exit(&self, code: i32) -> Result<&Self> {
        self.expect(self.code == Some(code), &format!("exit {code}"))
    }

    /// # Errors
    /// Nothing that was said has all of `words` in one line.
    pub(super) fn says(&self, words: &[&str]) -> Result<&Self> {
        let has = self.text.lines().any(|line| words.iter().all(|word| line.contains(word)));
        self.expect(has, &format!("a line with {words:?}"))
    }

    /// # Errors
    /// No error is of this kind.
    pub(super) fn kind(&self, kind: &str) -> Result<&Self> {
        self.expect(
            self.kinds().iter().any(|told| told == kind),
            &format!("an error of kind {kind}"),
        )
    }

    /// # Errors
    /// It does not hold.
    pub(super) fn expect(&self, holds: bool, what: &str) -> Result<&Self> {
        if holds {
            return Ok(self);
        }
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        Err(Failure::new(format!(
            "{}: not {what}, but exit {code}:\n{}",
            self.what,
            self.text.trim()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_its_whole_address_and_another_end_is_a_failure() {
        let text = "{\"type\":\"node\",\"target\":\"root@10.0.0.20:/opt\",\"state\":\"failed\",\"error\":{\"kind\":\"busy\"}}\n\
                    error: what a person reads\n\
                    {\"type\":\"node\",\"target\":\"root@10.0.0.2:/opt\",\"state\":\"committed\",\"error\":null}\n";
        let told =
            Told { what: "push".into(), code: Some(3), text: text.into(), took: Duration::ZERO };
        assert_eq!(told.node("10.0.0.2")["state"], "committed");
        assert_eq!(told.node("10.0.0.3"), Value::Null);
        assert!(told.exit(3).is_ok() && told.exit(0).is_err());
        assert!(told.kind("busy").is_ok() && told.kind("no-space").is_err());
        assert!(told.says(&["a person"]).is_ok() && told.says(&["person", "busy"]).is_err());
    }
}
