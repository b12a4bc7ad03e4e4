//! Errors of every layer as the operator is told them: class, kind, chain, hint.

use super::channel;
use super::encoder;
use super::history;
use super::outcome::{Failure, Verdict};
use super::state;
use crate::link;
use crate::model::untrusted::escaped_once;
use crate::os::root;
use crate::source::{self, ReadError, release_file};
use crate::wire::message::{Failed, FailedClass};

fn chain(error: &dyn std::error::Error) -> (String, Vec<String>) {
    let shown = |error: &dyn std::error::Error| {
        // Messages are escaped where they are made; what is left are line breaks of the system's own texts.
        error.to_string().replace(['\n', '\r'], " ")
    };
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(shown(cause));
        next = cause.source();
    }
    (shown(error), causes)
}

impl Failure {
    /// A failure with its chain of causes.
    pub fn of(
        verdict: Verdict,
        kind: &'static str,
        error: &dyn std::error::Error,
        hint: Option<String>,
    ) -> Self {
        let (message, causes) = chain(error);
        Self { verdict, kind: kind.into(), message, causes, hint }
    }

    /// A failure that is told in one sentence.
    pub fn said(
        verdict: Verdict,
        kind: &'static str,
        message: impl Into<String>,
        hint: Option<&str>,
    ) -> Self {
        let hint = hint.map(str::to_owned);
        Self { verdict, kind: kind.into(), message: message.into(), causes: Vec::new(), hint }
    }
}

impl From<&history::Error> for Failure {
    fn from(error: &history::Error) -> Self {
        Self::of(Verdict::Fail, "history", error, Some(error.hint().into()))
    }
}

impl From<&link::Error> for Failure {
    fn from(error: &link::Error) -> Self {
        let verdict = if error.is_trust() {
            Verdict::Trust
        } else if error.is_usage() {
            Verdict::Usage
        } else {
            Verdict::Fail
        };
        Self::of(verdict, error.kind(), error, error.hint())
    }
}

impl From<&channel::Error> for Failure {
    fn from(error: &channel::Error) -> Self {
        use channel::Error as E;
        let (verdict, kind) = match error {
            E::Ended => (Verdict::Fail, "connection-lost"),
            E::Silent { .. } => (Verdict::Fail, "timeout"),
            E::Frame(_) | E::Message(_) => (Verdict::Fail, "protocol"),
        };
        let hint = match error {
            E::Silent { .. } => Some(
                "look at the node and the network to it; --timeout is the longest silence".into(),
            ),
            E::Frame(_) | E::Message(_) => Some(
                "does something on the node write to the login shell's output in the background?"
                    .into(),
            ),
            E::Ended => None,
        };
        Self::of(verdict, kind, error, hint)
    }
}

impl From<&encoder::Error> for Failure {
    fn from(error: &encoder::Error) -> Self {
        if let encoder::Error::Nowhere { .. } = error {
            let hint = Some("push from the source, which makes it the release".into());
            return Self::of(Verdict::Fail, "content-missing", error, hint);
        }
        if let encoder::Error::Source(cause) = error
            && let ReadError::Damaged { .. } = **cause
        {
            let hint = Some("get the file again from where it was made".into());
            return Self::of(Verdict::Integrity, "release-file", error, hint);
        }
        let hint = Some("something writes to the source; push again when it is at rest".into());
        Self::of(Verdict::Fail, "source-changed", error, hint)
    }
}

impl From<&source::Error> for Failure {
    fn from(error: &source::Error) -> Self {
        let verdict = match error.class() {
            source::Class::Usage => Verdict::Usage,
            source::Class::Guard => Verdict::Guard,
            source::Class::Fail => Verdict::Fail,
        };
        Self::of(verdict, error.kind(), error, error.hint().map(str::to_owned))
    }
}

impl From<&release_file::Error> for Failure {
    fn from(error: &release_file::Error) -> Self {
        use release_file::Error as E;
        match error {
            E::Refused { source, .. } => {
                Self::of(Verdict::Usage, "file", error, source.hint().map(str::to_owned))
            }
            E::Unreadable { .. } => Self::of(Verdict::Fail, "file", error, None),
            E::Damaged { source, .. } => {
                let hint = match source {
                    release_file::Damage::Magic => "'depsync release' writes one",
                    release_file::Damage::Version(_) => {
                        "write it with the version of depsync that is to apply it"
                    }
                    _ => "get the file again from where it was made",
                };
                Self::of(Verdict::Integrity, "release-file", error, Some(hint.into()))
            }
        }
    }
}

impl From<&state::Error> for Failure {
    fn from(error: &state::Error) -> Self {
        use state::Error as E;
        match error {
            E::Busy { .. } => {
                let hint = Some("wait for it, or give --lock-timeout".into());
                Self::of(Verdict::Busy, "busy", error, hint)
            }
            E::Decision { .. } => {
                let hint = "nodes may be waiting for it; restore the file, or move it away to drop the commit";
                Self::of(Verdict::Integrity, "state-damaged", error, Some(hint.into()))
            }
            E::Root(_) | E::Io { .. } => {
                let hint =
                    "XDG_STATE_HOME names the directory that holds it; it must be the user's alone";
                Self::of(Verdict::Fail, "hub-state", error, Some(hint.into()))
            }
        }
    }
}

impl From<&root::Error> for Failure {
    fn from(error: &root::Error) -> Self {
        Self::of(Verdict::Fail, "directory", error, None)
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        let verdict = match failed.class {
            FailedClass::Fail => Verdict::Fail,
            FailedClass::Busy => Verdict::Busy,
            FailedClass::SameRun | FailedClass::Usage => Verdict::Usage,
            FailedClass::Guard => Verdict::Guard,
            FailedClass::Trust => Verdict::Trust,
            FailedClass::Integrity => Verdict::Integrity,
            FailedClass::Pending => Verdict::Partial,
        };
        // The node escaped its texts; a hostile one may not have.
        Self {
            verdict,
            kind: escaped_once(&failed.kind).into(),
            message: escaped_once(&failed.message),
            causes: failed.causes.iter().map(|cause| escaped_once(cause)).collect(),
            hint: failed.hint.as_deref().map(escaped_once),
        }
    }
}
