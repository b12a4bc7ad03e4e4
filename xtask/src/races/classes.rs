//! What is swapped: each class goes for another kind of call.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, RenameFlags, XattrFlags, mkfifoat, renameat_with};

use super::ground::{Ground, OWNER, STRANGER};
use crate::failure::{Result, at};

/// A kind of race.
#[derive(Debug)]
pub(super) struct Class {
    /// For the report.
    pub(super) name: &'static str,
    /// What happens, one at a time. Paths are those of the ground.
    pub(super) acts: &'static [Act],
}

/// What is done to the tree or the state, and undone.
#[derive(Debug)]
pub(super) enum Act {
    /// The name trades places with something else, and back.
    Swap(&'static str, Evil),
    /// Two names trade places.
    Trade(&'static str, &'static str),
    /// The name is moved out of the tree, and back.
    Away(&'static str),
    /// The name is closed to its owner, and opened again.
    Close(&'static str, u32),
    /// The name gets an attribute and access lists that let a stranger in, and loses them.
    Open(&'static str),
    /// As [`Act::Swap`], of what has this path below each numbered name of each transaction.
    Within(&'static str, &'static str, Evil),
}

/// What is swapped in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Evil {
    /// A link to a canary, made by the owner of the tree.
    Link(&'static str),
    /// The same, made by somebody whom nobody trusts.
    ForeignLink(&'static str),
    /// A further name of a canary.
    HardLink(&'static str),
    /// A FIFO without a writer.
    Fifo,
    /// A regular file.
    File,
    /// A directory of somebody else, open to everyone.
    ForeignDirectory,
}

use Act::{Away, Close, Open, Swap, Trade, Within};
use Evil::{Fifo, File, ForeignDirectory, ForeignLink, HardLink, Link};

/// All classes.
pub(super) const CLASSES: &[Class] = &[
    Class { name: "parent-link", acts: &[Swap("node/tree/a", Link("dir"))] },
    Class { name: "deep-parent-link", acts: &[Swap("node/tree/a/deep", Link("dir/deep"))] },
    Class { name: "root-link", acts: &[Swap("node/tree", ForeignLink("dir"))] },
    Class { name: "above-root-link", acts: &[Swap("node", ForeignLink("node"))] },
    Class {
        name: "leaf-link",
        acts: &[Swap("node/tree/a/f0", Link("dir/f0")), Swap("node/tree/a/f1", Link("dir/secret"))],
    },
    Class { name: "metadata-link", acts: &[Swap("node/tree/a/m", Link("dir/m"))] },
    Class { name: "leaf-fifo", acts: &[Swap("node/tree/a/m", Fifo), Swap("node/tree/a/f0", Fifo)] },
    Class {
        name: "directory-file",
        acts: &[Swap("node/tree/a", File), Swap("node/tree/gone", File)],
    },
    Class {
        name: "trade-subtrees",
        acts: &[Trade("node/tree/a", "node/tree/b"), Trade("node/tree/a/deep", "node/tree/b")],
    },
    Class {
        name: "state-link",
        acts: &[
            Swap("node/.depsync", ForeignLink("state")),
            Swap("node/.depsync/tree", Link("state/tree")),
        ],
    },
    Class {
        name: "state-taken",
        acts: &[
            Swap("node/.depsync", ForeignDirectory),
            Swap("node/.depsync", Fifo),
            Swap("node/.depsync/tree", File),
        ],
    },
    Class {
        name: "stage-link",
        acts: &[
            Swap("node/.depsync/tree/stage", Link("state/tree")),
            Swap("node/.depsync/tree/stage", ForeignDirectory),
        ],
    },
    Class { name: "kept-link", acts: &[Swap("node/.depsync/tree/kept", Link("state/tree"))] },
    Class {
        name: "lock-link",
        acts: &[
            Swap("node/.depsync/tree/lock", Link("dir/f0")),
            Swap("node/.depsync/tree/lock", Fifo),
        ],
    },
    Class {
        name: "hard-link",
        acts: &[
            Swap("node/tree/a/m", HardLink("dir/m")),
            Swap("node/tree/a/f0", HardLink("dir/f0")),
            Swap("node/.depsync/tree/lock", HardLink("state/tree/lock")),
        ],
    },
    Class { name: "moved-out", acts: &[Away("node/tree/a/deep"), Away("node/tree/a")] },
    Class {
        name: "closed",
        acts: &[Close("node/tree/a/deep", 0o755), Close("node/tree/a/m", 0o644)],
    },
    Class {
        name: "opened",
        acts: &[Open("node/tree/a"), Open("node/tree/a/f0"), Open("node"), Open("node/tree")],
    },
    Class {
        name: "staged-link",
        acts: &[
            Within("node/.depsync/tree/stage", "", Link("dir/f0")),
            Within("node/.depsync/tree/stage", "", Link("dir/deep")),
        ],
    },
    Class {
        name: "pruned-link",
        acts: &[
            Within("node/.depsync/tree/kept", "deep", Link("dir/deep")),
            Within("node/.depsync/tree/kept", "deep/x", Link("dir/deep/x")),
        ],
    },
];

impl Class {
    /// True if canaries get further names, which shows in their times of change.
    pub(super) fn makes_hard_links(&self) -> bool {
        self.acts.iter().any(|act| matches!(act, Swap(_, HardLink(_))))
    }
}

/// Does `act` and undoes it after `pause`; gives how often something was swapped. What is not there is not swapped.
pub(super) fn flip(ground: &Ground, act: &Act, pause: &mut dyn FnMut()) -> u64 {
    match act {
        Swap(name, evil) => swap(ground, &ground.at(name), *evil, pause),
        Within(area, below, evil) => {
            let transactions = names_in(&ground.at(area));
            let numbered = transactions.iter().flat_map(|path| names_in(path));
            let is_numbered = |path: &PathBuf| {
                path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"n"))
            };
            let victims = numbered.filter(is_numbered).map(|path| match *below {
                "" => path,
                below => path.join(below),
            });
            victims.map(|path| swap(ground, &path, *evil, pause)).sum()
        }
        Trade(one, other) => {
            let trade = || exchange(&ground.at(one), &ground.at(other));
            let done = trade();
            pause();
            u64::from(done) + u64::from(done && trade())
        }
        Away(name) => {
            let (here, away) = (ground.at(name), ground.at("spare/away"));
            let done = move_to(&here, &away);
            pause();
            if done && !move_to(&away, &here) {
                put_away(ground, &away);
            }
            u64::from(done)
        }
        Close(name, mode) => {
            let set = |mode| {
                let path = ground.at(name);
                let is_own = fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_symlink());
                is_own && fs::set_permissions(&path, fs::Permissions::from_mode(mode)).is_ok()
            };
            let done = set(0);
            pause();
            u64::from(done) + u64::from(set(*mode))
        }
        Open(name) => {
            let path = ground.at(name);
            let done = rustix::fs::lsetxattr(&path, "user.flip", b"1", XattrFlags::empty()).is_ok();
            for list in ACCESS_LISTS {
                let _set = rustix::fs::lsetxattr(&path, list, &open_to_all(), XattrFlags::empty());
            }
            pause();
            close_again(&path);
            u64::from(done)
        }
    }
}

/// Leaves behind what a push can work with: nothing closed or open to strangers, and no foreign thing above the tree.
///
/// # Errors
/// The system's.
pub(super) fn settle(ground: &Ground, class: &Class) -> Result {
    for act in class.acts {
        match act {
            Close(name, mode) if ground.at(name).exists() => {
                let path = ground.at(name);
                let mode = fs::Permissions::from_mode(*mode);
                fs::set_permissions(&path, mode).map_err(at("change", &path))?;
            }
            Open(name) => close_again(&ground.at(name)),
            _ => {}
        }
    }
    Ok(())
}

const ACCESS_LISTS: [&str; 2] = ["system.posix_acl_default", "system.posix_acl_access"];

fn close_again(path: &Path) {
    for name in ["user.flip"].iter().chain(&ACCESS_LISTS) {
        let _removed = rustix::fs::lremovexattr(path, *name);
    }
}

/// An access control list as the kernel takes it: everything for the owner and for a stranger.
fn open_to_all() -> Vec<u8> {
    let entries = [(1, 7, u32::MAX), (2, 7, STRANGER), (4, 5, u32::MAX), (16, 7, u32::MAX)];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries.into_iter().chain([(32, 5, u32::MAX)]) {
        bytes.extend(u16::to_le_bytes(tag));
        bytes.extend(u16::to_le_bytes(permissions));
        bytes.extend(u32::to_le_bytes(id));
    }
    bytes
}

fn names_in(path: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(path) else { return Vec::new() };
    listing.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn swap(ground: &Ground, victim: &Path, evil: Evil, pause: &mut dyn FnMut()) -> u64 {
    let spare = ground.at("spare/evil");
    // What was swapped in may have been moved away by a push; then something of the tree lies here.
    put_away(ground, &spare);
    if !make(ground, &spare, evil) {
        return 0;
    }
    if !exchange(&spare, victim) {
        return 0;
    }
    pause();
    1 + u64::from(exchange(&spare, victim))
}

fn make(ground: &Ground, path: &Path, evil: Evil) -> bool {
    let outside = |name: &str| ground.at("outside").join(name);
    let (made, owner) = match evil {
        Link(to) => (symlink(outside(to), path), OWNER),
        ForeignLink(to) => (symlink(outside(to), path), STRANGER),
        HardLink(to) => return fs::hard_link(outside(to), path).is_ok(),
        Fifo => (mkfifoat(CWD, path, Mode::from_raw_mode(0o666)).map_err(Into::into), OWNER),
        File => (fs::write(path, "swapped in"), OWNER),
        ForeignDirectory => (fs::create_dir(path), STRANGER),
    };
    let done = made.is_ok() && lchown(path, Some(owner), Some(owner)).is_ok();
    if done && matches!(evil, ForeignDirectory) {
        return fs::set_permissions(path, fs::Permissions::from_mode(0o777)).is_ok();
    }
    done
}

/// Takes what is at `path` out of the way: a directory with something in it is kept in the attic, as it may be one that a
/// push still works in.
fn put_away(ground: &Ground, path: &Path) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    let removed = if meta.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
    if removed.is_ok() {
        return;
    }
    let attic: PathBuf = ground.at("attic").join(format!("{}-{}", meta.ino(), meta.ctime_nsec()));
    let _moved = fs::rename(path, attic);
}

fn exchange(one: &Path, other: &Path) -> bool {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok()
}

fn move_to(from: &Path, to: &Path) -> bool {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).is_ok()
}
