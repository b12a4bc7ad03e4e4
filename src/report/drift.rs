//! [`Drift`]: what a change that would bring a node back to its release says about the node.

use crate::hub::outcome::{Change, ChangeKind};

/// How a name on a node differs from the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    /// It is not there.
    Missing,
    /// It has another content, or is of another type.
    Modified,
    /// The release does not have it.
    Extra,
    /// Its mode, owner, times or attributes are others.
    Metadata,
    /// A server put the artifact it would not take aside, as `NAME.back`, and wrote the old one back.
    Rejected,
}

impl Drift {
    /// What `change`, one of the sorted `all` of a node, says.
    pub fn of(change: &Change, all: &[Change]) -> Self {
        match change.kind {
            ChangeKind::Create => Self::Missing,
            ChangeKind::Update | ChangeKind::Type => Self::Modified,
            ChangeKind::Metadata => Self::Metadata,
            ChangeKind::Delete => {
                let artifact = change.path.as_bytes().strip_suffix(b".back");
                let is_changed = artifact.is_some_and(|artifact| {
                    all.iter().any(|other| {
                        other.path.as_bytes() == artifact
                            && !matches!(other.kind, ChangeKind::Delete | ChangeKind::Metadata)
                    })
                });
                if is_changed { Self::Rejected } else { Self::Extra }
            }
        }
    }

    /// The word for it, in JSON and on screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Modified => "modified",
            Self::Extra => "extra",
            Self::Metadata => "metadata",
            Self::Rejected => "rejected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::path::TreePath;

    #[test]
    fn a_copy_put_aside_is_rejected_only_beside_an_artifact_that_changed() {
        let change = |path: &str, kind| Change {
            path: TreePath::new(path.as_bytes()).expect("a path"),
            kind,
            bytes: 1,
        };
        let all = [
            change("api/a.xml", ChangeKind::Update),
            change("api/a.xml.back", ChangeKind::Delete),
            change("api/b.xml.back", ChangeKind::Delete),
            change("api/c", ChangeKind::Create),
            change("api/d", ChangeKind::Type),
            change("api/e", ChangeKind::Metadata),
        ];
        let words = all.each_ref().map(|change| Drift::of(change, &all).word());
        assert_eq!(words, ["modified", "rejected", "extra", "missing", "modified", "metadata"]);
    }
}
