//! The commit: carries out the steps of a prepared transaction. The only place that renames into the live tree.
//!
//! CRASH: the journal says COMMITTING before the first step, and the list is carried out again from its start; each
//! step finds out by itself what was done. Nothing is unlinked: what goes, goes to the kept area.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::time::Instant;

use super::error::{Error, io_error};
use super::place::Place;
use super::steps::{Step, Steps, name_of};
use crate::model::entry::Meta;
use crate::model::path::TreePath;
use crate::model::plan::Plan;
use crate::os::clock;
use crate::os::dir::{Dir, Rename};
use crate::os::meta::{self, KeepXattrs};
use crate::os::stat::{FileKind, Stat};
use crate::scan::Found;

/// More directories than this are made durable by one sync of the file system.
const DIRECTORY_SYNCS_MAX: usize = 64;

/// Carries out `steps`; durable on return. Gives when the first change became visible and when the last one did.
///
/// # Errors
/// [`Error::Io`] at the first step that cannot be done now; carrying the list out again goes on from there.
pub fn carry_out(
    place: &mut Place,
    steps: &Steps,
    stage: &Dir,
    kept: &Dir,
    keep_xattrs: KeepXattrs,
) -> Result<(Instant, Instant), Error> {
    let start = clock::now();
    let mut commit = Commit {
        place,
        stage,
        kept,
        keep_xattrs,
        touched: BTreeSet::new(),
        has_set_files: false,
        open: None,
    };
    for step in &steps.list {
        match commit.step(step) {
            // Somebody else took away what the step works on. A commit that waited for it to come back would wait for
            // ever; what is missing afterwards shows in the check behind it, and in the next inspection.
            Err(Error::Io { source, .. })
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            done => done?,
        }
    }
    let end = clock::now();
    commit.sync()?;
    Ok((start, end))
}

/// Finds out before the decision whether the directories that `plan` moves can be moved: those of an overlay's lower
/// layer cannot, and no other sign tells them. The try is a rename over a directory with something in it, which no file
/// system carries out.
///
/// # Errors
/// [`Error::Refused`] naming the directory; [`Error::Io`] for the stage.
pub fn check_movable(
    place: &Place,
    plan: &Plan,
    found: &[Found],
    stage: &Dir,
) -> Result<(), Error> {
    const OVERLAY: u64 = 0x794c_7630;
    const FULL: &[u8] = b"try-full";
    let Some(root) = &place.root else { return Ok(()) };
    if root.file_system_type().map_err(io_error("look at", place.shown()))? != OVERLAY {
        return Ok(());
    }
    let make = || stage.create_dir(FULL, 0o700).and_then(|()| stage.open_dir(FULL));
    let full = make().map_err(io_error("create", FULL))?;
    full.create_dir(FULL, 0o700).map_err(io_error("create", FULL))?;
    let moved = plan.moves.iter().map(|moved| &moved.from);
    for path in plan.removes.iter().chain(&plan.installs).chain(moved) {
        let known = found.binary_search_by(|one| one.entry.path.cmp(path)).ok();
        let is_directory =
            known.and_then(|at| found.get(at)).is_some_and(|one| one.entry.kind.is_directory());
        let Some((parent, name)) = path.split_last().filter(|_| is_directory) else { continue };
        let tried = root
            .open_path(&parent)
            .and_then(|parent| parent.rename(name, stage, FULL, Rename::Replace));
        if tried.is_err_and(|error| error.kind() == ErrorKind::CrossesDevices) {
            return Err(Error::refused(
                "overlay-layer",
                format!("{path} lies in the lower layer of an overlay, which cannot be renamed"),
                Some(
                    "put the target on a volume, or mount the overlay with redirect_dir=on".into(),
                ),
            ));
        }
    }
    Ok(())
}

