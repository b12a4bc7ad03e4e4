//! A trace of system calls, and the rule that every one of them must keep: what lies below a root or in its state is
//! named by a single component relative to an open directory (rules S1, S3, S4, S30).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What is traced, and what nobody may call.
pub(crate) const STRACE: &str = "strace -ff -y -qq -s 300 -e trace=%file,%network,umask";
const RESOLVE: [&str; 4] =
    ["RESOLVE_BENEATH", "RESOLVE_NO_SYMLINKS", "RESOLVE_NO_MAGICLINKS", "RESOLVE_NO_XDEV"];

/// The calls of one process, each thread's in order.
pub(crate) struct Trace {
    /// Lines of each thread; the first thread is the first.
    threads: Vec<Vec<String>>,
}

/// What a process may do beside what it does below `base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// An agent: it reads a few files of the system, and opens the directories above the root.
    Agent,
    /// A hub with its agent in a thread.
    Hub,
}

/// A name given to a system call.
struct Named<'a> {
    /// The directory it is relative to; none for a path of the process.
    directory: Option<&'a str>,
    name: &'a str,
}

impl Trace {
    /// Reads what strace wrote to `prefix`.
    pub(crate) fn read(prefix: &Path) -> Self {
        let (folder, start) = (prefix.parent().unwrap(), prefix.file_name().unwrap());
        let mut files: Vec<(u32, PathBuf)> = Vec::new();
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
            if let Some(number) = name.strip_prefix(&format!("{}.", start.to_str().unwrap())) {
                files.push((number.parse().unwrap(), entry));
            }
        }
        files.sort();
        assert!(!files.is_empty(), "nothing was traced");
        let lines = |path: &PathBuf| {
            let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
            text.lines().map(ToOwned::to_owned).collect()
        };
        Self { threads: files.iter().map(|(_, path)| lines(path)).collect() }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.threads.iter().flatten().map(String::as_str)
    }

    /// The calls in which `text` stands.
    pub(crate) fn naming(&self, text: &str) -> Vec<&str> {
        self.lines().filter(|line| line.contains(text)).collect()
    }

    /// Adds how often each call named something in or below `base`.
    pub(crate) fn count(&self, base: &Path, counts: &mut BTreeMap<String, usize>) {
        let base = base.to_str().unwrap();
        for line in self.lines().filter(|line| line.contains(base)) {
            *counts.entry(call_of(line).to_owned()).or_default() += 1;
        }
    }

    /// Fails at the first call that does not keep the rules; `base` is the directory around the root.
    #[track_caller]
    pub(crate) fn check(&self, base: &Path, beside: Beside) {
        for line in self.lines() {
            if let Err(why) = check(line, base.to_str().unwrap(), beside) {
                panic!("{why}: {line}");
            }
        }
        let first = self.threads.first().unwrap();
        let masked = first.iter().position(|line| line.starts_with("umask(077)"));
        let makes = |line: &&String| line.contains("O_CREAT") || line.starts_with("mkdir");
        let made = first.iter().position(|line| makes(&line)).unwrap_or(first.len());
        assert!(masked.is_some_and(|at| at < made), "the umask is set before anything is made");
        assert_eq!(self.lines().filter(|line| line.starts_with("umask(")).count(), 1);
    }
}

fn call_of(line: &str) -> &str {
    line.split('(').next().unwrap_or_default()
}

/// The error says which rule `line` does not keep.
pub(crate) fn check(line: &str, base: &str, beside: Beside) -> Result<(), &'static str> {
    if line.starts_with("---") || line.starts_with("+++") {
        return Ok(());
    }
    let call = call_of(line);
    let is_network = ["socket", "connect", "bind", "listen", "accept", "send", "recv"];
    if beside == Beside::Agent && is_network.iter().any(|start| call.starts_with(start)) {
        return Err("an agent has no business with the network");
    }
    let names = names_of(line);
    if beside == Beside::Agent && names.iter().all(|named| !is_in(named, base)) {
        return check_outside(line, call);
    }
    for named in names.iter().filter(|named| is_in(named, base)) {
        check_inside(line, call, named)?;
    }
    Ok(())
}

