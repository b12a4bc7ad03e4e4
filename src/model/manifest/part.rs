//! [`Part`]: a manifest, or those of its entries that matter, so that what follows a comparison costs what differs and not
//! what is there.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::entries::{Body, Decoder};
use super::view::{ContentView, KindView, View};
use super::{Entries, Manifest, Views, WHAT};
use crate::model::codec::Reader;
use crate::model::entry::{Entry, Segment};
use crate::model::path::{self, TreePath};

/// How many chunks, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chunks {
    /// How many.
    pub count: u64,
    /// The sum of their lengths.
    pub bytes: u64,
}

impl Chunks {
    /// Those of `content`.
    pub fn of(content: ContentView<'_>) -> Self {
        let mut chunks = Self::default();
        for segment in content.segments() {
            if let Segment::Chunk(chunk) = segment {
                chunks.count = chunks.count.saturating_add(1);
                chunks.bytes = chunks.bytes.saturating_add(u64::from(chunk.bytes));
            }
        }
        chunks
    }

    /// Those that `view` has.
    pub fn of_view(view: &View<'_, '_>) -> Self {
        if let KindView::File(content) = view.kind { Self::of(content) } else { Self::default() }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// What is left of these without `other`.
    fn minus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_sub(other.count),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// Some entries of a manifest, in its order.
#[derive(Debug, Default)]
pub struct Picked {
    body: Body,
    count: u64,
    /// Chunks of the entries picked.
    own: Chunks,
    skips: Vec<Skip>,
}

/// So many chunks of entries that were not picked stand before the `entry`-th that was, and those behind it.
#[derive(Debug, Clone, Copy)]
struct Skip {
    entry: u64,
    chunks: Chunks,
}

impl Picked {
    /// The first `count` entries of `manifest`.
    pub fn first(manifest: &Manifest, count: u64) -> Self {
        let mut picked = Self::default();
        let mut placed = Part::from(manifest).placed();
        while picked.count < count
            && let Some((before, _, view)) = placed.next()
        {
            picked.push(&view, before);
        }
        picked
    }

    /// Picks the entry of a manifest that `view` shows, which stands behind those picked so far; `before` are the chunks of
    /// all entries of the manifest before it.
    pub fn push(&mut self, view: &View<'_, '_>, before: Chunks) {
        let own = Chunks::of_view(view);
        let chunks = before.minus(self.own);
        if own.count > 0 && self.skips.last().map_or(0, |skip| skip.chunks.count) != chunks.count {
            self.skips.push(Skip { entry: self.count, chunks });
        }
        self.own = self.own.plus(own);
        self.count = self.count.saturating_add(1);
        let pushed = self.body.push_view(view);
        debug_assert!(pushed.is_ok(), "a manifest holds no special file");
    }

    /// Picks a directory.
    pub fn push_directory(&mut self, entry: &Entry) {
        debug_assert!(entry.kind.is_directory(), "it has no chunks");
        self.count = self.count.saturating_add(1);
        let pushed = self.body.push(entry);
        debug_assert!(pushed.is_ok(), "a manifest holds no special file");
    }
}

/// A manifest with those of its entries that matter.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    manifest: &'a Manifest,
    picked: Option<&'a Picked>,
}

impl<'a> From<&'a Manifest> for Part<'a> {
    /// All entries matter.
    fn from(manifest: &'a Manifest) -> Self {
        Self { manifest, picked: None }
    }
}

impl<'a> Part<'a> {
    /// Those entries of `manifest` that were `picked`; all of them where nothing was chosen.
    pub fn new(manifest: &'a Manifest, picked: Option<&'a Picked>) -> Self {
        Self { manifest, picked }
    }

    /// The manifest, whole.
    pub fn manifest(self) -> &'a Manifest {
        self.manifest
    }

    /// The entries in order, each borrowed for as long as it is looked at.
    pub fn views(self) -> Views<'a> {
        self.picked.map_or_else(
            || self.manifest.views(),
            |picked| {
                let reader = Reader::new(picked.body.as_bytes(), WHAT);
                Views { decoder: Decoder::of_checked(reader) }
            },
        )
    }

    /// The entries in order, each with memory of its own.
    pub fn entries(self) -> Entries<'a> {
        Entries(self.views())
    }

    /// The entries in order, each with the chunks before it.
    pub fn placed(self) -> Placed<'a> {
        let skips = self.picked.map_or(&[][..], |picked| &picked.skips);
        let (number, skipped, own) = (0, Chunks::default(), Chunks::default());
        Placed { views: self.views(), skips: skips.iter(), number, skipped, own }
    }

    /// The entries at `paths`, which are sorted; those that are not there are passed over.
    pub fn entries_at<'p>(
        self,
        paths: impl IntoIterator<Item = &'p TreePath> + 'a,
    ) -> impl Iterator<Item = Entry> + 'a
    where
        'p: 'a,
    {
        let mut views = self.views();
        let mut paths = paths.into_iter().peekable();
        std::iter::from_fn(move || {
            paths.peek()?;
            views.find(|view| {
                let order = |path: &TreePath| path::order(path.as_bytes(), view.path);
                while paths.next_if(|path| order(path).is_lt()).is_some() {}
                paths.next_if(|path| order(path).is_eq()).is_some()
            })
        })
    }
}

/// Walks the entries of a part, and counts the manifest's chunks.
#[derive(Debug)]
pub struct Placed<'a> {
    views: Views<'a>,
    skips: std::slice::Iter<'a, Skip>,
    number: u64,
    skipped: Chunks,
    own: Chunks,
}

impl<'a> Placed<'a> {
    /// The next entry, with the chunks of all entries of the manifest before it, and its own.
    #[expect(clippy::should_implement_trait, reason = "what it gives is borrowed from itself")]
    pub fn next(&mut self) -> Option<(Chunks, Chunks, View<'_, 'a>)> {
        let view = self.views.next()?;
        if let Some(skip) = self.skips.as_slice().first().filter(|skip| skip.entry == self.number) {
            self.skipped = skip.chunks;
            self.skips.next();
        }
        self.number = self.number.saturating_add(1);
        let (before, own) = (self.skipped.plus(self.own), Chunks::of_view(&view));
        self.own = self.own.plus(own);
        Some((before, own, view))
    }
}
