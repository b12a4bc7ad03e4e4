//! The arguments as clap reads them. The comments are the text of `--help` and of the reference.
#![expect(
    clippy::doc_markdown,
    reason = "the comments are shown on terminals, where backticks are noise"
)]
#![expect(
    rustdoc::broken_intra_doc_links,
    reason = "square brackets are what usage texts put around what may be left out"
)]

mod advise;
mod import;
mod init;
mod recipe;
mod release;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::values;
use crate::hub::history::Revision;
use crate::hub::options::{CommitStyle, MaxDelete, Require};
use crate::model::manifest::OwnerPolicy;

pub(super) use advise::AdviseArgs;
pub(super) use import::ImportArgs;
pub(super) use init::InitArgs;
pub(super) use recipe::{RecipeArgs, RecipeKind, SharedArgs};
pub(super) use release::{ApplyArgs, ReleaseArgs};

const EXIT_CODES: &str = "\
Exit codes:
  0   every listed node is verified at the release (plan, verify, status: no difference; doctor: no finding)
  1   failed, no node changed
  2   differences found (plan, verify, status); findings (doctor)
  3   partial: some nodes are at the release, the others are named
  4   another run holds the lock
  5   a guard refused
  7   trust or login: host key, authentication
  8   integrity: journal, release, protocol
  64  usage or configuration
  130, 143  interrupted by SIGINT, by SIGTERM or SIGHUP";

/// Keeps the deployment directories of a cluster identical: staged, verified, committed atomically over plain SSH.
#[derive(Parser, Debug)]
#[command(name = "depsync", version, after_help = EXIT_CODES)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Make every node identical to SOURCE
    #[command(after_help = EXIT_CODES)]
    Push(PushArgs),
    /// Say what a push would change on each node; exit 2 if anything
    #[command(after_help = EXIT_CODES)]
    Plan(RunArgs),
    /// Compare every node with the release that was deployed last; exit 2 on drift
    #[command(after_help = EXIT_CODES)]
    Verify(VerifyArgs),
    /// Bring every node back to an earlier release, which stays pinned until push --unpin
    #[command(after_help = EXIT_CODES)]
    Rollback(RollbackArgs),
    /// Check this host and every node, and say what would fail and how to fix it; exit 2 on any finding
    #[command(after_help = EXIT_CODES)]
    Doctor(RunArgs),
    /// Say where every node stands: release, age, drift, room; exit 2 if one is not at the deployed release
    #[command(after_help = EXIT_CODES)]
    Status(StatusArgs),
    /// List past runs, the newest first; times are UTC
    History(HistoryArgs),
    /// Write a whole release into one file, for hosts that are brought to it by apply
    #[command(after_help = EXIT_CODES)]
    Release(ReleaseArgs),
    /// Make a directory of this host identical to a release file
    #[command(after_help = EXIT_CODES)]
    Apply(ApplyArgs),
    /// Write a depsync.toml with every key explained
    Init(InitArgs),
    /// Write a depsync.toml from the rsync script, crontab or command line that is in use, and say what was wrong with it
    Import(ImportArgs),
    /// Print ready files for this cluster: crontabs, systemd units, NFS exports and mounts
    Recipe(RecipeArgs),
    /// Say which approach fits this cluster, by how often its source changes, and how to set it up
    Advise(AdviseArgs),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// What runs on a node; started by the hub over SSH
    #[command(hide = true)]
    Agent(AgentArgs),
    /// Documentation made from the program itself
    #[command(hide = true)]
    Generate {
        #[command(subcommand)]
        what: Generate,
    },
}

#[derive(Subcommand, Debug)]
pub(super) enum Generate {
    /// Write the manual pages into a directory
    Man {
        /// The directory, made if missing
        directory: PathBuf,
    },
    /// Print the reference of the command line in Markdown
    CliReference,
}

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub(super) run: RunArgs,
    /// Read every byte on the nodes again, instead of trusting what was remembered of unchanged files
    #[arg(long, env = "DEPSYNC_DEEP", value_parser = BoolishValueParser::new())]
    pub(super) deep: bool,
    /// Bytes a second that each node reads at most, such as 20M [default with --deep: 100M]
    #[arg(long, value_name = "RATE", env = "DEPSYNC_READ_RATE", value_parser = values::rate)]
    pub(super) read_rate: Option<u64>,
    /// Undo the drift: what nodes have or kept is used first, then the source
    #[arg(long, env = "DEPSYNC_REPAIR", value_parser = BoolishValueParser::new())]
    pub(super) repair: bool,
}