/// True if it names something below `base`, or is relative to a directory in it.
fn is_in(named: &Named<'_>, base: &str) -> bool {
    let starts = |path: &str| {
        path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match named.directory {
        Some(directory) if !named.name.starts_with('/') => starts(directory),
        _ => named.name.starts_with(base),
    }
}

fn check_inside(line: &str, call: &str, named: &Named<'_>) -> Result<(), &'static str> {
    let Some(directory) = named.directory else { return Err("a path where a handle must be") };
    let Named { name, .. } = named;
    if name.split('/').any(|part| part == "..") || name.starts_with('/') {
        return Err("a name that leads elsewhere");
    }
    if call == "openat2" {
        let is_confined = RESOLVE.iter().all(|flag| line.contains(flag));
        let is_directory =
            ["O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC"].iter().all(|flag| line.contains(flag));
        return if is_confined && is_directory { Ok(()) } else { Err("parents are not confined") };
    }
    if name.contains('/') {
        return Err("more than one component");
    }
    let follows = match call {
        "openat" => !line.contains("O_NOFOLLOW"),
        "statx" | "newfstatat" | "fchownat" | "utimensat" => {
            !name.is_empty() && !line.contains("AT_SYMLINK_NOFOLLOW")
        }
        "linkat" => line.contains("AT_SYMLINK_FOLLOW"),
        "mkdirat" | "symlinkat" | "unlinkat" | "renameat2" | "readlinkat" => false,
        _ => return Err("a call that has no place here"),
    };
    if follows {
        return Err("a link would be followed");
    }
    check_made(line, call, directory)
}

/// What is made is private from its first moment.
fn check_made(line: &str, call: &str, directory: &str) -> Result<(), &'static str> {
    let is_made =
        ["O_CREAT|O_EXCL", "O_NOFOLLOW", ", 0600)"].iter().all(|part| line.contains(part));
    if line.contains("O_CREAT") && !is_made {
        return Err("a file is made open to others, or in the place of another");
    }
    let is_private = line.contains(", 0700)");
    if call == "mkdirat"
        && !is_private
        && (directory.contains("/.depsync") || !line.contains(", 0755)"))
    {
        return Err("a directory is made open to others");
    }
    Ok(())
}

/// What an agent does elsewhere: it reads some files of the system, and goes down to the root.
fn check_outside(line: &str, call: &str) -> Result<(), &'static str> {
    if ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"]
        .iter()
        .any(|flag| line.contains(flag))
    {
        return Err("something is opened for writing that is neither target nor state");
    }
    match call {
        "umask" | "statx" | "newfstatat" | "readlink" | "readlinkat" | "open" | "openat"
        | "getcwd" => Ok(()),
        // Times of a handle, which has no name here.
        "utimensat" if line.contains(", NULL, [") && line.contains("/.depsync/") => Ok(()),
        "utimensat" if line.contains(", NULL, [") && line.contains("/tree") => Ok(()),
        // The program itself: nothing else is ever started.
        "execve" if line.contains("/depsync\", [") => Ok(()),
        // What only its owner can open is opened up through its own handle.
        "chmod" if line.starts_with("chmod(\"/proc/self/fd/") => Ok(()),
        _ => Err("a call that has no place outside"),
    }
}

