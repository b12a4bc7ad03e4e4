//! Exports and mounts, read by the programs that read them.

use std::process::Command;

use crate::cli_bench::Bench;
use crate::prerequisite::require;
use crate::recipe_files::{CLUSTER, ODD, files, toml};

#[test]
fn the_table_of_mounts_reads_back() {
    if !require("the_table_of_mounts_reads_back", &["findmnt", "systemd-escape"]) {
        return;
    }
    let bench = Bench::with_source();
    let source = format!("/srv/{ODD}");
    let mount = format!("/mnt/{ODD}/.x");
    bench.write("depsync.toml", CLUSTER.replace("\"source\"", &toml(&source)).as_bytes());
    let arguments = ["recipe", "nfs", "--server", "fe80::1", "--mount", &mount, "-o", "out"];
    let ran = bench.run(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let table = bench.at("out/node/fstab");
    let output = Command::new("findmnt")
        .args(["--json", "--output", "SOURCE,TARGET,FSTYPE,OPTIONS", "--tab-file"])
        .arg(table)
        .output()
        .expect("findmnt");
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let entry = &read["filesystems"][0];
    assert_eq!(entry["source"], format!("[fe80::1]:{source}"));
    assert_eq!((&entry["target"], &entry["fstype"]), (&mount.as_str().into(), &"nfs4".into()));
    assert!(entry["options"].as_str().is_some_and(|options| options.starts_with("ro,vers=4.2,")));
    assert!(read["filesystems"].get(1).is_none(), "{read}");

    let escaped =
        Command::new("systemd-escape").args(["--path", "--suffix=mount", &mount]).output();
    let escaped = String::from_utf8(escaped.expect("systemd-escape").stdout).expect("UTF-8");
    let names: Vec<String> = files(&bench, "out").into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&format!("node/{}", escaped.trim())), "{names:?} {escaped}");
}

#[test]
fn each_tree_is_exported_by_itself() {
    let bench = Bench::with_source();
    let text = CLUSTER.replace("[[node]]", "trees = [\"t/b\", \"t/a\"]\n[[node]]");
    let text = text.replacen(
        "trees = [\"t/b\", \"t/a\"]\n[[node]]\ntarget = \"wso2@mi-2",
        "[[node]]\ntarget = \"wso2@mi-2",
        1,
    );
    bench.write("depsync.toml", text.as_bytes());
    let ran = bench.run(&["recipe", "nfs", "--ganesha", "--writable", "--server", "nfs-1"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let source = bench.at("source").display().to_string();
    for words in [
        format!("Export_Id = 1;\n    Path = '{source}/t/a';"),
        format!("Export_Id = 2;\n    Path = '{source}/t/b';"),
        "Clients = mi-1, mi-2;".to_owned(),
        "Access_Type = RW;".to_owned(),
        format!("\nnfs-1:{source}/t/a /opt/wso2mi/server/t/a nfs4 rw,"),
        "# --- node/opt-wso2mi-server-t-b.mount ---".to_owned(),
    ] {
        assert!(ran.stdout.contains(&words), "{words}: {}", ran.stdout);
    }
}

#[test]
fn what_cannot_be_mounted_is_refused() {
    let bench = Bench::with_source();
    bench.write("local.toml", b"[cluster]\nsource = \"source\"\n[[node]]\ntarget = \"./node\"\n");
    bench.run(&["recipe", "nfs", "-c", "local.toml"]).assert_usage(&["no node is another host"]);
    bench.write("two.toml", format!("{CLUSTER}[[node]]\ntarget = \"h:/other\"\n").as_bytes());
    bench
        .run(&["recipe", "nfs", "-c", "two.toml"])
        .assert_usage(&["different directories", "--mount"]);
    bench.write("end.toml", CLUSTER.replace("\"source\"", "\"end\\\\\"").as_bytes());
    bench
        .run(&["recipe", "nfs", "-c", "end.toml"])
        .assert_usage(&["directory.mount:", "a backslash"]);
    let deep = format!("/{}", "ü".repeat(80));
    bench.write("deep.toml", CLUSTER.as_bytes());
    bench
        .run(&["recipe", "nfs", "-c", "deep.toml", "--mount", &deep])
        .assert_usage(&["over 255 bytes"]);
}

#[test]
fn nodes_of_a_share_write_and_root_stays_root_where_agents_are_root() {
    let bench = Bench::with_source();
    let shared = format!("{CLUSTER}[storage]\napproach = \"shared\"\n");
    bench.write("depsync.toml", shared.as_bytes());
    bench.run(&["recipe", "nfs", "--server", "nfs-1"]).assert_usage(&["--export"]);
    let arguments = ["recipe", "nfs", "--server", "nfs-1", "--export", "/srv/live"];
    let ran = bench.run(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("/srv/live mi-1(rw,sync,no_subtree_check,root_squash,"),
        "{}",
        ran.stdout
    );
    bench.write("depsync.toml", shared.replace("wso2@mi-2", "root@mi-2").as_bytes());
    for (more, words) in [
        (None, "(rw,sync,no_subtree_check,no_root_squash,"),
        (Some("--ganesha"), "Squash = No_Root_Squash;"),
    ] {
        let ran = bench.run(&arguments.iter().copied().chain(more).collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
}