#[derive(Args, Debug)]
pub(super) struct RollbackArgs {
    /// Which release: the beginning of its id, @{2} for two releases ago, '@{2 days ago}' for what was live then [default: @{1}]
    #[arg(value_name = "RELEASE", value_parser = values::revision)]
    pub(super) release: Option<Revision>,
    /// Change nothing; say what the rollback would change
    #[arg(short = 'n', long, env = "DEPSYNC_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) run: OptionArgs,
}

#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Ask no node; say what the history knows
    #[arg(long, env = "DEPSYNC_OFFLINE", value_parser = BoolishValueParser::new())]
    pub(super) offline: bool,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Args, Debug)]
pub(super) struct HistoryArgs {
    /// So many runs [default: 20]
    // The variable is not that of the other --limit, which names nodes.
    #[arg(long, value_name = "N", env = "DEPSYNC_HISTORY_LIMIT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: Option<u32>,
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(subcommand)]
    pub(super) what: Option<HistoryCommand>,
}

#[derive(Subcommand, Debug)]
pub(super) enum HistoryCommand {
    /// Show one run whole: its phases, its nodes, and the paths that its release changed
    Show {
        /// Its number; or the release it made live, as rollback takes it: the beginning of the id, or @{2}
        #[arg(value_name = "RUN")]
        run: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct AgentArgs {
    /// Work in this directory alone, and below it; may be given several times
    #[arg(long, value_name = "DIR")]
    pub(super) restrict: Vec<PathBuf>,
    /// End what a crash interrupted at this target, and end; for the node's boot; may be given several times
    #[arg(long, value_name = "DIR", conflicts_with = "verify")]
    pub(super) recover: Vec<PathBuf>,
    /// Where the targets of --recover have their state, if not beside them: the [storage] state_dir of the hub
    #[arg(long, value_name = "DIR", requires = "recover")]
    pub(super) state_dir: Option<PathBuf>,
    /// Check that this program has the given digest, and end
    #[arg(long, value_name = "HEX")]
    pub(super) verify: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct PushArgs {
    /// Change nothing; the same as plan
    #[arg(short = 'n', long, env = "DEPSYNC_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub(super) dry_run: bool,
    /// Replace a release that a rollback has pinned
    #[arg(long, env = "DEPSYNC_UNPIN", value_parser = BoolishValueParser::new())]
    pub(super) unpin: bool,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// What push and plan share.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The directory whose contents become the contents of every target; a trailing slash changes nothing
    #[arg(value_name = "SOURCE")]
    pub(super) source_argument: Option<PathBuf>,
    #[command(flatten)]
    pub(super) options: OptionArgs,
}

/// What all runs share.
#[derive(Args, Debug)]
pub(super) struct OptionArgs {
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    #[command(flatten)]
    pub(super) link: LinkArgs,
    #[command(flatten)]
    pub(super) content: ContentArgs,
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) guard: GuardArgs,
    #[command(flatten)]
    pub(super) rollout: RolloutArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    /// Only the listed nodes whose host, target or label matches; * and ? are wildcards, commas separate; repeatable
    #[arg(short, long, value_name = "PATTERN", env = "DEPSYNC_LIMIT")]
    pub(super) limit: Vec<String>,
    /// Words for the history
    #[arg(short, long, value_name = "TEXT", env = "DEPSYNC_MESSAGE")]
    pub(super) message: Option<String>,
}

/// Which cluster it is.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
pub(super) struct PlaceArgs {
    /// The configuration; depsync.toml in the working directory if there is one
    #[arg(short, long, value_name = "FILE", env = "DEPSYNC_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// The same as SOURCE
    #[arg(long, value_name = "DIR", env = "DEPSYNC_SOURCE")]
    pub(super) source: Option<PathBuf>,
    /// A file with one target a line; '#' starts a comment
    #[arg(long, value_name = "FILE", env = "DEPSYNC_NODES")]
    pub(super) nodes: Option<PathBuf>,
    /// A target: [user@]host:dir, ssh://[user@]host[:port]/dir, or a local /dir, ./dir, file:///dir; repeatable
    #[arg(long, value_name = "TARGET", env = "DEPSYNC_NODE", value_delimiter = '\n')]
    pub(super) node: Vec<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "SSH")]
pub(super) struct LinkArgs {
    /// A private key to offer instead of ssh's own choice; repeatable
    #[arg(short, long, value_name = "KEY", env = "DEPSYNC_IDENTITY", value_delimiter = '\n')]
    pub(super) identity: Vec<PathBuf>,
    /// The file of known host keys that alone counts, instead of ssh's own files
    #[arg(long, value_name = "FILE", env = "DEPSYNC_KNOWN_HOSTS")]
    pub(super) known_hosts: Option<PathBuf>,
    /// A further -o option for ssh, such as ProxyJump=bastion; repeatable
    #[arg(long, value_name = "OPT", env = "DEPSYNC_SSH_OPTION", value_delimiter = '\n', value_parser = values::ssh_option)]
    pub(super) ssh_option: Vec<String>,
    /// Keep connections open so long for the next run; 0: a new connection each run [default: 10m]
    #[arg(long, value_name = "DURATION", env = "DEPSYNC_SSH_REUSE", value_parser = values::duration)]
    pub(super) ssh_reuse: Option<Duration>,
    /// Learn the keys of unknown hosts; a changed key still stops the run
    #[arg(long, env = "DEPSYNC_ACCEPT_NEW_HOST_KEYS", value_parser = BoolishValueParser::new())]
    pub(super) accept_new_host_keys: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Content")]
pub(super) struct ContentArgs {
    /// Leave out what matches, in gitignore's syntax, on the source and on nodes; repeatable
    #[arg(long, value_name = "PATTERN", env = "DEPSYNC_EXCLUDE", value_delimiter = '\n', value_parser = values::pattern)]
    pub(super) exclude: Vec<String>,
    /// A file of such patterns, one a line; repeatable
    #[arg(long, value_name = "FILE", env = "DEPSYNC_EXCLUDE_FROM", value_delimiter = '\n')]
    pub(super) exclude_from: Vec<PathBuf>,
    /// Keep extended attributes
    #[arg(long, value_name = "BOOL", env = "DEPSYNC_XATTRS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(super) xattrs: Option<bool>,
    /// Keep POSIX access control lists
    #[arg(long, value_name = "BOOL", env = "DEPSYNC_ACLS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(super) acls: Option<bool>,
    /// Keep which names are one file
    #[arg(long, value_name = "BOOL", env = "DEPSYNC_HARD_LINKS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(super) hard_links: Option<bool>,
    /// Whom entries belong to on nodes: numeric (ids as in the source, for an agent that runs as root), agent (its own user), or USER[:GROUP] [default: numeric]
    #[arg(long, value_name = "POLICY", env = "DEPSYNC_OWNER", value_parser = values::owner)]
    pub(super) owner: Option<OwnerPolicy>,
    /// Refuse symbolic links that are absolute or lead out of the tree
    #[arg(long, value_name = "BOOL", env = "DEPSYNC_SAFE_LINKS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(super) safe_links: Option<bool>,
    /// Leave FIFOs, sockets and devices out instead of refusing them
    #[arg(long, value_name = "BOOL", env = "DEPSYNC_SKIP_SPECIALS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(super) skip_specials: Option<bool>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Target")]
pub(super) struct TargetArgs {
    /// Create missing parents of the target
    #[arg(long, env = "DEPSYNC_MKPATH", value_parser = BoolishValueParser::new())]
    pub(super) mkpath: bool,
    /// Keep what nodes have and the source has not
    #[arg(long, env = "DEPSYNC_NO_DELETE", value_parser = BoolishValueParser::new())]
    pub(super) no_delete: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Guards")]
pub(super) struct GuardArgs {
    /// Refuse if more files and links would go from a node; ten or fewer always pass a share [default: 50%]
    #[arg(long, value_name = "N|P%", env = "DEPSYNC_MAX_DELETE", value_parser = values::max_delete)]
    pub(super) max_delete: Option<MaxDelete>,
    /// The source is meant to be empty
    #[arg(long, value_name = "BOOL", env = "DEPSYNC_ALLOW_EMPTY", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(super) allow_empty: Option<bool>,
    /// The source is meant to lie on another file system than at the last release
    #[arg(long, env = "DEPSYNC_ACCEPT_SOURCE_CHANGE", value_parser = BoolishValueParser::new())]
    pub(super) accept_source_change: bool,
    /// Read every file again, here and on the nodes, instead of trusting what was remembered of unchanged ones, and push what a server has rejected once more
    #[arg(long, env = "DEPSYNC_FORCE", value_parser = BoolishValueParser::new())]
    pub(super) force: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Rollout")]
pub(super) struct RolloutArgs {
    /// Which nodes must be prepared before any changes: reachable, all, N or P% [default: reachable]
    #[arg(long, value_name = "R", env = "DEPSYNC_REQUIRE", value_parser = values::require)]
    pub(super) require: Option<Require>,
    /// How a release becomes live: in-place, what changes name by name, or swap, the whole tree at once [default: in-place]
    #[arg(long, value_name = "STYLE", env = "DEPSYNC_COMMIT", value_parser = values::commit_style)]
    pub(super) commit: Option<CommitStyle>,
    /// Nodes worked on at once [default: 64]
    #[arg(short = 'j', long, value_name = "N", env = "DEPSYNC_PARALLEL", value_parser = values::parallel)]
    pub(super) parallel: Option<usize>,
    /// Bytes a second to all nodes together, such as 512K or 10M
    #[arg(long, value_name = "RATE", env = "DEPSYNC_BWLIMIT", value_parser = values::rate)]
    pub(super) bwlimit: Option<u64>,
    /// The longest until a node's agent answers [default: 10s]
    #[arg(long, value_name = "DURATION", env = "DEPSYNC_CONNECT_TIMEOUT", value_parser = values::time_limit)]
    pub(super) connect_timeout: Option<Duration>,
    /// The longest a node may be silent [default: 60s]
    #[arg(long, value_name = "DURATION", env = "DEPSYNC_TIMEOUT", value_parser = values::time_limit)]
    pub(super) timeout: Option<Duration>,
    /// The longest the whole run may take [default: 1h]
    #[arg(long, value_name = "DURATION", env = "DEPSYNC_DEADLINE", value_parser = values::time_limit)]
    pub(super) deadline: Option<Duration>,
    /// How long to wait for another run; 0: exit 4 at once [default: 0]
    #[arg(long, value_name = "DURATION", env = "DEPSYNC_LOCK_TIMEOUT", value_parser = values::duration)]
    pub(super) lock_timeout: Option<Duration>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct OutputArgs {
    /// List every path that changes
    #[arg(short, long, env = "DEPSYNC_VERBOSE", value_parser = BoolishValueParser::new())]
    pub(super) verbose: bool,
    /// Say nothing but errors
    #[arg(short, long, env = "DEPSYNC_QUIET", value_parser = BoolishValueParser::new(), conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Results as JSON Lines on standard output
    #[arg(long, env = "DEPSYNC_JSON", value_parser = BoolishValueParser::new())]
    pub(super) json: bool,
    /// Append each run to this file, which is rotated at 10 MiB and kept five times
    #[arg(long, value_name = "FILE", env = "DEPSYNC_LOG_FILE")]
    pub(super) log_file: Option<PathBuf>,
    /// When to colour; NO_COLOR is obeyed
    #[arg(long, value_name = "WHEN", env = "DEPSYNC_COLOR", default_value = "auto")]
    pub(super) color: ColorWhen,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColorWhen {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The command with all that derive cannot say: values of the environment are never shown, since a help text is shared.
pub(super) fn command() -> clap::Command {
    fn hide_values(command: clap::Command) -> clap::Command {
        command.mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(hide_values)
    }
    // What tells the cluster, and how it is shown, may stand before `show` and behind it.
    let is_shared = |argument: &clap::Arg| argument.get_id() != "limit";
    let share = |argument: clap::Arg| {
        let is_shared = is_shared(&argument);
        argument.global(is_shared)
    };
    let command = <Cli as clap::CommandFactory>::command();
    hide_values(command.mut_subcommand("history", |history| history.mut_args(share)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        super::command().debug_assert();
    }

    #[test]
    fn every_option_of_a_run_has_its_variable() {
        let command = super::command();
        for name in [
            "push", "plan", "verify", "rollback", "doctor", "status", "history", "release",
            "apply", "advise",
        ] {
            let subcommand = command.find_subcommand(name).expect(name);
            for argument in
                subcommand.get_arguments().filter(|argument| argument.get_long().is_some())
            {
                let long = argument.get_long().expect("a long name");
                if long == "help" {
                    continue;
                }
                let variable = match (name, long) {
                    ("history", "limit") => "DEPSYNC_HISTORY_LIMIT".to_owned(),
                    _ => format!("DEPSYNC_{}", long.to_uppercase().replace('-', "_")),
                };
                assert_eq!(
                    argument.get_env().and_then(|name| name.to_str()),
                    Some(variable.as_str())
                );
            }
        }
    }
}
