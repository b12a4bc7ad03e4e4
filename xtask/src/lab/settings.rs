//! Where a lab lives and how its parts are named: several labs stand side by side if these differ.

use crate::failure::{Failure, Result, at};
use crate::workspace;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What the environment says about the lab.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The lab's directory, absolute (`DEPSYNC_LAB`).
    pub(super) folder: PathBuf,
    /// The first three numbers of its network (`DEPSYNC_LAB_NET`).
    pub(super) net: String,
    /// Part of the names of its interfaces and name spaces (`DEPSYNC_LAB_TAG`).
    pub(super) tag: String,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// The network is not three numbers, or the tag would not fit into an interface's name.
    pub(super) fn from_environment() -> Result<Self> {
        Self::with_defaults("lab", "10.78.0", "")
    }

    /// As [`Self::from_environment`], with other values where the environment says nothing.
    ///
    /// # Errors
    /// As there.
    pub(super) fn for_bench() -> Result<Self> {
        Self::with_defaults("bench-lab", "10.78.1", "bench")
    }

    /// As [`Self::for_bench`], with other values again.
    ///
    /// # Errors
    /// As there.
    pub(super) fn for_approaches() -> Result<Self> {
        Self::with_defaults("approaches-lab", "10.78.2", "appr")
    }

    fn with_defaults(folder: &str, net: &str, tag: &str) -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let folder =
            variable("DEPSYNC_LAB").map_or_else(|| workspace::target().join(folder), PathBuf::from);
        let folder = std::path::absolute(&folder).map_err(at("resolve", &folder))?;
        let net = variable("DEPSYNC_LAB_NET").unwrap_or_else(|| net.to_owned());
        let tag = variable("DEPSYNC_LAB_TAG").unwrap_or_else(|| tag.to_owned());
        if net.split('.').count() != 3 || net.split('.').any(|part| part.parse::<u8>().is_err()) {
            return Err(Failure::unavailable(format!(
                "DEPSYNC_LAB_NET is {net}, not like 10.78.0"
            )));
        }
        if tag.len() > 6
            || !tag.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            return Err(Failure::unavailable(
                "DEPSYNC_LAB_TAG takes up to 6 small letters and digits",
            ));
        }
        Ok(Self { folder, net, tag })
    }

    pub(super) fn hub(&self, name: &str) -> PathBuf {
        self.folder.join("hub").join(name)
    }

    pub(super) fn node(&self, node: u8, name: &str) -> PathBuf {
        self.folder.join(format!("n{node}")).join(name)
    }

    pub(super) fn bridge(&self) -> String {
        format!("ds{}br", self.tag)
    }

    pub(super) fn link(&self, node: u8) -> String {
        format!("ds{}v{node}", self.tag)
    }

    pub(super) fn namespace(&self, node: u8) -> String {
        format!("ds{}n{node}", self.tag)
    }

    pub(super) fn address(&self, node: u8) -> String {
        format!("{}.{node}", self.net)
    }

    /// A hardware address, fixed, so that nothing that comes or goes on the bridge changes another's.
    pub(super) fn hardware(&self, node: u8) -> String {
        let parts: Vec<u8> = self.net.split('.').filter_map(|part| part.parse().ok()).collect();
        let hex: Vec<String> =
            parts.iter().chain([&node]).map(|part| format!("{part:02x}")).collect();
        format!("02:d5:{}", hex.join(":"))
    }
}

/// How the nodes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Hosts of their own in name spaces; needs the super-user.
    Namespaces,
    /// One `sshd` of the calling user per node, on a port of the loopback address.
    Loopback,
}

/// What `up` has made so far, so that `down` removes that and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) kind: Kind,
    pub(super) nodes: u8,
    pub(super) opt_size: Option<String>,
    /// The nodes that have a kernel of their own.
    #[serde(default)]
    pub(super) guests: Vec<u8>,
    /// The ports of the loopback nodes.
    pub(super) ports: Vec<u16>,
    /// The interfaces and name spaces that are this lab's own.
    pub(super) owned: Vec<String>,
}

impl State {
    /// The state of the lab in `folder`; none if there is no lab.
    pub(super) fn load(folder: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(folder.join("state.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// # Errors
    /// The state file cannot be written.
    pub(super) fn save(&self, folder: &Path) -> Result {
        let (path, new) = (folder.join("state.json"), folder.join("state.json.new"));
        let text =
            serde_json::to_string(self).expect("invariant: the state has no maps with odd keys");
        std::fs::write(&new, text).map_err(at("write", &new))?;
        // Replaced as a whole: a half-written state would leave a lab that nothing can take down.
        std::fs::rename(&new, &path).map_err(at("rename", &new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(net: &str, tag: &str) -> Settings {
        Settings { folder: "/lab".into(), net: net.into(), tag: tag.into() }
    }

    #[test]
    fn names_fit_into_an_interface_name_and_never_meet() {
        let long = settings("10.78.0", "abcdef");
        for name in [long.bridge(), long.link(250), long.namespace(250)] {
            assert!(name.len() <= 15, "{name}");
        }
        assert_ne!(settings("10.78.0", "a").link(11), settings("10.78.0", "a1").link(1));
        assert_eq!(settings("10.78.0", "").hardware(254), "02:d5:0a:4e:00:fe");
    }
}
