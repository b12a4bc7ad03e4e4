//! What is to be said of the files of a release. Pure.

use std::collections::BTreeMap;
use std::collections::HashMap;

use super::{ARTIFACTS_MAX, Artifact, Close, Found, OfRelease};
use crate::model::later::{CLOSE_SECONDS, is_close};
use crate::model::path::{self, TreePath};
use crate::model::untrusted::Untrusted;

/// All findings of `this`, with what changed since `before`.
pub(super) fn of(this: &OfRelease, before: Option<&OfRelease>, close: Close) -> Vec<String> {
    let mut findings: Vec<(&TreePath, String)> = Vec::new();
    for artifact in &this.artifacts {
        if let Found::Fault(why) = &artifact.found {
            findings.push((&artifact.path, format!("{} {why}", artifact.path)));
        }
    }
    tell_clashes(&this.artifacts, &mut findings);
    if let Some(before) = before.filter(|before| before.release != this.release) {
        tell_changes(&this.artifacts, &before.artifacts, close, &mut findings);
    }
    findings.sort_by_key(|(path, _)| *path);
    let mut findings: Vec<String> = findings.into_iter().map(|(_, finding)| finding).collect();
    if this.is_cut {
        findings.push(format!("only the first {ARTIFACTS_MAX} files were looked at"));
    }
    findings
}

/// Where an application is deployed, and its name: tenants have directories of their own.
fn key(artifact: &Artifact) -> Option<(&[u8], &str, &str)> {
    let Found::Application(application) = &artifact.found else { return None };
    let parent = path::parent(artifact.path.as_bytes()).unwrap_or_default();
    Some((parent, &application.name, &application.version))
}

fn shown(name: &str, version: &str) -> String {
    format!("{} {}", Untrusted::new(name.as_bytes()), Untrusted::new(version.as_bytes()))
}

/// A server takes one application of a name.
fn tell_clashes<'a>(artifacts: &'a [Artifact], findings: &mut Vec<(&'a TreePath, String)>) {
    let mut first_of: BTreeMap<(&[u8], &str), (&Artifact, &str)> = BTreeMap::new();
    for artifact in artifacts {
        let Some((parent, name, version)) = key(artifact) else { continue };
        let Some((first, other)) = first_of.get(&(parent, name)) else {
            first_of.insert((parent, name), (artifact, version));
            continue;
        };
        let path = &artifact.path;
        let finding = if *other == version {
            format!("{path} is {}, and so is {}", shown(name, version), first.path)
        } else {
            format!(
                "{path} is {}, and {} is {}",
                shown(name, version),
                first.path,
                shown(name, other)
            )
        };
        findings.push((path, finding));
    }
}

fn tell_changes<'a>(
    artifacts: &'a [Artifact],
    before: &[Artifact],
    close: Close,
    findings: &mut Vec<(&'a TreePath, String)>,
) {
    let mut versions: HashMap<_, Vec<&Artifact>> = HashMap::new();
    for artifact in before {
        if let Some(key) = key(artifact) {
            versions.entry(key).or_default().push(artifact);
        }
    }
    let at_path: HashMap<&TreePath, &Artifact> =
        before.iter().map(|one| (&one.path, one)).collect();
    for artifact in artifacts {
        let path = &artifact.path;
        let is_same = |other: &&Artifact| other.digest == artifact.digest;
        if let Some((_, name, version)) = key(artifact)
            && let Some(others) = key(artifact).and_then(|key| versions.get(&key))
            && !others.iter().any(is_same)
        {
            let what = shown(name, version);
            findings.push((
                path,
                format!("{path} is not what was deployed as {what}, and is {what} too"),
            ));
        }
        if let Some(other) = at_path.get(path)
            && !is_same(other)
            && close == Close::Told
            && is_close(artifact.mtime, other.mtime)
        {
            let told = format!(
                "{path} changed, and its modification time is less than {CLOSE_SECONDS} s from the deployed one's: a server that looks at times may not notice"
            );
            findings.push((path, told));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Application, Kinds};
    use super::*;
    use crate::model::digest::Digest;
    use crate::model::entry::Timestamp;

    fn artifact(path: &str, content: u8, seconds: i64, found: Found) -> Artifact {
        let path = TreePath::new(path.as_bytes()).expect("a path");
        Artifact {
            path,
            digest: Digest([content; 32]),
            mtime: Timestamp { seconds, nanos: 5 },
            found,
        }
    }

    fn app(path: &str, content: u8, seconds: i64, name: &str, version: &str) -> Artifact {
        let application = Application { name: name.into(), version: version.into() };
        artifact(path, content, seconds, Found::Application(application))
    }

    fn release(number: u8, artifacts: Vec<Artifact>) -> OfRelease {
        let release = Digest([number; 32]);
        OfRelease { release, kinds: Kinds::default(), is_cut: false, artifacts }
    }

    #[test]
    fn applications_clash_in_one_directory_alone() {
        let this = release(
            1,
            vec![
                app("a/1.car", 1, 0, "Shop", "1"),
                app("a/2.car", 2, 0, "Shop", "1"),
                app("a/3.car", 3, 0, "Shop", "2\u{1b}"),
                app("b/1.car", 1, 0, "Shop", "1"),
                artifact("b/2.car", 4, 0, Found::Fault("is cut off".into())),
                artifact("b/3.xml", 5, 0, Found::Fine),
            ],
        );
        assert_eq!(
            of(&this, None, Close::Told),
            [
                "a/2.car is Shop 1, and so is a/1.car",
                "a/3.car is Shop 2\\u{1b}, and a/1.car is Shop 1",
                "b/2.car is cut off",
            ]
        );
        let cut = OfRelease { is_cut: true, ..this };
        assert_eq!(of(&cut, None, Close::Told).len(), 4);
    }

    #[test]
    fn a_version_that_has_other_bytes_now_is_told_and_a_new_one_is_not() {
        let before =
            release(1, vec![app("a/1.car", 1, 0, "Shop", "1"), app("a/2.car", 2, 0, "Price", "1")]);
        let now = |artifacts| of(&release(2, artifacts), Some(&before), Close::Told);
        assert_eq!(
            now(vec![app("a/other.car", 9, 0, "Shop", "1")]),
            ["a/other.car is not what was deployed as Shop 1, and is Shop 1 too"]
        );
        assert!(now(vec![app("a/1.car", 9, 5, "Shop", "2")]).is_empty());
        assert!(now(vec![app("a/renamed.car", 1, 0, "Shop", "1")]).is_empty());
        assert!(now(vec![app("b/1.car", 9, 5, "Shop", "1")]).is_empty(), "another tenant's");
        assert!(of(&before, Some(&before), Close::Told).is_empty());
    }

    #[test]
    fn a_change_that_times_do_not_show_is_told() {
        let before = release(1, vec![artifact("a.xml", 1, 100, Found::Fine)]);
        let told = |content, seconds, close| {
            let this = release(2, vec![artifact("a.xml", content, seconds, Found::Fine)]);
            of(&this, Some(&before), close).len()
        };
        let now = |content, seconds| told(content, seconds, Close::Told);
        assert_eq!((now(2, 101), now(2, 99), now(2, 100)), (1, 1, 1));
        assert_eq!((now(2, 102), now(2, 98), now(1, 101)), (0, 0, 0));
        assert_eq!(told(2, 101, Close::Moved), 0);
    }
}
