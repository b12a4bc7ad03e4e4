//! What cannot run here is checked by its own checkers: manifests of Kubernetes, and the Ruby of a Chef cookbook.

use std::path::PathBuf;

use super::{depsync, ground, require, write};
use crate::failure::{Failure, Result};
use crate::{program, workspace};

/// Three versions of Kubernetes, years apart.
const VERSIONS: [&str; 3] = ["1.28", "1.31", "1.34"];

/// Validates the manifests and tells what it came to.
///
/// # Errors
/// A version takes them otherwise, or the validator cannot be installed.
pub(super) fn kubernetes() -> Result<String> {
    require(&[("python3", "python3-venv")])?;
    let directory = made("kubernetes")?;
    let environment = workspace::target().join("approaches-python");
    let validator = environment.join("bin/kubernetes-validate");
    if !validator.exists() {
        let place = environment.display().to_string();
        program::quiet(&["python3", "-m", "venv", &place])?;
        let pip = environment.join("bin/pip").display().to_string();
        program::quiet(&[&pip, "install", "--quiet", "kubernetes-validate"])?;
    }
    let [validator, manifest] =
        [validator, directory.join("deployment.yaml")].map(|path| path.display().to_string());
    for version in VERSIONS {
        program::quiet(&[&validator, "--strict", "--kubernetes-version", version, &manifest])?;
    }
    // A checker that takes everything would take this too.
    let wrong = directory.join("wrong.yaml");
    let text =
        std::fs::read_to_string(&manifest).map_err(|error| Failure::new(error.to_string()))?;
    write(&wrong, text.replace("initContainers", "firstContainers"))?;
    if program::succeeds(&[&validator, "--strict", "--quiet", &wrong.display().to_string()]) {
        return Err(Failure::new("kubernetes-validate takes a manifest that is none"));
    }
    Ok(format!("deployment is valid for Kubernetes {}", VERSIONS.join(", ")))
}

/// Checks the cookbook's syntax and tells what it came to.
///
/// # Errors
/// Ruby does not take a file.
pub(super) fn chef() -> Result<String> {
    require(&[("ruby", "ruby")])?;
    let cookbook = made("chef")?.join("depsync");
    let files = ["metadata.rb", "recipes/default.rb", "resources/release.rb"];
    for file in files {
        program::quiet(&["ruby", "-wc", &cookbook.join(file).display().to_string()])?;
    }
    Ok(format!("{} files pass ruby -wc; no Chef was there to run them", files.len()))
}

/// The recipe `kind` of a cluster whose directories have odd names.
fn made(kind: &str) -> Result<PathBuf> {
    let ground = ground(kind)?;
    let config = "[cluster]\nname = \"Shop_1.prod\"\nsource = \"/srv/source\"\n\
                  [[node]]\ntarget = \"mi-1:/opt/it's \\\"odd\\\" $x %d \\\\ ü/server\"\n";
    write(&ground.join("depsync.toml"), config)?;
    let [program, config, out] = [depsync(), ground.join("depsync.toml"), ground.clone()]
        .map(|path| path.display().to_string());
    program::quiet(&[&program, "recipe", kind, "-c", &config, "-o", &out])?;
    Ok(ground.join(kind))
}
