//! Whether what is to be deployed can be deployed: archives that a server could not open, applications that get into each
//! other's way, configurations that are no XML.
//!
//! A file is read once for its content: what was found is remembered by digest, and of a release that was looked at before
//! nothing is read or walked. What is not understood is never a finding, unless it is an archive.
//! Never: writes, follows a link, or trusts a length. Start at [`look`].

mod car;
mod findings;
mod known;
mod xml;
mod zip;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Error, Source};
use crate::model::digest::Digest;
use crate::model::entry::Timestamp;
use crate::model::manifest::{KindView, ReleaseId};
use crate::model::path::TreePath;
use crate::os::dir::Dir;
use crate::os::stat::StatId;
use crate::os::{file, meta};
use crate::scan;

pub use car::Application;
pub use known::{Known, OfRelease};

/// Fills a buffer from an offset of a file, short only at its end.
pub type ReadAt<'a> = &'a dyn Fn(u64, &mut [u8]) -> io::Result<usize>;

/// Files that are looked at in one release.
pub const ARTIFACTS_MAX: usize = 16_384;

/// What is looked for, and what a finding does to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// What a finding does.
    pub level: Level,
    /// Which files are looked at.
    pub kinds: Kinds,
    /// What becomes of a changed file whose time is close to the deployed one's.
    pub close: Close,
}

/// What becomes of a changed file whose time is close to the deployed one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Close {
    /// It is a finding.
    #[default]
    Told,
    /// It is given a later time, so that there is nothing to find.
    Moved,
}

/// What a finding does to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Nothing is looked for.
    #[default]
    Off,
    /// It is a note.
    Warn,
    /// It stops the run before any node changes.
    Deny,
}

/// Which files are looked at; all of them if nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(u8);

/// A kind of file, known by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `*.car`: an archive with an `artifacts.xml` that gives name and version.
    Car,
    /// `*.war`: an archive.
    War,
    /// `*.zip` and `*.aar`: an archive.
    Zip,
    /// `*.xml` and `*.dbs`: well-formed XML.
    Xml,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Car, Self::War, Self::Zip, Self::Xml];

    /// The kind of the file at `path`, if it is of one.
    pub fn of(path: &[u8]) -> Option<Self> {
        let name = path.rsplit(|&byte| byte == b'/').next()?;
        let (stem, end) = name.split_at_checked(name.len().checked_sub(4)?)?;
        match end {
            _ if stem.is_empty() => None,
            b".car" => Some(Self::Car),
            b".war" => Some(Self::War),
            b".zip" | b".aar" => Some(Self::Zip),
            b".xml" | b".dbs" => Some(Self::Xml),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Car => "car",
            Self::War => "war",
            Self::Zip => "zip",
            Self::Xml => "xml",
        }
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Self(u8::MAX)
    }
}

impl Kinds {
    /// Those that `words` name: `car`, `war`, `zip`, `xml`; others name none.
    pub fn named<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let kinds = words
            .into_iter()
            .filter_map(|word| Kind::ALL.into_iter().find(|kind| kind.word() == word));
        Self(kinds.fold(0, |bits, kind| bits | 1 << kind as u8))
    }

    fn contain(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

/// A file that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Where it is.
    pub path: TreePath,
    /// Its content.
    pub digest: Digest,
    /// Its modification time, by which servers know it.
    pub mtime: Timestamp,
    /// What it was found to be.
    pub found: Found,
}

/// What a file was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// As it should be, or not understood.
    Fine,
    /// A Carbon application.
    Application(Application),
    /// Unfit; why, escaped.
    Fault(String),
}

/// What a look at a source came to.
#[derive(Debug)]
pub struct Looked {
    /// A sentence for each thing that is not as it should be, in the order of paths.
    pub findings: Vec<String>,
    /// What is to be remembered; `None` if that is what was known.
    pub known: Option<Known>,
}

/// Looks at the files of `source` that `options` name, of which `known` tells those that were looked at before. What changed since
/// the release `deployed` is told, if that was looked at.
///
/// Cost: nothing where the release was looked at before; else one pass over the names, and a read of each file whose content is
/// new.
///
/// # Errors
/// [`Error::IndexChanged`]; [`Error::Scan`] with [`scan::Error::Stopped`] soon after `stop` is set.
pub fn look(
    source: &Source,
    options: Options,
    known: &Known,
    deployed: Option<ReleaseId>,
    stop: &AtomicBool,
) -> Result<Looked, Error> {
    let Options { kinds, close, .. } = options;
    let release = source.release.id();
    let before = deployed.and_then(|deployed| known.of(deployed));
    if let Some(this) = known.of(release).filter(|this| this.kinds == kinds) {
        return Ok(Looked { findings: findings::of(this, before, close), known: None });
    }
    let (artifacts, is_cut) = gather(source, kinds, known, stop)?;
    let this = OfRelease { release, kinds, is_cut, artifacts };
    let findings = findings::of(&this, before, close);
    Ok(Looked { findings, known: Some(Known::new(this, before)) })
}

