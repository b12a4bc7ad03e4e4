//! Where the text of a symbolic link leads, by its letters alone: links are never followed (rule S9).

use super::Note;
use crate::model::entry::{Entry, Kind};
use crate::model::path::TreePath;

/// What is worth saying about `entry` if it is a link.
pub(super) fn note_of(entry: &Entry, trees: &[TreePath]) -> Option<Note> {
    let Kind::Symlink(text) = &entry.kind else { return None };
    let path = entry.path.clone();
    if text.starts_with(b"/") {
        return Some(Note::AbsoluteLink { path });
    }
    let tree = trees.iter().find(|tree| path.is_within(tree))?;
    let depth = path.strip_prefix(tree)?.depth().saturating_sub(1);
    leads_out(text, depth).then_some(Note::EscapingLink { path })
}

/// True if `text`, read in a directory `depth` below its tree, goes above the tree on the way.
fn leads_out(text: &[u8], mut depth: usize) -> bool {
    for name in text.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
            _ => depth = depth.saturating_add(1),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_017_links_that_lead_out_are_told_by_their_text() {
        for (text, depth, out) in [
            (&b"file"[..], 0, false),
            (b"../file", 0, true),
            (b"../file", 1, false),
            (b"a/../../file", 0, true),
            (b"a/../file", 0, false),
            (b"./..//../x", 1, true),
            (b"../../x/y", 2, false),
        ] {
            assert_eq!(leads_out(text, depth), out, "{} at {depth}", text.escape_ascii());
        }
    }
}
