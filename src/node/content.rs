//! Where a release's chunks come from: files that are here under any name, or the wire.
//!
//! A local place is only ever a hint: what is copied from it is checked against the chunk's digest like everything
//! else (rule S14: only files of the target and of its kept area are looked at).

use std::collections::HashMap;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::error::{Error, io_error};
use super::kept;
use super::place::Place;
use crate::model::digest::{Digest, Domain};
use crate::model::entry::{Chunk, Entry, Kind, Segment};
use crate::model::manifest::{KindView, Manifest};
use crate::model::path::{self, TreePath};
use crate::model::plan::Plan;
use crate::model::want::Wanted;
use crate::os::dir::Dir;
use crate::scan::listing::Listing;

/// A place where a chunk's bytes are.
#[derive(Debug, Clone)]
pub enum Location {
    /// In a file of the live tree.
    Live {
        /// The file.
        path: Arc<TreePath>,
        /// Where the chunk starts.
        offset: u64,
    },
    /// In a file of the kept area, by its path there.
    Kept {
        /// The file, below `kept/`.
        path: Arc<TreePath>,
        /// Where the chunk starts.
        offset: u64,
    },
    /// In a file staged earlier, by its path in the stage.
    Staged {
        /// The file, below `stage/<txid>/`.
        path: Arc<TreePath>,
        /// Where the chunk starts.
        offset: u64,
    },
}

/// What is known of a chunk that the stage needs.
#[derive(Debug, Default)]
struct Need {
    /// How many more files of the stage hold it.
    uses_left: u32,
    bytes: u32,
    location: Option<Location>,
}

/// Every chunk that the stage needs, with where it is.
#[derive(Debug, Default)]
pub struct Sources {
    needs: HashMap<Digest, Need>,
    /// The chunks that must come over the wire.
    pub wanted: Wanted,
    /// Bytes of all staged files.
    pub staged_bytes: u64,
    /// Bytes that staged files take on the disk, by blocks.
    pub staged_room: u64,
    /// Files, links and directories that are staged.
    pub staged_entries: u64,
    /// Directories among them.
    pub staged_directories: u64,
}

/// The entries of `manifest` that must be written: within installs, and not moved there. Each with its install's number.
pub fn staged<'a>(
    plan: &'a Plan,
    manifest: &'a Manifest,
) -> impl Iterator<Item = (usize, Entry)> + 'a {
    let mut views = manifest.views();
    let mut within = Within::of(plan);
    std::iter::from_fn(move || {
        let entry = views.find(|_, view| within.install_of(view.path).is_some())?;
        Some((within.install, entry))
    })
}

/// Follows the installs of a plan through the paths of a manifest.
struct Within<'a> {
    plan: &'a Plan,
    install: usize,
    moved: usize,
}

impl<'a> Within<'a> {
    fn of(plan: &'a Plan) -> Self {
        Self { plan, install: 0, moved: 0 }
    }

    /// The number of the install that `path` is staged for, if it is. Paths are asked for in order.
    fn install_of(&mut self, at: &[u8]) -> Option<usize> {
        let is_before = |path: &TreePath| path::order(path.as_bytes(), at).is_lt();
        while self
            .plan
            .installs
            .get(self.install)
            .is_some_and(|top| is_before(top) && !path::is_within(at, top.as_bytes()))
        {
            self.install += 1;
        }
        let top = self.plan.installs.get(self.install)?;
        if !path::is_within(at, top.as_bytes()) {
            return None;
        }
        while self.plan.moves.get(self.moved).is_some_and(|moved| is_before(&moved.to)) {
            self.moved += 1;
        }
        let moved = self.plan.moves.get(self.moved);
        moved.is_none_or(|moved| moved.to.as_bytes() != at).then_some(self.install)
    }
}

