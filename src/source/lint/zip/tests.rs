use proptest::prelude::*;

use super::*;
use crate::os::file;

/// An archive of stored members, as the short form has it.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    packed(&members.iter().map(|(name, bytes)| (*name, *bytes, false)).collect::<Vec<_>>())
}

fn packed(members: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes, deflated) in members {
        let content = if *deflated {
            miniz_oxide::deflate::compress_to_vec(bytes, 6)
        } else {
            bytes.to_vec()
        };
        let mut shared = Vec::new();
        shared.extend([20, 0, 0, 0, if *deflated { 8 } else { 0 }, 0, 0, 0, 0, 0]);
        shared.extend(crc32(bytes).to_le_bytes());
        shared.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        shared.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        shared.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        shared.extend([0, 0]);
        directory.extend(MEMBER);
        directory.extend([20, 0]);
        directory.extend(&shared);
        directory.extend([0; 10]);
        directory.extend(u32::try_from(out.len()).unwrap().to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend(LOCAL);
        out.extend(&shared);
        out.extend(name.as_bytes());
        out.extend(content);
    }
    let (count, offset) = (u16::try_from(members.len()).unwrap(), out.len());
    out.extend(&directory);
    out.extend(END);
    out.extend([0; 4]);
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    out.extend(u32::try_from(offset).unwrap().to_le_bytes());
    out.extend([0, 0]);
    out
}

fn look_at(bytes: &[u8], wanted: Option<&str>) -> Result<Option<Vec<u8>>, Fault> {
    let read = |at: u64, into: &mut [u8]| {
        let rest = bytes.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    };
    look(&read, bytes.len() as u64, wanted.map(str::as_bytes))
}

fn told(bytes: &[u8]) -> String {
    look_at(bytes, Some("a")).expect_err("refused").to_string()
}

#[test]
fn a_member_is_found_and_taken_out() {
    let long = vec![b'x'; 100_000];
    let bytes = packed(&[("a", b"stored", false), ("b/", b"", false), ("c", &long, true)]);
    assert_eq!(look_at(&bytes, Some("a")).unwrap().unwrap(), b"stored");
    assert_eq!(look_at(&bytes, Some("c")).unwrap().unwrap(), long);
    assert_eq!(look_at(&bytes, Some("none")).unwrap(), None);
    assert_eq!(look_at(&archive(&[]), Some("a")).unwrap(), None, "an empty archive is one");
    let mut shifted = b"#!/bin/sh\n".to_vec();
    shifted.extend(&bytes);
    assert_eq!(look_at(&shifted, Some("a")).unwrap().unwrap(), b"stored");
    let mut commented = bytes.clone();
    let at = commented.len() - 2;
    commented[at] = 5;
    commented.extend(b"PK\x05\x06x");
    assert_eq!(look_at(&commented, Some("a")).unwrap().unwrap(), b"stored");
}

#[test]
fn every_cut_is_a_fault() {
    let bytes = archive(&[("artifacts.xml", b"<artifacts/>"), ("b", b"more")]);
    for end in 0..bytes.len() {
        assert!(told(&bytes[..end]).contains("is cut off"), "{end}");
    }
}

#[test]
fn damage_is_told_by_what_it_is() {
    let bytes = archive(&[("a", b"content"), ("b", b"")]);
    let directory = bytes.windows(4).position(|window| window == MEMBER).unwrap();
    let end = bytes.len() - END_BYTES;
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        bytes
    };
    for (bytes, why) in [
        (with(directory, b'x'), "breaks off at member 1"),
        (with(end + 10, 3), "breaks off at member 3"),
        (with(end + 12, 255), "does not lie where its end says"),
        (with(end + 19, 1), "does not lie where its end says"),
        (with(end + 15, 2), "over 16 MiB"),
        (with(directory + 45, 1), "its member a lies beyond"),
        (with(directory + 8, 1), "it is encrypted"),
        (with(directory + 10, 9), "is packed in a way"),
        (with(directory + 10, 8), "cannot be inflated"),
        (with(directory + 16, bytes[directory + 16] ^ 1), "check does not match"),
        (with(directory + 27, 1), "over 1 MiB"),
        (with(0, b'x'), "no member where it should be"),
        (archive(&[("a", b"1"), ("a", b"2")]), "has a twice"),
        (b"word".to_vec(), "no zip archive"),
    ] {
        let told = told(&bytes);
        assert!(told.contains(why), "{why}: {told}");
    }
}

#[test]
fn a_bomb_is_not_inflated() {
    let zeros = vec![0; 3 << 20];
    let mut bytes = packed(&[("a", &zeros, true)]);
    assert!(told(&bytes).contains("over 1 MiB"));
    // It claims to be short.
    let directory = bytes.windows(4).rposition(|window| window == MEMBER).unwrap();
    bytes[directory + 24..directory + 28].copy_from_slice(&10u32.to_le_bytes());
    assert!(told(&bytes).contains("cannot be inflated"));
}

#[test]
fn the_long_form_is_read_too() {
    let bytes = archive(&[("a", b"content")]);
    let end = bytes.len() - END_BYTES;
    let directory = bytes.windows(4).position(|window| window == MEMBER).unwrap();
    let mut long = bytes[..end].to_vec();
    // The offset of the member stands in its extra field.
    long[directory + 42..directory + 46].copy_from_slice(&u32::MAX.to_le_bytes());
    long[directory + 30] = 12;
    long.extend([1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let record = long.len() as u64;
    let length = record - directory as u64;
    long.extend(END_64);
    long.extend([0; 20]);
    for number in [1, 1, length, directory as u64] {
        long.extend(number.to_le_bytes());
    }
    long.extend(LOCATOR_64);
    long.extend([0; 4]);
    long.extend(record.to_le_bytes());
    long.extend([1, 0, 0, 0]);
    long.extend(END);
    long.extend([0; 4]);
    long.extend([0xff; 12]);
    long.extend([0, 0]);
    assert_eq!(look_at(&long, Some("a")).unwrap().unwrap(), b"content");
    let at = usize::try_from(record).unwrap();
    long[at] = b'x';
    assert!(told(&long).contains("does not lie where its end says"));
}

#[test]
fn what_cannot_be_read_is_no_fault_of_the_archive() {
    let read = |_at: u64, _into: &mut [u8]| Err(io::ErrorKind::Other.into());
    assert!(matches!(look(&read, 100, None), Err(Fault::Io(_))));
    let file = tempfile::tempfile().expect("a file");
    let read = |at: u64, into: &mut [u8]| file::read_at(&file, at, into);
    assert!(matches!(look(&read, 100, None), Err(Fault::NoEnd)), "shorter than it was");
}

proptest! {
    #[test]
    fn any_bytes_are_stood(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(look_at(&bytes, Some("a")));
    }

    #[test]
    fn any_change_of_an_archive_is_stood(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let mut bytes = packed(&[("a", b"content, content, content", true), ("b", b"x", false)]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(Some(content)) = look_at(&bytes, Some("a")) {
            prop_assert!(content.len() as u64 <= MEMBER_BYTES_MAX);
        }
    }
}
