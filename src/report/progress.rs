//! [`Progress`]: the events of a run, summed up for one line of a screen.

use crate::hub::outcome::{Event, Phase};

use super::figures;

/// Names shown of nodes that are not through.
const NAMES_MAX: usize = 3;

/// Where a run stands.
#[derive(Debug)]
pub struct Progress {
    nodes: Vec<Node>,
    entries: u64,
    is_scanned: bool,
}

#[derive(Debug)]
struct Node {
    name: String,
    phase: Option<Phase>,
    lacks: u64,
    sent: u64,
    is_finished: bool,
}

impl Progress {
    /// A run that starts, of nodes with these names in the order of the targets.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let node = |name| Node { name, phase: None, lacks: 0, sent: 0, is_finished: false };
        Self { nodes: names.into_iter().map(node).collect(), entries: 0, is_scanned: false }
    }

    /// Takes one event.
    pub fn apply(&mut self, event: &Event) {
        let (Event::Phase { node, .. }
        | Event::Lacks { node, .. }
        | Event::Sent { node, .. }
        | Event::Finished { node, .. }) = event
        else {
            match event {
                Event::Scanning { entries } => self.entries = *entries,
                Event::Scanned { entries, .. } => {
                    (self.entries, self.is_scanned) = (*entries, true);
                }
                _ => {}
            }
            return;
        };
        let Some(node) = self.nodes.get_mut(*node) else { return };
        match event {
            Event::Phase { phase, .. } => node.phase = Some(*phase),
            Event::Lacks { bytes, .. } => node.lacks = node.lacks.saturating_add(*bytes),
            Event::Sent { bytes, .. } => node.sent = node.sent.saturating_add(*bytes),
            Event::Finished { .. } => node.is_finished = true,
            _ => {}
        }
    }

    /// Bytes sent to all nodes, at most what they lack.
    pub fn sent_bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.sent.min(node.lacks)).fold(0, u64::saturating_add)
    }

    /// Bytes that all nodes lack, as far as known.
    pub fn lacks_bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.lacks).fold(0, u64::saturating_add)
    }

    /// `2/4 nodes`, or how far the source is read.
    pub fn lead(&self) -> String {
        if !self.is_scanned {
            return format!("reading the source: {} entries", self.entries);
        }
        let finished = self.nodes.iter().filter(|node| node.is_finished).count();
        format!("{finished}/{}", figures::nodes(self.nodes.len()))
    }

    /// The nodes that are behind, slowest first.
    pub fn behind(&self) -> String {
        if !self.is_scanned {
            return String::new();
        }
        let mut behind: Vec<&Node> = self
            .nodes
            .iter()
            .filter(|node| {
                !node.is_finished && node.phase.is_some_and(|phase| phase != Phase::Queued)
            })
            .collect();
        behind.sort_by_key(|node| (rank(node.phase), node.share()));
        let more = behind.len().saturating_sub(NAMES_MAX);
        let mut names: Vec<String> =
            behind.iter().take(NAMES_MAX).map(|node| node.shown()).collect();
        if more > 0 {
            names.push(format!("{more} more"));
        }
        names.join(", ")
    }
}

impl Node {
    /// Thousandths of its content that it has.
    fn share(&self) -> u64 {
        u64::try_from(
            u128::from(self.sent.min(self.lacks)).saturating_mul(1000)
                / u128::from(self.lacks.max(1)),
        )
        .unwrap_or_default()
    }

    fn shown(&self) -> String {
        match self.phase {
            Some(Phase::Staging) if self.lacks > 0 => {
                format!("{} {}%", self.name, self.share() / 10)
            }
            phase => format!("{} {}", self.name, phase.map_or("waits", word)),
        }
    }
}

fn rank(phase: Option<Phase>) -> u8 {
    match phase {
        None | Some(Phase::Queued) => 0,
        Some(Phase::Connecting) => 1,
        Some(Phase::Inspecting) => 2,
        Some(Phase::Staging) => 3,
        Some(Phase::Prepared) => 4,
        Some(Phase::Committing) => 5,
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "waits",
        Phase::Connecting => "connects",
        Phase::Inspecting => "inspects",
        Phase::Staging => "stages",
        Phase::Prepared => "is prepared",
        Phase::Committing => "commits",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::outcome::NodeState;
    use crate::model::digest::{Digest, Domain};

    #[test]
    fn the_slowest_nodes_are_named() {
        let mut progress = Progress::new(["a", "b", "c", "d", "e"].map(str::to_owned));
        progress.apply(&Event::Scanning { entries: 10 });
        assert_eq!(
            (progress.lead().as_str(), progress.behind().as_str()),
            ("reading the source: 10 entries", "")
        );
        progress.apply(&Event::Scanned {
            release: Digest::of(Domain::Tree, b""),
            entries: 12,
            bytes: 9,
        });
        for (node, phase) in [
            (0, Phase::Staging),
            (1, Phase::Connecting),
            (2, Phase::Staging),
            (3, Phase::Prepared),
            (4, Phase::Committing),
        ] {
            progress.apply(&Event::Phase { node, phase });
        }
        progress.apply(&Event::Lacks { node: 0, bytes: 1000 });
        progress.apply(&Event::Lacks { node: 2, bytes: 1000 });
        progress.apply(&Event::Sent { node: 0, bytes: 500 });
        progress.apply(&Event::Sent { node: 2, bytes: 120 });
        assert_eq!(progress.lead(), "0/5 nodes");
        assert_eq!(progress.behind(), "b connects, c 12%, a 50%, 2 more");
        assert_eq!((progress.sent_bytes(), progress.lacks_bytes()), (620, 2000));
        progress.apply(&Event::Sent { node: 0, bytes: 9_000 });
        for node in [1, 2, 3, 4, 99] {
            progress.apply(&Event::Finished { node, state: NodeState::Committed });
        }
        assert_eq!((progress.lead().as_str(), progress.behind().as_str()), ("4/5 nodes", "a 100%"));
        assert_eq!(progress.sent_bytes(), 1120, "no more than what is lacking counts");
    }
}