/// Every file that `kinds` has, and whether there were too many.
fn gather(
    source: &Source,
    kinds: Kinds,
    known: &Known,
    stop: &AtomicBool,
) -> Result<(Vec<Artifact>, bool), Error> {
    let remembered = known.by_content();
    let mut artifacts: Vec<Artifact> = Vec::new();
    // By path, for further names of a file.
    let mut firsts: HashMap<TreePath, usize> = HashMap::new();
    let mut cursor = source.listing.cursor();
    while let Some(item) = cursor.next().map_err(|_error| Error::IndexChanged)? {
        let kind = Kind::of(item.view.path).filter(|kind| kinds.contain(*kind));
        let Some(kind) = kind else { continue };
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Scan { source: scan::Error::Stopped });
        }
        if artifacts.len() >= ARTIFACTS_MAX {
            return Ok((artifacts, true));
        }
        let path = TreePath::of_checked(item.view.path);
        let mtime = item.stat.id.mtime;
        let (digest, found) = match item.view.kind {
            KindView::File(content) => {
                let digest = content.digest();
                let found = match remembered.get(&(kind, digest)) {
                    Some(found) => Some((*found).clone()),
                    None => examine(&source.root, &path, kind, item.stat.id).unwrap_or_default(),
                };
                (digest, found)
            }
            KindView::HardLink(first) => {
                let first = firsts.get(&TreePath::of_checked(first));
                let first = first.and_then(|at| artifacts.get(*at));
                let is_alike = |first: &&Artifact| Kind::of(first.path.as_bytes()) == Some(kind);
                let Some(first) = first.filter(is_alike) else { continue };
                (first.digest, Some(first.found.clone()))
            }
            KindView::Directory | KindView::Symlink(_) | KindView::Special => continue,
        };
        // What changed or went since it was taken in stops the run later, or is taken in anew by the next.
        let Some(found) = found else { continue };
        if item.stat.link_count > 1 {
            firsts.insert(path.clone(), artifacts.len());
        }
        artifacts.push(Artifact { path, digest, mtime, found });
    }
    Ok((artifacts, false))
}

/// Looks into one file; `None` if it is no longer the one that was taken in.
fn examine(root: &Dir, path: &TreePath, kind: Kind, id: StatId) -> io::Result<Option<Found>> {
    let Some((parent, name)) = path.split_last() else { return Ok(None) };
    let file = root.open_path(&parent)?.open_file(name)?;
    if meta::stat(&file)?.id != id {
        return Ok(None);
    }
    let found = judge(kind, id.size, &|at, into| file::read_at(&file, at, into))?;
    Ok(Some(found).filter(|_| meta::stat(&file).is_ok_and(|stat| stat.id == id)))
}

/// What the bytes of a file of `size` bytes are.
///
/// # Errors
/// Those of `read`.
pub fn judge(kind: Kind, size: u64, read: ReadAt<'_>) -> io::Result<Found> {
    let fault = |fault: String| Ok(Found::Fault(fault));
    if kind == Kind::Xml {
        return judge_xml(size, read);
    }
    let wanted = (kind == Kind::Car).then_some(car::DESCRIPTOR.as_bytes());
    let descriptor = match zip::look(read, size, wanted) {
        Err(zip::Fault::Io(error)) => return Err(error),
        Err(error) => return fault(error.to_string()),
        Ok(descriptor) => descriptor,
    };
    match descriptor.as_deref().map(car::application) {
        Some(Ok(application)) => Ok(Found::Application(application)),
        Some(Err(error)) => fault(format!("has an {} that {error}", car::DESCRIPTOR)),
        None if wanted.is_some() => fault(format!("has no {}", car::DESCRIPTOR)),
        None => Ok(Found::Fine),
    }
}

fn judge_xml(size: u64, read: ReadAt<'_>) -> io::Result<Found> {
    if size > zip::MEMBER_BYTES_MAX {
        return Ok(Found::Fine);
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let count = read(0, &mut bytes)?;
    bytes.truncate(count);
    Ok(match xml::walk(&bytes, &mut |_depth, _element| Ok(())) {
        Err(error @ (xml::Fault::Syntax { .. } | xml::Fault::Content(_))) => {
            Found::Fault(error.to_string())
        }
        Ok(()) | Err(xml::Fault::Encoding | xml::Fault::Doctype) => Found::Fine,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_the_end_of_a_name() {
        for (path, kind) in [
            (&b"a/b.car"[..], Some(Kind::Car)),
            (b"x.war", Some(Kind::War)),
            (b"x.aar", Some(Kind::Zip)),
            (b"a/x.dbs", Some(Kind::Xml)),
            (b"a/.xml", None),
            (b"a.car/x", None),
            (b"xml", None),
            (b"x.car.back", None),
            (b"", None),
        ] {
            assert_eq!(Kind::of(path), kind, "{}", path.escape_ascii());
        }
        let kinds = Kinds::named(["car", "xml", "nothing"]);
        assert!(kinds.contain(Kind::Car) && kinds.contain(Kind::Xml) && !kinds.contain(Kind::War));
        assert!(Kind::ALL.into_iter().all(|kind| Kinds::default().contain(kind)));
    }
}
