//! What must hold after a run that was stopped in any way, and after the next runs, which are not.
//!
//! 1. What the report says of a node is so.
//! 2. Recovery, and then a hub's next contact, leave each tree exactly old or exactly new: new if that was decided, and all
//!    nodes alike if the hub died.
//! 3. The next push ends at the new release, and the one behind it writes nothing.
//! 4. Nothing is left over in any state.

use std::collections::BTreeMap;
use std::fs::read_dir;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::sandbox::{Outcome, Sandbox};
use super::scenario::Release;
use super::snapshot::Snapshot;
use crate::failure::{Result, at};

/// What trees are to be compared with.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// What each node was.
    old: Vec<Snapshot>,
    /// What all are to become.
    new: Snapshot,
}

/// What was found wrong, a line each.
pub(crate) type Losses = Vec<String>;

impl Expected {
    /// What is true of every copy of `sandbox`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn of(sandbox: &Sandbox) -> Result<Self> {
        let nodes = 0..sandbox.setup().nodes;
        let old = nodes.map(|node| sandbox.snapshot(node)).collect::<Result<_>>()?;
        Ok(Self { old, new: Snapshot::of(&sandbox.source(Release::New))? })
    }

    /// Looks at a sandbox whose last run came to `outcome`; with `is_dead` its hub was killed.
    ///
    /// # Errors
    /// Something cannot be read or started; what is wrong is no error, but a loss.
    pub(crate) fn check(
        &self,
        sandbox: &Sandbox,
        outcome: &Outcome,
        is_dead: bool,
    ) -> Result<Losses> {
        let mut losses = Losses::new();
        let is_decided = is_decided(sandbox)?;
        self.check_report(sandbox, outcome, is_dead, &mut losses)?;
        recover(sandbox, self, &mut losses)?;
        self.check_contact(sandbox, outcome, is_decided, &mut losses)?;
        self.check_pushes(sandbox, &mut losses)?;
        check_leftovers(sandbox, &mut losses)?;
        Ok(losses)
    }

    /// The release that a node's tree is; what differs from both is a loss.
    fn side(
        &self,
        sandbox: &Sandbox,
        node: usize,
        when: &str,
        losses: &mut Losses,
    ) -> Result<Option<Release>> {
        let now = sandbox.snapshot(node)?;
        if now == self.new {
            return Ok(Some(Release::New));
        }
        let old = self.old.get(node).map(|old| old.differences(&now)).unwrap_or_default();
        if old.is_empty() {
            return Ok(Some(Release::Old));
        }
        let new = self.new.differences(&now);
        losses.push(format!(
            "{when}: node {node} is neither\n  not old: {}\n  not new: {}",
            old.join("; "),
            new.join("; ")
        ));
        Ok(None)
    }

    fn check_report(
        &self,
        sandbox: &Sandbox,
        outcome: &Outcome,
        is_dead: bool,
        losses: &mut Losses,
    ) -> Result {
        if outcome.is_late {
            losses.push("it hangs".into());
        }
        if outcome.said.contains("panicked") {
            losses.push("it panics".into());
        }
        match outcome.code {
            Some(0 | 1 | 3 | 5) => {}
            None if is_dead => return Ok(()),
            code => losses.push(format!("the exit code is {code:?}")),
        }
        if !outcome.said.contains("\"type\":\"summary\"") {
            // The report itself was lost, which turns 0 into 1 and tells nothing of nodes.
            if outcome.code != Some(1) {
                losses.push(format!("without a report the exit code is {:?}", outcome.code));
            }
            return Ok(());
        }
        let mut states = outcome.states.iter().map(Option::as_deref).enumerate();
        for (node, state) in &mut states {
            let wanted = match state {
                Some("committed" | "unchanged") => Release::New,
                Some("pending") => continue,
                // Whatever stopped the run before there was anything to say of nodes.
                Some("failed" | "refused" | "unreachable") | None => Release::Old,
                Some(other) => {
                    losses.push(format!("node {node} is {other}"));
                    continue;
                }
            };
            let side = self.side(sandbox, node, "as reported", losses)?;
            if side.is_some_and(|side| side != wanted) {
                losses.push(format!("node {node} is reported as {state:?} and is {side:?}"));
            }
        }
        let has = |wanted: &[&str]| {
            outcome
                .states
                .iter()
                .any(|state| state.as_deref().is_some_and(|it| wanted.contains(&it)))
        };
        let is_at_release =
            |state: &Option<String>| matches!(state.as_deref(), Some("committed" | "unchanged"));
        let is_fine = match outcome.code {
            Some(0) => outcome.states.iter().all(is_at_release),
            Some(1 | 5) => !has(&["committed", "unchanged", "pending"]),
            Some(3) => has(&["committed", "unchanged", "pending"]),
            _ => true,
        };
        if !is_fine {
            losses.push(format!("exit code {:?} with {:?}", outcome.code, outcome.states));
        }
        Ok(())
    }

    /// A hub's next contact without a push.
    fn check_contact(
        &self,
        sandbox: &Sandbox,
        outcome: &Outcome,
        is_decided: bool,
        losses: &mut Losses,
    ) -> Result {
        let contact = sandbox.plan(Release::New)?;
        if !matches!(contact.code, Some(0 | 2)) {
            losses.push(format!("the next contact gives {:?}: {}", contact.code, contact.said));
        }
        let mut sides = Vec::new();
        for node in 0..sandbox.setup().nodes {
            sides.push(self.side(sandbox, node, "after the next contact", losses)?);
        }
        for (node, side) in sides.iter().enumerate() {
            let state = outcome.states.get(node).and_then(Option::as_deref);
            let wanted = match state {
                Some("committed" | "unchanged" | "pending") => Some(Release::New),
                Some(_) => Some(Release::Old),
                None => is_decided.then_some(Release::New).or(*sides.first().unwrap_or(&None)),
            };
            if side.is_some() && wanted.is_some() && *side != wanted {
                losses.push(format!(
                    "after the next contact node {node} is {side:?} instead of {wanted:?} \
                     (reported as {state:?}, decided: {is_decided})"
                ));
            }
        }
        Ok(())
    }

    fn check_pushes(&self, sandbox: &Sandbox, losses: &mut Losses) -> Result {
        let nodes = sandbox.setup().nodes;
        let push = sandbox.push(Release::New)?;
        if push.code != Some(0) {
            losses.push(format!("the next push gives {:?}: {}", push.code, push.said));
        }
        for node in 0..nodes {
            let side = self.side(sandbox, node, "after the next push", losses)?;
            if side == Some(Release::Old) {
                losses.push(format!("after the next push node {node} is old"));
            }
        }
        let stamps = |sandbox: &Sandbox| -> Result<Vec<_>> {
            (0..nodes).map(|node| stamps(&sandbox.node(node))).collect()
        };
        let before = stamps(sandbox)?;
        let again = sandbox.push(Release::New)?;
        let is_unchanged = again.states.iter().all(|state| state.as_deref() == Some("unchanged"));
        if again.code != Some(0) || !is_unchanged || stamps(sandbox)? != before {
            losses.push(format!(
                "the push behind it gives {:?} or writes: {}",
                again.code, again.said
            ));
        }
        Ok(())
    }
}

