//! What a program changes, as `strace` tells it, and the points at which it can be stopped.
//!
//! A point is one call: its name, what narrows it down (a name or the path of a handle), and its number among such calls of
//! one thread. `strace` counts for each thread apart, so that the first thread that gets so far is hit; what was hit is read
//! from the log of the run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Every call that can change what a disk holds, or who holds a lock of depsync. Those that the kernel or the tracer lacks
/// are passed over. The record locks of SQLite (`fcntl`) are on no disk, and where they fail it waits ten seconds: a test
/// of the history has that once.
pub(crate) const CHANGES: &str = "?openat,?creat,?write,?writev,?pwrite64,?pwritev,?pwritev2,\
    ?rename,?renameat,?renameat2,?link,?linkat,?symlink,?symlinkat,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,\
    ?mknod,?mknodat,?chmod,?fchmod,?fchmodat,?fchmodat2,?chown,?fchown,?lchown,?fchownat,?utimensat,\
    ?setxattr,?lsetxattr,?fsetxattr,?removexattr,?lremovexattr,?fremovexattr,?fsync,?fdatasync,?syncfs,\
    ?sync_file_range,?truncate,?ftruncate,?fallocate,?copy_file_range,?sendfile,?splice,?ioctl,?flock";

/// What stands for the sandbox in logs, so that those of one sandbox are like those of another.
const BOX: &str = "/box";

/// One call as it was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    thread: u32,
    name: String,
    /// What stands between the parentheses; cut where the log is.
    arguments: String,
    /// What stands behind them.
    result: String,
}

/// One call at which a run can be stopped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    call: String,
    /// A name or a path that the call must mention.
    path: Option<String>,
    /// Its number among such calls of its thread, from 1.
    at: usize,
    /// The change, without what differs from run to run.
    pub(crate) change: String,
}

/// The words of a tracer of the program's changes, that writes `log`. With `is_hub` the programs that it starts are let go.
pub(crate) fn tracer(log: &Path, is_hub: bool) -> Vec<String> {
    let mut words =
        vec!["strace".into(), "-f".into(), "-y".into(), "-o".into(), log.display().to_string()];
    if is_hub {
        words.extend(["-b".into(), "execve".into()]);
    }
    words
}

/// The calls of a log of the sandbox at `directory`, in its order.
pub(crate) fn calls(log: &str, directory: &Path) -> Vec<Call> {
    let log = log.replace(&directory.display().to_string(), BOX);
    log.lines().filter_map(Call::parse).collect()
}

/// Where a run with these calls can be stopped: at each change, in the order in which they came.
pub(crate) fn points(calls: &[Call]) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for (index, call) in calls.iter().enumerate().filter(|(_, call)| call.is_change()) {
        let path = call.narrowest();
        let is_like = |other: &&Call| {
            other.thread == call.thread
                && other.name == call.name
                && path.as_ref().is_none_or(|path| other.mentions(path))
        };
        let at = calls.iter().take(index + 1).filter(is_like).count();
        let point = Point { call: call.name.clone(), path, at, change: call.change() };
        let is_known = points.iter().any(|known| {
            (&known.call, &known.path, known.at) == (&point.call, &point.path, point.at)
        });
        if !is_known {
            points.push(point);
        }
    }
    points
}

impl Point {
    /// The words that let [`tracer`] do `what` at this point in the sandbox at `directory`, such as `signal=KILL`; with a
    /// `+` behind it at all later ones too.
    pub(crate) fn inject(&self, what: &str, directory: &Path) -> Vec<String> {
        let (what, plus) = what.strip_suffix('+').map_or((what, ""), |what| (what, "+"));
        let mut words = vec!["-e".into(), format!("trace={}", self.call)];
        words.extend(["-e".into(), format!("inject={}:{what}:when={}{plus}", self.call, self.at)]);
        if let Some(path) = &self.path {
            let below =
                path.strip_prefix(BOX).map(|below| format!("{}{below}", directory.display()));
            words.extend(["-P".into(), below.unwrap_or_else(|| path.clone())]);
        }
        words
    }

    /// The name of the call.
    pub(crate) fn call(&self) -> &str {
        &self.call
    }

    /// True for a write that nothing tells from those to pipes.
    pub(crate) fn is_any_write(&self) -> bool {
        self.path.is_none() && self.call.contains("write")
    }

    /// The change that was hit in a run under [`inject`](Self::inject), by its log: that of the thread that came so far
    /// first. None if no thread did.
    pub(crate) fn hit(&self, calls: &[Call]) -> Option<String> {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        let call = calls.iter().filter(|call| call.name == self.call).find(|call| {
            let count = counts.entry(call.thread).or_default();
            *count += 1;
            *count == self.at
        })?;
        Some(call.change())
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{} {}", self.call, self.at, self.change)
    }
}

