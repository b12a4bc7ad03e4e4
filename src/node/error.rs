//! Why a node cannot go on, and how that is told to the hub.

use std::io;

use crate::model::codec;
use crate::model::untrusted::Untrusted;
use crate::wire::message::{Failed, FailedClass, Txid};
use crate::{os, scan, wire};

/// Why a node cannot go on. Unless a variant says otherwise, nothing of the live tree has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system says no.
    #[error("{act} {what}")]
    Io {
        /// What was being done.
        act: &'static str,
        /// To what, escaped.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The target's directory cannot be opened.
    #[error("open the target")]
    Root(#[source] os::root::Error),
    /// The tree cannot be inspected.
    #[error("inspect the tree")]
    Scan(#[source] scan::Error),
    /// Another run holds the lease.
    #[error("another run holds this target: {holder}")]
    Busy {
        /// What the holder wrote about itself, escaped.
        holder: String,
        /// Its run.
        run: Txid,
    },
    /// This very run holds the lease under another name.
    #[error("another target of this run is the same directory: {holder}")]
    SameRun {
        /// What the holder wrote about itself, escaped.
        holder: String,
    },
    /// Own state that is damaged or from another version.
    #[error("{what} is damaged")]
    State {
        /// The file.
        what: String,
        /// How.
        source: codec::Error,
    },
    /// The stream to the hub.
    #[error("talk to the hub")]
    Wire(#[source] wire::stream::Error),
    /// What the hub sent does not fit what was agreed.
    #[error("the hub broke the protocol: {what}")]
    Protocol {
        /// What does not fit.
        what: String,
    },
    /// The hub was silent for too long, or gave the run up.
    #[error("the hub is gone")]
    HubGone,
    /// A look at the node says that it must not, or cannot, be done.
    #[error("{message}")]
    Refused {
        /// The class of exit code.
        class: FailedClass,
        /// A stable word for machines.
        kind: &'static str,
        /// A lowercase sentence, escaped.
        message: String,
        /// One action that helps.
        hint: Option<String>,
    },
}

/// Names what was being done to what, for `map_err`.
pub fn io_error(act: &'static str, what: impl AsRef<[u8]>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { act, what: Untrusted::new(what.as_ref()).to_string(), source }
}

impl Error {
    /// A refusal of class `fail`.
    pub fn refused(kind: &'static str, message: String, hint: Option<String>) -> Self {
        Self::Refused { class: FailedClass::Fail, kind, message, hint }
    }

    /// As the hub is told it.
    pub fn failed(&self) -> Failed {
        let (class, kind, hint) = self.classify();
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            causes.push(Untrusted::new(cause.to_string().as_bytes()).to_string());
            next = cause.source();
        }
        let holder = if let Self::Busy { run, .. } = self { Some(*run) } else { None };
        Failed { class, kind: kind.to_owned(), message: self.to_string(), causes, hint, holder }
    }

    fn classify(&self) -> (FailedClass, &'static str, Option<String>) {
        let hint = |text: &str| Some(text.to_owned());
        match self {
            Self::Io { source, .. } => classify_io(source),
            Self::Root(error) => (FailedClass::Fail, "target", root_hint(error)),
            Self::Scan(_) => (FailedClass::Fail, "inspect", None),
            Self::Busy { .. } => (
                FailedClass::Busy,
                "busy",
                hint(
                    "wait for the other run, or give --lock-timeout; if no run is alive, its lease is already free",
                ),
            ),
            Self::SameRun { .. } => (
                FailedClass::SameRun,
                "same-directory",
                hint(
                    "list each directory once; where all nodes mount one file system, set approach = \"shared\" in [storage]",
                ),
            ),
            Self::State { .. } => (
                FailedClass::Integrity,
                "state-damaged",
                hint(
                    "nothing was changed; look at the state directory beside the target before it is moved away",
                ),
            ),
            Self::Wire(_) | Self::HubGone => (FailedClass::Fail, "connection", None),
            Self::Protocol { .. } => (FailedClass::Integrity, "protocol", None),
            Self::Refused { class, kind, hint, .. } => (*class, kind, hint.clone()),
        }
    }
}

fn root_hint(error: &os::root::Error) -> Option<String> {
    use os::root::Error as Root;
    match error {
        Root::ParentMissing { .. } => Some("create it, or give --mkpath".to_owned()),
        Root::OpenParent { path } => {
            Some(format!("take the others' write permission away from {path}, or make it sticky"))
        }
        Root::ForeignLink { .. } => Some("name the directory that the link leads to".to_owned()),
        _ => None,
    }
}

fn classify_io(error: &io::Error) -> (FailedClass, &'static str, Option<String>) {
    use io::ErrorKind as Kind;
    let (kind, hint) = match error.kind() {
        Kind::StorageFull => {
            ("no-space", "free space on that file system, or lower [keep] releases")
        }
        Kind::QuotaExceeded => ("quota", "raise the quota of the agent's user there"),
        Kind::ReadOnlyFilesystem => ("read-only", "mount that file system writable"),
        Kind::PermissionDenied => (
            "permission",
            "the agent's user must own the target and the directory around it; or set [storage] state_dir",
        ),
        Kind::CrossesDevices => ("mount-point", "exclude what is mounted below the target"),
        _ => ("io", ""),
    };
    (FailedClass::Fail, kind, (!hint.is_empty()).then(|| hint.to_owned()))
}
