//! The stage: the next release's new parts, written beside the live tree, verified while they are written.
//!
//! Bytes are hashed as they are written into files nobody else can open, and those inodes are what goes live (S29).
//! Files of a new directory are created once, under their own names; the directory enters by one rename.

use crate::os::File;
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::content::{self, LocalReader, Location, Sources};
use super::error::{Error, io_error};
use super::steps::name_of;
use crate::model::digest::{Digest, Domain};
use crate::model::entry::{Chunk, Content, Entry, Kind, Meta, Owner, Segment};
use crate::model::manifest::Part;
use crate::model::path::TreePath;
use crate::model::plan::Plan;
use crate::os::dir::Dir;
use crate::os::durable::Behind;
use crate::os::meta::{self, KeepXattrs};
use crate::os::stat::Stat;
use crate::scan::Found;

/// Gives the bytes of the wanted chunks, one after the other, in the order of their ordinals.
pub trait ChunkStream {
    /// The bytes of the next wanted chunks: of the first of `chunks`, which are the next ones, and of as many more of
    /// them as lie at hand behind it. What is given once is not given again.
    ///
    /// # Errors
    /// The stream ends, or gives something else.
    fn next(&mut self, chunks: &[Chunk]) -> Result<&[u8], Error>;
}

/// What the stage is told beside the plan.
#[derive(Debug, Clone, Copy)]
pub struct StageOptions {
    /// Extended attributes that belong to the release.
    pub keep_xattrs: KeepXattrs,
    /// The owner of everything, if it is one for all.
    pub owner: Option<Owner>,
    /// Owners are set at all.
    pub owners: bool,
}

impl StageOptions {
    /// The metadata that `entry` gets here.
    pub fn meta_of(&self, entry: &Entry) -> Meta {
        let owner = if self.owners { self.owner.or(entry.meta.owner) } else { None };
        Meta { owner, ..entry.meta.clone() }
    }
}

/// A staged install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The inode of its top; `None` if the top is moved, so that nothing was staged.
    pub inode: Option<u64>,
}

/// Writes everything that `plan` installs into `stage`.
///
/// Guarantees on success: every byte was checked against its digest on its way into the file; modes, owners, times and
/// attributes are set on the staged inodes. Nothing is durable yet. One [`Staged`] for each install, in order.
///
/// # Errors
/// The first thing that cannot be written or verified; the stage is to be dropped then.
pub fn write(
    stage: &Dir,
    plan: &Plan,
    release: Part<'_>,
    mut input: Input<'_>,
    options: &StageOptions,
) -> Result<Vec<Staged>, Error> {
    let mut staged = vec![Staged { inode: None }; plan.installs.len()];
    let moved_into: BTreeSet<TreePath> =
        plan.moves.iter().filter_map(|moved| moved.to.parent()).collect();
    let mut branch = Branch { open: Vec::new(), stage, options, moved_into };
    for (number, entry) in content::staged(plan, release) {
        let top = plan.installs.get(number).unwrap_or(&entry.path);
        branch.leave_all_but(&entry.path)?;
        let name = match branch.open.last() {
            Some(_) => entry.path.split_last().map(|(_, name)| name.to_vec()).unwrap_or_default(),
            None => name_of(number as u64),
        };
        let at = staged_path(number, top, &entry.path);
        let inode = branch.add(&entry, &name, &at, &mut input)?;
        if let Some(staged) = staged.get_mut(number).filter(|_| entry.path == *top) {
            staged.inode = Some(inode);
        }
    }
    branch.leave_all()?;
    Ok(staged)
}