impl Call {
    /// Reads `123  name(arguments) = result`, also where another thread's line cuts it; nothing for other lines.
    fn parse(line: &str) -> Option<Self> {
        let (thread, rest) = line.split_once(' ')?;
        let rest = rest.trim_start();
        let (name, rest) = rest.split_once('(')?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return None;
        }
        let (arguments, result) = rest.rsplit_once(") = ").unwrap_or((rest, ""));
        Some(Self {
            thread: thread.parse().ok()?,
            name: name.to_owned(),
            arguments: arguments.trim_end_matches(" <unfinished ...>").trim_end().to_owned(),
            result: result.to_owned(),
        })
    }

    fn is_change(&self) -> bool {
        let has = |word: &str| self.arguments.contains(word);
        match self.name.as_str() {
            "openat" | "openat2" => has("O_CREAT"),
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "sendfile" | "splice" => {
                self.handles().next().is_some_and(|path| path.starts_with('/'))
            }
            "ioctl" => has("FICLONE") || has("FS_IOC_SETFLAGS"),
            _ => true,
        }
    }

    /// The paths of the handles that it is given: what stands in `5</path>`.
    fn handles(&self) -> impl Iterator<Item = &str> {
        let pieces = self.without_bytes().split('<').skip(1);
        pieces.filter_map(|piece| piece.split_once('>')).map(|(path, _)| path)
    }

    /// The names that it is given, in quotes; not the text of a link, by which the tracer narrows nothing down.
    fn names(&self) -> impl Iterator<Item = &str> {
        let texts = usize::from(self.name.starts_with("symlink"));
        self.without_bytes().split('"').skip(1).step_by(2).skip(texts)
    }

    /// The arguments up to the bytes that it writes, if it writes any.
    fn without_bytes(&self) -> &str {
        let has_bytes = self.name.contains("write") || self.name.contains("xattr");
        let end = if has_bytes { self.arguments.find('"') } else { None };
        end.and_then(|end| self.arguments.get(..end)).unwrap_or(&self.arguments)
    }

    fn mentions(&self, path: &str) -> bool {
        self.handles().any(|handle| handle == path) || self.names().any(|name| name == path)
    }

    /// The name or path that tells it best from others of its kind, and is the same in every run.
    fn narrowest(&self) -> Option<String> {
        // The id of a release is the same in every run, that of a transaction is not.
        let is_constant = |text: &&str| !text.is_empty() && without_ids(text, &[32]) == **text;
        let name = self.names().find(is_constant);
        name.or_else(|| self.handles().filter(|path| path.starts_with('/')).find(is_constant))
            .map(ToOwned::to_owned)
    }

    /// The change in words that are the same in every run: the last two parts of each path, names, and how.
    fn change(&self) -> String {
        let mut words = vec![self.name.clone()];
        words.extend(self.handles().map(|path| {
            let parts: Vec<String> = path.rsplit('/').take(2).map(masked).collect();
            parts.into_iter().rev().collect::<Vec<_>>().join("/")
        }));
        words.extend(self.names().map(masked));
        for flag in ["RENAME_NOREPLACE", "RENAME_EXCHANGE", "AT_REMOVEDIR", "LOCK_EX", "LOCK_UN"] {
            if self.arguments.contains(flag) {
                words.push(flag.to_owned());
            }
        }
        words.join(" ")
    }
}

/// `text` without the ids of transactions, which are another in every run, and those of releases.
fn masked(text: &str) -> String {
    without_ids(text, &[32, 64])
}

/// `text` with `ID` in the place of hexadecimal words of these lengths.
fn without_ids(text: &str, lengths: &[usize]) -> String {
    let is_id = |word: &str| {
        lengths.contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let parts = text.split(['/', '.']).filter(|word| is_id(word));
    parts.fold(text.to_owned(), |text, id| text.replace(id, "ID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
7  mkdirat(3</sandbox/n0>, \".depsync\", 0700) = -1 EEXIST (File exists)
7  write(1<pipe:[12]>, \"x\", 1) = 1
8  openat(3</sandbox/n0>, \"leaf\", O_RDONLY|O_CLOEXEC <unfinished ...>
7  write(5</sandbox/n0/journal>, \"a) = b\\\"\", 6) = 6
8  <... openat resumed>) = 4
7  renameat2(4</s/0123456789abcdef0123456789abcdef>, \"n1\", 6</sandbox/n0/tree>, \"a\", RENAME_NOREPLACE) = 0
7  renameat2(4</s/0123456789abcdef0123456789abcdef>, \"n1\", 6</sandbox/n0/tree>, \"a\", RENAME_EXCHANGE) = ?
7  symlinkat(\"text\", 4</s/0123456789abcdef0123456789abcdef>, \"n2\") = 0
7  fsync(4</s/0123456789abcdef0123456789abcdef> <unfinished ...>
7  +++ killed by SIGKILL +++
";

    #[test]
    fn changes_are_told_from_other_calls_and_counted_by_what_narrows_them() {
        let points = points(&calls(LOG, Path::new("/sandbox")));
        let shown: Vec<String> = points.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "mkdirat#1 mkdirat box/n0 .depsync",
                "write#1 write n0/journal",
                "renameat2#1 renameat2 s/ID n0/tree n1 a RENAME_NOREPLACE",
                "renameat2#2 renameat2 s/ID n0/tree n1 a RENAME_EXCHANGE",
                "symlinkat#1 symlinkat s/ID n2",
                "fsync#1 fsync s/ID",
            ]
        );
        let last = points.last().unwrap().inject("signal=KILL", Path::new("/other"));
        assert_eq!(last, ["-e", "trace=fsync", "-e", "inject=fsync:signal=KILL:when=1"]);
        let rename = points[3].inject("error=EIO+", Path::new("/other"));
        assert_eq!(rename[3..], ["inject=renameat2:error=EIO:when=2+", "-P", "n1"]);
        let write = points[1].inject("error=EIO", Path::new("/other"));
        assert_eq!(write[3..], ["inject=write:error=EIO:when=1", "-P", "/other/n0/journal"]);
    }

    #[test]
    fn what_was_hit_is_what_the_first_thread_did_that_came_so_far() {
        let points = points(&calls(LOG, Path::new("/sandbox")));
        let all = calls(LOG, Path::new("/sandbox"));
        assert_eq!(points[3].hit(&all).unwrap(), points[3].change);
        assert_eq!(points[3].hit(&all[..5]), None);
    }
}