/// Recovers every node without a hub, as when it boots.
fn recover(sandbox: &Sandbox, expected: &Expected, losses: &mut Losses) -> Result {
    let recovered = sandbox.recover(&[])?;
    if recovered.code != Some(0) {
        losses.push(format!("recovery gives {:?}: {}", recovered.code, recovered.said));
    }
    for node in 0..sandbox.setup().nodes {
        let side = expected.side(sandbox, node, "after recovery", losses)?;
        let ending = format!("/n{node}/tree: ");
        let word =
            recovered.said.lines().find_map(|line| line.split_once(&ending)).map(|(_, word)| word);
        let wanted = match word {
            Some(word) if word.contains("is live") => Some(Release::New),
            Some(word) if word.contains("dropped") || word.contains("waits") => Some(Release::Old),
            Some(word) if word.contains("nothing was in flight") => side,
            _ => {
                losses.push(format!("recovery says nothing of node {node}: {}", recovered.said));
                side
            }
        };
        if side.is_some() && side != wanted {
            losses.push(format!("after recovery node {node} is {side:?}, which said {word:?}"));
        }
    }
    Ok(())
}

/// True if the hub has a decision that stands.
fn is_decided(sandbox: &Sandbox) -> Result<bool> {
    Ok(names(&sandbox.hub_state().join("decision"))?.iter().any(|name| !is_new(name)))
}

/// True for the name that a file has until it is whole.
fn is_new(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "new")
}

/// Nothing staged, nothing half written, nothing half removed, nothing undecided.
fn check_leftovers(sandbox: &Sandbox, losses: &mut Losses) -> Result {
    let hub = sandbox.hub_state();
    let mut found = Vec::new();
    let mut look = |directory: PathBuf, is_left: &dyn Fn(&str) -> bool| -> Result {
        let left = names(&directory)?.into_iter().filter(|name| is_left(name));
        found.extend(left.map(|name| directory.join(name).display().to_string()));
        Ok(())
    };
    let is_half = |name: &str| is_new(name) || name.starts_with("going-");
    look(hub.join("decision"), &|_| true)?;
    look(hub.join("manifest"), &is_half)?;
    look(hub, &is_half)?;
    for node in 0..sandbox.setup().nodes {
        let state = sandbox.state(node);
        look(state.join("stage"), &|_| true)?;
        for name in names(&state.join("kept"))? {
            look(state.join("kept").join(name), &is_half)?;
        }
        for part in ["kept", "manifest", ""] {
            look(state.join(part), &is_half)?;
        }
    }
    losses.extend(found.into_iter().map(|path| format!("left over: {path}")));
    Ok(())
}

/// The names in a directory; none if it is not there.
///
/// # Errors
/// It cannot be listed.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>> {
    let listing = match read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(at("list", directory))?,
    };
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    listing.map(name).collect::<std::io::Result<_>>().map_err(at("list", directory))
}

/// Inode and time of change of every name: whoever writes to a tree changes one of them.
fn stamps(root: &Path) -> Result<BTreeMap<PathBuf, (u64, i64, i64)>> {
    let mut stamps = BTreeMap::new();
    for path in Snapshot::of(root)?.paths() {
        let full = root.join(path);
        let meta = std::fs::symlink_metadata(&full).map_err(at("look at", &full))?;
        stamps.insert(path.to_path_buf(), (meta.ino(), meta.ctime(), meta.ctime_nsec()));
    }
    Ok(stamps)
}