/// Tries the metadata that the commit sets on live entries on entries of the stage: what this file system or this user
/// cannot do shows before the decision, and not after it.
///
/// # Errors
/// [`Error::Io`] or [`Error::Refused`] naming the entry.
pub fn try_metadata(
    stage: &Dir,
    plan: &Plan,
    release: Part<'_>,
    found: &[Found],
    options: &StageOptions,
) -> Result<(), Error> {
    const FILE: &[u8] = b"try-file";
    const DIRECTORY: &[u8] = b"try-directory";
    if plan.metas.is_empty() {
        return Ok(());
    }
    let io = |source| io_error("try metadata in", "the stage")(source);
    let file = stage.create_file(FILE, 0o600).map_err(io)?;
    stage.create_dir(DIRECTORY, 0o700).map_err(io)?;
    let directory = stage.open_dir(DIRECTORY).map_err(io)?;
    let mut tried = BTreeSet::new();
    let mut found = found.iter().peekable();
    for entry in release.entries_at(&plan.metas) {
        while found.next_if(|one| one.entry.path < entry.path).is_some() {}
        let Some(old) = found.peek().filter(|one| one.entry.path == entry.path) else { continue };
        let meta = changed_meta(&old.entry.meta, options.meta_of(&entry));
        let is_directory = entry.kind.is_directory();
        if !tried.insert((is_directory, meta.mode, meta.owner, meta.xattrs.clone())) {
            continue;
        }
        if is_directory {
            dress(&directory, &meta, options, &entry.path)?;
        } else {
            dress(&file, &meta, options, &entry.path)?;
        }
    }
    Ok(())
}

/// What of `new` is set on an entry that has `old`; the rest is as harmless as can be.
fn changed_meta(old: &Meta, new: Meta) -> Meta {
    Meta {
        mode: if old.mode == new.mode { 0o700 } else { new.mode },
        owner: new.owner.filter(|owner| old.owner != Some(*owner)),
        mtime: new.mtime,
        xattrs: if old.xattrs == new.xattrs { Vec::new() } else { new.xattrs },
    }
}

/// Gives what stands open in the stage its metadata, and makes sure that it has it: some file systems and users lose
/// part of a time or of a mode without a word.
fn dress(
    file: impl AsFd,
    meta: &Meta,
    options: &StageOptions,
    path: &TreePath,
) -> Result<(), Error> {
    let file = file.as_fd();
    meta::apply(file, meta, options.keep_xattrs)
        .map_err(io_error("set metadata of", path.as_bytes()))?;
    let stat = meta::stat(file).map_err(io_error("look at", path.as_bytes()))?;
    has_kept(&stat, meta, path)
}

/// As [`dress`], for what was created here.
fn dress_new(
    file: impl AsFd,
    meta: &Meta,
    options: &StageOptions,
    path: &TreePath,
) -> Result<Stat, Error> {
    let stat = meta::apply_to_new(file, meta, options.keep_xattrs)
        .map_err(io_error("set metadata of", path.as_bytes()))?;
    has_kept(&stat, meta, path).map(|()| stat)
}

fn has_kept(stat: &Stat, meta: &Meta, path: &TreePath) -> Result<(), Error> {
    if stat.mode != meta.mode {
        return Err(not_kept(
            path,
            &format!("the mode {:04o} becomes {:04o}", meta.mode, stat.mode),
        ));
    }
    if stat.id.mtime == meta.mtime { Ok(()) } else { Err(time_not_kept(path)) }
}

fn not_kept(path: &TreePath, what: &str) -> Error {
    Error::refused(
        "metadata-not-kept",
        format!("{path} cannot be here what it is in the source: {what}"),
        Some(
            "change it in the source, or give the target a file system and an agent that can"
                .into(),
        ),
    )
}

fn time_not_kept(path: &TreePath) -> Error {
    not_kept(path, "the file system does not keep its modification time")
}

/// Where the bytes come from.
pub struct Input<'a> {
    /// Which chunks are here.
    pub sources: &'a mut Sources,
    /// The local ones.
    pub local: LocalReader<'a>,
    /// The others.
    pub wire: &'a mut dyn ChunkStream,
    /// Where hard links' first names are staged.
    pub first_names: std::collections::HashMap<TreePath, TreePath>,
    /// Hard links are kept, so first names are remembered.
    pub hard_links: bool,
    /// Is told what was written.
    pub behind: &'a mut Behind,
    /// Local chunks pass through it.
    pub buffer: Vec<u8>,
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

