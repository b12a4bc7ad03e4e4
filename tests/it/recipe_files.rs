//! Recipes as files: where they go, what is never overwritten, an operator's own templates, and what is refused.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::cli_bench::{Bench, USAGE};

/// A cluster of two nodes behind ssh.
pub(crate) const CLUSTER: &str = "[cluster]\nname = \"mi\"\nsource = \"source\"\n\
    [[node]]\ntarget = \"wso2@mi-1:/opt/wso2mi/server\"\n[[node]]\ntarget = \"wso2@mi-2:/opt/wso2mi/server\"\n";

/// Directories are called so where quoting is tested.
pub(crate) const ODD: &str = "it's \"odd\" $HOME ${x} $$ %d \\%n \\\\ #;& ü";

/// A text of TOML.
pub(crate) fn toml(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Every file of `bench` below `directory` with its text.
pub(crate) fn files(bench: &Bench, directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![bench.at(directory)];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).expect("list") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let name = path.strip_prefix(bench.at(directory)).expect("below").display().to_string();
            found.push((name, std::fs::read_to_string(&path).expect("UTF-8")));
        }
    }
    found.sort();
    found
}

fn bench() -> Bench {
    let bench = Bench::with_source();
    bench.write("depsync.toml", CLUSTER.as_bytes());
    bench
}

#[test]
fn a_recipe_needs_a_configuration() {
    let bench = Bench::with_source();
    for kind in ["cron", "systemd", "nfs"] {
        let ran = bench.run(&["recipe", kind]);
        ran.assert_usage(&["there is no depsync.toml in this directory", "hint: ", "depsync init"]);
        bench.run(&["recipe", kind, "-c", "no.toml"]).assert_usage(&["no.toml"]);
    }
}

#[test]
fn files_are_written_once_and_never_over_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = bench();
    let write = |more: &[&str]| bench.run(&[&["recipe", "systemd", "-o", "out"], more].concat());
    let ran = write(&[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let names =
        ["hub/depsync-mi.service", "hub/depsync-mi.timer", "node/depsync-mi-recover.service"];
    let written = files(&bench, "out");
    assert_eq!(written.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
    let mode = std::fs::metadata(bench.at("out/hub/depsync-mi.timer"))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(ran.stdout.matches("wrote ").count(), 3, "{}", ran.stdout);
    assert!(ran.stdout.contains("next: systemctl enable --now depsync-mi.timer"), "{}", ran.stdout);
    assert!(write(&[]).stdout.contains("has them already"));

    let printed = bench.run(&["recipe", "systemd"]).stdout;
    for (name, text) in &written {
        assert!(printed.contains(&format!("# --- {name} ---\n{text}")), "{printed}");
    }

    std::fs::remove_file(bench.at("out/hub/depsync-mi.service")).expect("removed");
    bench.write("out/hub/depsync-mi.timer", b"mine\n");
    let refused = write(&[]);
    refused.assert_usage(&["depsync-mi.timer is there and differs", "--force"]);
    assert!(!bench.at("out/hub/depsync-mi.service").exists(), "all or none");
    assert_eq!(write(&["--force"]).code, 0);
    assert_eq!(files(&bench, "out"), written);
}

#[test]
fn templates_can_be_taken_out_changed_and_put_back() {
    let bench = bench();
    for kind in ["cron", "systemd", "nfs"] {
        let shown = bench.run(&["recipe", kind, "--show-templates", "-o", "templates"]);
        assert_eq!(shown.code, 0, "{}", shown.stderr);
        let built_in = bench.run(&["recipe", kind]);
        assert_eq!(built_in.code, 0, "{}", built_in.stderr);
        let own = bench.run(&["recipe", kind, "--templates", "templates"]);
        assert_eq!((own.code, own.stdout), (0, built_in.stdout), "{}", own.stderr);
    }
    bench.write("templates/cron/crontab", b"# mine\n{{ config | shell }}\n");
    let own = bench.run(&["recipe", "cron", "--templates", "templates"]);
    assert_eq!(own.stdout, format!("# mine\n{}\n", bench.at("depsync.toml").display()));
    for (text, words) in [
        (
            "# mine\n{{ nmae }}\n",
            ["cron/crontab:2: it names a value that there is not", "2 | {{ nmae }}"],
        ),
        ("{{ config | shel }}\n", ["cron/crontab:1: ", "shel"]),
        ("a\n{% for x in %}\n", ["cron/crontab:2: ", "{% for x in %}"]),
    ] {
        bench.write("templates/cron/crontab", text.as_bytes());
        bench.run(&["recipe", "cron", "--templates", "templates"]).assert_usage(&words);
    }
    bench.write("templates/cron/crontab", b"\xff");
    bench.run(&["recipe", "cron", "--templates", "templates"]).assert_usage(&["it is not UTF-8"]);
    bench.run(&["recipe", "cron", "--templates", "source"]).assert_usage(&["cron/crontab"]);
}

#[test]
fn names_that_no_file_could_hold_are_refused() {
    let bench = bench();
    for (source, words) in [
        ("a\\nb", ["the source", "a\\nb' holds a control character"]),
        ("a\\u0000b", ["the source", "holds a control character"]),
        ("a\\tb", ["the source", "holds a control character"]),
    ] {
        bench.write(
            "depsync.toml",
            CLUSTER.replace("= \"source\"", &format!("= \"{source}\"")).as_bytes(),
        );
        for kind in ["cron", "systemd", "nfs"] {
            bench.run(&["recipe", kind, "-o", "out"]).assert_usage(&words);
        }
    }
    let raw = OsStr::from_bytes(b"\xff.toml");
    std::fs::write(bench.at("").join(raw), CLUSTER).expect("written");
    let ran = bench.run(&[OsStr::new("recipe"), OsStr::new("cron"), OsStr::new("-c"), raw]);
    ran.assert_usage(&["the configuration", "\\xff.toml' is not UTF-8"]);
    assert!(!bench.at("out").exists());
}

#[test]
fn what_does_not_go_together_is_refused() {
    let bench = bench();
    for (arguments, word) in [
        (&["cron", "--every", "7m"][..], "does not know this interval"),
        (&["cron", "--user", "a b"], "login name"),
        (&["cron", "--user", "no-such-user-here"], "/etc/passwd has no user"),
        (&["cron", "--system", "--mail-to", "a\"b"], "is not one such as"),
        (&["systemd", "--every", "0"], "below one second"),
        (&["systemd", "--before", "a b.service"], "is no name of a unit"),
        (&["systemd", "--install", "-o", "x"], "cannot be used with"),
        (&["nfs", "--server", "a b"], "is not a host name"),
        (&["nfs", "--mount", "relative"], "is not an absolute path"),
    ] {
        let ran = bench.run(&[&["recipe"], arguments].concat());
        assert_eq!(ran.code, USAGE, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(word), "{arguments:?}: {}", ran.stderr);
    }
    let long = "x".repeat(200);
    let deep = [long.as_str(); 6].join("/");
    std::fs::create_dir_all(bench.at(&deep)).expect("mkdir");
    bench.write(&format!("{deep}/c.toml"), CLUSTER.as_bytes());
    bench
        .run(&["recipe", "cron", "-c", &format!("{deep}/c.toml")])
        .assert_usage(&["over 998 bytes"]);
}