/// All names in a line of strace, with the directories they are relative to.
fn names_of(line: &str) -> Vec<Named<'_>> {
    let mut found = Vec::new();
    // A link's text is text, whatever it names.
    let rest = line
        .strip_prefix("symlinkat(\"")
        .map_or(line, |rest| rest.split_once("\", ").map_or(rest, |(_, rest)| rest));
    let result = rest.rfind(") = ").unwrap_or(rest.len());
    let arguments = rest.split_at(result).0;
    let mut before = "";
    for (at, part) in arguments.split('"').enumerate() {
        if at % 2 == 0 {
            before = part;
            continue;
        }
        let is_first = before.ends_with('(');
        let directory = before
            .strip_suffix(">, ")
            .and_then(|handle| handle.split_once('<'))
            .map(|(number, path)| (number.rsplit(['(', ' ']).next().unwrap_or_default(), path));
        match directory {
            Some(("AT_FDCWD", _)) => found.push(Named { directory: None, name: part }),
            Some((_, path)) => found.push(Named { directory: Some(path), name: part }),
            None if is_first => found.push(Named { directory: None, name: part }),
            // The value of a result, such as a link's text.
            None => {}
        }
    }
    found
}

#[test]
fn calls_that_break_a_rule_are_seen() {
    let agent = |line: &str| check(line, "/n0", Beside::Agent);
    let good = "openat2(4</n0>, \"a/b\", {flags=O_RDONLY|O_NOFOLLOW|O_CLOEXEC|O_DIRECTORY, \
                resolve=RESOLVE_NO_XDEV|RESOLVE_NO_MAGICLINKS|RESOLVE_NO_SYMLINKS|RESOLVE_BENEATH}, 24) = 5</n0/a/b>";
    assert_eq!(agent(good), Ok(()));
    assert!(agent(&good.replace("O_NOFOLLOW|", "")).is_err());
    for flag in RESOLVE {
        assert!(agent(&good.replace(flag, "0")).is_err(), "{flag}");
    }
    for bad in [
        "openat(AT_FDCWD</x>, \"/n0/tree/f\", O_RDONLY|O_NOFOLLOW) = 3</n0/tree/f>",
        "openat(3</n0/tree>, \"d/f\", O_RDONLY|O_NOFOLLOW) = 3</n0/tree/d/f>",
        "openat(3</n0/tree>, \"f\", O_RDONLY|O_CLOEXEC) = 4</n0/tree/f>",
        "openat(3</n0/tree>, \"..\", O_RDONLY|O_NOFOLLOW) = 4</n0>",
        "openat(3</n0/tree>, \"f\", O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW, 0644) = 4</n0/tree/f>",
        "openat(3</n0/tree>, \"f\", O_RDWR|O_CREAT|O_NOFOLLOW, 0600) = 4</n0/tree/f>",
        "renameat2(3</n0/tree>, \"f\", 4</n0/.depsync/tree>, \"a/b\", 0) = 0",
        "rename(\"/n0/tree/f\", \"/n0/tree/g\") = 0",
        "statx(3</n0/tree>, \"f\", AT_EMPTY_PATH, STATX_ALL, {}) = 0",
        "mkdirat(3</n0/.depsync>, \"f\", 0755) = 0",
        "mkdirat(3</n0>, \"f\", 0777) = 0",
        "socket(AF_INET, SOCK_STREAM, 0) = 3",
        "openat(AT_FDCWD</x>, \"/tmp/f\", O_WRONLY|O_CREAT, 0600) = 3</tmp/f>",
        "openat(3</>, \"tmp\", O_RDWR) = 4</tmp>",
        "mkdirat(3</>, \"tmp\", 0700) = 0",
        "execve(\"/bin/sh\", [\"sh\"], 0x7ffc /* 3 vars */) = 0",
    ] {
        assert!(agent(bad).is_err(), "{bad}");
    }
    for good in [
        "openat(3</n0/tree>, \"f\", O_RDONLY|O_NOFOLLOW) = 4</n0/tree/f>",
        "symlinkat(\"/n0/elsewhere\", 3</n0/.depsync/tree/stage/0>, \"n0\") = 0",
        "mkdirat(3</n0>, \".depsync\", 0700) = 0",
        "statx(3</n0/tree>, \"\", AT_EMPTY_PATH, STATX_ALL, {}) = 0",
        "openat(3</>, \"n0\", O_RDONLY|O_NOFOLLOW|O_DIRECTORY) = 4</n0>",
    ] {
        assert_eq!(agent(good), Ok(()), "{good}");
    }
}
