//! [`unnoticed`]: directories that are deployed as one, and that a release has otherwise than what was live, with no file
//! newer. Pure.

use std::collections::BTreeMap;

use super::digest::{Digest, Domain, Hasher};
use super::entry::Timestamp;
use super::manifest::{KindView, Manifest};
use super::path::TreePath;

/// The directories below one of `names` that both releases have, with other content and nothing newer in `after`: a server
/// that looks for newer files does not notice them.
pub fn unnoticed(before: &Manifest, after: &Manifest, names: &[String]) -> Vec<TreePath> {
    let before = artifacts(before, names);
    let is_hidden = |path: &TreePath, after: &Artifact| {
        before
            .get(path)
            .is_some_and(|before| before.content != after.content && before.newest >= after.newest)
    };
    let after = artifacts(after, names).into_iter();
    after.filter(|(path, after)| is_hidden(path, after)).map(|(path, _)| path).collect()
}

/// A directory that is deployed as one.
struct Artifact {
    /// The latest time of a file in it.
    newest: Option<Timestamp>,
    content: Digest,
}

fn artifacts(manifest: &Manifest, names: &[String]) -> BTreeMap<TreePath, Artifact> {
    let mut found: BTreeMap<TreePath, (Option<Timestamp>, Hasher)> = BTreeMap::new();
    let mut views = manifest.views();
    while let Some(view) = views.next() {
        let Some(directory) = artifact_of(view.path, names) else { continue };
        let (content, time) = match view.kind {
            KindView::File(content) => (content.digest().0.to_vec(), Some(view.stamp.mtime)),
            KindView::Symlink(text) => (text.to_vec(), None),
            KindView::HardLink(first) => (first.to_vec(), None),
            KindView::Directory | KindView::Special => continue,
        };
        let fresh = || (None, Hasher::new(Domain::State));
        let (newest, hasher) = found.entry(TreePath::of_checked(directory)).or_insert_with(fresh);
        *newest = (*newest).max(time);
        for part in [view.path, &content] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    let artifact = |(newest, hasher): (_, Hasher)| Artifact { newest, content: hasher.finish() };
    found.into_iter().map(|(path, found)| (path, artifact(found))).collect()
}

/// The directory that what is at `path` is deployed with: `…/webapps/shop` of `…/webapps/shop/index.html`.
fn artifact_of<'p>(path: &'p [u8], names: &[String]) -> Option<&'p [u8]> {
    let mut components = path.split(|&byte| byte == b'/');
    let mut length = 0;
    loop {
        let component = components.next()?;
        length += component.len() + 1;
        if names.iter().any(|name| name.as_bytes() == component) {
            break;
        }
    }
    let name = components.next()?;
    components.next()?;
    path.get(..length + name.len())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{entries, manifest_of};
    use super::*;

    #[test]
    fn an_artifact_is_the_directory_below_a_name_wherever_that_stands() {
        let names = ["webapps".to_owned(), "axis2services".to_owned()];
        for (path, directory) in [
            ("webapps/shop/index.html", Some("webapps/shop")),
            ("home/server/webapps/shop/a/b", Some("home/server/webapps/shop")),
            ("axis2services/s/webapps/x/y", Some("axis2services/s")),
            ("webapps/shop", None),
            ("webapps", None),
            ("webapps2/shop/x", None),
            ("carbonapps/shop/x", None),
            ("", None),
        ] {
            assert_eq!(
                artifact_of(path.as_bytes(), &names),
                directory.map(str::as_bytes),
                "{path}"
            );
        }
        assert_eq!(artifact_of(b"webapps/shop/x", &[]), None);
    }

    #[test]
    fn only_what_changed_with_nothing_newer_is_unnoticed() {
        let tree = |lines: &str| manifest_of(&entries(lines), true);
        let names = ["w".to_owned()];
        let before = "w d; w/a d; w/a/x@5 f one; w/a/y@9 f two; w/b d; w/b/x@5 f one";
        for (after, expected) in [
            (before, ""),
            ("w d; w/a d; w/a/x@5 f other; w/a/y@9 f two; w/b d; w/b/x@5 f one", "w/a"),
            ("w d; w/a d; w/a/x@8 f other; w/a/y@9 f two; w/b d; w/b/x@4 f old", "w/a w/b"),
            ("w d; w/a d; w/a/x@10 f other; w/a/y@9 f two; w/b d; w/b/x@5 f one", ""),
            ("w d; w/a d; w/a/x@5 f one; w/b d; w/b/l l x; w/b/x@5 f one", "w/a w/b"),
            // Times alone, and what came or went as a whole.
            ("w d; w/a d; w/a/x@1 f one; w/a/y@2 f two; w/b d; w/b/x@5 f one; w/b/z d", ""),
            ("w d; w/c d; w/c/x@1 f one", ""),
            ("w d; w/a f one; w/b d", ""),
        ] {
            let found = unnoticed(&tree(before), &tree(after), &names);
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{after}");
        }
    }
}
