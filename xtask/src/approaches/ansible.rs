//! The role of `depsync recipe ansible` brings four hosts of the lab to a release file, over ssh.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{depsync, ground, require, write};
use crate::failure::{Failure, Result};
use crate::lab::Lab;
use crate::program;

const NODES: u8 = 4;
/// The task whose word counts: those before it put program and release file on the host.
const APPLY: &str = "Make the directory identical to the release";

/// Runs it and tells what it came to.
///
/// # Errors
/// A run changes what it should not, or not what it should, or ansible-lint has something to say.
pub(super) fn run() -> Result<String> {
    require(&[
        ("ansible-playbook", "ansible-core"),
        ("ansible-lint", "ansible-lint"),
        ("ip", "iproute2"),
        ("strip", "binutils"),
    ])?;
    let lab = Lab::for_approaches()?;
    lab.down()?;
    lab.up(NODES, None)?;
    let done = Roll::new(&lab).and_then(|roll| roll.all());
    lab.down()?;
    done
}

struct Roll<'a> {
    lab: &'a Lab,
    ground: PathBuf,
    source: PathBuf,
}

/// What a run said.
struct Played {
    text: String,
    /// The hosts on which the release was applied, or would be.
    changed: Vec<String>,
    /// Those that were as the release.
    same: Vec<String>,
}

impl<'a> Roll<'a> {
    fn new(lab: &'a Lab) -> Result<Self> {
        let ground = ground("ansible")?;
        let source = ground.join("source");
        for number in 0..40 {
            let name = format!("synapse-configs/default/api/Orders {number}.xml");
            write(&source.join(name), format!("<api name='{number}'/>").repeat(200))?;
        }
        write(&source.join("carbonapps/it's $x %d {{ y }}.car"), "an archive")?;
        let tables: Vec<String> = lab
            .targets()?
            .iter()
            .map(|target| format!("[[node]]\ntarget = \"{target}\"\n"))
            .collect();
        let nodes = tables.concat();
        let config = format!("[cluster]\nname = \"shop\"\nsource = \"source\"\n{nodes}");
        write(&ground.join("depsync.toml"), config)?;
        // Without what a debugger needs, so that it is copied in a moment.
        let copy = ground.join("depsync");
        program::run(&["strip".as_ref(), "-o".as_ref(), copy.as_os_str(), depsync().as_os_str()])?;
        let [config, out] = ["depsync.toml", "."].map(|name| ground.join(name));
        program::quiet(&[
            copy.as_os_str(),
            "recipe".as_ref(),
            "ansible".as_ref(),
            "-c".as_ref(),
            config.as_os_str(),
            "-o".as_ref(),
            out.as_os_str(),
        ])?;
        Ok(Self { lab, ground, source })
    }

    fn all(&self) -> Result<String> {
        let mut lint = Command::new("ansible-lint");
        lint.args(["--offline", "--nocolor", "--strict", "."])
            .current_dir(self.ground.join("ansible"));
        ended(&mut lint)?;

        let told = self.play(&["--check"])?;
        told.expect("a first check", NODES.into(), 0)?;
        for node in 1..=NODES {
            if is_same(&self.source, &self.tree(node)?)? {
                self.refused(&told, &format!("the check changed node {node}"))?;
            }
        }
        self.play(&[])?.expect("the first run", NODES.into(), 0)?;
        self.expect_all_identical()?;
        self.play(&[])?.expect("the second run", 0, NODES.into())?;

        let api = self.tree(2)?.join("synapse-configs/default/api");
        write(&api.join("Orders 7.xml"), "drift")?;
        write(&api.join("left behind.xml"), "drift")?;
        let told = self.play(&["--check", "--diff"])?;
        told.expect("a check of a node that drifted", 1, usize::from(NODES) - 1)?;
        for line in [
            "~ synapse-configs/default/api/Orders 7.xml",
            "- synapse-configs/default/api/left behind.xml",
        ] {
            if !told.text.contains(line) {
                self.refused(&told, &format!("the check does not tell '{line}'"))?;
            }
        }
        if api.join("left behind.xml").exists() {
            self.play(&[])?.expect("the repair", 1, usize::from(NODES) - 1)?;
        } else {
            self.refused(&told, "the check repaired")?;
        }
        self.expect_all_identical()?;

        write(&self.source.join("carbonapps/new.car"), "another archive")?;
        self.play(&[])?.expect("a new release", NODES.into(), 0)?;
        self.expect_all_identical()?;
        let version = program::output(&["ansible-playbook", "--version"])?;
        let version =
            version.lines().next().unwrap_or_default().trim_start_matches("ansible-playbook ");
        Ok(format!(
            "{version}: {NODES} hosts: check told, first run changed, second did not, drift of one told and repaired, \
             new release rolled out; ansible-lint: nothing"
        ))
    }

