//! Pushes to real hosts: what every kind of change costs and leaves, and links that die.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant, SystemTime};

use crate::hub_cluster::{Pushing, stamps};
use crate::lab_cluster::{Lab, NODES, target};
use crate::ssh_server::eventually;

#[test]
fn every_kind_of_change_reaches_every_node() {
    let Some(lab) = Lab::start("every_kind_of_change_reaches_every_node") else { return };
    let bench = &lab.cluster.bench;
    let refused = lab.push(1, &[]);
    assert!(refused.stderr.contains("--mkpath"), "{}", refused.stderr);
    lab.push(0, &["--mkpath"]);
    lab.assert_same(&NODES);

    bench.write("source/synapse/api/artifact 7.xml", b"<edited/>");
    lab.push(0, &[]);
    lab.assert_same(&NODES);

    fs::rename(bench.at("source/synapse/api"), bench.at("source/synapse/apis")).unwrap();
    let renamed = lab.push(0, &["--json"]);
    let sent: Vec<u64> = numbers(&renamed.stdout, "bytes_sent");
    assert!(sent.iter().all(|sent| *sent < 16_000), "nothing is sent again: {sent:?}");
    lab.assert_same(&NODES);

    let at = |name: &str| bench.at("source/kinds").join(name);
    fs::create_dir_all(at("dir-file")).unwrap();
    fs::create_dir_all(at("dir-link/inner")).unwrap();
    bench.write("source/kinds/dir-file/a", b"a");
    for name in ["file-dir", "file-link"] {
        bench.write(&format!("source/kinds/{name}"), name.as_bytes());
    }
    symlink("nowhere", at("link-file")).unwrap();
    symlink("file-dir", at("link-dir")).unwrap();
    lab.push(0, &[]);
    lab.assert_same(&NODES);
    fs::remove_dir_all(at("dir-file")).unwrap();
    fs::remove_dir_all(at("dir-link")).unwrap();
    for name in ["file-dir", "file-link", "link-file", "link-dir"] {
        fs::remove_file(at(name)).unwrap();
    }
    bench.write("source/kinds/dir-file", b"now a file");
    bench.write("source/kinds/link-file", b"now a file");
    for name in ["file-dir", "link-dir"] {
        fs::create_dir(at(name)).unwrap();
        bench.write(&format!("source/kinds/{name}/inner"), b"inner");
    }
    symlink("dir-file", at("file-link")).unwrap();
    symlink("/absolute", at("dir-link")).unwrap();
    lab.push(0, &[]);
    lab.assert_same(&NODES);

    fs::remove_dir_all(at("file-dir")).unwrap();
    fs::set_permissions(at("link-file"), Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(at("link-dir"), Permissions::from_mode(0o2750)).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::new(981_173_106, 123_456_789);
    for path in [at("dir-file"), at(""), bench.at("source")] {
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(long_ago)).unwrap();
    }
    lab.push(0, &[]);
    lab.assert_same(&NODES);
}

#[test]
fn a_push_of_nothing_new_touches_nothing_and_costs_little() {
    let Some(lab) = Lab::start("a_push_of_nothing_new_touches_nothing_and_costs_little") else {
        return;
    };
    lab.push(0, &["--mkpath"]);
    let before = NODES.map(|node| stamps(&lab.tree_of(node)));
    let on_wire = NODES.map(|node| lab.wire_bytes(node));
    let ran = lab.push(0, &["--json"]);
    assert_eq!(NODES.map(|node| stamps(&lab.tree_of(node))), before);
    let told =
        numbers(&ran.stdout, "bytes_sent").into_iter().zip(numbers(&ran.stdout, "bytes_received"));
    let told: Vec<u64> = told.map(|(sent, received)| sent + received).collect();
    assert!(told.len() == 3 && told.iter().all(|bytes| *bytes < 4096), "{told:?}");
    for (node, before) in NODES.into_iter().zip(on_wire) {
        // With the headers of every packet.
        let bytes = lab.wire_bytes(node) - before;
        assert!(bytes < 8192, "{bytes} bytes on the wire to node {node}");
    }
}

