//! What a push costs, and what it rests on: nothing touched without need, damaged state, limits (faults 25, 57, 58, 68, 75,
//! 76), trees and hard links.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use depsync::node::kept::KeptList;

use crate::cluster::{
    Cluster, Mount, Outcome, assert_rsync_agrees, assert_same, chmod, names_below, set_mtime,
    stamps,
};
use crate::prerequisite::require;

fn bytes_sent(outcome: &Outcome) -> u64 {
    outcome.node(0)["bytes_sent"].as_u64().expect("a number")
}

#[test]
fn a_push_with_nothing_to_do_touches_nothing() {
    let mut cluster = Cluster::new(2);
    cluster.options = vec!["--xattrs".into(), "--acls".into(), "--hard-links".into()];
    for name in ["a", "d/b", "d/e/c"] {
        chmod(&cluster.write(name, name), 0o640);
    }
    fs::hard_link(cluster.at("a"), cluster.at("d/a")).expect("linked");
    std::os::unix::fs::symlink("b", cluster.at("d/l")).expect("a link");
    cluster.push(&[]).expect(0);
    let before = [stamps(&cluster.nodes[0]), stamps(&cluster.nodes[1])];
    for _ in 0..2 {
        let outcome = cluster.push(&[]);
        assert_eq!(outcome.expect(0).state(0), "unchanged");
        assert!(bytes_sent(&outcome) < 1_000, "{}", bytes_sent(&outcome));
        cluster.plan(&[]).expect(0);
    }
    assert_eq!(before, [stamps(&cluster.nodes[0]), stamps(&cluster.nodes[1])]);
}

#[test]
fn a_change_of_one_file_touches_nothing_else() {
    let cluster = Cluster::new(1);
    for name in ["a", "d/b", "d/e/c", "f/g"] {
        cluster.write(name, name);
    }
    cluster.push(&[]).expect(0);
    let before = stamps(&cluster.nodes[0]);
    cluster.write("d/e/c", "changed");
    cluster.push(&[]).expect(0);
    let after = stamps(&cluster.nodes[0]);
    for (path, stamp) in &before {
        let is_touched = ["d/e", "d/e/c"].contains(&path.to_str().unwrap());
        assert_eq!(after[path] != *stamp, is_touched, "{path:?}");
    }
    cluster.assert_same();
}

#[test]
fn a_renamed_directory_costs_no_content_and_keeps_its_inodes() {
    let cluster = Cluster::new(1);
    let mut noise = 1u64;
    for at in 0..40 {
        let mut next = || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            noise.to_be_bytes()[0]
        };
        cluster.write(
            format!("old/d{}/f{at}", at % 4),
            (0..50_000).map(|_| next()).collect::<Vec<_>>(),
        );
    }
    cluster.push(&[]).expect(0);
    let inode = |name: &str| fs::metadata(cluster.on(0, name)).expect(name).ino();
    let inodes = |top: &str| -> Vec<u64> {
        let files = (0..40).map(|at| inode(&format!("{top}/d{}/f{at}", at % 4)));
        files.chain((0..4).map(|at| inode(&format!("{top}/d{at}")))).chain([inode(top)]).collect()
    };
    let before = inodes("old");
    fs::create_dir(cluster.at("around")).expect("a directory");
    fs::rename(cluster.at("old"), cluster.at("around/new")).expect("renamed");
    let outcome = cluster.push(&[]);
    assert!(bytes_sent(outcome.expect(0)) < 20_000, "{}", bytes_sent(&outcome));
    assert_eq!(before, inodes("around/new"));
    cluster.assert_same();
    // Nothing of it is kept: it is live.
    let kept = cluster.state(0).join("kept");
    let lists = names_below(&kept).into_keys().filter(|path| path.ends_with("list"));
    let lists: Vec<_> = lists.map(|path| fs::read(kept.join(path)).expect("read")).collect();
    let lists = lists.iter().map(|bytes| KeptList::decode(bytes).expect("a list"));
    let entries: Vec<_> = lists.flat_map(|list| list.entries).collect();
    assert!(entries.is_empty(), "{entries:?}");
    assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
    // A copy costs no content either.
    fs::copy(cluster.at("around/new/d0/f0"), cluster.at("copy")).expect("copied");
    assert!(bytes_sent(cluster.push(&[]).expect(0)) < 20_000);
    cluster.assert_same();
}

