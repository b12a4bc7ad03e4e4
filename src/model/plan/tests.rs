use std::collections::BTreeMap;

use super::super::fixture::{entries, manifest_of, path, random, random_tree};
use super::*;
use crate::model::manifest::Manifest;

/// All of `manifest` is to be compared.
fn whole(manifest: &Manifest) -> Want<'_> {
    Want { release: manifest.into(), same_files: 0 }
}

fn haves(entries: &[Entry]) -> Vec<Have<'_>> {
    entries.iter().map(|entry| Have { entry, is_sole_name: true }).collect()
}

fn plan_of(have: &[Entry], want: &[Entry], policy: &Policy) -> (Plan, Vec<Change>) {
    let mut changes = Vec::new();
    let manifest = manifest_of(want, false);
    let plan = plan(&haves(have), whole(&manifest), policy, &mut |change| changes.push(change));
    (plan, changes)
}

fn shown(paths: &[TreePath]) -> String {
    paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Installs, removes, moves and metas of a plan, apart by `|`.
fn summary(plan: &Plan) -> String {
    let moves: Vec<_> =
        plan.moves.iter().map(|moved| format!("{}>{}", moved.from, moved.to)).collect();
    let parts = [shown(&plan.installs), shown(&plan.removes), moves.join(" "), shown(&plan.metas)];
    parts.join("|")
}

#[test]
fn plans_list_tops() {
    for (have, want, expected) in [
        ("", "", "|||"),
        ("", "a f x", "a|||"),
        ("", "d d; d/e d; d/e/f f x", "d|||"),
        ("a f x", "", "|a||"),
        ("d d; d/e d; d/e/f f x", "", "|d||"),
        ("a f x", "a f y", "a|||"),
        ("a f x", "a@7 f x", "|||a"),
        ("d d", "d@7 d", "|||d"),
        ("l l x", "l@7 l x", "l|||"),
        ("a f x", "a d; a/b f x", "a|||"),
        ("a d; a/b f x; a/c d", "a f y", "a|||"),
        ("a l x", "a f y", "a|||"),
        ("a s", "a f y", "a|||"),
        ("a s", "", "|a||"),
        ("a f x", "b f x", "b|a|a>b|"),
        ("a f x", "b@7 f x", "b|a||"),
        ("a f", "b f", "b|a||"),
        ("a f x; b f y", "a f y; b f x", "a b|||"),
        ("d d; d/a f x; d/b f y", "e d; e/a f x; e/b f y", "e|d|d>e|"),
        ("d d; d/e d; d/e/f f x", "z d; z/e d; z/e/f f x", "z|d|d>z|"),
        ("d d; d/e d; d/e/f f x", "d d; d/z d; d/z/f f x", "d/z|d/e|d/e>d/z|"),
        ("d d; d/l l x; d/f f", "e d; e/l l x; e/f f", "e|d|d>e|"),
        // Not all of it is the same: what is moves by itself.
        ("d d; d/e d; d/e/f f x", "z@7 d; z/e d; z/e/f f x", "z|d|d/e>z/e|"),
        ("d d; d/a f x; d/b f y", "e d; e/a f x", "e|d|d/a>e/a|"),
        ("d d; d/a f x", "e d; e/a f x; e/b f y", "e|d|d/a>e/a|"),
        ("d d; d/a f x; d/b s", "e d; e/a f x", "e|d|d/a>e/a|"),
        ("d d", "e d", "e|d||"),
        ("a d; a/b d; a/b/f f x", "a f y; z d; z/f f x", "a z|||"),
        ("a d; a/b f x", "a f z; b f x", "a b|||"),
        ("x d; x/a f c", "x d; x/a f c; y d; y/b f c", "y|||"),
    ] {
        let (plan, _) = plan_of(&entries(have), &entries(want), &Policy::default());
        assert_eq!(summary(&plan), expected, "{have} => {want}");
    }
}

#[test]
fn what_must_be_kept_stays_with_the_directories_around_it() {
    let have = entries("d d; d/a f x; d/p f y; d/e d; d/e/b f z; gone f x");
    let policy = Policy {
        ignored: vec![path("d/e/log")],
        protected: vec![path("d/p")],
        ..Policy::default()
    };
    let (plan, _) = plan_of(&have, &entries("new f w"), &policy);
    assert_eq!(summary(&plan), "new|d/a d/e/b gone||");
    assert_eq!(shown(&plan.kept_extras), "d d/e d/p");
    assert!(plan.conflicts.is_empty());
    let (plan, _) = plan_of(&have, &entries("d f w"), &policy);
    assert_eq!(shown(&plan.conflicts), "d");
    let (plan, _) = plan_of(&have, &entries("d d; d/e d; d/e/log f x"), &policy);
    assert_eq!(shown(&plan.conflicts), "d/e/log");
    let (plan, _) = plan_of(&have, &entries("d d; d/p f other"), &policy);
    assert_eq!(summary(&plan), "d/p|d/a d/e/b gone||", "the release has it: it is managed");
    let all = Policy { protected: vec![path("d")], ..Policy::default() };
    let (plan, _) = plan_of(&have, &entries("d d; d/a f new"), &all);
    assert_eq!(summary(&plan), "d/a|gone||");
    let no_delete = Policy { no_delete: true, ..Policy::default() };
    let (plan, _) = plan_of(&have, &entries("d f w"), &no_delete);
    assert_eq!(shown(&plan.conflicts), "d");
    let (plan, _) = plan_of(&entries("d d"), &entries("d f w"), &no_delete);
    assert!(plan.conflicts.is_empty(), "an empty directory holds nothing to keep");
}

#[test]
fn fault_032_deletes_count_what_does_not_come_back() {
    for (have, want, lost, of) in [
        ("a f x; b f y; d d", "a f x", 1, 2),
        ("a f x; l l t", "", 2, 2),
        ("a f x; l l t", "b f x; k l t", 0, 2),
        ("a f x; l l t", "b l x; k f t", 2, 2),
        ("a f x; b f x", "c f x", 0, 2),
        ("a f x", "a f y", 0, 1),
        ("a f x", "a d", 1, 1),
        ("a f x", "a d; a/b f x", 0, 1),
        ("d d; d/e d", "", 0, 0),
        ("a f x; b h a", "", 2, 2),
        ("a f x; b h a", "a f x", 0, 2),
        ("a s", "", 1, 1),
    ] {
        let (plan, _) = plan_of(&entries(have), &entries(want), &Policy::default());
        assert_eq!((plan.deletes.lost, plan.deletes.of), (lost, of), "{have} => {want}");
    }
}

#[test]
fn max_delete_lets_ten_pass_a_share_but_no_count() {
    for (limit, lost, of, is_allowed) in [
        (MaxDelete::Percent(50), 10, 10, true),
        (MaxDelete::Percent(50), 11, 22, true),
        (MaxDelete::Percent(50), 11, 21, false),
        (MaxDelete::Percent(0), 10, 1_000, true),
        (MaxDelete::Percent(0), 11, 1_000_000, false),
        (MaxDelete::Percent(100), u64::MAX, u64::MAX, true),
        (MaxDelete::Count(0), 1, 100, false),
        (MaxDelete::Count(3), 3, 3, true),
    ] {
        assert_eq!(limit.allows(Deletes { lost, of }), is_allowed, "{limit:?} {lost} of {of}");
    }
}

#[test]
fn owners_count_only_where_they_are_kept() {
    let mut have = entries("a f x");
    let want = entries("a f x");
    have[1].meta.owner = Some(Owner { uid: 7, gid: 7 });
    let mut policy = Policy { owners: true, ..Policy::default() };
    assert_eq!(summary(&plan_of(&have, &want, &policy).0), "|||", "the release has none");
    policy.owner = Some(Owner { uid: 1, gid: 1 });
    assert_eq!(summary(&plan_of(&have, &want, &policy).0), "|||. a");
    policy.owners = false;
    assert_eq!(summary(&plan_of(&have, &want, &policy).0), "|||");
}

#[test]
fn files_with_another_name_are_replaced_and_never_changed_in_place_or_moved() {
    let have = entries("a f x; b f y");
    let all: Vec<_> = have.iter().map(|entry| Have { entry, is_sole_name: false }).collect();
    let want = manifest_of(&entries("a@7 f x; c f y"), false);
    let plan = plan(&all, whole(&want), &Policy::default(), &mut |_| {});
    assert_eq!(summary(&plan), "a c|b||");
}

#[test]
fn a_file_that_gives_rights_is_made_anew_and_not_changed_in_place() {
    let xattr = |name: &str| Xattr { name: name.as_bytes().into(), value: Box::default() };
    let meta = |mode, xattrs| Meta { mode, xattrs, ..Meta::default() };
    for (wanted, expected) in [
        (meta(0o755, vec![]), "|||a"),
        (meta(0o755, vec![xattr("user.x")]), "|||a"),
        (meta(0o4755, vec![]), "a|||"),
        (meta(0o2755, vec![]), "a|||"),
        (meta(0o755, vec![xattr("security.capability")]), "a|||"),
        (meta(0o755, vec![xattr("trusted.x")]), "a|||"),
    ] {
        let have = entries("a f x");
        let mut want = have.clone();
        want.last_mut().expect("the file").meta = wanted.clone();
        let (plan, changes) = plan_of(&have, &want, &Policy::default());
        assert_eq!(summary(&plan), expected, "{wanted:?}");
        assert_eq!(
            changes.iter().map(|change| change.kind).collect::<Vec<_>>(),
            [ChangeKind::Metadata]
        );
        // Once it is so, it stays.
        assert_eq!(summary(&plan_of(&want, &want, &Policy::default()).0), "|||");
    }
}

#[test]
fn groups_of_hard_links_are_made_anew_as_a_whole() {
    for (have, want, expected) in [
        ("a f x; b h a", "a f x; b h a", "|||"),
        ("a f x; b f x", "a f x; b h a", "a b|||"),
        ("a f x; b h a", "a f x; b f x", "b|||"),
        ("a f x; b h a; c h a", "a f y; b h a; c h a", "a b c|||"),
        ("a f x; b h a", "a@7 f x; b h a", "a b|||"),
        ("a f x; b h a", "a f x; b h a; d d; d/c h a", "a b d|||"),
        ("a f x; b h a; c h a", "b f x; c h b", "b c|a||"),
        ("a f x; b h a; c f y", "a f x; b h a; d f y", "d|c|c>d|"),
        ("a f x; d d; d/f f y", "a f x; e d; e/f f y; e/g h a", "a e|d|d/f>e/f|"),
        ("d d; d/f f y; d/g f y", "e d; e/f f y; e/g h e/f", "e|d||"),
    ] {
        let have = entries(have);
        let manifest = manifest_of(&entries(want), true);
        let plan = plan(&haves(&have), whole(&manifest), &Policy::default(), &mut |_| {});
        assert_eq!(summary(&plan), expected, "{want}");
    }
}

/// The path that `path` has once `from`, around it, is `to`.
fn renamed(path: &TreePath, from: &TreePath, to: &TreePath) -> TreePath {
    let below = path.as_bytes().strip_prefix(from.as_bytes()).expect("it is within");
    TreePath::new(&[to.as_bytes(), below].concat()).expect("a path")
}

/// Carries a plan out on a map, as the node does it on a disk.
fn carry_out(have: &[Entry], want: &[Entry], plan: &Plan) -> BTreeMap<TreePath, Entry> {
    let mut tree: BTreeMap<_, _> =
        have.iter().map(|entry| (entry.path.clone(), entry.clone())).collect();
    let of_want = |path: &TreePath| want.iter().find(|entry| entry.path == *path).cloned();
    for top in &plan.installs {
        tree.retain(|path, _| !path.is_within(top));
        let new = want.iter().filter(|entry| entry.path.is_within(top));
        let moves = |entry: &&Entry| plan.moves.iter().any(|m| entry.path.is_within(&m.to));
        tree.extend(new.filter(|entry| !moves(entry)).map(|e| (e.path.clone(), e.clone())));
    }
    for moved in &plan.moves {
        assert!(tree.contains_key(&moved.from), "{} is still there", moved.from);
        assert!(!tree.contains_key(&moved.to), "{} is free", moved.to);
        assert!(tree.contains_key(&moved.to.parent().expect("a parent")), "{}", moved.to);
        let within = tree.extract_if(.., |path, _| path.is_within(&moved.from));
        let within: Vec<_> = within.map(|(_, entry)| entry).collect();
        for entry in within {
            let path = renamed(&entry.path, &moved.from, &moved.to);
            tree.insert(path.clone(), Entry { path, ..entry });
        }
    }
    for top in &plan.removes {
        tree.retain(|path, _| !path.is_within(top));
    }
    for path in &plan.metas {
        let (entry, new) = (tree.get_mut(path).expect("it is there"), of_want(path));
        entry.meta = new.expect("it is wanted").meta;
    }
    tree
}

/// Gives a directory of `tree` another name, below another or beside it.
fn rename_a_directory(seed: &mut u64, tree: &mut [Entry]) {
    let is_inner = |entry: &&Entry| entry.kind.is_directory() && !entry.path.is_root();
    let directories: Vec<_> =
        tree.iter().filter(is_inner).map(|entry| entry.path.clone()).collect();
    let Some(from) = pick(seed, &directories) else { return };
    let around: Vec<_> = directories.iter().filter(|path| !path.is_within(&from)).collect();
    let around = pick(seed, &around).map_or_else(TreePath::root, Clone::clone);
    let to = around.join(b"renamed").expect("short");
    for entry in tree.iter_mut().filter(|entry| entry.path.is_within(&from)) {
        entry.path = renamed(&entry.path, &from, &to);
    }
    tree.sort_by(|one, other| one.path.cmp(&other.path));
}

fn pick<T: Clone>(seed: &mut u64, from: &[T]) -> Option<T> {
    let at = random(seed, from.len().max(1) as u64);
    from.get(usize::try_from(at).expect("small")).cloned()
}

/// Trees planned by each run of the tests; `DEPSYNC_SEEDS` says more, and `DEPSYNC_SEED` where to begin.
const TREES: u64 = 3_000;

#[expect(clippy::disallowed_methods, reason = "how many trees is said from outside")]
fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn carrying_a_plan_out_gives_what_is_wanted_and_a_second_plan_is_empty() {
    let first = from_environment("DEPSYNC_SEED", 0);
    let mut directories_moved = 0;
    for start in (0..from_environment("DEPSYNC_SEEDS", TREES)).map(|at| first.wrapping_add(at)) {
        let mut seed = start;
        let have = random_tree(&mut seed);
        let mut want = random_tree(&mut seed);
        if random(&mut seed, 3) > 0 {
            // A tree near the other: most of it is the same, and so are moves.
            let others = std::mem::replace(&mut want, have.clone());
            want.retain(|entry| entry.path.is_root() || entry.path.as_bytes()[0] % 3 != 0);
            let free = |entry: &Entry| entry.path.as_bytes().first().is_some_and(|b| b % 3 == 0);
            want.extend(others.into_iter().filter(free));
            want.sort_by(|one, other| one.path.cmp(&other.path));
        }
        if random(&mut seed, 2) > 0 {
            rename_a_directory(&mut seed, &mut want);
        }
        let policy = Policy { owners: true, ..Policy::default() };
        let (plan, changes) = plan_of(&have, &want, &policy);
        let is_directory =
            |path: &TreePath| want.iter().any(|e| e.path.parent() == Some(path.clone()));
        directories_moved += plan.moves.iter().filter(|moved| is_directory(&moved.to)).count();
        let result: Vec<_> = carry_out(&have, &want, &plan).into_values().collect();
        assert_eq!(result, want, "seed {start}");
        assert!(changes.is_sorted_by(|one, next| one.path < next.path), "seed {start}");
        assert_eq!(changes.len() as u64, plan.counts.total(), "seed {start}");
        let (nothing, _) = plan_of(&want, &want, &policy);
        assert_eq!(nothing, Plan { deletes: nothing.deletes, ..Plan::default() }, "seed {start}");
        assert_eq!(nothing.deletes.lost, 0, "seed {start}");
        let (again, _) = plan_of(&have, &want, &policy);
        assert_eq!(again, plan, "a plan is a function of its inputs; seed {start}");
        let lists = [&plan.installs, &plan.removes, &plan.metas, &plan.dirs];
        assert!(lists.iter().all(|list| list.is_sorted_by(|one, next| one < next)), "seed {start}");
        assert!(plan.moves.is_sorted_by(|one, next| one.to < next.to), "seed {start}");
    }
    assert!(directories_moved > 0, "the trees are too different");
}
