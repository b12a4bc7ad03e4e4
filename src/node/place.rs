//! [`Place`]: an open target with its state directory and its lease.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Error, io_error};
use super::lease::Lease;
use super::share;
use crate::model::digest::{Digest, Domain};
use crate::model::path::STATE_DIRECTORY;
use crate::model::plan::CommitStyle;
use crate::model::untrusted::Untrusted;
use crate::os::confine::{Use, confine};
use crate::os::dir::{Dir, Rename};
use crate::os::root::{self, Missing, Root};
use crate::os::stat::StatId;
use crate::os::{durable, host};
use crate::scan::index::RootId;
use crate::wire::message::{FailedClass, Free, Mounted, Open, Part, SourcePlace, Txid};

/// Where `stage/<txid>/` holds what becomes `kept/<txid>/`.
const KEPT_IN_STAGE: &[u8] = b"kept";

/// Where an agent may work.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// The home that relative directories start at.
    pub home: PathBuf,
    /// The only directories allowed, with what is below them; any if empty.
    pub restrict: Vec<PathBuf>,
    /// Have the kernel hold this process to the one target it works on.
    pub confines: bool,
}

/// An open target.
#[derive(Debug)]
pub struct Place {
    /// The directory that holds the root.
    pub parent: Dir,
    /// The root's name there.
    pub name: Box<[u8]>,
    /// The root, if it exists.
    pub root: Option<Dir>,
    /// Its path with all links resolved.
    pub real_path: PathBuf,
    /// The state directory; none where a plan met a node that has no state.
    pub state: Option<State>,
    /// This process serves this target and nothing else, so that the kernel may hold it to that.
    pub confines: bool,
    /// What its file system is.
    pub mounted: Mounted,
}

/// The state directory of a target, under its lease.
#[derive(Debug)]
pub struct State {
    /// The directory.
    pub dir: Dir,
    /// `stage/`.
    pub stage: Dir,
    /// `kept/`.
    pub kept: Dir,
    /// `manifest/`.
    pub manifests: Dir,
    /// What keeps others out; a witness has none, and changes nothing.
    pub lease: Option<Lease>,
}

impl Place {
    /// Opens the target that `open` names and takes its lease.
    ///
    /// # Errors
    /// [`Error::Busy`] or [`Error::SameRun`] if it is taken; [`Error::Refused`] if it is outside what is allowed, or its
    /// state cannot lie on its file system; [`Error::Root`] for the path itself.
    pub fn open(open: &Open, allowed: &Allowed) -> Result<Self, Error> {
        let path = allowed.home.join(root::path_from_bytes(&open.directory));
        let is_made = open.make_path && !open.read_only;
        let root =
            allowed.open(&path, if is_made { allowed.missing() } else { Missing::Refuse })?;
        refuse_overlap(&open.source, &root)?;
        share::check(&root, open.mounted)?;
        let mut place = Self::at(root, allowed, open.mounted);
        place.state = place.open_state(open, allowed)?;
        Ok(place)
    }

    /// The place at `root`, its state not looked for.
    fn at(root: Root, allowed: &Allowed, mounted: Mounted) -> Self {
        Self {
            parent: root.parent,
            name: root.name,
            root: root.dir,
            real_path: root.real_path,
            state: None,
            confines: allowed.confines,
            mounted,
        }
    }

    /// Opens the target that `open` names without its lease and without its state, beside whatever run is under way there;
    /// the second is the state directory, if there is one. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Place::open`], but for the lease.
    pub fn look(open: &Open, allowed: &Allowed) -> Result<(Self, Option<Dir>), Error> {
        // Whatever the hub says of it.
        let open = &Open { read_only: true, ..open.clone() };
        let path = allowed.home.join(root::path_from_bytes(&open.directory));
        let root = allowed.open(&path, Missing::Refuse)?;
        share::check(&root, open.mounted)?;
        let place = Self::at(root, allowed, open.mounted);
        let state = place.state_dir(open, allowed)?;
        Ok((place, state))
    }

