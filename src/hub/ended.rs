//! Why a session ends before its node is at the release.

use super::channel;
use super::outcome::{Failure, Verdict};
use crate::wire::message::{FailedClass, ToHub};

/// Why a session ends before its node is at the release.
pub(super) enum Ended {
    /// No agent answered, or it was lost.
    Unreachable(Failure),
    /// The agent said no before anything changed.
    Refused(Failure),
    /// It failed.
    Failed(Failure),
    /// The decision stands and is not carried out yet.
    Pending(Failure),
    /// Its lease is held by another run.
    Busy(Failure, Holder),
}

impl From<channel::Error> for Ended {
    fn from(error: channel::Error) -> Self {
        Self::Unreachable(Failure::from(&error))
    }
}

/// Who holds a lease that a session wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// A run that goes on before this one.
    Rival,
    /// A run that gives way to this one.
    GivesWay,
    /// A run of this very cluster that is over: its agent has not noticed yet that the connection is dead.
    Over,
}

/// What an agent that does not answer as it should comes to.
pub(super) fn refused(message: ToHub) -> Ended {
    match message {
        ToHub::Failed(failed) => match failed.class {
            FailedClass::Pending => Ended::Pending(failed.into()),
            FailedClass::Fail if failed.kind == "connection" => Ended::Unreachable(failed.into()),
            FailedClass::Fail => Ended::Failed(failed.into()),
            _ => Ended::Refused(failed.into()),
        },
        other => broken(&format!("{} came out of its order", name(&other))),
    }
}

/// The end of a session with an agent that does what none does.
pub(super) fn broken(what: &str) -> Ended {
    let message = format!("the agent broke the protocol: {what}");
    Ended::Failed(Failure::said(Verdict::Integrity, "protocol", message, None))
}

/// A message may hold megabytes: it is named, never shown.
fn name(message: &ToHub) -> &'static str {
    match message {
        ToHub::Opened(_) => "Opened",
        ToHub::Settled { .. } => "Settled",
        ToHub::Lacks { .. } => "Lacks",
        ToHub::Changes(_) => "Changes",
        ToHub::Planned(_) => "Planned",
        ToHub::Prepared => "Prepared",
        ToHub::Committed { .. } => "Committed",
        ToHub::Aborted => "Aborted",
        ToHub::Alive => "Alive",
        ToHub::Failed(_) => "Failed",
        ToHub::Examined(_) => "Examined",
    }
}
