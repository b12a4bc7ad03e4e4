//! Which names are one file (rsync's `-H`).

use std::collections::HashMap;

use super::{Found, Problem, What};
use crate::model::entry::{Kind, Meta};

/// Makes every further name of an inode a link to its first in the order of paths. `found` is sorted.
///
/// Two names of one inode that were read at different times and do not look the same are a problem of the later.
pub(super) fn join(found: &mut [Found], problems: &mut Vec<Problem>) {
    let mut first_names: HashMap<(u64, u64), usize> = HashMap::new();
    for at in 0..found.len() {
        let one = &found[at];
        if one.stat.link_count < 2 || !matches!(one.entry.kind, Kind::File(_)) {
            continue;
        }
        let key = (one.stat.id.device, one.stat.id.inode);
        let Some(&first) = first_names.get(&key) else {
            first_names.insert(key, at);
            continue;
        };
        if found[first].stat.id != one.stat.id {
            problems.push(Problem { path: one.entry.path.clone(), what: What::Unstable });
        }
        let first_path = found[first].entry.path.clone();
        found[at].entry.kind = Kind::HardLink(first_path);
        found[at].entry.meta = Meta::default();
    }
}
