//! What a plan comes to: changes, their counts, and what the deletion guard looks at.

use crate::model::path::TreePath;

/// How many entries a plan touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// New entries.
    pub created: u64,
    /// Entries whose content or type changes.
    pub updated: u64,
    /// Entries that go.
    pub deleted: u64,
    /// Entries of which mode, owner, times or attributes change.
    pub metadata: u64,
}

impl Counts {
    /// The sum.
    pub fn total(self) -> u64 {
        self.created
            .saturating_add(self.updated)
            .saturating_add(self.deleted)
            .saturating_add(self.metadata)
    }

    pub(super) fn add(&mut self, kind: ChangeKind) {
        let count = match kind {
            ChangeKind::Create => &mut self.created,
            ChangeKind::Update | ChangeKind::Type => &mut self.updated,
            ChangeKind::Delete => &mut self.deleted,
            ChangeKind::Metadata => &mut self.metadata,
        };
        *count = count.saturating_add(1);
    }
}

/// What the deletion guard looks at (promise 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deletes {
    /// Files and links that the node has, that would go, and whose content does not come back under another name.
    pub lost: u64,
    /// Files and links that the node has.
    pub of: u64,
}

/// The most files and links that may go from a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxDelete {
    /// So many.
    Count(u64),
    /// So many of a hundred of those the node has; ten or fewer always pass.
    Percent(u8),
}

impl MaxDelete {
    /// True if so much may go.
    pub fn allows(self, deletes: Deletes) -> bool {
        match self {
            Self::Count(count) => deletes.lost <= count,
            Self::Percent(percent) => {
                let share = u128::from(deletes.of) * u128::from(percent) / 100;
                deletes.lost <= 10 || u128::from(deletes.lost) <= share
            }
        }
    }
}

/// How a staged release becomes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CommitStyle {
    /// What changes enters the live tree, name by name: a mix shows for the length of that burst.
    #[default]
    InPlace,
    /// The whole tree is staged, and exchanged with the live one by one rename: no mix ever shows.
    Swap,
}

/// What happens to one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is new.
    Create,
    /// Its content changes.
    Update,
    /// It goes.
    Delete,
    /// Mode, owner, times or attributes change.
    Metadata,
    /// It becomes another type of file.
    Type,
}

impl ChangeKind {
    /// The word for it in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Metadata => "metadata",
            Self::Type => "type",
        }
    }
}

/// One path of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path below the target.
    pub path: TreePath,
    /// What happens to it.
    pub kind: ChangeKind,
    /// Its size afterwards; for a delete, before.
    pub bytes: u64,
}