#[test]
fn fault_057_and_058_damaged_state_never_changes_a_result() {
    let damages: [fn(&Path); 4] = [
        |path| fs::write(path, "").expect("written"),
        |path| {
            let bytes = fs::read(path).expect("read");
            fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
        },
        |path| {
            let mut bytes = fs::read(path).expect("read");
            let at = bytes.len() / 3;
            bytes[at] ^= 0x10;
            fs::write(path, bytes).expect("written");
        },
        |path| fs::remove_file(path).expect("removed"),
    ];
    for damage in damages {
        let cluster = Cluster::new(1);
        let (old, new) = (vec![7; 30_000], vec![8; 30_000]);
        cluster.write("d/file", &old);
        cluster.write("same", "same");
        cluster.push(&[]).expect(0);
        cluster.write("d/file", &new);
        cluster.push(&[]).expect(0);
        let state = cluster.state(0);
        let files: Vec<_> = names_below(&state)
            .into_iter()
            .filter(|(path, name)| name.kind == '-' && path != Path::new("journal"))
            .map(|(path, _)| state.join(path))
            .collect();
        let is_there =
            |word: &str| files.iter().any(|path| path.display().to_string().contains(word));
        assert!(is_there("index") && is_there("list") && is_there("manifest") && is_there("kept/"));
        files.iter().filter(|path| !path.ends_with("lock")).for_each(|path| damage(path));
        // The old content would come from the kept area.
        cluster.write("d/file", &old);
        cluster.push(&[]).expect(0);
        cluster.assert_same();
        assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
    }
}

#[test]
fn fault_058_kept_content_that_rotted_is_fetched_again() {
    let cluster = Cluster::new(1);
    let (old, new) = (vec![7; 30_000], vec![8; 30_000]);
    cluster.write("d/file", &old);
    cluster.push(&[]).expect(0);
    cluster.write("d/file", &new);
    cluster.push(&[]).expect(0);
    let kept = cluster.state(0).join("kept");
    let rotten = names_below(&kept).into_iter().find(|(_, name)| name.content == old);
    let path = kept.join(rotten.expect("it is kept").0);
    let mut bytes = old.clone();
    bytes[12_345] ^= 1;
    fs::write(path, bytes).expect("written");
    cluster.write("d/file", &old);
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}

#[test]
fn fault_025_twenty_thousand_files_in_one_directory() {
    if !require("fault_025_node", &["root", "rsync"]) {
        return;
    }
    let cluster = Cluster::new(1);
    // In memory: what is tested is not the disk that others write to at the same time.
    let memory = ["-t", "tmpfs", "-o", "size=512m", "t"];
    let mounts = [cluster.source(), cluster.path().join("n0")]
        .map(|path| Mount::new(&memory, &path).expect("a tmpfs"));
    fs::create_dir(&cluster.nodes[0]).expect("a directory");
    fs::create_dir(cluster.at("wide")).expect("a directory");
    for at in 0..20_000 {
        fs::write(cluster.at(format!("wide/{at:05}")), at.to_string()).expect("written");
    }
    assert_eq!(cluster.push(&[]).expect(0).count(0, "created"), 20_001);
    cluster.assert_same();
    for at in (0..20_000).step_by(2) {
        fs::remove_file(cluster.at(format!("wide/{at:05}"))).expect("removed");
    }
    for at in (1..20_000).step_by(100) {
        cluster.write(format!("wide/{at:05}"), "changed");
    }
    let outcome = cluster.push(&[]);
    assert_eq!(outcome.expect(0).count(0, "deleted"), 10_000);
    assert_eq!(outcome.count(0, "updated"), 200);
    cluster.assert_same();
    drop(mounts);
}

