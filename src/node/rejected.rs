//! [`Rejected`]: artifacts that a server on this node would not take.
//!
//! A WSO2 server that cannot deploy the new version of an artifact renames it to `NAME.back` and writes the old version
//! back. To push the same bytes again and again would only have it fail again and again.

use crate::model::entry::{Kind, Timestamp};
use crate::model::path::TreePath;
use crate::model::plan::{Change, ChangeKind};
use crate::scan::Found;

/// What a server appends to the name of what it would not take.
const SUFFIX: &[u8] = b".back";
/// As many are named in one sentence.
const SHOWN_MAX: usize = 5;

/// Files put aside as `NAME.back`, and what a plan has to say of each.
#[derive(Debug, Default)]
pub struct Rejected {
    /// Sorted by artifact.
    asides: Vec<Aside>,
}

#[derive(Debug)]
struct Aside {
    artifact: TreePath,
    /// When it was renamed, which is the last change of its inode.
    at: Timestamp,
    /// The release has another content for the artifact.
    is_other: bool,
    /// The release does not have the file put aside.
    is_extra: bool,
}

impl Rejected {
    /// Looks through what was `found` to differ from a release, which is sorted.
    pub fn among(found: &[Found]) -> Self {
        let aside = |one: &Found| {
            let artifact = artifact_of(&one.entry.path)?;
            let is_file = matches!(one.entry.kind, Kind::File(_));
            let at = one.stat.id.ctime;
            is_file.then_some(Aside { artifact, at, is_other: false, is_extra: false })
        };
        let mut asides: Vec<Aside> = found.iter().filter_map(aside).collect();
        asides.sort_by(|one, other| one.artifact.cmp(&other.artifact));
        Self { asides }
    }

    /// Takes note of a change of the plan.
    pub fn note(&mut self, change: &Change) {
        match change.kind {
            ChangeKind::Create | ChangeKind::Update | ChangeKind::Type => {
                if let Some(aside) = self.find(&change.path) {
                    aside.is_other = true;
                }
            }
            ChangeKind::Delete => {
                let artifact = artifact_of(&change.path);
                if let Some(aside) = artifact.and_then(|artifact| self.find(&artifact)) {
                    aside.is_extra = true;
                }
            }
            ChangeKind::Metadata => {}
        }
    }

    fn find(&mut self, artifact: &TreePath) -> Option<&mut Aside> {
        let at = self.asides.binary_search_by(|aside| aside.artifact.cmp(artifact)).ok()?;
        self.asides.get_mut(at)
    }

    /// The artifacts that were rejected, each with the time, in one sentence; `None` if none was.
    pub fn sentence(&self) -> Option<String> {
        let all: Vec<&Aside> =
            self.asides.iter().filter(|aside| aside.is_other && aside.is_extra).collect();
        let shown = |aside: &&&Aside| format!("{} ({})", aside.artifact, aside.at);
        let names: Vec<String> = all.iter().take(SHOWN_MAX).map(|aside| shown(&aside)).collect();
        let more = all.len().saturating_sub(SHOWN_MAX);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        let sentence = format!("the server here rejected {}{tail}", names.join(", "));
        (!all.is_empty()).then_some(sentence)
    }
}

fn artifact_of(path: &TreePath) -> Option<TreePath> {
    TreePath::new(path.as_bytes().strip_suffix(SUFFIX)?).ok()
}
