//! rsync's options, each with what depsync has for it. `docs/import.md` shows this table; a test compares them.

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// depsync does it anyway, or it changes nothing of the result.
    Anyway,
    /// There is no equal.
    Lost,
    // The others are keys of the configuration, or options of a run.
    Acls,
    Archive,
    Bwlimit,
    Chown,
    ConnectTimeout,
    Delete,
    DeleteExcluded,
    Devices,
    DevicesAndSpecials,
    DryRun,
    Exclude,
    ExcludeFrom,
    Filter,
    Group,
    HardLinks,
    Include,
    Ipv4,
    Ipv6,
    LogFile,
    MaxDelete,
    Mkpath,
    Owner,
    Relative,
    Rsh,
    RsyncPath,
    SafeLinks,
    SkipSpecials,
    Specials,
    StopAfter,
    Timeout,
    Xattrs,
}

/// An option of rsync.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// Its long name, without hyphens; empty if it has none.
    pub(super) long: &'static str,
    /// Its letter.
    pub(super) short: Option<char>,
    /// It has a value.
    pub(super) takes: bool,
    pub(super) act: Act,
    /// What depsync does, or why there is no equal.
    pub(super) says: &'static str,
}

impl Entry {
    /// The option as it is written.
    pub(super) fn name(&self) -> String {
        match (self.long, self.short) {
            ("", Some(short)) => format!("-{short}"),
            (long, _) => format!("--{long}"),
        }
    }
}

impl Act {
    /// What there is for it, as the documentation says it.
    #[cfg(test)]
    fn equal(self) -> &'static str {
        match self {
            Self::Anyway | Self::Delete | Self::Archive => "done anyway",
            Self::Lost | Self::DeleteExcluded => "no equal",
            Self::Acls => "`[source] acls`",
            Self::Bwlimit => "`[run] bwlimit`",
            Self::Chown | Self::Owner | Self::Group => "`[source] owner`",
            Self::ConnectTimeout => "`[run] connect_timeout`",
            Self::Devices | Self::DevicesAndSpecials | Self::SkipSpecials | Self::Specials => {
                "`[source] skip_specials`"
            }
            Self::DryRun => "`depsync plan`",
            Self::Exclude | Self::Include => "`[source] exclude`",
            Self::ExcludeFrom => "`[source] exclude_from`",
            Self::Filter => "`[source] exclude`, `[guard] protect`",
            Self::HardLinks => "`[source] hard_links`",
            Self::Ipv4 | Self::Ipv6 => "`[ssh] options`",
            Self::LogFile => "`[run] log_file`",
            Self::MaxDelete => "`[guard] max_delete`",
            Self::Mkpath => "`push --mkpath`",
            Self::Relative => "the targets, or `[cluster] trees`",
            Self::Rsh => "`[ssh]`",
            Self::RsyncPath => "`[ssh] sudo_user`",
            Self::SafeLinks => "`[source] safe_links`",
            Self::StopAfter => "`[run] deadline`",
            Self::Timeout => "`[run] timeout`",
            Self::Xattrs => "`[source] xattrs`",
        }
    }
}

const fn row(
    long: &'static str,
    short: Option<char>,
    takes: bool,
    act: Act,
    says: &'static str,
) -> Entry {
    Entry { long, short, takes, act, says }
}

/// The entry with the long name `name`.
pub(super) fn long(name: &str) -> Option<&'static Entry> {
    OPTIONS.iter().find(|entry| !entry.long.is_empty() && entry.long == name)
}

/// The entry with the letter `letter`.
pub(super) fn short(letter: char) -> Option<&'static Entry> {
    OPTIONS.iter().find(|entry| entry.short == Some(letter))
}

