//! A cluster of one node whose agent is a process of its own, behind a script that stands in the place of ssh: so it can
//! be traced, and started in any environment.

use std::fs;
use std::path::PathBuf;

use crate::cluster::{Cluster, Outcome};
use crate::ssh_server::script;

/// The cluster; its agent is started by a script.
pub(crate) struct AgentCluster {
    pub(crate) cluster: Cluster,
}

impl AgentCluster {
    /// An empty cluster.
    pub(crate) fn new() -> Self {
        let cluster = Cluster::new(1);
        fs::create_dir(cluster.path().join("bin")).unwrap();
        Self { cluster }
    }

    /// A path in its directory.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.cluster.path().join(name)
    }

    /// Pushes the source; the agent is started behind `before`, lines of a shell script, and `wrapper`, the start of a
    /// command line.
    pub(crate) fn push(&self, before: &str, wrapper: &str, more: &[&str]) -> Outcome {
        let program = env!("CARGO_BIN_EXE_depsync");
        let text = format!(
            "#!/bin/sh\ncase \" $* \" in *' -G '*|*' -V '*|*' -O '*) exit 1;; esac\n{before}\nexec {wrapper} {program} agent\n"
        );
        script(&self.at("bin/ssh"), &text);
        let mut command = self.cluster.command("push");
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/bin", self.at("bin").display()));
        command.arg("--source").arg(self.cluster.source()).args(["--ssh-reuse", "0"]);
        command.arg("--node").arg(format!("ssh://node{}", self.cluster.nodes[0].display()));
        Outcome::of(command.args(more))
    }
}
