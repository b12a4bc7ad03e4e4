//! A real cron runs the crontab of `depsync recipe cron`; one run takes longer than a minute.

use std::io::Read as _;
use std::time::Duration;

use super::{Apart, depsync, ground, require, write};
use crate::failure::{self, Failure, Result};
use crate::program;

/// What is pushed first, and at how many bytes a second: a run of eighty seconds.
const BYTES: u64 = 500_000;
const RATE: &str = "6K";
/// Pushes that end before it is over.
const RUNS: usize = 4;
/// The longest that all may take.
const PATIENCE: Duration = Duration::from_mins(7);

/// Runs it and tells what it came to.
///
/// # Errors
/// A target differs from the source, no run met another, one ended otherwise, or cron sent mail.
pub(super) fn run() -> Result<String> {
    require(&[("cron", "cron"), ("crontab", "cron"), ("unshare", "util-linux")])?;
    let ground = ground("cron")?;
    let at = |name: &str| ground.join(name);
    // What does not compress is what takes its time.
    let mut bytes = Vec::new();
    let random = std::path::Path::new("/dev/urandom");
    let read =
        std::fs::File::open(random).and_then(|file| file.take(BYTES).read_to_end(&mut bytes));
    read.map_err(failure::at("read", random))?;
    write(&at("source/big"), &bytes)?;
    for target in ["a", "b"] {
        write(&at(target).join("old"), "goes")?;
    }
    let configuration = format!(
        "[cluster]\nname = \"cron\"\nsource = \"source\"\n[[node]]\ntarget = \"./a\"\n[[node]]\ntarget = \"./b\"\n\
         [run]\nbwlimit = \"{RATE}\"\nlog_file = \"log\"\n"
    );
    write(&at("depsync.toml"), configuration)?;
    let state = format!("XDG_STATE_HOME={}", at("state").display());
    let (depsync, config) =
        (depsync().display().to_string(), at("depsync.toml").display().to_string());
    let recipe = program::output(&["env", &state, &depsync, "recipe", "cron", "-c", &config])?;
    write(&at("crontab"), recipe)?;

    let ended = |log: &str| -> Vec<String> {
        let code =
            |line: &str| Some(line.split_once(" end exit=")?.1.split(' ').next()?.to_owned());
        log.lines().filter_map(code).collect()
    };
    let log = || std::fs::read_to_string(at("log")).unwrap_or_default();
    let namespaces = ["--mount", "--pid", "--fork", "--mount-proc"];
    let mut cron = Apart::start(&namespaces, include_str!("cron.sh"), &[&ground])?;
    let is_reached = cron.wait(PATIENCE, || ended(&log()).len() >= RUNS);
    drop(cron);
    let codes = ended(&log());
    let count = |wanted: &str| codes.iter().filter(|code| *code == wanted).count();
    let (done, busy) = (count("0"), count("4"));
    if !is_reached || busy == 0 || done < 2 || done + busy != codes.len() {
        return Err(Failure::new(format!(
            "the runs ended with {}; {}",
            codes.join(" "),
            at("log").display()
        )));
    }
    for target in ["a", "b"] {
        program::quiet(&[
            "diff",
            "-r",
            &at("source").display().to_string(),
            &at(target).display().to_string(),
        ])?;
    }
    let mails = std::fs::read_dir(at("mail")).map_or(0, Iterator::count);
    if mails > 0 {
        return Err(Failure::new(format!("cron sent {mails} mails: {}", at("mail").display())));
    }
    Ok(format!(
        "{} runs, {done} done, {busy} met another (exit 4), all targets identical, no mail",
        codes.len()
    ))
}