    /// Plays the recipe's own playbook by its own inventory.
    fn play(&self, more: &[&str]) -> Result<Played> {
        let [id, known] = ["id", "known_hosts"].map(|name| self.lab.hub(name));
        let ssh = format!("-o UserKnownHostsFile={} -o StrictHostKeyChecking=yes", known.display());
        let mut command = Command::new("ansible-playbook");
        command.args([
            "-i",
            "inventory.yml",
            "deploy.yml",
            "--ssh-common-args",
            &ssh,
            "--private-key",
        ]);
        command.arg(id).args(more).current_dir(self.ground.join("ansible"));
        for (name, value) in [
            ("ANSIBLE_NOCOLOR", "1".as_ref()),
            ("ANSIBLE_LOCALHOST_WARNING", "False".as_ref()),
            ("ANSIBLE_HOME", self.ground.join("home").as_os_str()),
            ("XDG_STATE_HOME", self.ground.join("state").as_os_str()),
        ] {
            command.env(name, value);
        }
        let text = ended(&mut command)?;
        let task = text.split("\nTASK [").find(|task| task.contains(&format!("{APPLY}]")));
        let task = task.and_then(|task| task.split("\nRUNNING HANDLER").next()).unwrap_or_default();
        let hosts = |word: &str| {
            let named = task.lines().filter_map(|line| line.strip_prefix(word)?.split(']').next());
            named.map(str::to_owned).collect()
        };
        Ok(Played { changed: hosts("changed: ["), same: hosts("ok: ["), text })
    }

    fn refused(&self, played: &Played, why: &str) -> Result {
        let log = self.ground.join("log");
        write(&log, &played.text)?;
        Err(Failure::new(format!("{why}; {}", log.display())))
    }

    /// The tree of `node`, seen from the hub.
    fn tree(&self, node: u8) -> Result<PathBuf> {
        let targets = self.lab.targets()?;
        let target =
            targets.get(usize::from(node) - 1).ok_or_else(|| Failure::new("no such node"))?;
        let path = target.split_once(":/opt/").map(|(_, path)| path).unwrap_or_default();
        Ok(self.lab.node_folder(node, "opt").join(path))
    }

    fn expect_all_identical(&self) -> Result {
        for node in 1..=NODES {
            if !is_same(&self.source, &self.tree(node)?)? {
                return Err(Failure::new(format!("node {node} is not as the source")));
            }
        }
        Ok(())
    }
}

impl Played {
    fn expect(&self, what: &str, changed: usize, same: usize) -> Result {
        if (self.changed.len(), self.same.len()) == (changed, same) {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{what} changed {:?} and found {:?} as they should be, not {changed} and {same}:\n{}",
            self.changed, self.same, self.text
        )))
    }
}

/// By rsync's word, times and modes included.
fn is_same(source: &Path, tree: &Path) -> Result<bool> {
    if fs::symlink_metadata(tree).is_err() {
        return Ok(false);
    }
    let [source, tree] = [source, tree].map(|path| format!("{}/", path.display()));
    let said =
        program::output(&["rsync", "-niacHAX", "--numeric-ids", "--delete", &source, &tree])?;
    Ok(said.is_empty())
}

/// What `command` printed.
fn ended(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|error| Failure::new(format!("{shown}: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::new(format!("{shown}: {}\n{text}\n{errors}", output.status)))
}