    /// As [`Place::look`], with the state opened as far as it is there, to be read and never written.
    ///
    /// # Errors
    /// As [`Place::look`].
    pub fn witness(open: &Open, allowed: &Allowed) -> Result<Self, Error> {
        let (mut place, state) = Self::look(open, allowed)?;
        // It looks again, by the path, whenever it is asked; and there is nothing it could change.
        place.confines = false;
        let Some(dir) = state else { return Ok(place) };
        let sub = |name: &'static str| match dir.open_dir(name.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some).map_err(io_error("open", name)),
        };
        if let (Some(stage), Some(kept), Some(manifests)) =
            (sub("stage")?, sub("kept")?, sub("manifest")?)
        {
            place.state = Some(State { stage, kept, manifests, dir, lease: None });
        }
        Ok(place)
    }

    /// What an index of this tree is known by.
    pub fn root_id(&self, root: &StatId) -> RootId {
        RootId { roams: self.mounted.part != Part::Own, ..RootId::of(root) }
    }

    /// Room for a user without privileges, where the file system tells.
    pub fn free(&self) -> Option<Free> {
        let room = self.root.as_ref().unwrap_or(&self.parent).room().ok()?;
        let inodes = (room.inodes_total > 0).then_some(room.inodes_free);
        Some(Free { bytes: room.bytes_free, inodes })
    }

    /// The state, which every change needs.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the hub asked for a plan and then for a change.
    pub fn state(&self) -> Result<&State, Error> {
        self.state.as_ref().ok_or_else(|| Error::Protocol { what: "a change within a plan".into() })
    }

    fn open_state(&self, open: &Open, allowed: &Allowed) -> Result<Option<State>, Error> {
        let Some(dir) = self.state_dir(open, allowed)? else { return Ok(None) };
        let device = dir.stat_self().map_err(io_error("look at", "the state directory"))?.id.device;
        let around = self.root.as_ref().unwrap_or(&self.parent);
        if around.stat_self().map_err(io_error("look at", &self.name))?.id.device != device {
            return Err(Error::refused(
                "state-elsewhere",
                format!("the state directory of {} is on another file system", self.shown()),
                Some(
                    "set [storage] state_dir to a directory on the target's own file system".into(),
                ),
            ));
        }
        let kind = share::kind_of(&dir)?;
        if !open.read_only && open.mounted.part == Part::Own {
            share::refuse_network(kind)?;
        }
        let lease = Lease::take(&dir, open, share::is_shareable(kind))?;
        let sub = |name: &'static str| {
            durable::private_dir(&dir, name.as_bytes()).map_err(io_error("open", name))
        };
        let (stage, kept, manifests) = (sub("stage")?, sub("kept")?, sub("manifest")?);
        Ok(Some(State { stage, kept, manifests, dir, lease: Some(lease) }))
    }

    /// The state directory: where the hub says, or inside the root if that is a mount point, or beside the root.
    fn state_dir(&self, open: &Open, allowed: &Allowed) -> Result<Option<Dir>, Error> {
        if let Some(path) = &open.state_dir {
            return self.state_dir_at(path, open.read_only, allowed);
        }
        let base = match &self.root {
            Some(root) if is_mount_point(root, &self.parent)? => root,
            _ => &self.parent,
        };
        if open.read_only {
            let find = |dir: &Dir, name: &[u8]| dir.find(name).map_err(io_error("look at", name));
            if find(base, STATE_DIRECTORY)?.is_none() {
                return Ok(None);
            }
            let all = base.open_dir(STATE_DIRECTORY).map_err(io_error("open", STATE_DIRECTORY))?;
            if find(&all, &self.name)?.is_none() {
                return Ok(None);
            }
        }
        let all = durable::private_dir(base, STATE_DIRECTORY).map_err(|source| Error::Io {
            act: "create the state directory beside",
            what: self.shown(),
            source,
        })?;
        durable::private_dir(&all, &self.name)
            .map(Some)
            .map_err(io_error("open the state of", &self.name))
    }

    /// Below a directory of the operator's choice, states of several targets are told apart by their real paths.
    fn state_dir_at(
        &self,
        path: &str,
        read_only: bool,
        allowed: &Allowed,
    ) -> Result<Option<Dir>, Error> {
        let real = self.real_path.as_os_str().as_encoded_bytes();
        let digest = Digest::of(Domain::State, real).short();
        let path = Path::new(path);
        if read_only {
            let all = allowed.open(path, Missing::Refuse)?;
            let exists = match &all.dir {
                Some(dir) => {
                    dir.find(digest.as_bytes()).map_err(io_error("look at", &digest))?.is_some()
                }
                None => false,
            };
            if !exists {
                return Ok(None);
            }
        }
        let all = allowed.open(path, allowed.missing())?;
        let all = durable::private_dir(&all.parent, &all.name)
            .map_err(io_error("open", all.real_path.as_os_str().as_encoded_bytes()))?;
        durable::private_dir(&all, digest.as_bytes()).map(Some).map_err(io_error("open", &digest))
    }

    /// Has the kernel hold this process to the target and its state from here on, if that is asked for and this kernel can
    /// (rule S30). A root that is to be made, or exchanged, is a name in the directory around it.
    pub fn confine(&self, commit: CommitStyle) {
        if !self.confines {
            return;
        }
        let own = self.root.iter().chain(self.state.iter().map(|state| &state.dir));
        let is_renamed = self.root.is_none() || commit == CommitStyle::Swap;
        let around = is_renamed.then_some((&self.parent, Use::Directories));
        // Without it the resolver of `os::dir` stands alone, as on kernels that have no such thing.
        let _is_confined = confine(own.map(|dir| (dir, Use::Everything)).chain(around));
    }

    /// The real path, escaped.
    pub fn shown(&self) -> String {
        Untrusted::new(self.real_path.as_os_str().as_encoded_bytes()).to_string()
    }
}