impl Sources {
    /// Finds for every chunk that `plan` stages whether it is here.
    ///
    /// Cost: one pass over the manifest's staged entries, one over `found`, one over the kept lists; a second over
    /// the manifest for the ordinals. Memory grows with the distinct chunks staged.
    ///
    /// # Errors
    /// [`Error::Io`] if the kept area cannot be listed.
    pub fn find(
        place: &Place,
        plan: &Plan,
        manifest: &Manifest,
        listing: &Listing,
        block: u64,
    ) -> Result<Self, Error> {
        let mut sources = Self::default();
        for (_, entry) in staged(plan, manifest) {
            sources.staged_entries += 1;
            sources.staged_directories += u64::from(entry.kind.is_directory());
            let Kind::File(content) = &entry.kind else { continue };
            let data = content.data_bytes();
            sources.staged_bytes = sources.staged_bytes.saturating_add(data);
            let room = data.div_ceil(block).saturating_mul(block);
            sources.staged_room = sources.staged_room.saturating_add(room);
            for chunk in content.chunks() {
                let need = sources.needs.entry(chunk.digest).or_default();
                need.uses_left += 1;
                need.bytes = chunk.bytes;
            }
        }
        if sources.needs.is_empty() {
            return Ok(sources);
        }
        let mut cursor = listing.cursor();
        while let Some(item) = cursor.next().map_err(|error| Error::Scan(error.into()))? {
            if let KindView::File(content) = item.view.kind {
                let path = item.view.path;
                sources.offer(
                    content.segments(),
                    || TreePath::of_checked(path),
                    |path, offset| Location::Live { path, offset },
                );
            }
        }
        if let Some(state) = &place.state {
            sources.offer_kept(state)?;
            sources.drop_damaged(state);
        }
        sources.want(plan, manifest);
        Ok(sources)
    }

    fn offer(
        &mut self,
        segments: impl Iterator<Item = Segment>,
        path: impl Fn() -> TreePath,
        at: impl Fn(Arc<TreePath>, u64) -> Location,
    ) {
        let mut offset = 0u64;
        let mut shared = None;
        for segment in segments {
            if let Segment::Chunk(chunk) = segment
                && let Some(need) = self.needs.get_mut(&chunk.digest)
                && need.location.is_none()
            {
                let path = shared.get_or_insert_with(|| Arc::new(path()));
                need.location = Some(at(Arc::clone(path), offset));
            }
            offset = offset.saturating_add(segment.bytes());
        }
    }

    fn offer_kept(&mut self, state: &super::place::State) -> Result<(), Error> {
        for (name, list) in kept::lists(state)? {
            for entry in &list.entries {
                let Kind::File(content) = &entry.kind else { continue };
                if let Some(path) = list.location(&name, &entry.path) {
                    self.offer(
                        content.segments().iter().copied(),
                        || path.clone(),
                        |path, offset| Location::Kept { path, offset },
                    );
                }
            }
        }
        Ok(())
    }

    /// Forgets kept places that do not hold what their list says: nothing else would ever find that out, and the next
    /// push would stop at the same place again (row 58). PERF: such chunks are read twice, the second time from memory.
    fn drop_damaged(&mut self, state: &super::place::State) {
        let mut kept: Vec<_> = self
            .needs
            .iter()
            .filter_map(|(digest, need)| match &need.location {
                Some(at @ Location::Kept { path, offset }) => {
                    let chunk = Chunk { digest: *digest, bytes: need.bytes };
                    Some((Arc::clone(path), *offset, at.clone(), chunk))
                }
                _ => None,
            })
            .collect();
        kept.sort_unstable_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
        let mut reader = LocalReader::new(None, &state.kept, &state.stage);
        let mut bytes = Vec::new();
        for (_, _, at, chunk) in kept {
            if reader.read(&at, &chunk, &mut bytes).is_err()
                && let Some(need) = self.needs.get_mut(&chunk.digest)
            {
                need.location = None;
            }
        }
    }