/// Where `path` is staged, below the stage.
fn staged_path(number: usize, top: &TreePath, path: &TreePath) -> TreePath {
    let below = path.strip_prefix(top).unwrap_or_default();
    below.in_state(&[&name_of(number as u64)])
}

/// The directories being filled, from the top of an install down.
struct Branch<'a> {
    open: Vec<(TreePath, Dir, Meta)>,
    stage: &'a Dir,
    options: &'a StageOptions,
    moved_into: BTreeSet<TreePath>,
}

impl Branch<'_> {
    /// Closes the directories that `path` does not lie in.
    fn leave_all_but(&mut self, path: &TreePath) -> Result<(), Error> {
        while self.open.last().is_some_and(|(top, _, _)| !path.is_within(top)) {
            self.leave_one()?;
        }
        Ok(())
    }

    fn leave_all(&mut self) -> Result<(), Error> {
        while !self.open.is_empty() {
            self.leave_one()?;
        }
        Ok(())
    }

    /// A directory gets its metadata when nothing more is created in it. One that files are still to be moved into, or
    /// that an agent without root must still be able to rename, keeps its owner's access until the commit.
    fn leave_one(&mut self) -> Result<(), Error> {
        let Some((path, dir, mut meta)) = self.open.pop() else { return Ok(()) };
        let is_top = self.open.is_empty();
        if self.moved_into.contains(&path) || (is_top && !super::place::is_privileged()) {
            meta.mode |= 0o700;
        }
        dress_new(&dir, &meta, self.options, &path).map(drop)
    }

    /// Adds `entry`, known as `name` in the innermost directory; gives its inode.
    fn add(
        &mut self,
        entry: &Entry,
        name: &[u8],
        at: &TreePath,
        input: &mut Input<'_>,
    ) -> Result<u64, Error> {
        let parent = self.open.last().map_or(self.stage, |(_, dir, _)| dir);
        let path = entry.path.as_bytes();
        match &entry.kind {
            Kind::Directory => {
                parent.create_dir(name, 0o700).map_err(io_error("create", path))?;
                let dir = parent.open_dir(name).map_err(io_error("open", path))?;
                let inode = dir.stat_self().map_err(io_error("look at", path))?.id.inode;
                self.open.push((entry.path.clone(), dir, self.options.meta_of(entry)));
                return Ok(inode);
            }
            Kind::File(content) => {
                let file = parent.create_file(name, 0o600).map_err(io_error("create", path))?;
                write_content(&file, content, entry, at, input)?;
                let meta = self.options.meta_of(entry);
                let stat = dress_new(&file, &meta, self.options, &entry.path)?;
                if input.hard_links {
                    input.first_names.insert(entry.path.clone(), at.clone());
                }
                return Ok(stat.id.inode);
            }
            Kind::Symlink(text) => {
                parent.create_symlink(name, text).map_err(io_error("create", path))?;
                meta::apply_to_symlink(parent, name, &self.options.meta_of(entry))
                    .map_err(io_error("set metadata of", path))?;
            }
            Kind::HardLink(first) => {
                let staged = input.first_names.get(first).and_then(TreePath::split_last);
                let (dir, first_name) = staged.ok_or_else(|| Error::Protocol {
                    what: format!("{} is linked to what is not staged", entry.path),
                })?;
                let dir = self.stage.open_path(&dir).map_err(io_error("open", path))?;
                dir.hard_link(first_name, parent, name).map_err(io_error("link", path))?;
            }
            Kind::Special => {
                return Err(Error::Protocol { what: format!("{} is a special file", entry.path) });
            }
        }
        let stat = parent.stat(name).map_err(io_error("look at", path))?;
        if matches!(entry.kind, Kind::Symlink(_)) && stat.id.mtime != entry.meta.mtime {
            return Err(time_not_kept(&entry.path));
        }
        Ok(stat.id.inode)
    }
}