impl Allowed {
    /// Opens `path` if it is allowed; nothing is made outside of what is.
    pub(super) fn open(&self, path: &Path, missing: Missing<'_>) -> Result<Root, Error> {
        let root = match root::open(path, missing) {
            // What is missing lies outside: it was not made.
            Err(root::Error::ParentMissing { .. })
                if matches!(missing, Missing::CreateWithin(_)) =>
            {
                return Err(outside(path));
            }
            root => root.map_err(Error::Root)?,
        };
        self.check(&root.real_path)?;
        Ok(root)
    }

    /// What may be made on the way to a directory.
    fn missing(&self) -> Missing<'_> {
        if self.restrict.is_empty() {
            Missing::Create
        } else {
            Missing::CreateWithin(&self.restrict)
        }
    }

    pub(super) fn check(&self, real_path: &Path) -> Result<(), Error> {
        let is_inside = |allowed: &PathBuf| real_path.starts_with(allowed);
        if self.restrict.is_empty() || self.restrict.iter().any(is_inside) {
            return Ok(());
        }
        Err(outside(real_path))
    }
}

fn outside(path: &Path) -> Error {
    Error::Refused {
        class: FailedClass::Trust,
        kind: "restricted",
        message: format!(
            "this agent may not work in {}",
            Untrusted::new(path.as_os_str().as_encoded_bytes())
        ),
        hint: Some("add the directory to --restrict in the node's authorized_keys".into()),
    }
}

/// A target that is the source, lies inside it, or holds it, would be made of itself (row 34).
pub(super) fn refuse_overlap(source: &SourcePlace, root: &Root) -> Result<(), Error> {
    let Some(source_root) = source.ancestry.last() else { return Ok(()) };
    if source.boot.is_empty() || source.boot != host::boot_id() {
        return Ok(());
    }
    let target_root = root.dir.as_ref().and_then(|_| root.ancestry.last());
    let overlaps = root.ancestry.contains(source_root)
        || target_root.is_some_and(|target| source.ancestry.contains(target));
    if !overlaps {
        return Ok(());
    }
    Err(Error::Refused {
        class: FailedClass::Usage,
        kind: "source-in-target",
        message: "the target is the source, lies inside it, or holds it".into(),
        hint: Some("name a target apart from the source".into()),
    })
}

/// True if `root`, which `parent` holds, is where another file system, or another part of one, is mounted.
///
/// # Errors
/// [`Error::Io`].
pub fn is_mount_point(root: &Dir, parent: &Dir) -> Result<bool, Error> {
    let look = |dir: &Dir| dir.stat_self().map_err(io_error("look at", "the target"));
    let (inside, outside) = (look(root)?, look(parent)?);
    Ok(inside.is_mount_root || inside.id.device != outside.id.device)
}

impl State {
    /// The directory `stage/<txid>/`, made if missing; durable with the next sync of the file system.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stage_of(&self, txid: Txid) -> Result<Dir, Error> {
        let name = txid.to_string();
        durable::private_dir_lazily(&self.stage, name.as_bytes())
            .map(|(stage, _)| stage)
            .map_err(io_error("open", "the stage"))
    }

    /// The directory in `stage` that becomes the transaction's kept area, made if missing: until the commit nothing of a
    /// transaction stands outside of its stage.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn kept_in(stage: &Dir) -> Result<Dir, Error> {
        durable::private_dir_lazily(stage, KEPT_IN_STAGE)
            .map(|(kept, _)| kept)
            .map_err(io_error("open", "the kept area"))
    }

    /// The directory `kept/<txid>/`, which comes out of `stage` if it has not yet.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn kept_of(&self, txid: Txid, stage: &Dir) -> Result<Dir, Error> {
        let name = txid.to_string();
        match stage.rename(KEPT_IN_STAGE, &self.kept, name.as_bytes(), Rename::KeepExisting) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved.map_err(io_error("move", "the kept area"))?,
        }
        self.kept.open_dir(name.as_bytes()).map_err(io_error("open", "the kept area"))
    }

    /// Removes `stage/<txid>/`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn drop_stage(&self, txid: Txid) -> Result<(), Error> {
        let removed = self.stage.remove_all(txid.to_string().as_bytes());
        unless_in_use(removed).map_err(io_error("remove", "the stage"))
    }

    /// Removes `kept/<txid>/`: under a new name first, so that a crash leaves nothing that looks whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn drop_kept(&self, name: &[u8]) -> Result<(), Error> {
        let going = [b"going-", name].concat();
        if !name.starts_with(b"going-") {
            match self.kept.rename(name, &self.kept, &going, Rename::Replace) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                renamed => renamed.map_err(io_error("remove", "a kept release"))?,
            }
            return self.remove_kept(&going);
        }
        self.remove_kept(name)
    }

    fn remove_kept(&self, name: &[u8]) -> Result<(), Error> {
        unless_in_use(self.kept.remove_all(name)).map_err(io_error("remove", "a kept release"))
    }
}

/// On NFS a removed file that a server on this host still has open stays under another name until it is closed, and with it
/// the directory around it: whoever comes next removes that.
fn unless_in_use(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy
            ) =>
        {
            Ok(())
        }
        removed => removed,
    }
}

/// True if this process may take any owner and mode.
pub fn is_privileged() -> bool {
    host::is_root()
}
