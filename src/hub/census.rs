//! What all nodes say of a commit that this hub does not remember, because its state was lost (row 87).

use tokio::sync::watch;

use super::ended::Ended;
use super::fleet::Shared;
use super::outcome::{Failure, Verdict};
use crate::model::manifest::ReleaseId;
use crate::wire::message::Pending;

/// What was heard of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// The release that is live there, once a commit that was under way was carried out.
    At(Option<ReleaseId>),
    /// Nothing, and nothing will be.
    Nothing,
}

/// What was heard of all nodes of a run.
#[derive(Debug)]
pub(super) struct Census(watch::Sender<Vec<Option<Heard>>>);

impl Census {
    /// Nothing was heard yet of so many nodes.
    pub(super) fn of(nodes: usize) -> Self {
        Self(watch::Sender::new(vec![None; nodes]))
    }

    /// `node` has this release live.
    pub(super) fn is_at(&self, node: usize, release: Option<ReleaseId>) {
        self.tell(node, Heard::At(release));
    }

    /// All nodes have one journal, on a share, and it has this release live: whoever could not be reached has no other.
    pub(super) fn all_are_at(&self, release: Option<ReleaseId>) {
        self.0.send_modify(|all| all.fill(Some(Heard::At(release))));
    }

    /// Nothing more will be heard of `node`.
    pub(super) fn has_ended(&self, node: usize) {
        self.tell(node, Heard::Nothing);
    }

    fn tell(&self, node: usize, heard: Heard) {
        self.0.send_if_modified(|all| match all.get_mut(node) {
            Some(slot @ None) => {
                *slot = Some(heard);
                true
            }
            _ => false,
        });
    }

    /// Waits until every node was heard of, or will not be; whether one has `release` live, `None` if that is not known.
    async fn has_committed(&self, release: ReleaseId) -> Option<bool> {
        let mut heard = self.0.subscribe();
        let all = heard.wait_for(|all| all.iter().all(Option::is_some)).await.ok()?;
        if all.contains(&Some(Heard::At(Some(release)))) {
            return Some(true);
        }
        (!all.contains(&Some(Heard::Nothing))).then_some(false)
    }
}

impl Shared {
    /// True if nobody here remembers whether `pending` was decided: no release is known to this hub, nor that run.
    pub(super) fn has_forgotten(&self, pending: &Pending) -> bool {
        !self.knows_a_release && !self.runs_before.contains(&pending.txid)
    }

    /// Whether `pending` was decided: by this hub's record or, where that was lost, by what the nodes are at. One that has
    /// the release live can only have it by the decision; if all are heard of and none has, nobody committed.
    ///
    /// # Errors
    /// [`Ended::Refused`] if a node that is not heard of may have committed.
    pub(super) async fn was_decided(&self, pending: &Pending) -> Result<bool, Ended> {
        let is_this = |one: &super::state::Decision| {
            one.txid == pending.txid && one.release == pending.release
        };
        if self.decisions.iter().any(is_this) || !self.has_forgotten(pending) {
            return Ok(self.decisions.iter().any(is_this));
        }
        self.census.has_committed(pending.release).await.ok_or_else(|| {
            let message = "a commit is prepared here that this hub does not remember, and a node \
                           that may have carried it out does not answer";
            let hint = "bring all nodes up and push again; a node that is gone for good must be \
                        taken off the list";
            Ended::Refused(Failure::said(Verdict::Fail, "undecided", message, Some(hint)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::{Digest, Domain};

    #[tokio::test]
    async fn fault_087_one_node_that_committed_decides_for_all() {
        let [old, new] = [b"old", b"new"].map(|text| Digest::of(Domain::State, text));
        for (heard, expected) in [
            ([Some(Some(old)), Some(Some(old)), Some(None)], Some(false)),
            ([Some(Some(old)), Some(Some(new)), Some(None)], Some(true)),
            ([Some(Some(old)), None, Some(None)], None),
            ([None, None, Some(Some(new))], Some(true)),
        ] {
            let census = Census::of(3);
            for (node, heard) in heard.into_iter().enumerate() {
                if let Some(release) = heard {
                    census.is_at(node, release);
                }
                census.has_ended(node);
            }
            assert_eq!(census.has_committed(new).await, expected, "{heard:?}");
        }
    }

    #[tokio::test]
    async fn fault_087_on_a_share_its_one_journal_speaks_for_nodes_that_wait_or_are_gone() {
        let new = Digest::of(Domain::State, b"new");
        for (live, expected) in [(None, false), (Some(new), true)] {
            let census = Census::of(3);
            census.has_ended(0);
            census.all_are_at(live);
            assert_eq!(census.has_committed(new).await, Some(expected));
        }
    }
}