struct Commit<'a> {
    place: &'a mut Place,
    stage: &'a Dir,
    kept: &'a Dir,
    keep_xattrs: KeepXattrs,
    /// Directories whose names or metadata changed.
    touched: BTreeSet<TreePath>,
    /// Metadata of files was set, which the sync of a directory need not write: on btrfs it does not.
    has_set_files: bool,
    /// The directory opened last: neighbouring steps share it.
    open: Option<(TreePath, Dir)>,
}

impl Commit<'_> {
    fn step(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::MakeDir { path } => {
                self.make_dir(path).map_err(io_error("create", path.as_bytes()))
            }
            Step::Install { number, inode, path } => {
                self.install(*number, *inode, path).map_err(io_error("put in place", shown(path)))
            }
            Step::Move { from, to, inode } => {
                self.move_entry(from, to, *inode).map_err(io_error("move", from.as_bytes()))
            }
            Step::Remove { number, path } => {
                self.remove(*number, path).map_err(io_error("move away", path.as_bytes()))
            }
            Step::SetMeta { path, is_directory, meta } => self
                .set_meta(path, *is_directory, meta)
                .map_err(io_error("set metadata of", shown(path))),
        }
    }

    fn root(&self) -> io::Result<&Dir> {
        self.place.root.as_ref().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// The directory that holds `path`, and the name there; for the root, the directory around it.
    fn open_parent(&mut self, path: &TreePath) -> io::Result<(Dir, Box<[u8]>)> {
        let Some((parent, name)) = path.split_last() else {
            return Ok((self.place.parent.try_clone()?, self.place.name.clone()));
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != parent) {
            let dir = self.root()?.open_path(&parent)?;
            self.open = Some((parent.clone(), dir));
        }
        let (_, dir) = self.open.as_ref().ok_or(ErrorKind::NotFound)?;
        Ok((dir.try_clone()?, name.into()))
    }

    fn touch(&mut self, path: &TreePath) {
        if let Some(parent) = path.parent() {
            self.touched.insert(parent);
        }
    }

    fn make_dir(&mut self, path: &TreePath) -> io::Result<()> {
        let (parent, name) = self.open_parent(path)?;
        match with_access(&parent, || parent.create_dir(&name, 0o755)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            created => created?,
        }
        // The process's umask is 077, but servers of other users read below these directories.
        meta::set_mode(parent.open_dir(&name)?, 0o755)?;
        self.touch(path);
        Ok(())
    }

    fn install(&mut self, number: u64, inode: u64, path: &TreePath) -> io::Result<()> {
        let staged_name = name_of(number);
        // Gone from the stage: it was put in place, and what it replaced was kept.
        let Some(staged) = self.stage.find(&staged_name)? else { return self.installed(path) };
        let (parent, name) = self.open_parent(path)?;
        if staged.id.inode == inode {
            self.enter(&staged_name, &parent, &name)?;
        }
        // What stands in the stage under this name now is what was replaced.
        let moved = with_own_access(self.stage, &staged_name, || {
            self.stage.rename(&staged_name, self.kept, &staged_name, Rename::KeepExisting)
        });
        match moved {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            moved => moved?,
        }
        self.installed(path)
    }

    fn installed(&mut self, path: &TreePath) -> io::Result<()> {
        self.touch(path);
        if path.is_root() {
            self.place.root = Some(self.place.parent.open_dir(&self.place.name)?);
        }
        Ok(())
    }

    /// Puts a staged name in place; what stood there stands in the stage afterwards. RACE: whatever a server creates
    /// there at this moment is exchanged, and kept, like what the plan knew of.
    fn enter(&self, staged_name: &[u8], parent: &Dir, name: &[u8]) -> io::Result<()> {
        let rename = |how| {
            with_access(parent, || {
                with_own_access(parent, name, || self.stage.rename(staged_name, parent, name, how))
            })
        };
        let exchanged = match rename(Rename::KeepExisting) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => rename(Rename::Exchange),
            entered => return entered,
        };
        match exchanged {
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                self.make_way(staged_name, parent, name)?;
                rename(Rename::Replace)
            }
            exchanged => exchanged,
        }
    }

    /// Where nothing can be exchanged (NFS, many by FUSE): what stands at `name` is kept first. A file stays there under a
    /// second name, so that the rename that follows replaces it at once; in the place of a directory there is nothing for
    /// that moment.
    ///
    /// CRASH: the next time finds what was kept, and goes on behind it.
    /// RACE: a file that somebody else puts there between the two is replaced.
    fn make_way(&self, staged_name: &[u8], parent: &Dir, name: &[u8]) -> io::Result<()> {
        let Some(there) = parent.find(name)? else { return Ok(()) };
        with_access(parent, || {
            if there.kind != FileKind::Directory {
                match parent.hard_link(name, self.kept, staged_name) {
                    Ok(()) => return Ok(()),
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        let kept = self.kept.stat(staged_name)?;
                        return if kept.id.inode == there.id.inode { Ok(()) } else { Err(error) };
                    }
                    Err(_) => {}
                }
            }
            with_own_access(parent, name, || {
                parent.rename(name, self.kept, staged_name, Rename::KeepExisting)
            })
        })
    }

    /// RACE: what somebody else puts at `to` trades places with it, and goes with what stood around `from`.
    fn move_entry(&mut self, from: &TreePath, to: &TreePath, inode: u64) -> io::Result<()> {
        let (to_parent, to_name) = self.open_parent(to)?;
        let is_it = |stat: Option<Stat>| stat.is_some_and(|stat| stat.id.inode == inode);
        if !is_it(to_parent.find(&to_name)?) {
            let (parent, name) = from.split_last().ok_or(ErrorKind::InvalidInput)?;
            let from_parent = self.root()?.open_path(&parent)?;
            if !is_it(from_parent.find(name)?) {
                return Err(ErrorKind::NotFound.into());
            }
            let rename = |how| {
                let rename = || from_parent.rename(name, &to_parent, &to_name, how);
                let rename = || with_own_access(&from_parent, name, rename);
                with_access(&from_parent, || with_access(&to_parent, rename))
            };
            match rename(Rename::KeepExisting) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    rename(Rename::Exchange)?;
                }
                renamed => renamed?,
            }
        }
        self.touch(from);
        self.touch(to);
        Ok(())
    }

    fn remove(&mut self, number: u64, path: &TreePath) -> io::Result<()> {
        let kept_name = name_of(number);
        if self.kept.find(&kept_name)?.is_none() {
            let (parent, name) = self.open_parent(path)?;
            let moved = with_access(&parent, || {
                with_own_access(&parent, &name, || {
                    parent.rename(&name, self.kept, &kept_name, Rename::KeepExisting)
                })
            });
            match moved {
                // Somebody else removed it since: it is gone, which is what was wanted.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                moved => moved?,
            }
        }
        self.touch(path);
        Ok(())
    }

    fn set_meta(&mut self, path: &TreePath, is_directory: bool, meta: &Meta) -> io::Result<()> {
        if is_directory {
            let dir = self.root()?.open_path(path)?;
            self.touched.insert(path.clone());
            return meta::apply(&dir, meta, self.keep_xattrs);
        }
        let (parent, name) = self.open_parent(path)?;
        let file = parent.open_file(&name).map_err(|error| match error.kind() {
            // RACE: somebody else put a link or a FIFO there. It will not become that file again by waiting.
            ErrorKind::InvalidInput => ErrorKind::NotFound.into(),
            _ => error,
        })?;
        // RACE: the plan sets metadata only of files with one name. One with another is somebody else's file, linked here
        // since, and stays as it is.
        if meta::stat(&file)?.link_count > 1 {
            return Err(ErrorKind::NotFound.into());
        }
        self.has_set_files = true;
        meta::apply(file, meta, self.keep_xattrs)
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.kept.sync().map_err(io_error("sync", "the kept area"))?;
        self.stage.sync().map_err(io_error("sync", "the stage"))?;
        if self.touched.len() > DIRECTORY_SYNCS_MAX || self.has_set_files {
            self.kept.sync_file_system().map_err(io_error("sync", self.place.shown()))?;
        }
        if self.touched.len() > DIRECTORY_SYNCS_MAX {
            return Ok(());
        }
        self.place.parent.sync().map_err(io_error("sync", "the target's parent"))?;
        let Some(root) = &self.place.root else { return Ok(()) };
        for path in &self.touched {
            match root.open_path(path).and_then(|dir| dir.sync()) {
                // It was moved away as a whole after names in it changed.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                synced => synced.map_err(io_error("sync", path.as_bytes()))?,
            }
        }
        Ok(())
    }
}