#[test]
fn fault_068_few_file_descriptors_are_enough_or_the_run_fails_cleanly() {
    if !require("fault_068", &["prlimit"]) {
        return;
    }
    // Where the handles run out differs by what the test inherits.
    for limit in (10u32..=16).chain([32, 64]) {
        let mut cluster = Cluster::new(2);
        for at in 0..60 {
            cluster.write(format!("d{at}/e/f/g/{at}"), "x");
        }
        cluster.wrapper = vec!["prlimit".into(), format!("--nofile={limit}:{limit}"), "--".into()];
        let outcome = cluster.push(&[]);
        if outcome.code == Some(0) {
            cluster.assert_same();
        } else {
            assert!(limit < 64, "64 are enough: {outcome:#?}");
            assert_eq!(outcome.code, Some(1), "{limit}: {outcome:#?}");
            for node in &cluster.nodes {
                assert_eq!(names_below(node).len(), 1, "{limit}");
            }
        }
        cluster.wrapper.clear();
        cluster.push(&[]).expect(0);
        cluster.assert_same();
    }
}

#[test]
fn fault_075_a_closed_pipe_changes_nothing_and_a_full_disk_turns_0_into_1() {
    let cluster = Cluster::new(1);
    for (at, (full, code)) in [(false, 0), (true, 1)].into_iter().enumerate() {
        cluster.write("file", format!("content {at}"));
        let mut command = cluster.command("push");
        command.arg("--source").arg(cluster.source()).arg("--node").arg(&cluster.nodes[0]);
        let out: Stdio = if full {
            fs::File::options().write(true).open("/dev/full").expect("open").into()
        } else {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            writer.into()
        };
        let ended = command.stdout(out).stderr(Stdio::null()).status().expect("it runs");
        assert_eq!(ended.code(), Some(code));
        cluster.assert_same();
    }
}

