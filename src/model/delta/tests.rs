use super::super::fixture::{entries, manifest_of, random_tree};
use super::*;

#[test]
fn applying_what_was_encoded_gives_what_was_wanted() {
    for start in 0..2_000 {
        let mut seed = start;
        let base = manifest_of(&random_tree(&mut seed), false);
        let want = manifest_of(&random_tree(&mut seed), false);
        let delta = encode(&base, &want);
        assert_eq!(apply(&base, &delta, want.id()).as_ref(), Ok(&want), "seed {start}");
        let nothing = encode(&want, &want);
        assert!(nothing.len() < 64, "{} bytes say that nothing changes", nothing.len());
        assert_eq!(apply(&want, &nothing, want.id()).as_ref(), Ok(&want));
    }
}

#[test]
fn another_base_another_result_and_every_flipped_bit_are_refused() {
    let base = manifest_of(&entries("a f x; d d; d/b f y; l l t"), false);
    let want = manifest_of(&entries("a f z; d d; d/c f y; l l u"), false);
    let delta = encode(&base, &want);
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
