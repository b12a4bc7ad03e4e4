//! [`dates()`]: when the names of a source were changed last.

use std::sync::atomic::AtomicBool;

use super::{Error, Options, check_marker, checked_trees, open};
use crate::model::rules::Rules;
use crate::scan::Progress;
use crate::scan::dates::{self, Dates};
use crate::scan::matcher::Matcher;

/// Looks at the dates of the source that `options` tell of. Nothing in it is changed, and no file is read.
///
/// # Errors
/// As [`read`](super::read()), of what can be told without a file's content.
pub fn dates(options: &Options, progress: &Progress, stop: &AtomicBool) -> Result<Dates, Error> {
    let (root, _, _) = open(&options.root)?;
    check_marker(&root, options.marker.as_ref())?;
    let (options, _note) = options.placed(&root)?;
    let trees = checked_trees(&options.trees)?;
    let rules = Rules { ignore: options.ignore, files: Vec::new(), protect: options.protect };
    let matcher = Matcher::new(&rules).map_err(|source| Error::Rules { source })?;
    let mut found =
        dates::dates(&root, &trees, &matcher, progress, stop).map_err(|error| match error {
            crate::scan::Error::Rules(source) => Error::Rules { source },
            source => Error::Scan { source },
        })?;
    if !found.problems.is_empty() {
        return Err(Error::Problems { problems: std::mem::take(&mut found.problems) });
    }
    // SAFETY-STOP: as of a push: most likely it is not mounted, and whatever would be said of it is wrong.
    if !options.checks.allow_empty && found.stamps.iter().all(|stamp| stamp.is_rule_file) {
        return Err(if found.has_ignored { Error::AllIgnored } else { Error::Empty });
    }
    Ok(found)
}
