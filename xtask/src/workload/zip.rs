//! A writer of zip archives with stored entries, enough for a real carbon application.

/// Bytes before each entry's data: the local header without its name.
const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;

/// 2026-01-01 00:00 in the archive's notation.
const DATE: u16 = ((2026 - 1980) << 9) | (1 << 5) | 1;

/// An archive of these entries, all stored as they are, in this order.
pub(super) fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for (name, data) in entries {
        let offset = size(bytes.len());
        let described = description(name, data);
        bytes.extend_from_slice(&LOCAL.to_le_bytes());
        bytes.extend_from_slice(&described);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(data);

        directory.extend_from_slice(&CENTRAL.to_le_bytes());
        directory.extend_from_slice(&20_u16.to_le_bytes()); // made by version 2.0
        directory.extend_from_slice(&described);
        directory.extend_from_slice(&[0; 10]); // no comment, first disk, no attributes
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let count = u16::try_from(entries.len()).expect("invariant: an application has few artifacts");
    let start = size(bytes.len());
    let length = size(directory.len());
    bytes.append(&mut directory);
    bytes.extend_from_slice(&END.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]); // one disk
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&start.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]); // no comment
    bytes
}

/// The part that the local header and the directory have in common.
fn description(name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(26);
    for field in [10_u16, 0, 0, 0, DATE] {
        bytes.extend_from_slice(&field.to_le_bytes()); // needs 1.0, no flags, stored, midnight, date
    }
    for field in [checksum(data), size(data.len()), size(data.len())] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    let name_bytes = u16::try_from(name.len()).expect("invariant: names are short");
    bytes.extend_from_slice(&name_bytes.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]); // no extra field
    bytes
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("invariant: an application is far below 4 GB")
}

/// CRC-32 as zip, gzip and Ethernet have it.
fn checksum(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |sum, byte| {
        let index = usize::from(sum.to_le_bytes()[0] ^ byte);
        TABLE.get(index).copied().unwrap_or_default() ^ (sum >> 8)
    })
}

const TABLE: [u32; 256] = {
    let mut table = [0_u32; 256];
    let mut start = 0_u32;
    while start < 256 {
        let mut value = start;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[start as usize] = value;
        start += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        assert_eq!(checksum(b""), 0);
    }

    #[test]
    fn an_archive_has_the_parts_where_the_directory_says() {
        let bytes =
            archive(&[("a.xml".into(), b"one".to_vec()), ("b/c".into(), b"three".to_vec())]);
        let end = &bytes[bytes.len() - 22..];
        assert_eq!(end[..4], END.to_le_bytes());
        assert_eq!(end[10..12], [2, 0]);
        let start = u32::from_le_bytes(end[16..20].try_into().unwrap()) as usize;
        assert_eq!(bytes[start..start + 4], CENTRAL.to_le_bytes());
        let second = start + 46 + "a.xml".len();
        let offset =
            u32::from_le_bytes(bytes[second + 42..second + 46].try_into().unwrap()) as usize;
        assert_eq!(bytes[offset..offset + 4], LOCAL.to_le_bytes());
        assert_eq!(&bytes[offset + 30..offset + 38], b"b/cthree");
    }
}