#[test]
fn drift_of_one_node_is_mended_there_alone() {
    let Some(lab) = Lab::start("drift_of_one_node_is_mended_there_alone") else { return };
    lab.push(0, &["--mkpath"]);
    let before = stamps(&lab.tree_of(1));
    fs::write(lab.tree_of(2).join("file"), b"edited on the node").unwrap();
    fs::create_dir(lab.tree_of(3).join("extra")).unwrap();
    fs::write(lab.tree_of(3).join("extra/file"), b"added on the node").unwrap();
    fs::remove_file(lab.tree_of(3).join("dir/inner")).unwrap();
    lab.push(0, &[]);
    lab.assert_same(&NODES);
    assert_eq!(stamps(&lab.tree_of(1)), before);
}

#[test]
fn fault_097_a_node_whose_link_is_cut_joins_at_the_next_push() {
    joins_after("fault_097_a_node_whose_link_is_cut_joins_at_the_next_push", "cut");
}

#[test]
fn fault_094_a_node_in_a_black_hole_joins_at_the_next_push() {
    joins_after("fault_094_a_node_in_a_black_hole_joins_at_the_next_push", "blackhole");
}

/// Two pushes while node 2 is away: over the connection that was there, and over none.
fn joins_after(test: &str, act: &str) {
    let Some(lab) = Lab::start(test) else { return };
    lab.push(0, &["--mkpath"]);
    let old = lab.seen(2);
    lab.act(&[act, "2"]);
    for round in ["one", "two"] {
        lab.cluster.change(round);
        let started = Instant::now();
        let ran = lab.push(3, &[]);
        assert!(started.elapsed() < Duration::from_secs(20), "the waits are bounded");
        assert!(ran.stderr.contains(&target(2)), "{}", ran.stderr);
        lab.assert_same(&[1, 3]);
        assert!(lab.seen(2) == old);
    }
    lab.act(&["heal", "2"]);
    lab.push(0, &[]);
    lab.assert_same(&NODES);
}

#[test]
fn fault_094_a_link_that_dies_in_the_middle_of_staging_holds_nobody_up() {
    let test = "fault_094_a_link_that_dies_in_the_middle_of_staging_holds_nobody_up";
    let Some(lab) = Lab::start(test) else { return };
    lab.push(0, &["--mkpath"]);
    let old = lab.seen(2);
    for act in ["cut", "blackhole"] {
        lab.cluster.add_big(30 << 20);
        lab.act(&["limit", "2", "20"]);
        let run = Pushing::start(lab.command(&[]));
        let stage = lab.tree_of(2).parent().unwrap().join(".depsync/server/stage");
        eventually("node 2 stages", || fs::read_dir(&stage).unwrap().next().is_some());
        let started = Instant::now();
        lab.act(&[act, "2"]);
        let ran = run.end();
        assert_eq!(ran.code, 3, "{act}: {}", ran.stderr);
        assert!(started.elapsed() < Duration::from_secs(20), "{act}: the waits are bounded");
        lab.assert_same(&[1, 3]);
        assert!(lab.seen(2) == old, "{act}");
        lab.act(&["heal", "2"]);
        lab.act(&["limit", "2", "0"]);
    }
    // Its agent may not have noticed yet that its hub is gone: the push waits for that.
    lab.push(0, &[]);
    lab.assert_same(&NODES);
    let left = lab.tree_of(2).parent().unwrap().join(".depsync/server/stage");
    assert_eq!(fs::read_dir(left).unwrap().count(), 0);
}

#[test]
fn fault_092_a_node_that_loses_power_joins_at_the_next_push() {
    let test = "fault_092_a_node_that_loses_power_joins_at_the_next_push";
    let Some(lab) = Lab::start(test) else { return };
    lab.push(0, &["--mkpath"]);
    lab.cluster.add_big(30 << 20);
    lab.act(&["limit", "2", "40"]);
    let run = Pushing::start(lab.command(&[]));
    let stage = lab.tree_of(2).parent().unwrap().join(".depsync/server/stage");
    eventually("node 2 stages", || fs::read_dir(&stage).unwrap().next().is_some());
    lab.act(&["kill", "2"]);
    assert_eq!(run.end().code, 3);
    lab.assert_same(&[1, 3]);
    lab.act(&["start", "2"]);
    lab.push(0, &[]);
    lab.assert_same(&NODES);
}

/// The values of `key` in all lines of nodes.
fn numbers(json: &str, key: &str) -> Vec<u64> {
    let lines = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["type"] == "node").map(|line| line[key].as_u64().unwrap()).collect()
}
