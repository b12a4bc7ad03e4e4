//! The kernel's confinement of the agent: what is left to a thread, and that the agent asks for it.

use std::fs;
use std::path::Path;

use depsync::os::confine::{Use, confine};
use depsync::os::dir::{Dir, Rename};
use depsync::os::root::{self, Missing};

use crate::agent_process::AgentCluster;
use crate::prerequisite::{require, skip};

fn open(path: &Path) -> Dir {
    root::open(path, Missing::Refuse).expect("opened").dir.expect("there")
}

#[test]
fn a_confined_thread_works_in_its_directories_and_nowhere_else() {
    let here = tempfile::tempdir().expect("a directory");
    let [tree, state, other] = ["tree", "state", "other"].map(|name| here.path().join(name));
    for path in [&tree, &state, &other] {
        fs::create_dir(path).expect("made");
    }
    fs::write(other.join("secret"), "x").expect("written");
    let [tree, state, other, around] = [&tree, &state, &other, here.path()].map(open);
    let worker = std::thread::spawn(move || {
        let uses =
            [(&tree, Use::Everything), (&state, Use::Everything), (&around, Use::Directories)];
        if !confine(uses) {
            return None;
        }
        let (keep, swap) = (Rename::KeepExisting, Rename::Exchange);
        state.create_file(b"staged", 0o600).expect("within");
        state.rename(b"staged", &tree, b"live", keep).expect("from one to the other");
        state.create_dir(b"next", 0o700).expect("within");
        state.rename(b"next", &around, b"tree", swap).expect("the tree itself");
        Some([
            other.open_file(b"secret").map(drop),
            other.create_file(b"new", 0o600).map(drop),
            other.remove_file(b"secret"),
            other.rename(b"secret", &state, b"stolen", keep),
            tree.rename(b"live", &other, b"leaked", keep),
            around.create_file(b"beside", 0o600).map(drop),
            std::net::TcpListener::bind("127.0.0.1:0").map(drop),
        ])
    });
    let Some(refused) = worker.join().expect("no panic") else {
        return skip("a_confined_thread", "this kernel has no Landlock that lets files be moved");
    };
    for (at, outcome) in refused.into_iter().enumerate() {
        assert!(outcome.is_err(), "{at}: {outcome:?}");
    }
    assert!(fs::read(here.path().join("other/secret")).is_ok(), "this thread is free");
}

#[test]
fn a_real_agent_is_confined_before_it_stages() {
    let test = "a_real_agent_is_confined_before_it_stages";
    if !require(test, &["strace"]) {
        return;
    }
    let here = tempfile::tempdir().expect("a directory");
    let own = open(here.path());
    let can = std::thread::spawn(move || confine([(&own, Use::Everything)])).join();
    if !can.expect("no panic") {
        return skip(test, "this kernel has no Landlock that lets files be moved");
    }
    for style in ["in-place", "swap"] {
        let cluster = AgentCluster::new();
        let log = cluster.at("calls");
        let calls = "trace=landlock_restrict_self,mkdirat,renameat2";
        let strace = format!("strace -f -y -qq -e {calls} -o {}", log.display());
        for content in ["old", "new"] {
            cluster.cluster.write("d/file", content);
            cluster.push("", &strace, &["--commit", style]).expect(0);
            cluster.cluster.assert_same();
            let text = fs::read_to_string(&log).expect("a trace");
            let at = |part: &str| text.lines().position(|line| line.contains(part));
            let confined = at("landlock_restrict_self(").expect("it is confined");
            let line = text.lines().nth(confined).unwrap();
            assert!(line.ends_with("= 0"), "{line}");
            let staged = at("/.depsync/tree/stage>").expect("it stages");
            assert!(confined < staged, "{text}");
        }
    }
}
