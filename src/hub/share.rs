//! Nodes that mount one file system: one of them writes the release, the others look at it through their own mounts.
//!
//! ```text
//! Opens(0) ─ unreachable ─▶ Opens(1) ─▶ Writes ─▶ Prepared ─ decision ─▶ Seen ─▶ witnesses look until they see it
//!                                          └──── nothing to change ──────▶ Seen
//! ```
//! Whoever writes finds journal, kept area and index on the share, so that it need not be the same node twice.

use tokio::sync::watch;

use super::outcome::{Failure, NodeState};

/// How far the node that writes has come.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Turn {
    /// This node is to open the share; those before it could not be reached.
    Opens(usize),
    /// It has, and is at work.
    Writes(usize),
    /// The transaction is prepared, and its journal says so.
    Prepared(usize),
    /// Everything is on the share that is to be seen there.
    Seen(usize),
    /// It will not come to that; why.
    Over(usize, Failure),
}

/// Which of the nodes writes.
#[derive(Debug)]
pub(super) struct Share {
    nodes: usize,
    turn: watch::Sender<Turn>,
}

impl Share {
    /// A share that `nodes` nodes have mounted.
    pub(super) fn of(nodes: usize) -> Self {
        Self { nodes, turn: watch::Sender::new(Turn::Opens(0)) }
    }

    /// Waits until it is known whether `node` writes.
    pub(super) async fn writes(&self, node: usize) -> bool {
        let turn = self.until(|turn| !matches!(turn, Turn::Opens(first) if *first < node)).await;
        matches!(turn, Turn::Opens(first) if first == node)
    }

    /// Waits until the turn is as wanted.
    pub(super) async fn until(&self, is_wanted: impl FnMut(&Turn) -> bool) -> Turn {
        let mut turns = self.turn.subscribe();
        let turn = turns.wait_for(is_wanted).await.map(|turn| turn.clone());
        match turn {
            Ok(turn) => turn,
            // The sender is `self`.
            Err(_) => std::future::pending().await,
        }
    }

    /// The node that writes has opened the share.
    pub(super) fn has_opened(&self, node: usize) {
        self.turn.send_replace(Turn::Writes(node));
    }

    /// The node that writes has prepared the transaction.
    pub(super) fn has_prepared(&self, node: usize) {
        self.turn.send_replace(Turn::Prepared(node));
    }

    /// `node` is through. If it was to write, the others hear what became of that.
    pub(super) fn has_ended(&self, node: usize, state: NodeState, failure: Option<&Failure>) {
        let nodes = self.nodes;
        self.turn.send_if_modified(|turn| {
            let next = match *turn {
                Turn::Opens(first) if first == node => {
                    let is_passed = state == NodeState::Unreachable && node + 1 < nodes;
                    is_passed.then_some(Turn::Opens(node + 1))
                }
                Turn::Writes(first) | Turn::Prepared(first) if first == node => None,
                _ => return false,
            };
            let is_there = state.is_at_release() || state == NodeState::Differs;
            *turn = match (next, failure) {
                (Some(next), _) => next,
                (None, Some(failure)) if !is_there => Turn::Over(node, failure.clone()),
                (None, _) => Turn::Seen(node),
            };
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Verdict;
    use super::*;

    fn turn(share: &Share) -> Turn {
        share.turn.borrow().clone()
    }

    #[tokio::test]
    async fn the_first_node_that_can_be_reached_writes_and_the_others_watch() {
        let failure = Failure::said(Verdict::Partial, "unreachable", "gone", None);
        let share = Share::of(3);
        assert!(share.writes(0).await);
        share.has_ended(0, NodeState::Unreachable, Some(&failure));
        assert!(share.writes(1).await, "the first is passed over");
        share.has_opened(1);
        assert!(!share.writes(2).await);
        share.has_ended(2, NodeState::Unreachable, Some(&failure));
        assert_eq!(turn(&share), Turn::Writes(1), "a witness does not end the turn");
        share.has_prepared(1);
        share.has_ended(1, NodeState::Committed, None);
        assert_eq!(turn(&share), Turn::Seen(1));
    }

    #[test]
    fn who_writes_and_fails_ends_it_for_all() {
        let failure = Failure::said(Verdict::Guard, "max-delete", "too much", None);
        let share = Share::of(2);
        share.has_ended(0, NodeState::Refused, Some(&failure));
        assert_eq!(turn(&share), Turn::Over(0, failure.clone()), "it was reached");
        let share = Share::of(1);
        share.has_ended(0, NodeState::Unreachable, Some(&failure));
        assert_eq!(turn(&share), Turn::Over(0, failure.clone()), "nobody is left");
        let share = Share::of(2);
        share.has_opened(0);
        share.has_ended(0, NodeState::Unreachable, Some(&failure));
        assert_eq!(turn(&share), Turn::Over(0, failure), "it was at work");
    }
}
