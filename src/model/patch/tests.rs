use proptest::prelude::*;

use super::super::fixture::random;
use super::*;

/// Bytes that look random and are the same everywhere.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut seed = seed;
    let mut bytes = Vec::new();
    while bytes.len() < count {
        bytes.extend_from_slice(&random(&mut seed, u64::MAX).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Old pieces in memory.
struct Old {
    pieces: Vec<Vec<u8>>,
}

impl Old {
    fn apply(&self, patch: &[u8], length: usize, into: &mut Vec<u8>) -> Result<()> {
        let copy = |numbers, room, into: &mut Vec<u8>| self.copy(numbers, room, into);
        apply(patch, length, copy, into)
    }

    fn copy(&self, numbers: Range<usize>, room: usize, into: &mut Vec<u8>) -> Result<()> {
        let bytes = self.pieces.get(numbers).ok_or(Error::Truncated { what: "old" })?.concat();
        if bytes.len() > room {
            return Err(Error::Truncated { what: "room" });
        }
        into.extend(bytes);
        Ok(())
    }
}

fn cutter() -> Cutter {
    Cutter::new(b"a run")
}

fn old_of(spans: &[&[u8]]) -> (Old, PieceIds) {
    let mut ids = PieceIds::default();
    let pieces = spans.iter().flat_map(|span| cutter().cut(span)).map(|piece| {
        assert!(ids.push(cutter().id(piece)));
        piece.to_vec()
    });
    (Old { pieces: pieces.collect() }, ids)
}

fn known(ids: &PieceIds) -> Known {
    Known::new(Near { pieces: ids.clone(), ..Near::default() })
}

fn through_the_wire(ids: &PieceIds) -> PieceIds {
    let mut writer = Writer::new();
    ids.encode(&mut writer);
    let bytes = writer.finish();
    let mut reader = Reader::new(&bytes, "pieces");
    let read = PieceIds::decode(&mut reader).expect("ids");
    reader.finish().expect("nothing more");
    assert_eq!(read, *ids);
    read
}

/// Patches `old` to `new`; gives the length of the patch.
fn check(old: &[&[u8]], new: &[&[u8]]) -> usize {
    let (pieces, ids) = old_of(old);
    let known = known(&through_the_wire(&ids));
    let wanted = new.concat();
    let Some(patch) = diff(&cutter(), &known, new.iter().copied()) else { return wanted.len() };
    let mut made = b"of before".to_vec();
    pieces.apply(&patch, wanted.len(), &mut made).expect("a patch");
    assert!(made == wanted);
    patch.len()
}

#[test]
fn an_edit_costs_the_pieces_around_it() {
    let old = noise(1, 100_000);
    let mut edited = old.clone();
    edited[50_000..50_010].fill(0);
    let inserted = [&old[..70_000], b"something", &old[70_000..]].concat();
    let cut = [&old[..30_000], &old[30_100..]].concat();
    for (what, new) in [("edited", &edited), ("inserted", &inserted), ("cut", &cut)] {
        let bytes = check(&[&old], &[new]);
        assert!(bytes < 2 * PIECE_BYTES_MAX, "{what}: {bytes} bytes");
    }
    assert!(check(&[&old], &[&old]) < 8);
    // Elsewhere, in parts, and in another order.
    assert!(check(&[b"other", &old], &[&old[40_000..], &old[..40_000]]) < 2 * PIECE_BYTES_MAX);
    assert!(check(&[&old], &[&old, &old, &old]) < 16);
}

#[test]
fn what_shares_nothing_is_no_patch() {
    let (one, other) = (noise(1, 50_000), noise(2, 50_000));
    let one_known = known(&old_of(&[&one]).1);
    assert_eq!(diff(&cutter(), &one_known, [other.as_slice()]), None);
    assert_eq!(diff(&cutter(), &known(&PieceIds::default()), [one.as_slice()]), None);
    // One piece in sixteen is not worth it, one in eight is.
    let mixed = [other.as_slice(), &one[..2_000]];
    assert_eq!(diff(&cutter(), &one_known, mixed), None);
    assert!(diff(&cutter(), &one_known, [&other[..14_000], &one[..8_000]]).is_some());
}

#[test]
fn pieces_are_whole_within_their_bounds_and_named_for_one_run() {
    for bytes in [noise(3, 100_000), vec![0; 100_000], b"short".to_vec(), Vec::new()] {
        let pieces: Vec<&[u8]> = cutter().cut(&bytes).collect();
        assert_eq!(pieces.concat(), bytes);
        assert!(pieces.iter().all(|piece| (1..=PIECE_BYTES_MAX).contains(&piece.len())));
        let whole = pieces.iter().rev().skip(1);
        assert!(whole.into_iter().all(|piece| piece.len() >= PIECE_BYTES_MIN));
    }
    assert_ne!(cutter().id(b"piece"), Cutter::new(b"another run").id(b"piece"));
    assert_ne!(cutter().id(b"piece"), cutter().id(b"other"));
}

#[test]
fn what_is_near_comes_through_and_equals_its_equal_alone() {
    let mut near = Near { pieces: old_of(&[&noise(4, 9_000)]).1, ..Near::default() };
    for ordinal in [3, 4, 9] {
        near.chunks.push(ordinal);
    }
    let mut writer = Writer::new();
    near.encode(&mut writer);
    let bytes = writer.finish();
    let mut reader = Reader::new(&bytes, "near");
    assert_eq!(Near::decode(&mut reader).as_ref(), Ok(&near));
    reader.finish().expect("nothing more");
    let lookup = Known::new(near.clone());
    assert_eq!(lookup.digest(), near.digest());
    assert!(lookup.is_near([0, 4]) && !lookup.is_near([0, 5]) && !lookup.is_near([]));
    let fewer = Near { pieces: old_of(&[&noise(4, 5_000)]).1, ..near.clone() };
    let other = Near { chunks: Ordinals::default(), ..near.clone() };
    assert!(fewer.digest() != near.digest() && other.digest() != near.digest());
}

#[test]
fn no_more_pieces_are_named_than_may_be() {
    let mut ids = PieceIds::default();
    let id = cutter().id(b"piece");
    assert!((0..PIECES_MAX).all(|_| ids.push(id)));
    assert!(!ids.push(id));
    assert_eq!(through_the_wire(&ids).len(), PIECES_MAX);
    let mut writer = Writer::new();
    writer.u64(PIECES_MAX as u64 + 1);
    let bytes = [writer.finish(), vec![0; (PIECES_MAX + 1) * PieceId::BYTES]].concat();
    let read = PieceIds::decode(&mut Reader::new(&bytes, "pieces"));
    assert!(matches!(read, Err(Error::TooLarge { .. })));
}

#[test]
fn fault_148_and_149_patches_that_no_hub_makes_are_refused() {
    let old = noise(5, 20_000);
    let (pieces, ids) = old_of(&[&old]);
    let apply_to = |patch: &[u8], length| {
        let mut made = Vec::new();
        let done = pieces.apply(patch, length, &mut made);
        assert!(made.capacity() <= length.max(64), "{} bytes", made.capacity());
        done.map(|()| made)
    };
    let forged = |ops: &[u64], literals: &[u8]| {
        let mut writer = Writer::new();
        for word in ops {
            writer.u64(*word);
        }
        let mut patch = Writer::new();
        patch.bytes(&writer.finish());
        patch.raw(literals);
        patch.finish()
    };
    let first = cutter().cut(&old).next().expect("a piece").len();
    let many = [b'm'; 10_000];
    assert_eq!(apply_to(&forged(&[3, 0], b""), first).as_deref(), Ok(&old[..first]));
    assert_eq!(apply_to(&forged(&[6], b"abc"), 3).as_deref(), Ok(&b"abc"[..]));
    let count = ids.len() as u64;
    for (ops, literals, length, what) in [
        (&[3, 0][..], &b""[..], first - 1, "more than wanted"),
        (&[3, 0], b"", first + 1, "less than wanted"),
        (&[6], b"abc", 2, "more literal bytes than wanted"),
        (&[20_000], &many, 100, "far more literal bytes than wanted"),
        (&[6], b"ab", 3, "fewer literal bytes than told"),
        (&[6], b"abcd", 3, "bytes left over"),
        (&[2, 4], b"abc", 3, "literals told twice"),
        (&[3, 0, 3, 0], b"", 20_000, "a copy told twice"),
        (&[0], b"", 0, "nothing"),
        (&[1, 0], b"", 0, "no pieces"),
        (&[3, count * 2], b"", 20_000, "a piece that is not there"),
        (&[3, 1], b"", 20_000, "a piece before the first"),
        (&[u64::MAX, 0], b"", 20_000, "all pieces there could be"),
        (&[u64::MAX - 1], b"", 20_000, "all bytes there could be"),
        (&[3, u64::MAX - 1], b"", 20_000, "a piece beyond all"),
    ] {
        assert!(apply_to(&forged(ops, literals), length).is_err(), "{what}");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_gives_the_length_wanted_or_an_error() {
    let old = noise(6, 8_000);
    let new = [&old[..3_000], b"edit", &old[4_000..]].concat();
    let (pieces, ids) = old_of(&[&old]);
    let patch = diff(&cutter(), &known(&ids), [new.as_slice()]).expect("a patch");
    let mut made = Vec::new();
    for end in 0..patch.len() {
        assert!(pieces.apply(&patch[..end], new.len(), &mut made).is_err(), "cut at {end}");
    }
    for bit in 0..patch.len() * 8 {
        let mut flipped = patch.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if pieces.apply(&flipped, new.len(), &mut made).is_ok() {
            assert_eq!(made.len(), new.len());
        }
    }
}

proptest! {
    #[test]
    fn a_patch_makes_what_was_wanted(
        seed in 0u64..50,
        at in 0usize..15_000,
        gone in 0usize..3_000,
        come in proptest::collection::vec(any::<u8>(), 0..3_000),
        split in 0usize..30_000,
    ) {
        let old = noise(seed, 30_000);
        let new = [&old[..at], &come, &old[at..][gone..]].concat();
        let split = split.min(new.len());
        let bytes = check(&[&old[..10_000], &old[10_000..]], &[&new[..split], &new[split..]]);
        // The edit, and at each of its ends and at each bound of a span two pieces at most.
        prop_assert!(bytes.saturating_sub(come.len()) < 10 * PIECE_BYTES_MAX, "{bytes} bytes");
    }
}
