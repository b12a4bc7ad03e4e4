//! What the program prints, where, and what becomes of its exit code if nobody can read it.

use std::process::Stdio;

use crate::cli_bench::{Bench, Ran, USAGE, repository_file};

#[test]
fn the_reference_is_the_programs_own() {
    let ran = Bench::new().run(&["generate", "cli-reference"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let hint = "write it anew: depsync generate cli-reference > docs/cli.md";
    assert!(ran.stdout == repository_file("docs/cli.md"), "docs/cli.md is out of date; {hint}");
}

#[test]
fn the_reference_shows_no_value_of_the_environment() {
    let output =
        Bench::new().command(&["push", "--help"]).env("DEPSYNC_MESSAGE", "a secret").output();
    let ran = Ran::of(output.expect("the program starts"));
    assert!(ran.stdout.contains("DEPSYNC_MESSAGE") && !ran.stdout.contains("a secret"));
}

#[test]
fn manual_pages_are_made_of_every_command() {
    let bench = Bench::new();
    let ran = bench.run(&["generate", "man", "man"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let names = [
        "depsync",
        "depsync-push",
        "depsync-plan",
        "depsync-verify",
        "depsync-rollback",
        "depsync-doctor",
        "depsync-status",
        "depsync-history",
        "depsync-history-show",
        "depsync-release",
        "depsync-apply",
        "depsync-init",
        "depsync-import",
        "depsync-recipe",
        "depsync-recipe-cron",
        "depsync-recipe-systemd",
        "depsync-recipe-nfs",
        "depsync-recipe-ansible",
        "depsync-recipe-puppet",
        "depsync-recipe-chef",
        "depsync-recipe-kubernetes",
        "depsync-advise",
        "depsync-completions",
    ];
    for name in names {
        let page = std::fs::read_to_string(bench.at(&format!("man/{name}.1"))).expect(name);
        assert!(page.contains(".TH") && page.contains(&name.to_uppercase()), "{name}: {page}");
    }
    assert_eq!(std::fs::read_dir(bench.at("man")).expect("list").count(), names.len());
}

#[test]
fn completions_know_the_options() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = bench.run(&["completions", shell]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains("max-delete"), "{shell}");
    }
}

/// The lines of a run with `--json`; the last is checked to be a summary with the exit code.
fn json_lines(ran: &Ran) -> Vec<serde_json::Value> {
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().all(|line| line["format_version"] == 1 && line["type"].is_string()));
    let summary = lines.last().expect("a summary");
    assert_eq!((&summary["type"], &summary["exit"]), (&"summary".into(), &ran.code.into()));
    lines
}

#[test]
fn every_line_of_json_is_an_object_and_the_last_one_tells_the_exit() {
    let bench = Bench::with_source();
    json_lines(&bench.run(&["plan", "--json", "source", "--node", "./node"]));
    let ran = bench.run(&["push", "--json", "source", "--node", "word"]);
    assert_eq!(ran.code, USAGE);
    let lines = json_lines(&ran);
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["error"]["kind"]),
        (&"usage".into(), &"target".into())
    );
    assert!(ran.stderr.starts_with("error: 'word' is not a target"), "{}", ran.stderr);
}

#[test]
fn colour_is_for_terminals_and_no_color_is_obeyed() {
    let bench = Bench::with_source();
    let run = |arguments: &[&str], no_color: &str| {
        let mut command = bench.command(arguments);
        Ran::of(command.env("NO_COLOR", no_color).output().expect("the program starts"))
    };
    let push = ["push", "source", "--node", "word"];
    assert!(!run(&push, "").stderr.contains('\u{1b}'), "a pipe is no terminal");
    let always = [&push[..], &["--color", "always"]].concat();
    assert!(run(&always, "").stderr.contains('\u{1b}'));
    assert!(run(&always, "1").stderr.contains('\u{1b}'), "the flag stands over the environment");
    let never = [&push[..], &["--color", "never"]].concat();
    assert!(!run(&never, "").stderr.contains('\u{1b}'));
}

#[test]
fn fault_011_an_argument_cannot_move_the_terminal() {
    let bench = Bench::with_source();
    let ran = bench.run(&["push", "source", "--node", "\u{1b}[31m\u{202e}:/x"]);
    ran.assert_usage(&["\\u{1b}[31m\\u{202e}"]);
    assert!(!ran.stderr.contains(['\u{1b}', '\u{202e}']));
}

#[test]
fn fault_075_a_closed_pipe_is_no_error_and_a_full_disk_is() {
    let bench = Bench::with_source();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = bench.command(&["completions", "bash"]).stdout(writer).status().expect("starts");
    assert_eq!(status.code(), Some(0));

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = bench
        .command(&["completions", "bash"])
        .stdout(Stdio::from(full))
        .stderr(Stdio::piped())
        .output()
        .expect("starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("could not be written"));
}

#[test]
fn the_log_has_the_run_whole() {
    let bench = Bench::with_source();
    let ran =
        bench.run(&["push", "source", "--node", "./node", "--log-file", "log", "-m", "two\nlines"]);
    let log = std::fs::read_to_string(bench.at("log")).expect("a log");
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[0].contains("] start cluster=source-") && lines[0].ends_with("-m two\\nlines"),
        "{log}"
    );
    let end = lines.last().expect("an end");
    assert!(end.contains(&format!("] end exit={} outcome=", ran.code)), "{log}");
    bench.run(&["push", "source", "--node", "word", "--log-file", "log"]).assert_usage(&[]);
    let log = std::fs::read_to_string(bench.at("log")).expect("a log");
    assert!(log.contains("] error 'word' is not a target\n"), "{log}");
    assert!(log.trim_end().contains("] end exit=64 outcome=usage"), "{log}");
    let mode = rustix::fs::stat(bench.at("log")).expect("stat").st_mode;
    assert_eq!(mode & 0o777, 0o600);
}
