//! The ground of one race: two releases, a node, what lies outside, and pushes between them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use super::canaries::{self, Canaries};
use super::classes::Class;
use crate::failure::{Failure, Result, at};
use crate::program;

/// Whom the tree belongs to and who swaps in it, where that is not root.
pub(super) const OWNER: u32 = 65_534;
/// Somebody whom nobody trusts.
pub(super) const STRANGER: u32 = 65_533;

/// As whom the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    /// As root, in a tree whose owner is not.
    Root,
    /// As the owner of tree, state and canaries.
    Owner,
}

/// The directories of one race.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    path: PathBuf,
    program: PathBuf,
    user: User,
}

/// How a push ended.
#[derive(Debug)]
pub(super) struct Ended(Output);

impl Ground {
    /// Makes it below `home`, where the program is, in the place of an earlier one.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn make(home: &Path, user: User) -> Result<Self> {
        let path = home.join("ground");
        if path.exists() {
            fs::remove_dir_all(&path).map_err(at("remove", &path))?;
        }
        let ground = Self { program: home.join("depsync"), path, user };
        for name in ["node/tree", "spare", "attic", "hub", "outside"] {
            let path = ground.at(name);
            fs::create_dir_all(&path).map_err(at("create", &path))?;
            chown(&path, Some(OWNER), Some(OWNER)).map_err(at("change", &path))?;
        }
        // The directory around the target belongs to whoever runs the program.
        chown(ground.at("node"), Some(ground.own()), None).map_err(at("change", &ground.path))?;
        canaries::make(&ground.at("outside"), OWNER)?;
        for (name, is_first) in [("a", true), ("b", false), ("last", false)] {
            ground.make_release(name, is_first)?;
        }
        let late = ground.at("source/last/late");
        fs::write(&late, "only here").map_err(at("write", &late))?;
        let own = format!("{0}:{0}", ground.own());
        let source = ground.at("source").display().to_string();
        program::quiet(&["chown", "-hR", &own, &source])?;
        let ended = ground.push("a", &[])?;
        if ended.code() == Some(0) { Ok(ground) } else { Err(Failure::new(ended.text())) }
    }

    /// A release that differs from the other one in every way that a step of a commit can bring about.
    fn make_release(&self, name: &str, is_first: bool) -> Result {
        let top = self.at("source").join(name);
        let mut files = vec![("a/f0", 0o644), ("a/f1", 0o600), ("a/m", 0o640), ("a/deep/f", 0o644)];
        files.extend([("a/deep/x/y/z", 0o644), ("b/f0", 0o644), ("b/deep/f", 0o644)]);
        let (kept, flipped) =
            if is_first { ("old/moved", "flip/f") } else { ("new/moved", "flip") };
        files.extend([(kept, 0o644), (flipped, 0o644)]);
        if is_first {
            files.extend([("gone/f", 0o644), ("gone/deep/f", 0o644), ("gone/deep/x/y/z", 0o644)]);
        }
        // So that removing it takes a while.
        let many: Vec<String> = (0..24).map(|at| format!("gone/many{at}")).collect();
        if is_first {
            files.extend(many.iter().map(|name| (&**name, 0o644)));
        }
        for (path, mode) in files {
            let is_same = ["a/m", "new/moved", "old/moved"].contains(&path);
            let text = if is_same { "the same in both".into() } else { format!("{name} {path} ") };
            let mode = if path == "a/m" && is_first { 0o664 } else { mode };
            let path = top.join(path);
            let parent = path.parent().unwrap_or(&top);
            fs::create_dir_all(parent).map_err(at("create", parent))?;
            fs::write(&path, text.repeat(40)).map_err(at("write", &path))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .map_err(at("change", &path))?;
        }
        let link = top.join("a/link");
        symlink(if is_first { "f0" } else { "../b" }, &link).map_err(at("create", &link))
    }

    /// A path below it.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The user that the program runs as.
    pub(super) fn own(&self) -> u32 {
        if self.user == User::Root { 0 } else { OWNER }
    }

    /// Pushes the release `name`, to whatever end.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn push(&self, name: &str, more: &[&str]) -> Result<Ended> {
        let id = OWNER.to_string();
        let mut line: Vec<String> = vec!["env".into()];
        line.push(format!("HOME={}", self.at("hub").display()));
        line.push(format!("XDG_STATE_HOME={}", self.at("hub").display()));
        line.extend(["timeout".into(), "-s".into(), "ABRT".into(), "60".into()]);
        if self.user == User::Owner {
            let setpriv = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"];
            line.extend(setpriv.map(String::from));
        }
        line.push(self.program.display().to_string());
        line.extend(["push", "--json", "--max-delete", "100%", "--xattrs"].map(String::from));
        line.extend(["--source".into(), self.at("source").join(name).display().to_string()]);
        line.extend(["--node".into(), self.at("node/tree").display().to_string()]);
        line.extend(more.iter().map(ToString::to_string));
        program::captured(&line).map(Ended)
    }

    /// What lies outside now.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn canaries(&self, class: &Class) -> Result<Canaries> {
        Canaries::look(&self.at("outside"), !class.makes_hard_links())
    }

    /// Looks for what only canaries hold in tree, state, and what was swapped out of them, and for something that was put
    /// into a stranger's directory.
    ///
    /// # Errors
    /// It is there.
    pub(super) fn find_secret(&self, class: &Class) -> Result {
        for name in ["spare", "attic"] {
            canaries::find_gift(&self.at(name), STRANGER)?;
        }
        if class.makes_hard_links() {
            // The swap itself puts it there.
            return Ok(());
        }
        ["node", "spare", "attic"].iter().try_for_each(|name| canaries::find_secret(&self.at(name)))
    }

    /// Fails unless the tree is what the release `name` is.
    ///
    /// # Errors
    /// It is not, by the word of rsync.
    pub(super) fn assert_is(&self, name: &str) -> Result {
        let source = format!("{}/", self.at("source").join(name).display());
        let tree = format!("{}/", self.at("node/tree").display());
        let mut line = vec!["rsync", "-niacHX", "--delete"];
        if self.user == User::Owner {
            line.extend(["--no-owner", "--no-group"]);
        }
        line.extend([&*source, &tree]);
        let said = program::output(&line)?;
        if said.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(format!("the tree differs:\n{said}")))
        }
    }
}

impl Ended {
    /// The exit code.
    pub(super) fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    /// True if the node's state is `state`.
    pub(super) fn says(&self, state: &str) -> bool {
        String::from_utf8_lossy(&self.0.stdout).contains(&format!("\"state\":\"{state}\""))
    }

    /// Everything it said.
    pub(super) fn text(&self) -> String {
        let said = [&self.0.stdout[..], &self.0.stderr].map(String::from_utf8_lossy);
        format!("{}\n{}{}", self.0.status, said[0], said[1])
    }

    /// A push may fail in a race, but it fails by its own word.
    ///
    /// # Errors
    /// It panicked, was killed, hung for a minute, or takes its own state for damaged.
    pub(super) fn check_alive(&self) -> Result {
        match self.code() {
            Some(0..=7) if !self.text().contains("panicked") => Ok(()),
            _ => Err(Failure::new("the push did not end as a push may")),
        }
    }
}
