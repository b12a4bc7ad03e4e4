//! Runs beside each other, runs that end early, and what a run says, over local nodes.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::cli_bench::Ran;
use crate::hub_cluster::{Cluster, Pushing, stamps, tree};
use crate::prerequisite::require;
use crate::ssh_server::eventually;

const SLOW: &[&str] = &["--bwlimit", "1M"];
const BIG: usize = 20 << 20;

#[test]
fn fault_101_of_two_hubs_at_once_one_wins_and_nodes_are_never_mixed() {
    let nodes = ["a", "b", "c"];
    let cluster = Cluster::new(&nodes);
    fs::create_dir(cluster.bench.at("other")).unwrap();
    let mut refused = 0;
    for round in 0..20 {
        cluster.change(&format!("of the one, {round}"));
        cluster.bench.write("other/file", format!("of the other, {round}").as_bytes());
        let hubs = [("source", "one"), ("other", "two")].map(|(source, state)| {
            let mut command = cluster.bench.command(&["push", source]);
            command.args(["--node", "./a", "--node", "./b", "--node", "./c"]);
            command.args(["--max-delete", "100%"]);
            command.env("XDG_STATE_HOME", cluster.bench.at(state));
            Pushing::start(command)
        });
        let [one, two] = hubs.map(Pushing::end);
        for ran in [&one, &two] {
            assert!([0, 4].contains(&ran.code), "round {round}: {} {}", ran.code, ran.stderr);
        }
        assert!(one.code == 0 || two.code == 0, "round {round}: {} {}", one.stderr, two.stderr);
        refused += u32::from(one.code == 4 || two.code == 4);
        let first = tree(&cluster.bench.at("a"));
        let sources = ["source", "other"].map(|source| tree(&cluster.bench.at(source)));
        assert!(sources.contains(&first), "round {round}");
        for node in nodes {
            assert!(tree(&cluster.bench.at(node)) == first, "round {round}: mixed");
            cluster.assert_no_stage(node);
        }
    }
    assert!(refused > 0, "the two never met");
}

#[test]
fn fault_102_a_second_run_of_one_hub_is_busy_or_waits() {
    let cluster = Cluster::new(&["a"]);
    cluster.add_big(BIG);
    let first = Pushing::start(cluster.command(&["./a"], SLOW));
    cluster.await_stage("a");
    let second = cluster.push(&["./a"], &[]);
    assert_eq!(second.code, 4, "{}", second.stderr);
    assert!(second.stderr.contains("process "), "the holder is named: {}", second.stderr);
    let mut third = Pushing::start(cluster.command(&["./a"], &["--lock-timeout", "30s"]));
    assert!(third.goes_on());
    first.signal("INT");
    let first = first.end();
    assert_eq!(first.code, 130, "{}", first.stderr);
    let third = third.end();
    assert_eq!(third.code, 0, "{}", third.stderr);
    cluster.assert_same(&["a"]);
}

#[test]
fn fault_103_a_lock_file_that_nobody_holds_stops_nobody() {
    let cluster = Cluster::new(&["a"]);
    cluster.add_big(BIG);
    let first = Pushing::start(cluster.command(&["./a"], SLOW));
    cluster.await_stage("a");
    first.kill();
    let lease = cluster.state_of("a").join("lock");
    assert!(fs::metadata(&lease).unwrap().len() > 0, "the dead run's name is still in it");
    let ran = cluster.push(&["./a"], &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    cluster.assert_same(&["a"]);
    cluster.assert_no_stage("a");
}

#[test]
fn fault_071_a_signal_in_the_middle_of_staging_changes_nothing() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 143)] {
        let cluster = Cluster::new(&["a", "b"]);
        assert_eq!(cluster.push(&["./a", "./b"], &[]).code, 0);
        let before = stamps(&cluster.bench.at("a"));
        cluster.add_big(BIG);
        let run = Pushing::start(cluster.command(&["./a", "./b"], SLOW));
        cluster.await_stage("a");
        run.signal(signal);
        let ran = run.end();
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert_eq!(stamps(&cluster.bench.at("a")), before);
        for node in ["a", "b"] {
            cluster.assert_no_stage(node);
        }
        assert_eq!(cluster.decisions(), 0);
    }
}

#[test]
fn fault_080_a_hub_that_is_killed_while_nodes_stage_leaves_them_old() {
    let cluster = Cluster::new(&["a"]);
    assert_eq!(cluster.push(&["./a"], &[]).code, 0);
    let before = tree(&cluster.bench.at("a"));
    cluster.add_big(BIG);
    let run = Pushing::start(cluster.command(&["./a"], SLOW));
    cluster.await_stage("a");
    run.kill();
    assert!(tree(&cluster.bench.at("a")) == before);
    assert_eq!(cluster.push(&["./a"], &[]).code, 0);
    cluster.assert_same(&["a"]);
}