fn shown(path: &TreePath) -> String {
    path.to_string()
}

/// Does `act` in `dir`; if its owner has shut itself out of it (mode 0555), opens it up for itself and tries again. The
/// directory's own mode is set by a later step, since its names change.
fn with_access(dir: &Dir, act: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match act() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let mode = dir.stat_self()?.mode;
            meta::set_mode(dir, mode | 0o700)?;
            act()
        }
        done => done,
    }
}

/// As [`with_access`], for a directory that is itself renamed: without root its owner needs to write its `..`. What is
/// no directory needs no such thing, so that the refusal stands.
fn with_own_access(parent: &Dir, name: &[u8], act: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match act() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let Ok(dir) = parent.open_dir(name) else { return Err(error) };
            let mode = dir.stat_self()?.mode;
            meta::set_mode(&dir, mode | 0o700)?;
            act()
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::root::{self, Missing};
    use crate::wire::message::Mounted;

    fn write(dir: &Dir, name: &[u8], text: &str) {
        io::Write::write_all(&mut dir.create_file(name, 0o600).expect("made"), text.as_bytes())
            .expect("written");
    }

    fn content(dir: &Dir, name: &[u8]) -> String {
        io::read_to_string(dir.open_file(name).expect("opened")).expect("read")
    }

    #[test]
    fn what_stands_where_nothing_can_be_exchanged_is_kept_and_a_file_is_never_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = root::open(directory.path(), Missing::Refuse).expect("opened");
        let around = root.dir.as_ref().expect("a directory");
        let sub = |name: &[u8]| {
            around.create_dir(name, 0o700).expect("made");
            around.open_dir(name).expect("opened")
        };
        let (live, stage, kept) = (sub(b"live"), sub(b"stage"), sub(b"kept"));
        let mut place = Place {
            parent: root.parent,
            name: root.name,
            root: None,
            real_path: root.real_path,
            state: None,
            confines: false,
            mounted: Mounted::OWN,
        };
        let commit = Commit {
            place: &mut place,
            stage: &stage,
            kept: &kept,
            keep_xattrs: KeepXattrs::default(),
            touched: BTreeSet::new(),
            has_set_files: false,
            open: None,
        };
        write(&live, b"a", "old");
        write(&stage, b"n1", "new");
        // Twice: a commit that is cut off is carried out again.
        for _ in 0..2 {
            commit.make_way(b"n1", &live, b"a").expect("way");
            assert_eq!((content(&live, b"a"), content(&kept, b"n1")), ("old".into(), "old".into()));
        }
        stage.rename(b"n1", &live, b"a", Rename::Replace).expect("renamed");
        assert_eq!((content(&live, b"a"), content(&kept, b"n1")), ("new".into(), "old".into()));
        write(&live, b"b", "another's");
        let taken = commit.make_way(b"n1", &live, b"b").expect_err("another was kept under it");
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
        live.create_dir(b"d", 0o700).expect("made");
        write(&live.open_dir(b"d").expect("opened"), b"in", "in it");
        for _ in 0..2 {
            commit.make_way(b"n2", &live, b"d").expect("way");
            assert!(live.find(b"d").expect("looked").is_none());
            assert_eq!(content(&kept.open_dir(b"n2").expect("opened"), b"in"), "in it");
        }
    }
}
