//! The arguments of `release` and `apply`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::{ContentArgs, OutputArgs, TargetArgs};
use crate::config::values;
use crate::hub::options::{CommitStyle, MaxDelete};

#[derive(Args, Debug)]
pub(in crate::cli) struct ReleaseArgs {
    /// The file to write, such as shop.depsync; a release file that is there is replaced whole
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// The directory whose contents are the release; the configuration's if not given
    #[arg(value_name = "SOURCE")]
    pub(in crate::cli) source_argument: Option<PathBuf>,
    /// The configuration; depsync.toml in the working directory if there is one
    #[arg(short, long, value_name = "FILE", env = "DEPSYNC_CONFIG")]
    pub(in crate::cli) config: Option<PathBuf>,
    /// Replace whatever file is there
    #[arg(long, env = "DEPSYNC_FORCE", value_parser = BoolishValueParser::new())]
    pub(in crate::cli) force: bool,
    /// The source is meant to be empty
    #[arg(long, env = "DEPSYNC_ALLOW_EMPTY", value_parser = BoolishValueParser::new())]
    pub(in crate::cli) allow_empty: bool,
    /// The longest it may take [default: 1h]
    #[arg(long, value_name = "DURATION", env = "DEPSYNC_DEADLINE", value_parser = values::time_limit)]
    pub(in crate::cli) deadline: Option<Duration>,
    #[command(flatten)]
    pub(in crate::cli) content: ContentArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(in crate::cli) struct ApplyArgs {
    /// The release file
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// The directory of this host that is to be as the release
    #[arg(short, long, value_name = "DIR", env = "DEPSYNC_TARGET")]
    pub(in crate::cli) target: PathBuf,
    /// Change nothing; say what would change
    #[arg(short = 'n', long, visible_alias = "dry-run", env = "DEPSYNC_CHECK", value_parser = BoolishValueParser::new())]
    pub(in crate::cli) check: bool,
    /// List every path that changes, the same as -v
    #[arg(long, env = "DEPSYNC_DIFF", value_parser = BoolishValueParser::new())]
    pub(in crate::cli) diff: bool,
    /// Exit 2 if something changed, or would with --check; 0 only if nothing did
    #[arg(long, env = "DEPSYNC_DETAILED_EXITCODE", value_parser = BoolishValueParser::new())]
    pub(in crate::cli) detailed_exitcode: bool,
    /// Words for the history
    #[arg(short, long, value_name = "TEXT", env = "DEPSYNC_MESSAGE")]
    pub(in crate::cli) message: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) place: TargetArgs,
    /// Refuse if more files and links would go; ten or fewer always pass a share [default: 50%]
    #[arg(long, value_name = "N|P%", env = "DEPSYNC_MAX_DELETE", value_parser = values::max_delete)]
    pub(in crate::cli) max_delete: Option<MaxDelete>,
    /// Read every file of the directory again, and bring back what a server has rejected
    #[arg(long, env = "DEPSYNC_FORCE", value_parser = BoolishValueParser::new())]
    pub(in crate::cli) force: bool,
    /// How the release becomes live: in-place, what changes name by name, or swap, the whole tree at once [default: in-place]
    #[arg(long, value_name = "STYLE", env = "DEPSYNC_COMMIT", value_parser = values::commit_style)]
    pub(in crate::cli) commit: Option<CommitStyle>,
    /// Where depsync's state of the directory is kept, if not beside it; on the same file system
    #[arg(long, value_name = "DIR", env = "DEPSYNC_STATE_DIR", value_parser = values::remote_directory)]
    pub(in crate::cli) state_dir: Option<String>,
    /// The longest it may take [default: 1h]
    #[arg(long, value_name = "DURATION", env = "DEPSYNC_DEADLINE", value_parser = values::time_limit)]
    pub(in crate::cli) deadline: Option<Duration>,
    /// How long to wait for another run; 0: exit 4 at once [default: 0]
    #[arg(long, value_name = "DURATION", env = "DEPSYNC_LOCK_TIMEOUT", value_parser = values::duration)]
    pub(in crate::cli) lock_timeout: Option<Duration>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}
