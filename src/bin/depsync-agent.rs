//! The program that the hub uploads to nodes. All of it is in the library, for the tests to reach.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    depsync::agent::main(&arguments)
}
