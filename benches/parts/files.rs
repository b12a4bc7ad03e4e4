//! Trees of real files in temporary directories.

use std::fs;

/// Bytes in which nothing repeats, as text of `digits` different signs; 256 digits do not compress at all.
pub(crate) fn noise(mut seed: u64, length: usize, digits: u64) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u8::try_from((seed >> 33) % digits).expect("a byte")
    };
    (0..length).map(|_| next()).collect()
}

/// A tree of `count` files of `length` bytes each in directories of 100, where every hundredth file resembles another.
pub(crate) fn tree(count: u64, length: usize, digits: u64) -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("a directory");
    for at in 0..count {
        let directory = tree.path().join(format!("d{:05}", at / 100));
        if at % 100 == 0 {
            fs::create_dir(&directory).expect("a directory");
        }
        let mut bytes = format!("file {at}\n").into_bytes();
        bytes.extend(noise(at % 100, length.saturating_sub(bytes.len()), digits));
        fs::write(directory.join(format!("f{at}.xml")), bytes).expect("a file");
    }
    tree
}
