use super::super::codec::{Error, Writer};
use super::super::digest::Domain;
use super::super::entry::{Chunk, Segment};
use super::super::fixture::{entries, manifest_of, path, random, random_tree};
use super::super::limits::MANIFEST_BYTES_MAX;
use super::*;

fn check(base: &Manifest, want: &Manifest) -> usize {
    let delta = encode(base, want);
    assert_eq!(apply(base, &delta, want.id()).as_ref(), Ok(want));
    delta.len()
}

/// What it costs to say that nothing changes.
const NOTHING: usize = Digest::BYTES + 4;

#[test]
fn applying_what_was_encoded_gives_what_was_wanted() {
    for start in 0..2_000 {
        let mut seed = start;
        let base = manifest_of(&random_tree(&mut seed), false);
        let want = manifest_of(&random_tree(&mut seed), false);
        check(&base, &want);
        assert_eq!(check(&want, &want), NOTHING, "seed {start}");
    }
}

/// A large tree of long files, its chunks unlike.
fn large_tree() -> Vec<Entry> {
    let mut all = entries("");
    for directory in 0..12 {
        let top = format!("d{directory}");
        all.extend(entries(&format!("{top} d; {top}/s d")).into_iter().skip(1));
        for file in 0..12 {
            let words: Vec<String> = (0..40).map(|at| format!("{directory}.{file}.{at}")).collect();
            let line = format!("{top}/s/f{file} f {} - end", words.join(" "));
            all.extend(entries(&line).into_iter().skip(1));
        }
    }
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

/// Changes `tree` as an operator would: names, contents, metadata, in any order.
fn edit(tree: &mut Vec<Entry>, seed: &mut u64) {
    let pick = |seed: &mut u64, limit: usize| {
        usize::try_from(random(seed, limit as u64)).expect("within the limit")
    };
    let at = pick(seed, tree.len()).max(1);
    let old = tree[at].path.clone();
    match random(seed, 5) {
        0 => tree.retain(|entry| !entry.path.is_within(&old)),
        1 | 2 => {
            let to = path(&format!("d{}-{}", pick(seed, 14), pick(seed, 9)));
            if tree.iter().any(|entry| entry.path == to) {
                return;
            }
            for entry in tree.iter_mut().filter(|entry| entry.path.is_within(&old)) {
                let below = entry.path.as_bytes()[old.as_bytes().len()..].to_vec();
                entry.path = TreePath::new(&[to.as_bytes(), &below].concat()).expect("a path");
            }
        }
        3 => tree[at].meta.mtime.nanos = 7,
        _ => {
            let other = tree[pick(seed, tree.len())].kind.clone();
            let (Kind::File(content), Kind::File(more)) = (&mut tree[at].kind, other) else {
                return;
            };
            let mut segments = content.segments().to_vec();
            let cut = pick(seed, segments.len().max(1));
            segments.splice(cut..cut, more.segments().iter().take(3).copied());
            *content = Content::new(segments);
        }
    }
    tree.sort_by(|one, other| one.path.cmp(&other.path));
}

#[test]
fn whatever_was_edited_comes_out_and_brings_no_chunk_that_is_there() {
    for start in 0..60 {
        let mut seed = start;
        let mut tree = large_tree();
        let base = manifest_of(&tree, false);
        let edits = 1 + random(&mut seed, 8);
        for _ in 0..edits {
            edit(&mut tree, &mut seed);
        }
        let want = manifest_of(&tree, false);
        let bytes = check(&base, &want);
        // Twelve files of a directory of which one changed come one by one; none of their 480 digests does.
        assert!(bytes < 40 * Digest::BYTES * 8, "{bytes} bytes for {edits} edits, seed {start}");
    }
}

#[test]
fn a_renamed_subtree_costs_its_two_names() {
    let mut tree = large_tree();
    let base = manifest_of(&tree, false);
    for entry in &mut tree {
        if let Some(below) = entry.path.strip_prefix(&path("d3")) {
            entry.path = below.in_state(&[b"d3-renamed"]);
        }
    }
    tree.sort_by(|one, other| one.path.cmp(&other.path));
    let want = manifest_of(&tree, false);
    let bytes = check(&base, &want);
    assert!(bytes < NOTHING + 20, "{bytes} bytes for a renamed directory");
}

#[test]
fn an_edited_file_costs_its_new_chunks_wherever_it_was() {
    let before = "a f 1 2 3 4 5 6 7 8 9; b d; b/x f k l - m n; c f t";
    // Same name, another name, another name with other metadata, and nothing but other metadata.
    let after = "a f 1 2 3 new 4 5 7 8 9; b2 d; b2/y f k l - other n; z@7 f t";
    let (base, want) = (manifest_of(&entries(before), false), manifest_of(&entries(after), false));
    let bytes = check(&base, &want);
    assert!(bytes < NOTHING + 2 * Digest::BYTES + 90, "{bytes} bytes for two new chunks");
    let touched = manifest_of(&entries(&before.replace("a f", "a@5 f")), false);
    let bytes = check(&base, &touched);
    assert!(bytes < NOTHING + 14, "{bytes} bytes for a time");
}

#[test]
fn hard_links_and_another_header_come_through() {
    let linked = |lines| manifest_of(&entries(lines), true);
    let base = linked("a d; a/f f x; a/g h a/f; b f y");
    let want = linked("b f y; c d; c/f f x; c/g h c/f");
    check(&base, &want);
    check(&base, &manifest_of(&entries("b f y; c d"), false));
    check(&manifest_of(&entries("b f y; c d"), false), &base);
}

#[test]
fn another_base_another_result_and_every_flipped_bit_are_refused() {
    let base = manifest_of(&entries("a f x 1 2; d d; d/b f y; e d; e/e f 3 -; l l t"), false);
    let want = manifest_of(&entries("a f x 2 z; d d; d/c f y; l l u; m d; m/e f 3 -"), false);
    let delta = encode(&base, &want);
    assert_eq!(apply(&base, &delta, want.id()).as_ref(), Ok(&want));
    assert!(apply(&want, &delta, want.id()).is_err());
    assert!(apply(&base, &delta, base.id()).is_err());
    for length in 0..delta.len() {
        assert!(apply(&base, &delta[..length], want.id()).is_err(), "cut at {length}");
    }
    for bit in 0..delta.len() * 8 {
        let mut flipped = delta.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(result) = apply(&base, &flipped, want.id()) {
            assert_eq!(result, want, "bit {bit}");
        }
    }
}

/// A delta of one file whose content is `runs`, after `moves`.
fn forged(base: &Manifest, moves: &[(i64, &str)], runs: &[&[u64]]) -> Vec<u8> {
    let mut contents = Writer::new();
    contents.list(runs, |writer, run| run.iter().for_each(|word| writer.u64(*word)));
    let mut body = Body::default();
    body.push(&entries("z f")[1]).expect("a file");
    let mut writer = Writer::new();
    writer.digest(&base.id());
    writer.bool(false);
    Ordinals::default().encode(&mut writer);
    writer.list(moves, |writer, (from, to)| {
        writer.i64(*from);
        writer.path(&path(to));
    });
    writer.bytes(&contents.finish());
    writer.raw(&body.finish());
    writer.finish()
}

#[test]
fn fault_148_references_out_of_the_base_are_refused() {
    let base = manifest_of(&entries("a f 1 2 3; b d; b/c f 4"), false);
    let refused = |moves: &[(i64, &str)], runs: &[&[u64]]| {
        let result = apply(&base, &forged(&base, moves, runs), base.id());
        result.expect_err("a forged delta leads nowhere")
    };
    let is_known = |error| error == Error::Digest { what: WHAT };
    let zigzag = |value: i64| (value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned();
    assert!(is_known(refused(&[], &[&[4 << 2, 0]])), "all that is there may be referred to");
    for runs in [
        &[&[5 << 2, 0][..]][..],                   // one more than there is
        &[&[1 << 2, zigzag(4)]],                   // behind the last
        &[&[1 << 2, zigzag(-1)]],                  // before the first
        &[&[0, 0]],                                // nothing
        &[&[!3, zigzag(9)]],                       // beyond what counts
        &[&[65_536 << 2 | 2], &[65_536 << 2 | 2]], // two holes in a row
        &[&[7]],                                   // no such run
    ] {
        assert!(!is_known(refused(&[], runs)), "{runs:?}");
    }
    assert!(is_known(refused(&[(2, "q")], &[])));
    for moves in [[(4, "q")], [(-1, "q")], [(i64::MAX, "q")], [(2, "")]] {
        assert!(!is_known(refused(&moves, &[])), "{moves:?}");
    }
}

#[test]
fn fault_149_what_would_grow_beyond_the_limits_is_refused_before_it_does() {
    let chunk = |at: u32| {
        let digest = Digest::of(Domain::Chunk, &at.to_le_bytes());
        Segment::Chunk(Chunk { digest, bytes: 1 })
    };
    let mut tree = entries("a f");
    tree[1].kind = Kind::File(Content::new((0..4_096).map(chunk)));
    let base = manifest_of(&tree, false);
    // Each run says the whole file once more in four bytes.
    let again: Vec<u64> = vec![4_096 << 2, 0];
    let back: Vec<u64> = vec![4_096 << 2, 4_096 * 2 - 1];
    let times = usize::try_from(MANIFEST_BYTES_MAX / 32 / 4_096).expect("small") + 1;
    let mut runs: Vec<&[u64]> = vec![&back; times];
    runs[0] = &again;
    let error = apply(&base, &forged(&base, &[], &runs), base.id());
    // By the count of segments: before there are any bytes of them.
    let is_counted =
        matches!(error, Err(Error::TooLarge { limit, .. }) if limit == MANIFEST_BYTES_MAX / 32);
    assert!(is_counted, "{error:?}");
    let mut runs: Vec<&[u64]> = vec![&back; DELTA_REFERENCES_MAX + 1];
    runs[0] = &again;
    let error = apply(&base, &forged(&base, &[], &runs), base.id());
    assert_eq!(error, Err(Error::NotCanonical { what: WHAT }));
}
