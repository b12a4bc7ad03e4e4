//! `depsync.toml` as a file: where it is found, what is said of it, and `depsync init`.

use crate::cli_bench::{Bench, USAGE};

#[test]
fn an_unknown_key_is_shown_with_its_line_and_the_nearest_key() {
    let bench = Bench::with_source();
    bench.write("depsync.toml", b"[cluster]\nsource = \"source\"\n\n[guard]\nmax_delet = \"5%\"\n");
    bench.run(&["push"]).assert_usage(&[
        "depsync.toml:5: unknown key 'max_delet' in [guard]\n  5 | max_delet = \"5%\"\n    | ^^^^^^^^^\n",
        "hint: did you mean 'max_delete'?",
    ]);
}

#[test]
fn what_later_versions_take_is_refused_by_name() {
    let bench = Bench::with_source();
    bench.write("depsync.toml", b"[gate]\nhttp = \"http://x\"\n");
    bench.run(&["push"]).assert_usage(&["depsync.toml:1: [gate] is not supported by this version"]);
}

#[test]
fn paths_of_the_file_start_at_its_directory() {
    let bench = Bench::with_source();
    std::fs::create_dir(bench.at("etc")).expect("mkdir");
    bench.write("etc/c.toml", b"[cluster]\nsource = \"../source\"\nnodes = \"list\"\n");
    bench.run(&["push", "-c", "etc/c.toml"]).assert_usage(&["etc/list"]);
    bench.write("etc/list", b"word\n");
    bench.run(&["push", "-c", "etc/c.toml"]).assert_usage(&["line 1: word"]);
}

#[test]
fn a_configuration_that_others_could_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::with_source();
    let path = bench.write("depsync.toml", b"[cluster]\nsource = \"source\"\n");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o646)).expect("chmod");
    bench.run(&["push"]).assert_usage(&["others may write it"]);
}

#[test]
fn init_writes_a_configuration_that_is_read() {
    let bench = Bench::with_source();
    let ran = bench.run(&["init"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.starts_with("wrote depsync.toml; name the source"), "{}", ran.stdout);
    bench.run(&["push"]).assert_usage(&["no source is given"]);
    let first = std::fs::read(bench.at("depsync.toml")).expect("read");

    bench.run(&["init", "--source", "source"]).assert_usage(&["exists already", "--force"]);
    assert_eq!(std::fs::read(bench.at("depsync.toml")).expect("read"), first);

    bench.write("nodes-list.txt", b"word\n");
    let ran = bench.run(&["init", "--source", "source", "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let text = std::fs::read_to_string(bench.at("depsync.toml")).expect("read");
    assert!(
        text.contains("\nsource = \"source\"\n") && text.contains("\nnodes = \"nodes-list.txt\"\n"),
        "{text}"
    );
    bench.run(&["push"]).assert_usage(&["nodes-list.txt", "line 1: word"]);
}

#[test]
fn init_knows_the_directories_of_a_wso2_server() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.at("mi/repository/tenants")).expect("mkdir");
    let ran = bench.run(&["init", "--home", "mi", "--nodes", "n"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let text = std::fs::read_to_string(bench.at("depsync.toml")).expect("read");
    assert!(
        text.contains("\ntrees = [\"repository/deployment/server\", \"repository/tenants\"]\n"),
        "{text}"
    );
    let ran = bench.run(&["push"]);
    assert_eq!(ran.code, USAGE);
    assert!(ran.stderr.contains("read the nodes file"), "{}", ran.stderr);
}