#[test]
fn fault_106_two_names_of_one_directory_are_refused() {
    let cluster = Cluster::new(&["a"]);
    symlink("a", cluster.bench.at("alias")).unwrap();
    let ran = cluster.push(&["./a", "./alias"], &[]);
    assert_eq!(ran.code, 64, "{}", ran.stderr);
    assert!(ran.stderr.contains("same directory"), "{}", ran.stderr);
    cluster.assert_empty(&["a"]);
}

#[test]
fn fault_111_more_nodes_than_are_worked_on_at_once() {
    if !require("fault_111_more_nodes_than_are_worked_on_at_once", &["prlimit"]) {
        return;
    }
    let names: Vec<String> = (0..60).map(|node| format!("n{node}")).collect();
    let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
    let cluster = Cluster::new(&nodes);
    cluster.bench.write("nodes", format!("./{}\n", names.join("\n./")).as_bytes());
    let push = |handles: &str| {
        let mut limited = Command::new("prlimit");
        limited.arg(handles).arg(env!("CARGO_BIN_EXE_depsync"));
        limited.args(["push", "source", "--nodes", "nodes", "-j", "8", "--json"]);
        limited.current_dir(cluster.bench.at("")).env("HOME", cluster.bench.at(""));
        Ran::of(limited.output().unwrap())
    };
    // Fewer than the run can do with: it fails in words, and nothing changes.
    let starved = push("--nofile=64:64");
    assert_eq!(starved.code, 1, "{}", starved.stderr);
    cluster.assert_empty(&nodes);
    // The usual limit of a login.
    let ran = push("--nofile=1024:1024");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    cluster.assert_same(&nodes);
}

#[test]
fn fault_034_a_source_in_around_or_at_its_target_is_refused() {
    let cluster = Cluster::new(&["source/dir/below"]);
    symlink("source", cluster.bench.at("alias")).unwrap();
    let before = tree(&cluster.bench.at("source"));
    for target in ["./source", "./alias", "./source/dir", "./source/dir/new", "."] {
        let ran = cluster.push(&[target], &["--max-delete", "100%"]);
        assert_eq!(ran.code, 64, "{target}: {}", ran.stderr);
        assert!(tree(&cluster.bench.at("source")) == before, "{target}");
    }
}

#[test]
fn fault_031_an_empty_source_is_refused_by_every_push() {
    let cluster = Cluster::new(&["a"]);
    assert_eq!(cluster.push(&["./a"], &[]).code, 0);
    let before = stamps(&cluster.bench.at("a"));
    fs::rename(cluster.bench.at("source"), cluster.bench.at("gone")).unwrap();
    fs::create_dir(cluster.bench.at("source")).unwrap();
    let ran = cluster.push(&["./a"], &[]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("--allow-empty"), "{}", ran.stderr);
    assert_eq!(stamps(&cluster.bench.at("a")), before);
    // Meant to be empty, but all that the node has would go: the other guard stands. Ten or fewer may go.
    assert_eq!(cluster.push(&["./a"], &["--allow-empty"]).code, 0);
    cluster.assert_same(&["a"]);
}

#[test]
fn fault_032_half_of_the_files_gone_is_refused_on_one_node_for_all() {
    let cluster = Cluster::new(&["a", "b"]);
    for file in 0..40 {
        cluster.bench.write(&format!("source/dir/{file}"), format!("{file}").as_bytes());
    }
    assert_eq!(cluster.push(&["./a", "./b"], &[]).code, 0);
    let before = stamps(&cluster.bench.at("b"));
    for file in 0..30 {
        fs::remove_file(cluster.bench.at(&format!("source/dir/{file}"))).unwrap();
    }
    let refused = cluster.push(&["./a", "./b"], &[]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("--max-delete"), "{}", refused.stderr);
    assert_eq!(cluster.push(&["./a", "./b"], &["--max-delete", "29"]).code, 5);
    assert_eq!(stamps(&cluster.bench.at("b")), before);
    assert_eq!(cluster.push(&["./a", "./b"], &["--max-delete", "30"]).code, 0);
    cluster.assert_same(&["a", "b"]);
}