/// Every option of rsync up to 3.5, in the order of its manual.
#[rustfmt::skip]
pub(super) const OPTIONS: &[Entry] = &[
    row("verbose", Some('v'), false, Act::Anyway, "-v lists every path that changes"),
    row("info", None, true, Act::Anyway, "what a run says is said anyway"),
    row("debug", None, true, Act::Anyway, "what a run says is said anyway"),
    row("stderr", None, true, Act::Anyway, "results go to stdout, everything else to stderr"),
    row("quiet", Some('q'), false, Act::Anyway, "-q says nothing but errors"),
    row("no-motd", None, false, Act::Anyway, "there is no daemon and no greeting"),
    row("checksum", Some('c'), false, Act::Anyway, "contents are compared by BLAKE3; --force reads every file again, verify --deep does so on the nodes"),
    row("archive", Some('a'), false, Act::Archive, "directories, links, modes, times and owners are kept always"),
    row("recursive", Some('r'), false, Act::Anyway, "the tree is carried whole"),
    row("inc-recursive", None, false, Act::Anyway, "an unchanged tree is known by its index"),
    row("i-r", None, false, Act::Anyway, "an unchanged tree is known by its index"),
    row("relative", Some('R'), false, Act::Relative, "the target, or the trees, become what rsync made of the path"),
    row("no-implied-dirs", None, false, Act::Anyway, "nothing above a tree is touched"),
    row("backup", Some('b'), false, Act::Anyway, "what a commit replaces is kept beside the target; rollback brings it back"),
    row("backup-dir", None, true, Act::Anyway, "what a commit replaces is kept beside the target; rollback brings it back"),
    row("suffix", None, true, Act::Anyway, "what a commit replaces is kept beside the target under its own name"),
    row("update", Some('u'), false, Act::Lost, "nodes become what the source is: a newer file on a node is drift, and is replaced"),
    row("inplace", None, false, Act::Anyway, "files are staged, verified and renamed in; a server never sees a half of one"),
    row("append", None, false, Act::Anyway, "what a node has of a file is not sent again"),
    row("append-verify", None, false, Act::Anyway, "what a node has of a file is not sent again"),
    row("dirs", Some('d'), false, Act::Lost, "the tree is carried whole; name what is left out by [source] exclude"),
    row("old-dirs", None, false, Act::Lost, "the tree is carried whole; name what is left out by [source] exclude"),
    row("old-d", None, false, Act::Lost, "the tree is carried whole; name what is left out by [source] exclude"),
    row("mkpath", None, false, Act::Mkpath, "call it with --mkpath, or DEPSYNC_MKPATH=true"),
    row("links", Some('l'), false, Act::Anyway, "symbolic links stay links"),
    row("copy-links", Some('L'), false, Act::Lost, "symbolic links stay links; only SOURCE itself may be one. Put the files in their place"),
    row("copy-unsafe-links", None, false, Act::Lost, "symbolic links stay links; [source] safe_links refuses those that lead out of the tree"),
    row("safe-links", None, false, Act::SafeLinks, "a link that leads out of the tree is refused and named, where rsync left it out"),
    row("insecure-links", None, false, Act::Lost, "no link of another user is followed on the way to what the operator names"),
    row("confine-root", None, true, Act::Anyway, "nothing outside the target is reached"),
    row("munge-links", None, false, Act::Lost, "links are carried as they are; [source] safe_links refuses those that lead out of the tree"),
    row("copy-dirlinks", Some('k'), false, Act::Lost, "symbolic links stay links. Put the directory in the link's place"),
    row("keep-dirlinks", Some('K'), false, Act::Lost, "a link on a node where the source has a directory is replaced; only the target itself may be one"),
    row("hard-links", Some('H'), false, Act::HardLinks, "names that are one file stay so"),
    row("perms", Some('p'), false, Act::Anyway, "modes are exact, whatever the umask"),
    row("executability", Some('E'), false, Act::Anyway, "modes are exact, whatever the umask"),
    row("chmod", None, true, Act::Lost, "modes are those of the source: change them there"),
    row("acls", Some('A'), false, Act::Acls, "POSIX access control lists are kept"),
    row("xattrs", Some('X'), false, Act::Xattrs, "extended attributes are kept"),
    row("owner", Some('o'), false, Act::Owner, "an agent that runs as root keeps owners, by number; another one owns what it writes"),
    row("group", Some('g'), false, Act::Group, "an agent that runs as root keeps groups, by number; another one owns what it writes"),
    row("devices", None, false, Act::Devices, "a device in the source stops the push unless [source] skip_specials leaves it out"),
    row("copy-devices", None, false, Act::Lost, "a device is no content"),
    row("write-devices", None, false, Act::Lost, "no device is written to"),
    row("specials", None, false, Act::Specials, "a FIFO or socket in the source stops the push unless [source] skip_specials leaves it out"),
    row("drop-D", None, false, Act::SkipSpecials, "FIFOs, sockets and devices are left out"),
    row("", Some('D'), false, Act::DevicesAndSpecials, "a FIFO, socket or device in the source stops the push unless [source] skip_specials leaves it out"),
    row("times", Some('t'), false, Act::Anyway, "times are kept to the nanosecond"),
    row("atimes", Some('U'), false, Act::Lost, "times of access are not kept"),
    row("open-noatime", None, false, Act::Lost, "reading the source may change its times of access; mount it with noatime"),
    row("crtimes", Some('N'), false, Act::Lost, "times of creation are not kept"),
    row("omit-dir-times", Some('O'), false, Act::Lost, "times of directories are kept too"),
    row("omit-link-times", Some('J'), false, Act::Lost, "times of links are kept too"),
    row("super", None, false, Act::Lost, "an agent does as root what root may; [ssh] sudo_user makes it root"),
    row("fake-super", None, false, Act::Lost, "owners are set, or are the agent's: [source] owner"),
    row("sparse", Some('S'), false, Act::Anyway, "holes stay holes"),
    row("preallocate", None, false, Act::Anyway, "the room is checked on every node before anything changes"),
    row("dry-run", Some('n'), false, Act::DryRun, "depsync plan says what a push would change"),
    row("whole-file", Some('W'), false, Act::Anyway, "what travels is the smaller of the file and its difference"),
    row("no-whole-file", None, false, Act::Anyway, "what travels is the smaller of the file and its difference"),
    row("checksum-choice", None, true, Act::Anyway, "the digest is BLAKE3"),
    row("cc", None, true, Act::Anyway, "the digest is BLAKE3"),
    row("one-file-system", Some('x'), false, Act::Anyway, "a file system that is mounted below the source stops the push, unless it is excluded"),
    row("block-size", Some('B'), true, Act::Anyway, "files are cut by their content"),
    row("rsh", Some('e'), true, Act::Rsh, "ssh's options become keys of [ssh]"),
    row("rsync-path", None, true, Act::RsyncPath, "sudo becomes [ssh] sudo_user; no rsync is needed on a node"),
    row("existing", None, false, Act::Lost, "nodes become what the source is, new files too"),
    row("ignore-non-existing", None, false, Act::Lost, "nodes become what the source is, new files too"),
    row("ignore-existing", None, false, Act::Lost, "nodes become what the source is, changed files too"),
    row("remove-source-files", None, false, Act::Lost, "depsync never writes to the source"),
    row("del", None, false, Act::Delete, "what the source does not have goes from the nodes, within [guard] max_delete"),
    row("delete", None, false, Act::Delete, "what the source does not have goes from the nodes, within [guard] max_delete"),
    row("delete-before", None, false, Act::Delete, "deletions become live in the same burst as everything else"),
    row("delete-during", None, false, Act::Delete, "deletions become live in the same burst as everything else"),
    row("delete-delay", None, false, Act::Delete, "deletions become live in the same burst as everything else"),
    row("delete-after", None, false, Act::Delete, "deletions become live in the same burst as everything else"),
    row("delete-excluded", None, false, Act::DeleteExcluded, "what is excluded stays on nodes as it is"),
    row("ignore-missing-args", None, false, Act::Lost, "a source that is not there stops the run"),
    row("delete-missing-args", None, false, Act::Lost, "a source that is not there stops the run"),
    row("ignore-errors", None, false, Act::Lost, "a file that cannot be read stops the run before any node changes"),
    row("force", None, false, Act::Anyway, "a directory that becomes a file is replaced with all below it; depsync's own --force is another thing"),
    row("max-delete", None, true, Act::MaxDelete, "more deletions on a node stop the run before anything changes, where rsync deleted so many and left the rest"),
    row("max-size", None, true, Act::Lost, "files are left out by name, not by size: [source] exclude"),
    row("min-size", None, true, Act::Lost, "files are left out by name, not by size: [source] exclude"),
    row("max-alloc", None, true, Act::Anyway, "memory is bounded"),
    row("partial", None, false, Act::Anyway, "what was staged of a broken run is found by its content and not sent again"),
    row("partial-dir", None, true, Act::Anyway, "what is not whole is never in the live tree"),
    row("delay-updates", None, false, Act::Anyway, "all that changes becomes live in one burst"),
    row("prune-empty-dirs", Some('m'), false, Act::Lost, "empty directories are carried too"),
    row("numeric-ids", None, false, Act::Anyway, "owners are numbers"),
    row("usermap", None, true, Act::Lost, "owners are the source's numbers, the agent's own, or one for all: [source] owner"),
    row("groupmap", None, true, Act::Lost, "groups are the source's numbers, the agent's own, or one for all: [source] owner"),
    row("chown", None, true, Act::Chown, "one user and group for all that nodes get"),
    row("timeout", None, true, Act::Timeout, "how long a node may be silent"),
    row("contimeout", None, true, Act::ConnectTimeout, "how long until a node's agent answers"),
    row("ignore-times", Some('I'), false, Act::Anyway, "contents are compared by BLAKE3; --force reads every file again"),
    row("size-only", None, false, Act::Anyway, "contents are compared, so what differs at the same size is found too"),
    row("modify-window", Some('@'), true, Act::Anyway, "contents are compared, times to the nanosecond"),
    row("temp-dir", Some('T'), true, Act::Anyway, "files are staged beside the target; [storage] state_dir names another place on the same file system"),
    row("fuzzy", Some('y'), false, Act::Anyway, "what a node has anywhere in the tree is not sent again"),
    row("compare-dest", None, true, Act::Lost, "each target is whole by itself"),
    row("copy-dest", None, true, Act::Anyway, "what a node has in the tree or has kept is not sent again"),
    row("link-dest", None, true, Act::Lost, "earlier releases are kept by what commits replaced: [keep]"),
    row("compress", Some('z'), false, Act::Anyway, "what travels is compressed by zstd"),
    row("compress-choice", None, true, Act::Anyway, "what travels is compressed by zstd"),
    row("zc", None, true, Act::Anyway, "what travels is compressed by zstd"),
    row("compress-level", None, true, Act::Anyway, "what travels is compressed by zstd"),
    row("zl", None, true, Act::Anyway, "what travels is compressed by zstd"),
    row("compress-threads", None, true, Act::Anyway, "what travels is compressed by zstd, once for all nodes"),
    row("zt", None, true, Act::Anyway, "what travels is compressed by zstd, once for all nodes"),
    row("skip-compress", None, true, Act::Anyway, "what does not shrink is sent as it is"),
    row("cvs-exclude", Some('C'), false, Act::Lost, "there is no built-in list: name what is left out by [source] exclude"),
    row("filter", Some('f'), true, Act::Filter, "rules '-', '+' and 'P' become exclude and protect; merged files do not"),
    row("", Some('F'), false, Act::Lost, "the lines of .rsync-filter files go into .depsyncignore files, in gitignore's syntax"),
    row("exclude", None, true, Act::Exclude, "what matches is neither shipped nor touched on nodes"),
    row("exclude-from", None, true, Act::ExcludeFrom, "the file is read in gitignore's syntax"),
    row("include", None, true, Act::Include, "a line with '!' in [source] exclude"),
    row("include-from", None, true, Act::Lost, "write its patterns with '!' into [source] exclude, the last line that matches decides"),
    row("files-from", None, true, Act::Lost, "a release is a whole tree: name directories by [cluster] trees, or what is left out by [source] exclude"),
    row("from0", Some('0'), false, Act::Lost, "lists have one entry a line"),
    row("old-args", None, false, Act::Anyway, "no name is given to a shell"),
    row("old-compress", None, false, Act::Anyway, "what travels is compressed by zstd"),
    row("new-compress", None, false, Act::Anyway, "what travels is compressed by zstd"),
    row("secluded-args", Some('s'), false, Act::Anyway, "no name is given to a shell"),
    row("protect-args", None, false, Act::Anyway, "no name is given to a shell"),
    row("trust-sender", None, false, Act::Anyway, "a node checks every name it is sent"),
    row("copy-as", None, true, Act::Lost, "[ssh] sudo_user names the user that an agent runs as"),
    row("address", None, true, Act::Lost, "there is no daemon; ssh's BindAddress goes into [ssh] options"),
    row("port", None, true, Act::Lost, "there is no daemon; ssh's port goes into [ssh] options, or a target is ssh://host:port/dir"),
    row("sockopts", None, true, Act::Lost, "there is no daemon"),
    row("blocking-io", None, false, Act::Anyway, "nodes are served at once"),
    row("outbuf", None, true, Act::Anyway, "what a run says is said at once"),
    row("stats", None, false, Act::Anyway, "every run says what it changed and sent"),
    row("8-bit-output", Some('8'), false, Act::Anyway, "names are shown as they are, control characters escaped"),
    row("human-readable", Some('h'), false, Act::Anyway, "sizes are shown with units"),
    row("progress", None, false, Act::Anyway, "a terminal shows how far a run is"),
    row("", Some('P'), false, Act::Anyway, "a terminal shows how far a run is"),
    row("itemize-changes", Some('i'), false, Act::Anyway, "-v lists every path that changes"),
    row("remote-option", Some('M'), true, Act::Lost, "there is no rsync on the nodes"),
    row("out-format", None, true, Act::Lost, "--json prints JSON Lines"),
    row("log-format", None, true, Act::Lost, "--json prints JSON Lines"),
    row("log-file", None, true, Act::LogFile, "each run is appended; rotated at 10 MiB and kept five times"),
    row("log-file-format", None, true, Act::Lost, "the log has a form of its own"),
    row("password-file", None, true, Act::Lost, "there is no daemon; log in by an ssh key"),
    row("early-input", None, true, Act::Lost, "there is no daemon"),
    row("list-only", None, false, Act::DryRun, "depsync plan says what a push would change"),
    row("bwlimit", None, true, Act::Bwlimit, "bytes a second to all nodes together"),
    row("stop-after", None, true, Act::StopAfter, "the longest a whole run may take"),
    row("time-limit", None, true, Act::StopAfter, "the longest a whole run may take"),
    row("stop-at", None, true, Act::Lost, "[run] deadline is a duration, not a time of day"),
    row("fsync", None, false, Act::Anyway, "'committed' is said only after data, names and journal are on disk"),
    row("write-batch", None, true, Act::Lost, "a batch is made once and sent to every node; it is no file"),
    row("only-write-batch", None, true, Act::Lost, "a batch is made once and sent to every node; it is no file"),
    row("read-batch", None, true, Act::Lost, "a batch is made once and sent to every node; it is no file"),
    row("protocol", None, true, Act::Anyway, "hub and agent are of one build"),
    row("iconv", None, true, Act::Lost, "names are carried byte for byte"),
    row("checksum-seed", None, true, Act::Anyway, "the digest is BLAKE3"),
    row("ipv4", Some('4'), false, Act::Ipv4, "ssh's AddressFamily=inet"),
    row("ipv6", Some('6'), false, Act::Ipv6, "ssh's AddressFamily=inet6"),
    row("version", Some('V'), false, Act::DryRun, "depsync --version"),
    row("help", None, false, Act::DryRun, "depsync --help"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the documentation.
    fn table() -> String {
        let mut text = String::from("| rsync | depsync | |\n|---|---|---|\n");
        for entry in OPTIONS {
            let short = entry.short.map(|letter| format!("`-{letter}`"));
            let long = (!entry.long.is_empty()).then(|| format!("`--{}`", entry.long));
            let names: Vec<String> = long.into_iter().chain(short).collect();
            let row =
                format!("| {} | {} | {} |\n", names.join(", "), entry.act.equal(), entry.says);
            text.push_str(&row);
        }
        text
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let document = include_str!("../../../docs/import.md");
        let table = table();
        assert!(document.contains(&table), "put this into docs/import.md:\n{table}");
    }

    #[test]
    fn no_name_is_there_twice() {
        for (at, entry) in OPTIONS.iter().enumerate() {
            let same = |other: &&Entry| {
                (!entry.long.is_empty() && other.long == entry.long)
                    || (entry.short.is_some() && other.short == entry.short)
            };
            assert_eq!(OPTIONS.iter().filter(same).count(), 1, "{at}: {entry:?}");
            assert!(!entry.says.is_empty() && !entry.says.ends_with('.'));
        }
    }
}
