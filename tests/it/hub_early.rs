//! Contact is made while the source is read, and nothing is asked before it was.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use depsync::config::{self, Environment, Nodes, Settings};
use depsync::hub;
use depsync::hub::options::{Mode, RunOptions};
use depsync::hub::outcome::{Event, Monitor, RunOutcome, Verdict};
use depsync::hub::stop::Stop;
use depsync::link::AgentProgram;

use crate::hub_cluster::SshCluster;
use crate::prerequisite::require;
use crate::ssh_server::{TOOLS, eventually};

/// Does something once the source is read, before any node is asked for anything.
struct OnceRead<F>(F);

impl<F: Fn() + Send + Sync> Monitor for OnceRead<F> {
    fn event(&self, event: Event) {
        if matches!(event, Event::Scanned { .. }) {
            self.0();
        }
    }
}

fn options(ssh: &SshCluster) -> RunOptions {
    let here = ssh.cluster.bench.at("");
    let settings = Settings {
        source: Some(ssh.cluster.bench.at("source")),
        nodes: Some(Nodes::from_options(&[ssh.target("a")], &here).unwrap()),
        identities: vec![ssh.server.path("user")],
        known_hosts: Some(ssh.server.path("known")),
        ssh_options: vec!["IdentityAgent=none".to_owned()],
        ssh_reuse: Some(Duration::ZERO),
        agent: Some(AgentProgram::UploadFrom(PathBuf::from(env!("CARGO_BIN_EXE_depsync")))),
        ..Settings::default()
    };
    let environment =
        Environment { working_directory: here.clone(), home: Some(here), ..Environment::default() };
    config::resolve(settings, &environment, Mode::Push).unwrap().run
}

/// Runs, and does `then` once the agent answers while the run has not gone on behind its source.
fn run(ssh: &Arc<SshCluster>, then: impl Fn(&SshCluster) + Send + Sync + 'static) -> RunOutcome {
    let options = options(ssh);
    let shared = Arc::clone(ssh);
    let monitor: Arc<dyn Monitor> = Arc::new(OnceRead(move || {
        eventually("the node is logged in to meanwhile", || shared.server.logins() == 1);
        assert!(!shared.cluster.state_of("a").exists(), "nothing was asked of it");
        then(&shared);
    }));
    hub::run(&options, &monitor, &Stop::new())
}

#[test]
fn contact_is_made_while_the_source_is_read() {
    if !require("contact_is_made_while_the_source_is_read", TOOLS) {
        return;
    }
    let ssh = Arc::new(SshCluster::start("", &["a"]));
    let outcome = run(&ssh, |_| ());
    assert_eq!(outcome.verdict, Verdict::Done, "{outcome:?}");
    assert_eq!(ssh.server.logins(), 1, "the one contact is used");
    ssh.cluster.assert_same(&["a"]);
}

#[test]
fn a_run_that_ends_with_its_source_lets_the_nodes_go() {
    if !require("a_run_that_ends_with_its_source_lets_the_nodes_go", TOOLS) {
        return;
    }
    let ssh = Arc::new(SshCluster::start("", &["a"]));
    let state = options(&ssh).state_dir;
    let outcome = run(&ssh, move |_| {
        // What the run has to write next can no longer be written.
        fs::create_dir_all(state.join("runs/full")).unwrap();
    });
    assert_eq!(outcome.verdict, Verdict::Fail, "{outcome:?}");
    assert!(outcome.nodes.is_empty() && outcome.failure.is_some(), "{outcome:?}");
    eventually("the agent ends", || ssh.server.sessions().is_empty());
    ssh.cluster.assert_empty(&["a"]);
    assert!(!ssh.cluster.state_of("a").exists());
}
