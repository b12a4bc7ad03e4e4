//! The dependency policy: permissive licences, one source, one version of each package, and not too many.
//!
//! The rules stand in `deny.toml`, which cargo-deny reads too; it runs as well where it is installed.

mod spdx;

use crate::failure::{Failure, Result, at};
use crate::{program, workspace};
use serde::Deserialize;
use std::collections::BTreeMap;

/// How many packages a build for all our targets may consist of, our own included. Each one is code that
/// runs on every node and must be reviewed with every update: raise this only in the change that adds one.
const PACKAGES_MAX: usize = 150;

/// The one registry, under both of its addresses.
const REGISTRIES: [&str; 2] =
    ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];

/// What `cargo metadata` prints, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

/// What `deny.toml` says, as far as it matters here; cargo-deny reads the rest.
#[derive(Debug, Deserialize)]
struct Rules {
    #[serde(default)]
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Default, Deserialize)]
struct Graph {
    #[serde(default)]
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    #[serde(default)]
    skip: Vec<Skip>,
}

#[derive(Debug, Deserialize)]
struct Skip {
    /// `name@version`
    #[serde(rename = "crate")]
    package: String,
    #[serde(default)]
    reason: String,
}

/// Checks the workspace's dependencies.
///
/// # Errors
/// The dependencies break a rule, or what is needed to tell cannot be read.
pub(crate) fn run() -> Result {
    let rules_path = workspace::root().join("deny.toml");
    let text = std::fs::read_to_string(&rules_path).map_err(at("read", &rules_path))?;
    let rules: Rules =
        toml::from_str(&text).map_err(|error| Failure::new(format!("deny.toml: {error}")))?;
    let metadata = read_metadata(&rules)?;
    let mut broken = violations(&metadata, &rules);
    broken.extend(lock_file_violation());
    for violation in &broken {
        println!("policy: {violation}");
    }
    println!("policy: {} packages of at most {PACKAGES_MAX}", metadata.packages.len());
    if program::exists("cargo-deny") {
        let cargo = workspace::cargo();
        program::run(&[&cargo, "deny", "--offline", "check", "licenses", "bans", "sources"])?;
    } else {
        println!("policy: cargo-deny is not installed; the task's own checks stand in for it");
    }
    match broken.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} violations of the dependency policy"))),
    }
}

fn read_metadata(rules: &Rules) -> Result<Metadata> {
    let cargo = workspace::cargo();
    let mut argv = vec![cargo.as_str(), "metadata", "--format-version", "1", "--locked"];
    argv.extend(rules.graph.targets.iter().flat_map(|target| ["--filter-platform", target]));
    let text = program::output(&argv)?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("cargo metadata: {error}")))
}

/// The lock file decides what is built, so it must be in the repository.
fn lock_file_violation() -> Option<String> {
    let root = workspace::root();
    let git = ["git", "-C", &root.to_string_lossy()].map(str::to_owned);
    let asked = |question: &[&str]| {
        program::succeeds(
            &git.iter().map(String::as_str).chain(question.iter().copied()).collect::<Vec<_>>(),
        )
    };
    if !asked(&["rev-parse", "--git-dir"]) {
        println!("policy: not a git repository, so whether Cargo.lock is committed is not checked");
        return None;
    }
    let committed = asked(&["ls-files", "--error-unmatch", "Cargo.lock"]);
    (!committed).then(|| "Cargo.lock is not committed".to_owned())
}

/// All rules that the packages break, in words.
fn violations(metadata: &Metadata, rules: &Rules) -> Vec<String> {
    let mut found = Vec::new();
    for package in &metadata.packages {
        found.extend(source_violation(package, &metadata.workspace_members));
        found.extend(licence_violation(package, &rules.licenses.allow));
    }
    found.extend(duplicates(&metadata.packages, &rules.bans.skip));
    if metadata.packages.len() > PACKAGES_MAX {
        let count = metadata.packages.len();
        found.push(format!("{count} packages are more than the {PACKAGES_MAX} of the budget"));
    }
    found
}

fn source_violation(package: &Package, members: &[String]) -> Option<String> {
    let from = match &package.source {
        Some(source) if REGISTRIES.contains(&source.as_str()) => return None,
        Some(source) => source.as_str(),
        None if members.contains(&package.id) => return None,
        None => "a path outside the workspace",
    };
    Some(format!("{} {} comes from {from}, not from crates.io", package.name, package.version))
}

fn licence_violation(package: &Package, accepted: &[String]) -> Option<String> {
    let problem = match &package.license {
        None => "names no licence".to_owned(),
        Some(expression) => match spdx::is_satisfied(expression, accepted) {
            Ok(true) => return None,
            Ok(false) => format!("has the licence {expression}, which deny.toml does not allow"),
            Err(error) => format!("has a licence that cannot be read: {expression}: {error}"),
        },
    };
    Some(format!("{} {} {problem}", package.name, package.version))
}

