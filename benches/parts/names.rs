//! Trees of many names in temporary directories.

use std::fs;

/// How many names a directory has.
const EACH: u64 = 250;

/// A tree of `count` names below its root, directories among them. All names of a directory are one file, since what is
/// measured here counts names: making a million files would take longer than the measurement.
pub(crate) fn tree(count: u64) -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("a directory");
    for number in 0..count / EACH {
        let directory = tree.path().join(format!("d{number:05}"));
        fs::create_dir(&directory).expect("a directory");
        let first = directory.join("f0.xml");
        fs::write(&first, format!("<item number=\"{number}\"/>\n")).expect("a file");
        for name in 1..EACH - 1 {
            fs::hard_link(&first, directory.join(format!("f{name}.xml"))).expect("a name");
        }
    }
    tree
}
