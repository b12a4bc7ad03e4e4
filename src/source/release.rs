//! [`Release`]: what every node is to have. Its manifest is put together only when somebody asks for it: where nothing
//! changed, nobody does.

use std::sync::{Arc, OnceLock};

use super::Error;
use crate::model::codec;
use crate::model::later::{Given, InOrder, Times};
use crate::model::manifest::{Builder, Header, Manifest, ReleaseId};
use crate::scan::listing::Listing;

/// What an entry of one chunk takes in a manifest, where paths are not long.
const ENTRY_BYTES: usize = 64;

/// What every node is to have.
#[derive(Debug)]
pub struct Release {
    id: ReleaseId,
    header: Header,
    listing: Option<Arc<Listing>>,
    /// Times of the listing's files that are not their own.
    given: Vec<Given>,
    manifest: OnceLock<Arc<Manifest>>,
}

impl Release {
    /// The release that `listing` was found to be.
    pub(super) fn known(id: ReleaseId, header: Header, listing: Arc<Listing>) -> Self {
        let given = Vec::new();
        Self { id, header, listing: Some(listing), given, manifest: OnceLock::new() }
    }

    /// The release that `listing` makes.
    pub(super) fn new(header: &Header, listing: &Listing) -> Result<Self, Error> {
        build(header, listing, &[]).map(Self::of)
    }

    /// The release that `manifest` describes, wherever its content is.
    pub fn of(manifest: impl Into<Arc<Manifest>>) -> Self {
        let manifest = manifest.into();
        let (id, header) = (manifest.id(), manifest.header().clone());
        let given = Vec::new();
        Self { id, header, listing: None, given, manifest: OnceLock::from(manifest) }
    }

    /// The release that this one, which is what `listing` makes, is with the times of `given`.
    ///
    /// Cost: one pass over the source.
    ///
    /// # Errors
    /// As [`Release::manifest`].
    pub fn with_times(&self, listing: &Listing, given: &[Given]) -> Result<Self, Error> {
        build(&self.header, listing, given).map(Self::of)
    }

    /// As [`Release::with_times`], where it is known which release that is.
    #[must_use]
    pub fn with_known_times(&self, listing: &Arc<Listing>, times: &Times) -> Self {
        let (header, listing) = (self.header.clone(), Arc::clone(listing));
        Self { given: times.files.clone(), ..Self::known(times.release, header, listing) }
    }

    /// Its id, the digest of the manifest.
    pub fn id(&self) -> ReleaseId {
        self.id
    }

    /// What stands before the entries.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The manifest.
    ///
    /// Cost: where the source was found unchanged, one pass over it the first time.
    ///
    /// # Errors
    /// [`Error::IndexChanged`] if the index from which it is made is no longer what it was.
    pub fn manifest(&self) -> Result<Arc<Manifest>, Error> {
        if let Some(manifest) = self.manifest.get() {
            return Ok(Arc::clone(manifest));
        }
        let listing = self.listing.as_ref().ok_or(Error::IndexChanged)?;
        let manifest = build(&self.header, listing, &self.given)?;
        if manifest.id() != self.id {
            return Err(Error::IndexChanged);
        }
        Ok(Arc::clone(self.manifest.get_or_init(|| Arc::new(manifest))))
    }
}

fn build(header: &Header, listing: &Listing, given: &[Given]) -> Result<Manifest, Error> {
    let refused = |source: codec::Error| Error::Manifest { source };
    let names = usize::try_from(listing.sums().names).unwrap_or(usize::MAX);
    let mut builder = Builder::with_room(header.clone(), names.saturating_mul(ENTRY_BYTES));
    let mut given = InOrder::new(given);
    let mut cursor = listing.cursor();
    while let Some(item) = cursor.next().map_err(|_error| Error::IndexChanged)? {
        builder.push_view(&given.put(item.view)).map_err(refused)?;
    }
    builder.finish().map_err(refused)
}
