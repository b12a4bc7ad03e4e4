//! What a run comes to: the exit code's class from what became of each node. A table of pure rules.

use super::options::Mode;
use super::outcome::{Failure, NodeOutcome, NodeState, Verdict};

/// The verdict over `nodes`, in a run that `stopped` for all of them, or did not.
///
/// Guarantees (promise 10): [`Verdict::Done`] only if every listed node is verified at the release.
pub fn of(mode: Mode, nodes: &[NodeOutcome], stopped: Option<&Failure>) -> Verdict {
    let is_at_release = |node: &NodeOutcome| node.state.is_at_release();
    let has = |state| nodes.iter().any(|node| node.state == state);
    if mode.is_read_only() {
        return match stopped {
            Some(failure) => failure.verdict,
            None if has(NodeState::Differs) => Verdict::Diff,
            None if nodes.iter().all(is_at_release) => Verdict::Done,
            None if nodes.iter().any(is_at_release) => Verdict::Partial,
            None => of_failures(nodes),
        };
    }
    if nodes.iter().all(is_at_release) && stopped.is_none() {
        return Verdict::Done;
    }
    let has_changed = has(NodeState::Committed) || has(NodeState::Pending);
    match stopped {
        Some(failure) if !has_changed => failure.verdict,
        _ if has_changed || nodes.iter().any(is_at_release) => Verdict::Partial,
        _ => of_failures(nodes),
    }
}

/// Nobody is at the release, and nothing changed: the gravest reason that a node gave.
fn of_failures(nodes: &[NodeOutcome]) -> Verdict {
    let given = |verdict| {
        let mut failures = nodes.iter().filter_map(|node| node.failure.as_ref());
        failures.any(|failure| failure.verdict == verdict)
    };
    [Verdict::Integrity, Verdict::Trust, Verdict::Guard, Verdict::Busy, Verdict::Usage]
        .into_iter()
        .find(|verdict| given(*verdict))
        .unwrap_or(Verdict::Fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::target::{LocalPath, Target};

    fn node(state: NodeState, verdict: Option<Verdict>) -> NodeOutcome {
        let target = Target::Local(LocalPath::new(b"/srv/x").expect("a path"));
        let failure = verdict.map(|verdict| Failure::said(verdict, "test", "because", None));
        NodeOutcome { state, failure, ..NodeOutcome::unknown(target) }
    }

    fn check(
        mode: Mode,
        nodes: &[(NodeState, Option<Verdict>)],
        stopped: Option<Verdict>,
        expected: Verdict,
    ) {
        let nodes: Vec<_> = nodes.iter().map(|(state, verdict)| node(*state, *verdict)).collect();
        let stopped = stopped.map(|verdict| Failure::said(verdict, "test", "because", None));
        assert_eq!(of(mode, &nodes, stopped.as_ref()), expected, "{nodes:?}");
    }

    #[test]
    fn the_exit_precedence_of_a_push() {
        use NodeState as S;
        use Verdict as V;
        let fail = Some(V::Fail);
        check(Mode::Push, &[(S::Committed, None), (S::Unchanged, None)], None, V::Done);
        check(Mode::Push, &[(S::Committed, None), (S::Unreachable, fail)], None, V::Partial);
        check(Mode::Push, &[(S::Unchanged, None), (S::Unreachable, fail)], None, V::Partial);
        check(Mode::Push, &[(S::Unreachable, fail), (S::Unreachable, fail)], None, V::Fail);
        check(
            Mode::Push,
            &[(S::Unreachable, Some(V::Trust)), (S::Unreachable, fail)],
            None,
            V::Trust,
        );
        check(
            Mode::Push,
            &[(S::Committed, None), (S::Unreachable, Some(V::Trust))],
            None,
            V::Partial,
        );
        check(Mode::Push, &[(S::Failed, fail), (S::Failed, fail)], Some(V::Guard), V::Guard);
        check(Mode::Push, &[(S::Unchanged, None), (S::Failed, fail)], Some(V::Busy), V::Busy);
        check(Mode::Push, &[(S::Committed, None), (S::Pending, fail)], None, V::Partial);
        check(Mode::Push, &[(S::Pending, fail)], None, V::Partial);
        check(Mode::Push, &[(S::Committed, None), (S::Failed, fail)], Some(V::Fail), V::Partial);
    }

    #[test]
    fn the_exit_precedence_of_a_plan() {
        use NodeState as S;
        use Verdict as V;
        let fail = Some(V::Fail);
        check(Mode::Plan, &[(S::Unchanged, None), (S::Unchanged, None)], None, V::Done);
        check(Mode::Plan, &[(S::Differs, None), (S::Unreachable, fail)], None, V::Diff);
        check(Mode::Plan, &[(S::Unchanged, None), (S::Unreachable, fail)], None, V::Partial);
        check(Mode::Plan, &[(S::Unreachable, fail)], None, V::Fail);
    }
}
