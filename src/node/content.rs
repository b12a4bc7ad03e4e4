//! Where a release's chunks come from: files that are here under any name, or the wire.
//!
//! A local place is only ever a hint: what is copied from it is checked against the chunk's digest like everything
//! else (rule S14: only files of the target and of its kept area are looked at).

use std::collections::HashMap;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::error::{Error, io_error};
use super::kept;
use super::place::State;
use crate::model::bits::Bits;
use crate::model::digest::{Digest, Domain};
use crate::model::entry::{Chunk, Entry, Kind, Segment};
use crate::model::manifest::{Chunks, KindView, Manifest, Part};
use crate::model::path::{self, TreePath};
use crate::model::plan::Plan;
use crate::model::want::Wanted;
use crate::os::dir::Dir;
use crate::scan::Found;

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

/// What is known of a chunk that is here, or that several files of the stage hold.
#[derive(Debug, Default)]
struct Need {
    /// How many more files of the stage hold it, where it is nowhere else.
    uses_left: u32,
    bytes: u32,
    location: Option<Location>,
}

/// What is here of the content of a tree.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// What is there that is not as the release says.
    pub found: &'a [Found],
    /// The numbers of the release's entries that are there as it says.
    pub same: &'a Bits,
}

/// Where the chunks are that the stage needs.
#[derive(Debug, Default)]
pub struct Sources {
    /// Those that are here, or needed more than once. All others come over the wire, and are used when they come.
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

/// The entries of `release` that must be written: within installs, and not moved there. Each with its install's number.
pub fn staged<'a>(plan: &'a Plan, release: Part<'a>) -> impl Iterator<Item = (usize, Entry)> + 'a {
    let mut views = release.views();
    let mut within = Within::of(plan);
    std::iter::from_fn(move || {
        let entry = views.find(|view| within.install_of(view.path).is_some())?;
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
        let is_moved = |to: &TreePath| path::is_within(at, to.as_bytes());
        while self
            .plan
            .moves
            .get(self.moved)
            .is_some_and(|moved| is_before(&moved.to) && !is_moved(&moved.to))
        {
            self.moved += 1;
        }
        let moved = self.plan.moves.get(self.moved);
        moved.is_none_or(|moved| !is_moved(&moved.to)).then_some(self.install)
    }
}

impl Sources {
    /// Finds for every chunk that `plan` stages whether it is here.
    ///
    /// Cost: two passes over what the plan is about, one over the whole release, one over the kept lists. Memory grows with
    /// the chunks that are here, or needed more than once; any other takes eight bytes while they are looked for.
    ///
    /// # Errors
    /// [`Error::Io`] if the kept area cannot be listed.
    pub fn find(
        state: Option<&State>,
        plan: &Plan,
        release: Part<'_>,
        here: Here<'_>,
        block: u64,
    ) -> Result<Self, Error> {
        let mut sources = Self::default();
        let prints = sources.count(plan, release, block);
        if prints.all.is_empty() {
            return Ok(sources);
        }
        for found in here.found {
            if let Kind::File(content) = &found.entry.kind {
                let path = || found.entry.path.clone();
                let live = |path, offset| Location::Live { path, offset };
                sources.offer(&prints, content.segments().iter().copied(), path, live);
            }
        }
        if !here.same.is_empty() {
            sources.offer_same(&prints, release.manifest(), here.same);
        }
        if let Some(state) = state {
            sources.offer_kept(&prints, state)?;
            sources.drop_damaged(state);
        }
        sources.want(&prints, plan, release);
        Ok(sources)
    }

    /// Counts what is staged, and gives the chunks that it is made of.
    fn count(&mut self, plan: &Plan, release: Part<'_>, block: u64) -> Prints {
        let mut prints = Vec::new();
        let mut views = release.views();
        let mut within = Within::of(plan);
        while let Some(view) = views.next() {
            if within.install_of(view.path).is_none() {
                continue;
            }
            self.staged_entries += 1;
            self.staged_directories += u64::from(matches!(view.kind, KindView::Directory));
            let KindView::File(content) = view.kind else { continue };
            let data = Chunks::of(content).bytes;
            self.staged_bytes = self.staged_bytes.saturating_add(data);
            let room = data.div_ceil(block).saturating_mul(block);
            self.staged_room = self.staged_room.saturating_add(room);
            prints.extend(content.segments().filter_map(|segment| match segment {
                Segment::Chunk(chunk) => Some(Prints::of(&chunk.digest)),
                Segment::Hole { .. } => None,
            }));
        }
        Prints::new(prints)
    }

    /// What stands in the tree as `manifest` says, in the entries with the numbers `same`.
    fn offer_same(&mut self, prints: &Prints, manifest: &Manifest, same: &Bits) {
        let mut views = manifest.views();
        let mut number = 0u64;
        while let Some(view) = views.next() {
            if let KindView::File(content) = view.kind
                && same.contains(number)
            {
                let path = || TreePath::of_checked(view.path);
                let live = |path, offset| Location::Live { path, offset };
                self.offer(prints, content.segments(), path, live);
            }
            number = number.saturating_add(1);
        }
    }

    fn offer(
        &mut self,
        prints: &Prints,
        segments: impl Iterator<Item = Segment>,
        path: impl Fn() -> TreePath,
        at: impl Fn(Arc<TreePath>, u64) -> Location,
    ) {
        let mut offset = 0u64;
        let mut shared = None;
        for segment in segments {
            if let Segment::Chunk(chunk) = segment
                && prints.has(&chunk.digest)
                && let need = self.needs.entry(chunk.digest).or_default()
                && need.location.is_none()
            {
                need.bytes = chunk.bytes;
                let path = shared.get_or_insert_with(|| Arc::new(path()));
                need.location = Some(at(Arc::clone(path), offset));
            }
            offset = offset.saturating_add(segment.bytes());
        }
    }

    fn offer_kept(&mut self, prints: &Prints, state: &State) -> Result<(), Error> {
        for (name, list) in kept::lists(state)? {
            for entry in &list.entries {
                let Kind::File(content) = &entry.kind else { continue };
                if let Some(path) = list.location(&name, &entry.path) {
                    let segments = content.segments().iter().copied();
                    let kept = |path, offset| Location::Kept { path, offset };
                    self.offer(prints, segments, || path.clone(), kept);
                }
            }
        }
        Ok(())
    }

    /// Forgets kept places that do not hold what their list says: nothing else would ever find that out, and the next
    /// push would stop at the same place again (row 58). PERF: such chunks are read twice, the second time from memory.
    fn drop_damaged(&mut self, state: &State) {
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
    fn want(&mut self, prints: &Prints, plan: &Plan, release: Part<'_>) {
        let mut placed = release.placed();
        let mut within = Within::of(plan);
        while let Some((before, _, view)) = placed.next() {
            let KindView::File(content) = view.kind else { continue };
            if within.install_of(view.path).is_none() {
                continue;
            }
            let chunks = content.segments().filter_map(|segment| match segment {
                Segment::Chunk(chunk) => Some(chunk),
                Segment::Hole { .. } => None,
            });
            for (ordinal, chunk) in (before.count..).zip(chunks) {
                if prints.is_repeated(&chunk.digest) || self.needs.contains_key(&chunk.digest) {
                    let need = self.needs.entry(chunk.digest).or_default();
                    if need.location.is_some() {
                        continue;
                    }
                    need.uses_left = need.uses_left.saturating_add(1);
                    if need.uses_left > 1 {
                        continue;
                    }
                }
                self.wanted.push(ordinal);
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

/// The first eight bytes of the digest of every chunk that is staged. Two chunks that have them in common only cost memory.
struct Prints {
    /// Each once, sorted.
    all: Vec<u64>,
    /// Those that there are more than one of, sorted.
    repeated: Vec<u64>,
}

impl Prints {
    fn new(mut all: Vec<u64>) -> Self {
        all.sort_unstable();
        let runs = all.chunk_by(u64::eq).filter(|run| run.len() > 1);
        let repeated = runs.filter_map(|run| run.first().copied()).collect();
        all.dedup();
        Self { all, repeated }
    }

    fn of(digest: &Digest) -> u64 {
        digest.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn has(&self, digest: &Digest) -> bool {
        self.all.binary_search(&Self::of(digest)).is_ok()
    }

    fn is_repeated(&self, digest: &Digest) -> bool {
        self.repeated.binary_search(&Self::of(digest)).is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::{Content, Meta};
    use crate::model::manifest::{self, Builder, Header};
    use crate::model::plan::{self, Have};

    fn file(name: &str, words: &[&str]) -> Entry {
        let chunk = |word: &&str| {
            let bytes = u32::try_from(word.len()).expect("short");
            let digest = Digest::of(Domain::Chunk, word.as_bytes());
            Segment::Chunk(Chunk { digest, bytes })
        };
        let kind = Kind::File(Content::new(words.iter().map(chunk)));
        Entry { path: TreePath::new(name.as_bytes()).expect("a path"), kind, meta: Meta::default() }
    }

    #[test]
    fn a_chunk_comes_once_unless_it_is_here_and_its_later_uses_copy_the_first() {
        let root = Entry { path: TreePath::root(), kind: Kind::Directory, meta: Meta::default() };
        let release = [
            root.clone(),
            file("a", &["one", "two", "one"]),
            file("b", &["two", "three"]),
            file("same", &["three", "four"]),
            file("z", &["four", "five"]),
        ];
        let mut builder = Builder::new(Header::plain());
        for entry in &release {
            builder.push(entry).expect("no special file");
        }
        let manifest = builder.finish().expect("a tree");
        let mut same = Bits::default();
        same.insert(3);
        let mut picked = manifest::Picked::default();
        let mut placed = Part::from(&manifest).placed();
        while let Some((before, _, view)) = placed.next() {
            if view.path != b"same" {
                picked.push(&view, before);
            }
        }
        let part = Part::new(&manifest, Some(&picked));
        let have = [Have { entry: &root, is_sole_name: false }];
        let want = plan::Want { release: part, same_files: 1 };
        let plan = plan::plan(&have, want, &plan::Policy::default(), &mut |_| {});
        let here = Here { found: &[], same: &same };
        let mut sources = Sources::find(None, &plan, part, here, 4096);
        let sources = sources.as_mut().expect("nothing is kept");
        // Of one, two, one · two, three · three, four · four, five.
        assert_eq!(sources.wanted.ranges(), [0..2, 8..9]);
        assert_eq!((sources.staged_entries, sources.staged_bytes), (3, 3 + 3 + 3 + 3 + 5 + 4 + 4));
        let chunk = |word: &str| match &file("x", &[word]).kind {
            Kind::File(content) => content.chunks().next().expect("one"),
            _ => unreachable!("it is a file"),
        };
        let live = |word| sources.live_file(&chunk(word)).map(ToString::to_string);
        assert_eq!(live("three").as_deref(), Some("same"));
        assert_eq!((live("one"), live("five")), (None, None));
        assert!(sources.next_use(&chunk("one")).is_none(), "it comes over the wire");
        let at = || Location::Staged { path: Arc::new(TreePath::root()), offset: 0 };
        sources.staged_at(&chunk("one"), at);
        assert!(matches!(sources.next_use(&chunk("one")), Some(Location::Staged { .. })));
        sources.staged_at(&chunk("five"), at);
        assert!(sources.next_use(&chunk("five")).is_none(), "nothing uses it again");
    }
}
