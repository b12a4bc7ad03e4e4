//! Recipes for configuration management: what is made reads back as the same names, and what cannot be is refused.
//! That they do what they are for, with the real tools, is `cargo xtask approaches`.

use std::process::Command;

use crate::cli_bench::Bench;
use crate::prerequisite::require;
use crate::recipe_files::{CLUSTER, ODD, files, toml};

/// A cluster whose directories have odd names.
fn odd() -> Bench {
    let bench = Bench::with_source();
    let target =
        |host: &str| format!("[[node]]\ntarget = {}\n", toml(&format!("{host}:/opt/{ODD}")));
    let text = format!(
        "[cluster]\nname = \"shop.prod\"\nsource = \"source\"\n{}{}",
        target("wso2@mi-1"),
        target("ssh-alias.example")
    );
    bench.write("depsync.toml", text.as_bytes());
    bench
}

/// The value that `script` of Ruby prints of the file at `path`.
fn ruby(script: &str, path: &std::path::Path) -> String {
    let output = Command::new("ruby").args(["-ryaml", "-e", script]).arg(path).output();
    let output = output.expect("ruby");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn made(bench: &Bench, kind: &str) -> Vec<(String, String)> {
    let ran = bench.run(&["recipe", kind, "-o", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("next: "), "{}", ran.stdout);
    files(bench, "out")
}

#[test]
fn every_kind_makes_its_files_and_names_nothing_that_is_not_there() {
    for (kind, count) in [("ansible", 7), ("puppet", 4), ("chef", 3), ("kubernetes", 2)] {
        let bench = odd();
        let files = made(&bench, kind);
        assert_eq!(files.len(), count, "{kind}");
        for (name, text) in files {
            assert!(name.starts_with(kind) && text.ends_with('\n'), "{name}");
            // Of Ansible, whose own braces stay.
            let is_ours = name.starts_with("ansible/");
            assert!(is_ours || !text.contains("{{") && !text.contains("{%"), "{name}: {text}");
        }
    }
}

#[test]
fn names_read_back_as_they_are() {
    if !require("names_read_back_as_they_are", &["ruby"]) {
        return;
    }
    let bench = odd();
    for kind in ["ansible", "chef", "kubernetes"] {
        made(&bench, kind);
    }
    let hosts = "YAML.load_file(ARGV[0])['all']['children']['depsync_nodes']['hosts'].each_value \
                 { |h| puts h['ansible_host'], h['ansible_user'].to_s, h['depsync_release_target'] }";
    let read = ruby(hosts, &bench.at("out/ansible/inventory.yml"));
    let directory = format!("/opt/{ODD}");
    assert_eq!(
        read.lines().collect::<Vec<_>>(),
        ["mi-1", "wso2", &directory, "ssh-alias.example", "", &directory]
    );
    // The recipe's own words are defined to print what they are given.
    let words = "def directory(path) puts path end\ndef cookbook_file(path) puts path end\n\
                 def depsync_release(path) puts path end\nload ARGV[0]";
    let read = ruby(words, &bench.at("out/chef/depsync/recipes/default.rb"));
    assert_eq!(read.lines().last(), Some(&*directory));
    let mount = "puts YAML.load_file(ARGV[0], aliases: true)['spec']['template']['spec']['containers'][0]\
                 ['volumeMounts'][0]['mountPath']";
    assert_eq!(ruby(mount, &bench.at("out/kubernetes/deployment.yaml")).trim_end(), directory);
}

#[test]
fn the_module_of_ansible_is_python() {
    if !require("the_module_of_ansible_is_python", &["python3"]) {
        return;
    }
    let bench = odd();
    made(&bench, "ansible");
    let module = bench.at("out/ansible/roles/depsync_release/library/depsync_apply.py");
    let read = "import ast, sys; ast.parse(open(sys.argv[1]).read())";
    let output = Command::new("python3").args(["-c", read]).arg(module).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_cannot_be_managed_is_refused() {
    let refused = |text: &str, words: &[&str], expected: &[&str]| {
        let bench = Bench::with_source();
        bench.write("depsync.toml", text.as_bytes());
        bench.run(words).assert_usage(expected);
        assert!(!bench.at("out").exists());
    };
    let relative = "[cluster]\nsource = \"source\"\n[[node]]\ntarget = \"h:server\"\n";
    for kind in ["ansible", "puppet", "chef", "kubernetes"] {
        let words = ["recipe", kind, "-o", "out"];
        refused(relative, &words, &["h:server starts at a home", "absolute path"]);
    }
    let local = "[cluster]\nsource = \"source\"\n[[node]]\ntarget = \"/srv/server\"\n";
    refused(local, &["recipe", "ansible"], &["/srv/server is on this host", "depsync apply"]);
    let two = format!("{CLUSTER}[[node]]\ntarget = \"h:/elsewhere\"\n");
    refused(&two, &["recipe", "kubernetes"], &["not all the same directory"]);
    let image = ["recipe", "kubernetes", "--image", "a b"];
    refused(CLUSTER, &image, &["the image 'a b' is no name of one"]);
}
