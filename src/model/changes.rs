//! [`between`]: which paths one release has otherwise than another. Pure; a merge of two sorted lists.

use super::manifest::{KindView, Manifest, View};
use super::path::{self, TreePath};
use super::plan::ChangeKind;

/// One path that a release has otherwise than the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The path.
    pub path: TreePath,
    /// What became of it.
    pub kind: ChangeKind,
    /// Its size in the later release; in the earlier, if it is gone.
    pub bytes: u64,
}

/// Calls `on_change` for every path that `after` has otherwise than `before`, in order.
///
/// Guarantees: nothing between a release and itself; what is told is what a plan from a tree that is `before` to `after` tells.
/// Cost: one pass over both, and no memory.
pub fn between(before: &Manifest, after: &Manifest, on_change: &mut dyn FnMut(Changed)) {
    let (mut olds, mut news) = (before.views(), after.views());
    let (mut old, mut new) = (olds.next(), news.next());
    loop {
        let order = match (&old, &new) {
            (Some(old), Some(new)) => path::order(old.path, new.path),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return,
        };
        let kind = match (&old, &new) {
            (Some(_), _) if order.is_lt() => Some(ChangeKind::Delete),
            (Some(old), Some(new)) if order.is_eq() => change(old, new),
            _ => Some(ChangeKind::Create),
        };
        let shown = if order.is_lt() { &old } else { &new };
        if let (Some(kind), Some(view)) = (kind, shown) {
            let path = TreePath::of_checked(view.path);
            on_change(Changed { path, kind, bytes: size(view) });
        }
        if order.is_le() {
            old = olds.next();
        }
        if order.is_ge() {
            new = news.next();
        }
    }
}

fn change(old: &View<'_, '_>, new: &View<'_, '_>) -> Option<ChangeKind> {
    let class = |view: &View<'_, '_>| match view.kind {
        KindView::Directory => 0,
        KindView::File(_) | KindView::HardLink(_) => 1,
        KindView::Symlink(_) => 2,
        KindView::Special => 3,
    };
    if class(old) != class(new) {
        Some(ChangeKind::Type)
    } else if old.kind != new.kind {
        Some(ChangeKind::Update)
    } else if old.stamp != new.stamp || old.xattrs != new.xattrs {
        Some(ChangeKind::Metadata)
    } else {
        None
    }
}

fn size(view: &View<'_, '_>) -> u64 {
    match view.kind {
        KindView::File(content) => content.size(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{entries, manifest_of, random_tree};
    use super::super::plan::{self, Have, Policy, Want};
    use super::*;

    fn told(before: &Manifest, after: &Manifest) -> Vec<(String, &'static str, u64)> {
        let mut all = Vec::new();
        between(before, after, &mut |one| {
            all.push((one.path.to_string(), one.kind.word(), one.bytes));
        });
        all
    }

    #[test]
    fn every_kind_of_change_is_told_with_the_size_that_counts() {
        let of = |lines| manifest_of(&entries(lines), false);
        let before = of("a f one; b d; b/c f two; e f three; l l x; m l x; same f six");
        let after = of("a f one two; b f two; d f four; e@7 f three; l l y; m l x; same f six");
        let expected = [
            ("a", "update", 6),
            ("b", "type", 3),
            ("b/c", "delete", 3),
            ("d", "create", 4),
            ("e", "metadata", 5),
            ("l", "update", 0),
        ];
        let mut found = told(&before, &after);
        found.sort();
        let mut expected = expected.map(|(path, kind, bytes)| (path.to_owned(), kind, bytes));
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(told(&before, &before), []);
    }

    #[test]
    fn what_is_told_is_what_a_plan_between_the_two_tells() {
        let mut seed = 7;
        for _ in 0..300 {
            let (old, new) = (random_tree(&mut seed), random_tree(&mut seed));
            let (before, after) = (manifest_of(&old, false), manifest_of(&new, false));
            let have: Vec<Have<'_>> =
                old.iter().map(|entry| Have { entry, is_sole_name: true }).collect();
            let want = Want { release: (&after).into(), same_files: 0 };
            let policy = Policy { owners: true, ..Policy::default() };
            let mut planned = Vec::new();
            plan::plan(&have, want, &policy, &mut |one| {
                planned.push((one.path.to_string(), one.kind.word()));
            });
            let mut found: Vec<_> =
                told(&before, &after).into_iter().map(|(path, kind, _)| (path, kind)).collect();
            planned.sort();
            found.sort();
            assert_eq!(found, planned);
        }
    }
}
