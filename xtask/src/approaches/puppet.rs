//! The module of `depsync recipe puppet` keeps a directory of this machine as a release file has it.

use std::path::{Path, PathBuf};

use super::{depsync, ground, require, write};
use crate::failure::{Failure, Result, at};
use crate::program;

/// The directory is called so, since names are quoted for Puppet and by it.
const ODD: &str = "it's \"odd\" $x ${y} %d \\n #;& ü";

/// Runs it and tells what it came to.
///
/// # Errors
/// A run changes what it should not, or not what it should, or a checker has something to say.
pub(super) fn run() -> Result<String> {
    require(&[("puppet", "puppet-agent"), ("puppet-lint", "puppet-lint")])?;
    let agent = Agent::new()?;
    let module = agent.at("modules/depsync");
    let manifests = [
        agent.at("site.pp"),
        module.join("manifests/init.pp"),
        module.join("manifests/release.pp"),
    ];
    for manifest in &manifests {
        program::quiet(&["puppet", "parser", "validate", &manifest.display().to_string()])?;
    }
    // Of the odd name that stands in the manifest of the nodes, puppet-lint would say that it looks like a mistake.
    program::quiet(&["puppet-lint", "--fail-on-warnings", &module.display().to_string()])?;
    let would = "(noop)";
    agent.apply(&["--noop"], 0, Some(would))?;
    agent.expect(false, "noop changed the directory")?;
    agent.apply(&[], 2, None)?;
    agent.expect(true, "the first run did not bring the release")?;
    agent.apply(&[], 0, None)?;
    agent.apply(&["--noop"], 0, None)?;

    write(&agent.target.join("drift"), "left behind")?;
    agent.apply(&["--noop"], 0, Some(would))?;
    agent.expect(false, "noop repaired")?;
    agent.apply(&[], 2, None)?;
    agent.expect(true, "drift was not repaired")?;

    write(&agent.at("source/new"), "of the next release")?;
    agent.release()?;
    agent.apply(&[], 2, None)?;
    agent.expect(true, "the next release was not brought")?;
    agent.apply(&[], 0, None)?;
    let version = program::output(&["puppet", "--version"])?;
    Ok(format!(
        "puppet {}: noop told and changed nothing, first run changed, second did not, drift told and repaired, next release \
         brought; parser validate and puppet-lint: nothing",
        version.trim()
    ))
}

struct Agent {
    ground: PathBuf,
    target: PathBuf,
}

impl Agent {
    fn new() -> Result<Self> {
        let ground = ground("puppet")?;
        let target = ground.join(ODD).join("server");
        let agent = Self { ground, target };
        write(&agent.at("source/carbonapps/it's $x %.car"), "an archive")?;
        let parent = agent.at(ODD);
        std::fs::create_dir_all(&parent).map_err(at("create", &parent))?;
        let quoted = |path: &Path| {
            let text = path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{text}\"")
        };
        let config = format!(
            "[cluster]\nname = \"shop\"\nsource = \"source\"\n[ssh]\nagent = {}\n[[node]]\ntarget = {}\n",
            quoted(&depsync()),
            quoted(&agent.target)
        );
        write(&agent.at("depsync.toml"), config)?;
        let [program, config, out] = [depsync(), agent.at("depsync.toml"), agent.at("")]
            .map(|path| path.display().to_string());
        program::quiet(&[&program, "recipe", "puppet", "-c", &config, "-o", &out])?;
        std::fs::create_dir_all(agent.at("modules")).map_err(at("create", &agent.ground))?;
        let module = agent.at("modules/depsync");
        std::fs::rename(agent.at("puppet/depsync"), &module).map_err(at("rename", &module))?;
        // What the recipe declares, with release files in a place of this test.
        let site = agent.at("puppet/site.pp");
        let declared = std::fs::read_to_string(&site).map_err(at("read", &site))?;
        let class = format!(
            "class {{ 'depsync':\n  directory => '{}',\n}}\n\n",
            agent.at("releases").display()
        );
        write(&agent.at("site.pp"), class + &declared)?;
        agent.release()?;
        Ok(agent)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.ground.join(name)
    }

    fn release(&self) -> Result {
        let files = self.at("modules/depsync/files");
        std::fs::create_dir_all(&files).map_err(at("create", &files))?;
        let [program, file, config] =
            [depsync(), files.join("shop.depsync"), self.at("depsync.toml")]
                .map(|path| path.display().to_string());
        program::quiet(&[&program, "release", &file, "-c", &config])
    }

    /// Applies the manifest: `code` is what Puppet ends with, and it says `word`, or nothing like it.
    fn apply(&self, more: &[&str], code: i32, word: Option<&str>) -> Result {
        let at = |name: &str| self.at(name).display().to_string();
        let [modules, conf, var, site] = ["modules", "conf", "var", "site.pp"].map(at);
        let mut command =
            vec!["env", "-u", "HOME", "puppet", "apply", "--detailed-exitcodes", "--color=false"];
        command.extend(["--modulepath", &modules, "--confdir", &conf, "--vardir", &var, &site]);
        command.extend(more);
        let output = program::captured(&command)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let has_word = text.contains(word.unwrap_or("(noop)"));
        if output.status.code() == Some(code) && has_word == word.is_some() {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!(
            "{}: {}\n{text}\n{errors}",
            program::shown(&command),
            output.status
        )))
    }

    fn expect(&self, is_same: bool, otherwise: &str) -> Result {
        let [source, target] =
            [&self.at("source"), &self.target].map(|path| format!("{}/", path.display()));
        let said = if self.target.exists() {
            program::output(&["rsync", "-niac", "--delete", &source, &target])?
        } else {
            "all".to_owned()
        };
        if said.is_empty() == is_same {
            Ok(())
        } else {
            Err(Failure::new(format!("{otherwise}: {said}")))
        }
    }
}