fn write_content(
    file: &File,
    content: &Content,
    entry: &Entry,
    at: &TreePath,
    input: &mut Input<'_>,
) -> Result<(), Error> {
    let mut offset = 0u64;
    let mut writer = FileWriter { file, path: &entry.path, run: Vec::new(), run_at: 0 };
    let mut shared: Option<Arc<TreePath>> = None;
    for segment in content.segments() {
        if let Segment::Chunk(chunk) = segment {
            let location = input.sources.next_use(chunk);
            // Told before it is true: whoever copies this chunk does so after the run was written.
            input.sources.staged_at(chunk, || {
                let path = shared.get_or_insert_with(|| Arc::new(at.clone()));
                Location::Staged { path: Arc::clone(path), offset }
            });
            match location {
                None => writer.add(chunk, offset),
                Some(location) => {
                    writer.write_run(input)?;
                    writer.copy(&location, chunk, offset, input)?;
                }
            }
        } else {
            writer.write_run(input)?;
        }
        offset = offset.saturating_add(segment.bytes());
    }
    writer.write_run(input)?;
    // A hole at the end is only there once the length says so.
    if matches!(content.segments().last(), Some(Segment::Hole { .. })) {
        file.set_len(offset).map_err(io_error("write", entry.path.as_bytes()))?;
    }
    Ok(())
}

/// Writes a file in as few steps as its bytes come in.
struct FileWriter<'a> {
    file: &'a File,
    path: &'a TreePath,
    /// Chunks from the wire that stand one behind the other in the file, not written yet.
    run: Vec<Chunk>,
    run_at: u64,
}

impl FileWriter<'_> {
    fn add(&mut self, chunk: &Chunk, offset: u64) {
        if self.run.is_empty() {
            self.run_at = offset;
        }
        self.run.push(*chunk);
    }

    fn copy(
        &mut self,
        location: &Location,
        chunk: &Chunk,
        offset: u64,
        input: &mut Input<'_>,
    ) -> Result<(), Error> {
        let Input { local, buffer, behind, .. } = input;
        local.read(location, chunk, buffer)?;
        self.write(buffer, offset, behind)
    }

    fn write_run(&mut self, input: &mut Input<'_>) -> Result<(), Error> {
        let mut run = self.run.as_slice();
        while !run.is_empty() {
            let bytes = input.wire.next(run)?;
            run = verify(run, bytes).ok_or_else(|| mismatch(self.path))?;
            self.write(bytes, self.run_at, input.behind)?;
            self.run_at = self.run_at.saturating_add(bytes.len() as u64);
        }
        self.run.clear();
        Ok(())
    }

    fn write(&self, bytes: &[u8], offset: u64, behind: &mut Behind) -> Result<(), Error> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(io_error("write", self.path.as_bytes()))?;
        behind.made(bytes.len() as u64);
        Ok(())
    }
}

/// Checks that `bytes` are those of the first of `chunks` and of as many more as they are long; gives the others.
fn verify<'a>(mut chunks: &'a [Chunk], mut bytes: &[u8]) -> Option<&'a [Chunk]> {
    loop {
        let (chunk, others) = chunks.split_first()?;
        let (own, rest) = bytes.split_at_checked(chunk.bytes as usize)?;
        if Digest::of(Domain::Chunk, own) != chunk.digest {
            return None;
        }
        if rest.is_empty() {
            return Some(others);
        }
        (chunks, bytes) = (others, rest);
    }
}

fn mismatch(path: &TreePath) -> Error {
    Error::Refused {
        class: crate::wire::message::FailedClass::Integrity,
        kind: "content-mismatch",
        message: format!("the bytes sent for {path} do not match its digest"),
        hint: None,
    }
}
