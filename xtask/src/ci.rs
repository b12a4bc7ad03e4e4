//! All that a change must pass, in the order in which failures are cheapest to learn.

use crate::failure::{Failure, Result};
use crate::{man, policy, program, test_run, tidy, workspace};
use std::time::{Duration, Instant};

type Step = (&'static str, fn() -> Result);

/// The simulation and the lies of peers are among the tests.
const STEPS: [Step; 13] = [
    ("fmt", || cargo(&["fmt", "--all", "--check"])),
    ("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
    ("doc", documentation),
    ("policy", policy::run),
    ("tidy", || tidy::run(false)),
    ("test", || test_run::run(&[], true)),
    ("man", || man::run(true)),
    ("kill", || cargo(&["xtask", "crash", "kill"])),
    ("errors", || cargo(&["xtask", "crash", "errors"])),
    ("power", || cargo(&["xtask", "crash", "power"])),
    ("disks", || cargo(&["xtask", "crash", "disks"])),
    ("races", || cargo(&["xtask", "races"])),
    ("sabotage", || cargo(&["xtask", "sabotage"])),
];

/// Runs all steps and prints the time each took; stops at the first that fails.
///
/// # Errors
/// A step failed; the message names it.
pub(crate) fn run() -> Result {
    let mut rows: Vec<(&str, &str, Duration)> = Vec::new();
    let mut failed = None;
    for (name, step) in STEPS {
        println!("==> {name}");
        let start = Instant::now();
        let outcome = step();
        let took = start.elapsed();
        rows.push((name, if outcome.is_ok() { "ok" } else { "FAILED" }, took));
        println!("==> {name}: {:.1} s", took.as_secs_f64());
        if let Err(failure) = outcome {
            failed = Some(Failure::new(format!("step {name} failed: {failure}")));
            break;
        }
    }
    println!();
    for (name, state, took) in &rows {
        println!("{name:<8} {state:<7} {:>7.1} s", took.as_secs_f64());
    }
    for (name, _) in STEPS.iter().skip(rows.len()) {
        println!("{name:<8} not run");
    }
    failed.map_or(Ok(()), Err)
}

fn cargo(arguments: &[&str]) -> Result {
    let cargo = workspace::cargo();
    program::run(&[&[cargo.as_str()], arguments].concat())
}

fn documentation() -> Result {
    let cargo = workspace::cargo();
    let doc = ["doc", "--no-deps", "--workspace", "--document-private-items"];
    program::run(&[&["env", "RUSTDOCFLAGS=-D warnings", cargo.as_str()], &doc[..]].concat())
}