    /// The first use of each chunk that is nowhere here goes over the wire; later uses copy the first.
    fn want(&mut self, plan: &Plan, manifest: &Manifest) {
        let mut seen = std::collections::HashSet::new();
        let mut views = manifest.views();
        let mut within = Within::of(plan);
        let mut ordinal = 0u64;
        while let Some(view) = views.next() {
            let KindView::File(content) = view.kind else { continue };
            let is_staged = within.install_of(view.path).is_some();
            for segment in content.segments() {
                let Segment::Chunk(chunk) = segment else { continue };
                if is_staged {
                    let need = self.needs.get(&chunk.digest);
                    let is_here = need.is_some_and(|need| need.location.is_some());
                    if !is_here && seen.insert(chunk.digest) {
                        self.wanted.push(ordinal);
                    }
                }
                ordinal += 1;
            }
        }
    }

    /// The file of the live tree that `chunk` is copied from, if there is one.
    pub fn live_file(&self, chunk: &Chunk) -> Option<&TreePath> {
        match &self.needs.get(&chunk.digest)?.location {
            Some(Location::Live { path, .. }) => Some(path),
            _ => None,
        }
    }

    /// Where the next use of `chunk` is copied from; `None` if it comes over the wire.
    pub fn next_use(&mut self, chunk: &Chunk) -> Option<Location> {
        let need = self.needs.get_mut(&chunk.digest)?;
        need.uses_left = need.uses_left.saturating_sub(1);
        need.location.clone()
    }

    /// The chunk has just been written into the stage; if more uses follow, they copy it from there.
    pub fn staged_at(&mut self, chunk: &Chunk, location: impl FnOnce() -> Location) {
        if let Some(need) = self.needs.get_mut(&chunk.digest)
            && need.location.is_none()
            && need.uses_left > 0
        {
            need.location = Some(location());
        }
    }
}

/// Reads local chunks; keeps the file read last open.
#[derive(Debug)]
pub struct LocalReader<'a> {
    live: Option<&'a Dir>,
    kept: &'a Dir,
    stage: &'a Dir,
    open: Option<(u8, Arc<TreePath>, crate::os::File)>,
}

impl<'a> LocalReader<'a> {
    /// Reads from the live tree, the kept area and the stage.
    pub fn new(live: Option<&'a Dir>, kept: &'a Dir, stage: &'a Dir) -> Self {
        Self { live, kept, stage, open: None }
    }

    /// Reads `chunk` at `location` and checks it.
    ///
    /// # Errors
    /// [`Error::Refused`] if other bytes are there by now; [`Error::Io`].
    pub fn read(
        &mut self,
        location: &Location,
        chunk: &Chunk,
        into: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let (base, path, offset) = match location {
            Location::Live { path, offset } => (0, path, *offset),
            Location::Kept { path, offset } => (1, path, *offset),
            Location::Staged { path, offset } => (2, path, *offset),
        };
        let is_open = self.open.as_ref().is_some_and(|(b, p, _)| *b == base && p == path);
        if !is_open {
            let file = self.open_file(base, path).map_err(io_error("open", path.as_bytes()))?;
            self.open = Some((base, Arc::clone(path), file));
        }
        let Some((_, _, file)) = &self.open else { return Err(changed(path)) };
        into.resize(chunk.bytes as usize, 0);
        match file.read_exact_at(into, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(changed(path));
            }
            read => read.map_err(io_error("read", path.as_bytes()))?,
        }
        if Digest::of(Domain::Chunk, into) == chunk.digest { Ok(()) } else { Err(changed(path)) }
    }

    fn open_file(&self, base: u8, path: &TreePath) -> std::io::Result<crate::os::File> {
        let dir = match base {
            0 => self.live.ok_or(std::io::ErrorKind::NotFound)?,
            1 => self.kept,
            _ => self.stage,
        };
        let (parent, name) = path.split_last().ok_or(std::io::ErrorKind::IsADirectory)?;
        dir.open_path(&parent)?.open_file(name)
    }
}

/// Other bytes are there than a moment ago.
pub(super) fn changed(path: &TreePath) -> Error {
    Error::refused(
        "changed-while-copied",
        format!("{path} changed between its inspection and its copy"),
        Some("push again; if it goes on changing, exclude it".into()),
    )
}
