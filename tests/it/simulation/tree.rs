//! Small trees out of a seed, on disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dice::Dice;
use crate::cluster::{Name, chmod, names_below, set_mtime};

/// What a tree on disk is.
pub(crate) type Shape = Arc<BTreeMap<PathBuf, Name>>;

/// What a tree is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree(BTreeMap<PathBuf, Item>);

#[derive(Debug, Clone, Copy)]
enum Item {
    Directory,
    /// Its content and metadata follow from a number.
    File(u64),
    Link(u64),
}

/// Reads what a tree is.
pub(crate) fn shape(root: &Path) -> Shape {
    Arc::new(names_below(root))
}

impl Tree {
    /// About a dozen names.
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let mut tree = Self::default();
        tree.0.insert("always".into(), Item::File(dice.below(50)));
        for _ in 0..3 + dice.below(9) {
            tree.add(dice);
        }
        tree
    }

    /// The tree with some names gone, new, or of another content or type.
    pub(crate) fn changed(&self, dice: &mut Dice) -> Self {
        let mut tree = self.clone();
        for _ in 0..=dice.below(4) {
            if dice.once_in(2) {
                let at = dice.index(tree.0.len());
                let path = tree.0.keys().nth(at).expect("a name").clone();
                tree.0.retain(|one, _| !one.starts_with(&path));
            }
            tree.add(dice);
        }
        tree.0.entry("always".into()).or_insert(Item::File(1));
        tree
    }

    fn add(&mut self, dice: &mut Dice) {
        let mut path = PathBuf::new();
        for _ in 0..=dice.below(3) {
            path.push(*dice.pick(&["a", "b", "c", "d e"]));
        }
        let above: Vec<_> = path.ancestors().skip(1).filter(|one| *one != Path::new("")).collect();
        for one in above {
            self.0.insert(one.into(), Item::Directory);
        }
        let item = match dice.below(8) {
            0 => Item::Directory,
            1 => Item::Link(dice.below(9)),
            _ => Item::File(dice.below(400)),
        };
        self.0.retain(|one, _| one == &path || !one.starts_with(&path));
        self.0.insert(path, item);
    }

    /// Makes `root` this tree and nothing else.
    pub(crate) fn write(&self, root: &Path) {
        remove(root);
        fs::create_dir_all(root).expect("a root");
        for (path, item) in &self.0 {
            let path = root.join(path);
            match item {
                Item::Directory => fs::create_dir(&path).expect("a directory"),
                Item::File(number) => {
                    fs::write(&path, content(*number)).expect("a file");
                    chmod(&path, if number % 3 == 0 { 0o755 } else { 0o640 });
                    set_mtime(&path, 1_500_000_000 + i64::try_from(*number).expect("small"), 7);
                }
                Item::Link(number) => {
                    symlink(format!("to-{number}"), &path).expect("a link");
                    set_mtime(&path, 1_400_000_000, 9);
                }
            }
        }
        let directories = self.0.iter().filter(|(_, item)| matches!(item, Item::Directory));
        for (path, _) in directories.rev() {
            set_mtime(&root.join(path), 1_300_000_000, 5);
        }
        chmod(root, 0o755);
        set_mtime(root, 1_200_000_000, 3);
    }
}

fn content(number: u64) -> Vec<u8> {
    let length = match number % 40 {
        39 => 150_000,
        30..39 => 9_000 + number,
        0 => 0,
        _ => 10 + number,
    };
    let mut dice = Dice::new(number / 3);
    let words = (0..length.div_ceil(8)).flat_map(|_| dice.next().to_le_bytes());
    words.take(usize::try_from(length).expect("small")).collect()
}

/// Removes a directory, if it is there.
pub(crate) fn remove(directory: &Path) {
    if directory.exists() {
        fs::remove_dir_all(directory).expect("removed");
    }
}

/// Copies a whole disk, with modes and times.
pub(crate) fn copy(from: &Path, to: &Path) {
    let meta = fs::symlink_metadata(from).expect("stat");
    if meta.is_dir() {
        fs::create_dir(to).expect("a directory");
        for name in fs::read_dir(from).expect("a listing") {
            let name = name.expect("a name").file_name();
            copy(&from.join(&name), &to.join(&name));
        }
        chmod(to, meta.mode() & 0o7777);
    } else if meta.is_symlink() {
        symlink(fs::read_link(from).expect("a link"), to).expect("a link");
    } else {
        fs::copy(from, to).expect("a file");
    }
    set_mtime(to, meta.mtime(), meta.mtime_nsec());
}
