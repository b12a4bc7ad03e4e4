//! [`Glance`]: the hub's state as it is, without its lock, beside whatever run is under way. Makes and changes nothing.

use std::path::Path;

use super::state::{self, Standing};
use crate::model::changes::{self, Changed};
use crate::model::manifest::{Manifest, ReleaseId};
use crate::os::dir::Dir;
use crate::os::root::{self, Missing};

/// The hub's state of one cluster, to be read.
#[derive(Debug)]
pub struct Glance {
    dir: Option<Dir>,
    manifests: Option<Dir>,
}

impl Glance {
    /// Opens what is there of the state at `path`; nothing may be.
    ///
    /// # Errors
    /// [`state::Error::Root`], [`state::Error::Io`].
    pub fn open(path: &Path) -> Result<Self, state::Error> {
        let path = root::absolute(path).map_err(state::io("open", "."))?;
        let dir = match root::open(&path, Missing::Refuse) {
            Ok(root) => root.dir,
            Err(root::Error::ParentMissing { .. }) => None,
            Err(error) => return Err(state::Error::Root(error)),
        };
        let manifests = match dir.as_ref().map(|dir| dir.open_dir(b"manifest")) {
            None => None,
            Some(Ok(manifests)) => Some(manifests),
            Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
            Some(Err(error)) => return Err(state::io("open", "manifest")(error)),
        };
        Ok(Self { dir, manifests })
    }

    /// As [`state::State::standing`].
    ///
    /// # Errors
    /// [`state::Error::Io`].
    pub fn standing(&self) -> Result<Standing, state::Error> {
        self.dir.as_ref().map_or_else(|| Ok(Standing::default()), state::read_standing)
    }

    /// As [`state::State::manifest`].
    pub fn manifest(&self, release: ReleaseId) -> Option<Manifest> {
        state::read_manifest(self.manifests.as_ref()?, release)
    }

    /// What `after` has otherwise than `before`, by the stored manifests.
    ///
    /// # Errors
    /// The release of which none is stored.
    pub fn changes(&self, before: ReleaseId, after: ReleaseId) -> Result<Vec<Changed>, ReleaseId> {
        let stored = |release| self.manifest(release).ok_or(release);
        let (before, after) = (stored(before)?, stored(after)?);
        let mut changes = Vec::new();
        changes::between(&before, &after, &mut |one| changes.push(one));
        Ok(changes)
    }
}