#[test]
fn fault_076_the_limit_of_a_files_size_is_an_error_and_not_death() {
    if !require("fault_076", &["prlimit"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    cluster.write("small", "old");
    cluster.push(&[]).expect(0);
    cluster.write("small", "new");
    cluster.write("large", vec![9; 3_000_000]);
    let before = stamps(&cluster.nodes[0]);
    cluster.wrapper = vec!["prlimit".into(), "--fsize=1000000:1000000".into(), "--".into()];
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    assert!(outcome.error(0).contains("large"), "{}", outcome.error(0));
    assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
    assert_eq!(before, stamps(&cluster.nodes[0]));
    assert!(cluster.staged(0).is_empty());
    cluster.wrapper.clear();
    cluster.push(&[]).expect(0);
    cluster.assert_same();
}

#[test]
fn fault_046_several_trees_below_one_home_are_one_release() {
    let mut cluster = Cluster::new(2);
    let config = cluster.path().join("depsync.toml");
    let trees = "[cluster]\ntrees = [\"repository/deployment/server\", \"tenants\"]\n";
    fs::write(&config, trees).expect("written");
    cluster.options = vec!["--config".into(), config.display().to_string()];
    cluster.write("repository/deployment/server/app.car", "app");
    cluster.write("tenants/1/x", "x");
    cluster.write("logs/not-a-tree", "x");
    for node in 0..2 {
        cluster.write_on(node, "repository/conf/own", "the node's own");
    }
    let outcome = cluster.push(&[]);
    outcome.expect(1);
    // Whichever refused first; the other one tells that it was stopped for its sake.
    let error = format!("{} {}", outcome.error(0), outcome.error(1));
    assert!(error.contains("repository/deployment") && error.contains("--mkpath"), "{error}");
    assert!(!cluster.on(0, "tenants").exists());
    cluster.push(&["--mkpath"]).expect(0);
    cluster.write("tenants/1/x", "changed");
    fs::remove_file(cluster.at("repository/deployment/server/app.car")).expect("removed");
    cluster.push(&[]).expect(0);
    for (node, root) in cluster.nodes.iter().enumerate() {
        for tree in ["repository/deployment/server", "tenants"] {
            assert_same(&cluster.at(tree), &root.join(tree));
            assert_rsync_agrees(&cluster.at(tree), &root.join(tree), &[]);
        }
        assert!(cluster.on(node, "repository/conf/own").exists());
        assert!(!cluster.on(node, "logs").exists());
    }
    assert_eq!(cluster.push(&[]).expect(0).state(1), "unchanged");
    // A tree that vanished is drift, though nothing else changed.
    fs::remove_dir_all(cluster.on(0, "tenants")).expect("removed");
    assert_eq!(cluster.push(&[]).expect(0).state(0), "committed");
    assert_same(&cluster.at("tenants"), &cluster.on(0, "tenants"));
}

#[test]
fn fault_021_hard_links_are_made_broken_and_changed_as_groups() {
    if !require("fault_021_node", &["rsync"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    cluster.options = vec!["--hard-links".into()];
    let link = |one: &str, other: &str| {
        fs::hard_link(cluster.at(one), cluster.at(other)).expect("linked");
    };
    let groups = |root: &Path| -> Vec<Vec<String>> {
        let mut groups = std::collections::BTreeMap::<u64, Vec<String>>::new();
        for (path, _) in names_below(root).into_iter().filter(|(_, name)| name.kind == '-') {
            let inode = fs::metadata(root.join(&path)).expect("stat").ino();
            groups.entry(inode).or_default().push(path.display().to_string());
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort();
        groups
    };
    let check = |what: &str| {
        cluster.push(&[]).expect(0);
        cluster.assert_same();
        assert_eq!(groups(&cluster.source()), groups(&cluster.nodes[0]), "{what}");
        assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged", "{what}");
    };
    for name in ["a", "d/b", "e"] {
        cluster.write(name, name);
    }
    link("a", "d/a2");
    link("a", "z");
    check("a group, and files alone");
    link("e", "e2");
    link("d/b", "d/b2");
    check("groups of what was there");
    cluster.write("a", "changed for all three");
    check("content of a group");
    chmod(&cluster.at("z"), 0o600);
    set_mtime(&cluster.at("e2"), 1_111_111_111, 1);
    check("metadata of groups");
    fs::remove_file(cluster.at("a")).expect("removed");
    check("the first name goes");
    fs::remove_file(cluster.at("z")).expect("removed");
    cluster.write("z", "changed for all three");
    chmod(&cluster.at("z"), 0o600);
    check("a group is broken");
    fs::remove_file(cluster.at("e2")).expect("removed");
    link("d/b", "e2");
    check("a name changes its group");
    fs::rename(cluster.at("d"), cluster.at("moved")).expect("renamed");
    check("groups are moved");
    // A link that only the node has.
    fs::remove_file(cluster.on(0, "z")).expect("removed");
    fs::hard_link(cluster.on(0, "e"), cluster.on(0, "z")).expect("linked");
    check("a link that the release does not have");
}

#[test]
fn fault_021_without_hard_links_names_are_files_of_their_own() {
    let cluster = Cluster::new(1);
    cluster.write("a", "x");
    fs::hard_link(cluster.at("a"), cluster.at("b")).expect("linked");
    cluster.push(&[]).expect(0);
    assert_same(&cluster.source(), &cluster.nodes[0]);
    let inode = |name: &str| fs::metadata(cluster.on(0, name)).expect(name).ino();
    assert_ne!(inode("a"), inode("b"));
}

#[test]
fn a_run_with_another_umask_gives_the_same_tree() {
    let cluster = Cluster::new(1);
    chmod(&cluster.write("d/file", "x"), 0o666);
    chmod(&cluster.at("d"), 0o777);
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_depsync"), "push"]);
    command
        .arg("--json")
        .arg("--source")
        .arg(cluster.source())
        .arg("--node")
        .arg(&cluster.nodes[0]);
    command.env("XDG_STATE_HOME", cluster.path().join("state")).current_dir(cluster.path());
    Outcome::of(&mut command).expect(0);
    cluster.assert_same();
    let mode = fs::metadata(cluster.state(0)).expect("stat").mode();
    assert_eq!(mode & 0o7777, 0o700);
}
