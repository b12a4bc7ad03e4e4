//! What earlier looks found, so that no file is read twice for its content.

use std::collections::HashMap;

use super::car::NAME_BYTES_MAX;
use super::{ARTIFACTS_MAX, Application, Artifact, Found, Kind, Kinds};
use crate::model::codec::{Reader, Result, Writer};
use crate::model::digest::Digest;
use crate::model::entry::Timestamp;
use crate::model::manifest::ReleaseId;

/// FORMAT: and what a look finds in the same bytes: what an older version found is found anew.
const VERSION: u64 = 1;
const FAULT_BYTES_MAX: usize = 64 * 1024;

/// What is remembered: the release that was looked at last, and the one that was deployed then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    releases: Vec<OfRelease>,
}

/// The files of one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfRelease {
    /// Which.
    pub release: ReleaseId,
    /// The files looked at.
    pub kinds: Kinds,
    /// There were more of them.
    pub is_cut: bool,
    /// In the order of paths.
    pub artifacts: Vec<Artifact>,
}

impl Known {
    pub(super) fn new(latest: OfRelease, deployed: Option<&OfRelease>) -> Self {
        let deployed = deployed.filter(|deployed| deployed.release != latest.release).cloned();
        Self { releases: std::iter::once(latest).chain(deployed).collect() }
    }

    /// What was found in `release`.
    pub(super) fn of(&self, release: ReleaseId) -> Option<&OfRelease> {
        self.releases.iter().find(|one| one.release == release)
    }

    /// What was found in files by their kind and content.
    pub(super) fn by_content(&self) -> HashMap<(Kind, Digest), &Found> {
        let artifacts = self.releases.iter().flat_map(|one| &one.artifacts);
        let keyed = artifacts
            .filter_map(|one| Some(((Kind::of(one.path.as_bytes())?, one.digest), &one.found)));
        keyed.collect()
    }

    /// Appends all of it to `writer`.
    pub fn encode(&self, writer: &mut Writer) {
        writer.u64(VERSION);
        writer.list(&self.releases, |w, one| {
            w.digest(&one.release);
            w.u8(one.kinds.0);
            w.bool(one.is_cut);
            w.list(&one.artifacts, |w, artifact| {
                w.path(&artifact.path);
                w.digest(&artifact.digest);
                w.i64(artifact.mtime.seconds);
                w.u64(artifact.mtime.nanos.into());
                match &artifact.found {
                    Found::Fine => w.u8(0),
                    Found::Application(application) => {
                        w.u8(1);
                        w.text(&application.name);
                        w.text(&application.version);
                    }
                    Found::Fault(why) => {
                        w.u8(2);
                        w.text(why);
                    }
                }
            });
        });
    }

    /// Reads what [`Known::encode`] wrote.
    ///
    /// # Errors
    /// Anything else, and what another version wrote.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let version = reader.u64()?;
        if version != VERSION {
            return Err(reader.unknown(version));
        }
        let releases = reader.list(2, |r| {
            let (release, kinds, is_cut) = (r.digest()?, Kinds(r.u8()?), r.bool()?);
            Ok(OfRelease { release, kinds, is_cut, artifacts: r.list(ARTIFACTS_MAX, artifact)? })
        })?;
        Ok(Self { releases })
    }
}

fn artifact(reader: &mut Reader<'_>) -> Result<Artifact> {
    let (path, digest) = (reader.path()?, reader.digest()?);
    let (seconds, nanos) = (reader.i64()?, reader.u32()?);
    let found = match reader.u8()? {
        0 => Found::Fine,
        1 => Found::Application(Application {
            name: reader.text(NAME_BYTES_MAX)?,
            version: reader.text(NAME_BYTES_MAX)?,
        }),
        2 => Found::Fault(reader.text(FAULT_BYTES_MAX)?),
        tag => return Err(reader.unknown(tag.into())),
    };
    Ok(Artifact { path, digest, mtime: Timestamp { seconds, nanos }, found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::path::TreePath;

    #[test]
    fn what_is_remembered_is_read_as_it_was_written() {
        let application = Application { name: "Shop".into(), version: "1".into() };
        let founds =
            [Found::Fine, Found::Application(application), Found::Fault("is damaged".into())];
        let artifact = |(number, found): (u8, Found)| Artifact {
            path: TreePath::new(format!("a/{number}.car").as_bytes()).expect("a path"),
            digest: Digest([number; 32]),
            mtime: Timestamp { seconds: -1, nanos: 7 },
            found,
        };
        let of = |release| OfRelease {
            release: Digest([release; 32]),
            kinds: Kinds::named(["car"]),
            is_cut: release == 1,
            artifacts: (0..).zip(founds.clone()).map(artifact).collect(),
        };
        let known = Known::new(of(1), Some(&of(2)));
        let mut writer = Writer::new();
        known.encode(&mut writer);
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes, "lint");
        assert_eq!(Known::decode(&mut reader), Ok(known.clone()));
        assert_eq!(reader.finish(), Ok(()));
        for end in 0..bytes.len() {
            assert!(Known::decode(&mut Reader::new(&bytes[..end], "lint")).is_err());
        }
        assert_eq!(known.of(Digest([2; 32])), Some(&of(2)));
        assert_eq!(known.by_content().len(), 3);
        assert_eq!(Known::new(of(1), Some(&of(1))).releases.len(), 1);
    }
}