/// Packages in several versions, and exceptions that are not reasoned or not needed.
fn duplicates(packages: &[Package], skips: &[Skip]) -> Vec<String> {
    let mut found = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    for skip in skips {
        let (name, version) = skip.package.split_once('@').unwrap_or((&skip.package, ""));
        if skip.reason.trim().is_empty() {
            found.push(format!("deny.toml skips {} without a reason", skip.package));
        }
        let kept = versions.get_mut(name);
        match kept.filter(|kept| kept.len() > 1 && kept.contains(&version)) {
            Some(kept) => kept.retain(|other| *other != version),
            None => found.push(format!("deny.toml skips {}, which is no duplicate", skip.package)),
        }
    }
    for (name, several) in versions.iter().filter(|(_, several)| several.len() > 1) {
        found.push(format!(
            "{name} is there in {} versions: {}",
            several.len(),
            several.join(", ")
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0"]
        [bans]
        skip = [{ crate = "old@1.0.0", reason = "two users of it disagree" }]
    "#;

    /// A workspace of one member, the accepted duplicate, and the packages given as name, version, licence
    /// and source.
    fn found(packages: &[(&str, &str, &str, &str)], rules: &str) -> Vec<String> {
        let registry = REGISTRIES[0];
        let fixed = [("old", "1.0.0", "MIT", registry), ("old", "2.0.0", "MIT", registry)];
        let all = fixed.iter().chain(packages).map(|(name, version, license, source)| {
            serde_json::json!({
                "id": format!("{name}@{version}"), "name": name, "version": version,
                "license": (!license.is_empty()).then_some(license),
                "source": (!source.is_empty()).then_some(source),
            })
        });
        let own = serde_json::json!({
            "id": "own", "name": "own", "version": "0.1.0", "license": "Apache-2.0 OR MIT", "source": null,
        });
        let all: Vec<_> = all.chain([own]).collect();
        let text = serde_json::json!({ "packages": all, "workspace_members": ["own"] }).to_string();
        violations(&serde_json::from_str(&text).unwrap(), &toml::from_str(rules).unwrap())
    }

    #[test]
    fn a_good_workspace_breaks_no_rule() {
        assert_eq!(
            found(&[("a", "1.0.0", "MIT/Apache-2.0", REGISTRIES[1])], RULES),
            Vec::<String>::new()
        );
    }

    #[test]
    fn forbidden_and_missing_licences_are_caught() {
        let packages =
            [("a", "1.0.0", "GPL-3.0-only", REGISTRIES[0]), ("b", "1.0.0", "", REGISTRIES[0])];
        assert_eq!(
            found(&packages, RULES),
            [
                "a 1.0.0 has the licence GPL-3.0-only, which deny.toml does not allow",
                "b 1.0.0 names no licence",
            ]
        );
    }

    #[test]
    fn duplicates_are_caught() {
        let packages = [("a", "1.0.0", "MIT", REGISTRIES[0]), ("a", "2.1.0", "MIT", REGISTRIES[0])];
        assert_eq!(found(&packages, RULES), ["a is there in 2 versions: 1.0.0, 2.1.0"]);
    }

    #[test]
    fn exceptions_need_a_reason_and_a_use() {
        let rules = RULES
            .replace("two users of it disagree", " ")
            .replace("skip = [", "skip = [{ crate = \"gone@1.0.0\", reason = \"once\" }, ");
        assert_eq!(
            found(&[], &rules),
            [
                "deny.toml skips gone@1.0.0, which is no duplicate",
                "deny.toml skips old@1.0.0 without a reason",
            ]
        );
    }

    #[test]
    fn other_sources_are_caught() {
        let git = "git+https://example.com/a.git#1234";
        let packages = [("a", "1.0.0", "MIT", git), ("b", "1.0.0", "MIT", "")];
        assert_eq!(
            found(&packages, RULES),
            [
                format!("a 1.0.0 comes from {git}, not from crates.io"),
                "b 1.0.0 comes from a path outside the workspace, not from crates.io".to_owned(),
            ]
        );
    }

    #[test]
    fn too_many_packages_are_caught() {
        let names: Vec<String> = (0..PACKAGES_MAX).map(|number| format!("p{number}")).collect();
        let packages: Vec<_> =
            names.iter().map(|name| (name.as_str(), "1.0.0", "MIT", REGISTRIES[0])).collect();
        let count = PACKAGES_MAX + 3;
        assert_eq!(
            found(&packages, RULES),
            [format!("{count} packages are more than the {PACKAGES_MAX} of the budget")]
        );
    }

    #[test]
    fn the_committed_rules_can_be_read() {
        let text = std::fs::read_to_string(workspace::root().join("deny.toml")).unwrap();
        let rules: Rules = toml::from_str(&text).unwrap();
        assert!(rules.licenses.allow.contains(&"MIT".to_owned()));
        assert!(!rules.licenses.allow.iter().any(|licence| licence.contains("GPL")));
    }
}
