//! The crontab's commands, taken as cron takes them and run by the shell that it runs.

use std::process::Command;

use crate::cli_bench::Bench;
use crate::recipe_files::{ODD, toml};
use crate::ssh_server::script;

/// What cron makes of a command: up to an unescaped `%`, with `\%` as `%` (crontab(5), and `do_command.c` of Debian's cron).
fn taken_by_cron(command: &str) -> String {
    let mut done = String::new();
    let mut characters = command.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('%', _) => break,
            ('\\', Some('%')) => done.extend(characters.next()),
            _ => done.push(character),
        }
    }
    done
}

/// The commands of a crontab's entries, which have `fields` fields before them.
fn commands(crontab: &str, fields: usize) -> Vec<String> {
    let is_entry =
        |line: &&str| line.starts_with(|first: char| first == '*' || first.is_ascii_digit());
    let command =
        |line: &str| line.splitn(fields + 1, ' ').nth(fields).expect("a command").to_owned();
    crontab.lines().filter(is_entry).map(command).collect()
}

/// A bench whose cluster has the oddest names in every place, and a program of such a name that tells its arguments.
fn odd() -> (Bench, String) {
    let bench = Bench::with_source();
    let directory = bench.at(ODD);
    std::fs::create_dir(&directory).expect("mkdir");
    std::fs::rename(bench.at("source"), directory.join("source")).expect("renamed");
    let node = toml(&directory.join("node").display().to_string());
    let text = format!(
        "[cluster]\nname = \"odd\"\nsource = \"source\"\n[[node]]\ntarget = {node}\n[run]\nlog_file = {}\n",
        toml(&directory.join("log").display().to_string())
    );
    bench.write(&format!("{ODD}/depsync.toml"), text.as_bytes());
    let teller = directory.join("teller");
    script(&teller, "#!/bin/sh\nprintf '%s\\n' \"$XDG_STATE_HOME\" \"$@\" >>\"$0.told\"\n");
    (bench, teller.display().to_string())
}

fn recipe(bench: &Bench, arguments: &[&str]) -> String {
    let config = format!("{ODD}/depsync.toml");
    let mut command = bench.command(&[&["recipe", "cron", "-c", &config], arguments].concat());
    let output =
        command.env("XDG_STATE_HOME", bench.at(ODD).join("state")).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn shell(command: &str) -> i32 {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", &taken_by_cron(command)])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/");
    shell.status().expect("sh").code().expect("not killed")
}

#[test]
fn every_name_reaches_the_program_through_cron_and_the_shell() {
    let (bench, teller) = odd();
    let state = bench.at(ODD).join("state").display().to_string();
    let config = bench.at(ODD).join("depsync.toml").display().to_string();
    for (arguments, fields, entries) in
        [(&[][..], 5, 2), (&["--system", "--mail-to", "a@b"], 6, 2), (&["--every", "2h"], 5, 1)]
    {
        let crontab = recipe(&bench, &[&["--program", &teller], arguments].concat());
        let commands = commands(&crontab, fields);
        assert_eq!(commands.len(), entries, "{crontab}");
        for (command, wait) in commands.iter().rev().zip(["10m", "0"]) {
            assert_eq!(shell(command), 0, "{command}");
            let told = std::fs::read_to_string(format!("{teller}.told")).expect("told");
            let expected = [&state, "push", "-q", "-c", &config, "--lock-timeout", wait];
            assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{command}");
            std::fs::remove_file(format!("{teller}.told")).expect("removed");
        }
    }
}

#[test]
fn the_commands_push_and_tell_the_log_alone() {
    let (bench, _) = odd();
    std::fs::create_dir(bench.at(ODD).join("node")).expect("mkdir");
    let crontab = recipe(&bench, &[]);
    for command in commands(&crontab, 5) {
        assert_eq!(shell(&command), 0, "{command}");
    }
    let content = std::fs::read(bench.at(ODD).join("node/file")).expect("pushed");
    assert_eq!(content, b"content");
    assert!(
        bench.at(ODD).join("state/depsync/odd/lock").exists(),
        "the state that runs by hand have"
    );
    let log = std::fs::read_to_string(bench.at(ODD).join("log")).expect("a log");
    assert_eq!(log.matches(" end ").count(), 2, "{log}");
    assert!(!crontab.contains("--log-file"), "the configuration names one");
}

#[test]
fn an_unnamed_log_is_in_the_state_directory() {
    let bench = Bench::with_source();
    bench.write(
        "depsync.toml",
        b"[cluster]\nname = \"a.b\"\nsource = \"source\"\n[[node]]\ntarget = \"./node\"\n",
    );
    let ran = bench.run(&["recipe", "cron", "--system", "-o", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let file = bench.at("out/hub/depsync-a_b");
    let text = std::fs::read_to_string(file).expect("cron passes over a name with a dot");
    let log = bench.at(".local/state/depsync/a.b/depsync.log");
    assert!(text.contains(&format!(" --log-file {} --lock-timeout", log.display())), "{text}");
    assert!(text.contains("\nSHELL=/bin/sh\n") && text.contains("\nMAILTO=\"root\"\n"), "{text}");
}
