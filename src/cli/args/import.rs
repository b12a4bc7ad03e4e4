//! The arguments of `depsync import`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(in crate::cli) struct ImportArgs {
    /// A shell script, a crontab, or a file with a command line of rsync; - for standard input. It is read, never executed
    #[arg(value_name = "FILE", required_unless_present = "command", conflicts_with = "command")]
    pub(in crate::cli) file: Option<PathBuf>,
    /// A command line of rsync instead of a file
    #[arg(last = true, value_name = "COMMAND")]
    pub(in crate::cli) command: Vec<OsString>,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "depsync.toml")]
    pub(in crate::cli) config: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(in crate::cli) force: bool,
    /// Write the configuration to standard output and no file; what is said of the script goes to standard error
    #[arg(long)]
    pub(in crate::cli) print: bool,
    /// Results as JSON Lines on standard output
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