#[test]
fn fault_033_rules_that_leave_nothing_are_refused_by_a_push() {
    let cluster = Cluster::new(&["a"]);
    let ran = cluster.push(&["./a"], &["--exclude", "*"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    cluster.assert_empty(&["a"]);
}

#[test]
fn a_push_that_finds_nothing_to_do_writes_nothing() {
    let cluster = Cluster::new(&["a"]);
    assert_eq!(cluster.push(&["./a"], &[]).code, 0);
    let hub = || {
        let mut stamps = stamps(&cluster.bench.at(".local/state/depsync"));
        // The rest is of each run, or tells of files that are too young to be known by their stat.
        stamps.retain(|path, _| {
            path.ends_with("standing") || path.parent().is_some_and(|it| it.ends_with("manifest"))
        });
        stamps
    };
    let before = (stamps(&cluster.bench.at("a")), hub());
    assert_eq!(before.1.len(), 2, "{before:?}");
    assert_eq!(cluster.push(&["./a"], &[]).code, 0);
    assert_eq!((stamps(&cluster.bench.at("a")), hub()), before);
}

#[test]
fn the_exit_codes_of_a_plan() {
    let cluster = Cluster::new(&["a"]);
    let plan = |targets: &[&str]| {
        let mut arguments = vec!["plan", "source"];
        arguments.extend(targets.iter().flat_map(|target| ["--node", target]));
        cluster.bench.run(&arguments).code
    };
    assert_eq!(plan(&["./a"]), 2);
    cluster.assert_empty(&["a"]);
    assert!(!cluster.state_of("a").exists(), "a plan leaves nothing behind");
    assert_eq!(cluster.push(&["./a"], &[]).code, 0);
    assert_eq!(plan(&["./a"]), 0);
    assert_eq!(plan(&["./a", "./missing/b"]), 3);
    cluster.change("other");
    assert_eq!(plan(&["./a", "./missing/b"]), 2);
    assert_eq!(plan(&["./missing/b"]), 1);
}

#[test]
fn every_line_of_json_is_an_object_with_type_and_version() {
    let cluster = Cluster::new(&["a", "b"]);
    let check = |ran: &Ran, exit: i64| {
        let lines: Vec<serde_json::Value> =
            ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().all(|line| line["format_version"] == 1 && line["type"].is_string()));
        let last = lines.last().unwrap();
        assert_eq!((&last["type"], &last["exit"]), (&"summary".into(), &exit.into()));
        lines
    };
    let lines = check(&cluster.push(&["./a", "./b"], &["--json", "-v"]), 0);
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    assert_eq!((of("node"), of("summary")), (2, 1));
    assert!(of("change") >= 6, "{lines:?}");
    check(&cluster.push(&["./a", "./missing/b"], &["--json"]), 1);
    fs::remove_dir_all(cluster.bench.at("source/dir")).unwrap();
    fs::remove_file(cluster.bench.at("source/file")).unwrap();
    check(&cluster.push(&["./a"], &["--json"]), 5);
}

#[test]
fn fault_098_a_full_disk_of_one_node_stops_all() {
    if !require("fault_098_a_full_disk_of_one_node_stops_all", &["root", "mount"]) {
        return;
    }
    let cluster = Cluster::new(&["a", "b", "small/c"]);
    let small = cluster.bench.at("small");
    let mount = ["-t", "tmpfs", "-o", "size=4m", "tmpfs"];
    assert!(Command::new("mount").args(mount).arg(&small).status().unwrap().success());
    let _unmounted = Mounted(small);
    fs::create_dir(cluster.bench.at("small/c")).unwrap();
    let targets = ["./a", "./b", "./small/c"];
    assert_eq!(cluster.push(&targets, &[]).code, 0);
    let before = ["a", "b", "small/c"].map(|node| stamps(&cluster.bench.at(node)));
    cluster.add_big(8 << 20);
    let ran = cluster.push(&targets, &[]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("small/c") && ran.stderr.contains("space"), "{}", ran.stderr);
    assert_eq!(["a", "b", "small/c"].map(|node| stamps(&cluster.bench.at(node))), before);
    for node in ["a", "b", "small/c"] {
        cluster.assert_no_stage(node);
    }
    fs::remove_file(cluster.bench.at("source/big")).unwrap();
    cluster.change("it fits");
    assert_eq!(cluster.push(&targets, &[]).code, 0);
    cluster.assert_same(&["a", "b", "small/c"]);
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        drop(unmounted);
    }
}

#[test]
fn fault_085_a_journal_that_is_damaged_in_its_middle_is_not_guessed() {
    let cluster = Cluster::new(&["a", "b"]);
    assert_eq!(cluster.push(&["./a", "./b"], &[]).code, 0);
    cluster.change("second");
    assert_eq!(cluster.push(&["./a", "./b"], &[]).code, 0);
    let before = stamps(&cluster.bench.at("b"));
    let journal = cluster.state_of("a").join("journal");
    let mut bytes = fs::read(&journal).unwrap();
    let byte = bytes.get_mut(40).unwrap();
    *byte ^= 1;
    fs::write(&journal, bytes).unwrap();
    cluster.change("third");
    let ran = cluster.push(&["./a", "./b"], &[]);
    assert_eq!(ran.code, 8, "{}", ran.stderr);
    assert!(ran.stderr.contains("journal"), "{}", ran.stderr);
    assert_eq!(stamps(&cluster.bench.at("b")), before);
    eventually("the run is over", || cluster.phase_of("b").is_none());
}
