use super::super::codec::{Reader, Result, Writer};
use super::super::fixture::{chunk, entries, manifest_of, random, random_tree};
use super::*;
use crate::model::entry::Kind;
use crate::model::manifest::Picked;

fn wanted(ordinals: &[u64]) -> Wanted {
    let mut wanted = Wanted::default();
    for &ordinal in ordinals {
        wanted.push(ordinal);
    }
    wanted
}

fn round_trip(wanted: &Wanted) -> Result<Wanted> {
    let mut writer = Writer::new();
    wanted.encode(&mut writer);
    let bytes = writer.finish();
    let mut reader = Reader::new(&bytes, "wanted");
    let read = Wanted::decode(&mut reader)?;
    reader.finish().map(|()| read)
}

#[test]
fn ranges_round_trip() {
    for ordinals in [&[][..], &[0], &[5], &[0, 1, 2], &[0, 2, 4], &[7, 8, 9, 100, u64::MAX - 1]] {
        let wanted = wanted(ordinals);
        assert_eq!(round_trip(&wanted).as_ref(), Ok(&wanted), "{ordinals:?}");
    }
    assert_eq!(wanted(&[1, 2, 3, 9]).ranges(), [1..4, 9..10]);
}

#[test]
fn fault_148_and_149_ranges_that_no_writer_writes_are_refused() {
    let decode = |words: &[u64]| {
        let mut writer = Writer::new();
        writer.u64(words.len() as u64 / 2);
        for &word in words {
            writer.u64(word);
        }
        let bytes = writer.finish();
        Wanted::decode(&mut Reader::new(&bytes, "wanted"))
    };
    assert!(decode(&[0, 1, 1, 1]).is_ok());
    for words in [
        &[0, 0][..],          // empty
        &[0, 1, 0, 1],        // touching the one before
        &[u64::MAX, 1],       // beyond 64 bits
        &[1, u64::MAX],       // beyond 64 bits
        &[0, 1, u64::MAX, 1], // beyond 64 bits
    ] {
        assert!(decode(words).is_err(), "{words:?}");
    }
    let mut huge = Writer::new();
    huge.u64(1 << 40);
    assert!(Wanted::decode(&mut Reader::new(&huge.finish(), "wanted")).is_err());
}

#[test]
fn batches_hold_the_wanted_chunks_in_order_with_their_places() {
    let manifest = manifest_of(&entries("a f one - two; d d; d/b f three; e f two"), false);
    let want = wanted(&[1, 2]);
    let batches: Vec<_> = Batches::new(&manifest, &want).collect();
    let sites: Vec<_> = batches.iter().flat_map(|batch| &batch.sites).collect();
    let seen: Vec<_> =
        sites.iter().map(|site| (site.ordinal, site.path.to_string(), site.offset)).collect();
    assert_eq!(seen, [(1, "a".into(), 3 + 65_536), (2, "d/b".into(), 0)]);
    assert_eq!(sites[1].chunk, chunk("three"));
    assert_eq!(batches.iter().map(|batch| batch.raw_bytes).sum::<usize>(), 8);
    assert!(Batches::new(&manifest, &Wanted::default()).next().is_none());
    // More than there is ends where the manifest ends.
    assert_eq!(Batches::new(&manifest, &wanted(&[3, 4, 99])).flat_map(|b| b.sites).count(), 1);
}

#[test]
fn every_wanted_set_of_every_tree_is_walked_whole_and_once() {
    for start in 0..500 {
        let mut seed = start;
        let manifest = manifest_of(&random_tree(&mut seed), false);
        let files = manifest.entries().filter_map(|entry| match entry.kind {
            Kind::File(content) => Some(content),
            _ => None,
        });
        let count = files.map(|content| content.chunks().count() as u64).sum::<u64>();
        let ordinals: Vec<u64> = (0..count).filter(|_| random(&mut seed, 2) == 0).collect();
        let want = wanted(&ordinals);
        assert_eq!(round_trip(&want).as_ref(), Ok(&want));
        let walked: Vec<_> = Batches::new(&manifest, &want)
            .flat_map(|batch| batch.sites)
            .map(|s| s.ordinal)
            .collect();
        assert_eq!(walked, ordinals, "seed {start}");
    }
}

#[test]
fn a_part_that_holds_all_wanted_chunks_gives_the_batches_of_the_whole() {
    for start in 0..500 {
        let mut seed = start;
        let manifest = manifest_of(&random_tree(&mut seed), false);
        let (mut picked, mut ordinals) = (Picked::default(), Vec::new());
        let mut placed = Part::from(&manifest).placed();
        while let Some((before, own, view)) = placed.next() {
            if random(&mut seed, 2) == 0 {
                picked.push(&view, before);
                let own = before.count..before.plus(own).count;
                ordinals.extend(own.filter(|_| random(&mut seed, 3) > 0));
            }
        }
        let (part, want) = (Part::new(&manifest, Some(&picked)), wanted(&ordinals));
        let of_part: Vec<_> = Batches::new(part, &want).collect();
        assert_eq!(of_part, Batches::new(&manifest, &want).collect::<Vec<_>>(), "seed {start}");
        assert_eq!(of_part.iter().map(|batch| batch.sites.len()).sum::<usize>(), ordinals.len());
    }
}
