//! Which names are one file (rsync's `-H`).

use std::collections::HashMap;

use super::listing::{self, Listing};
use super::{Problem, What};
use crate::model::manifest::KindView;
use crate::model::path::TreePath;
use crate::os::stat::StatId;

/// Two names of one inode that were read at different times and do not look the same are a problem of the later.
pub(super) fn check(listing: &Listing, problems: &mut Vec<Problem>) -> Result<(), listing::Error> {
    let mut looks: HashMap<u64, StatId> = HashMap::new();
    let mut cursor = listing.cursor();
    while let Some(item) = cursor.next()? {
        let is_file = matches!(item.view.kind, KindView::File(_) | KindView::HardLink(_));
        if item.stat.link_count < 2 || !is_file {
            continue;
        }
        let id = item.stat.id;
        if *looks.entry(id.inode).or_insert(id) != id {
            let path = TreePath::of_checked(item.view.path);
            problems.push(Problem { path, what: What::Unstable });
        }
    }
    Ok(())
}
