//! A directory to run the program in, apart from the user's own settings.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The exit code of usage.
pub(crate) const USAGE: i32 = 64;

/// A directory with a home of its own.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
}

/// What a run of the program left.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    /// An empty directory.
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    /// A directory with a source of one file and an empty local node.
    pub(crate) fn with_source() -> Self {
        let bench = Self::new();
        std::fs::create_dir(bench.at("source")).expect("mkdir");
        std::fs::create_dir(bench.at("node")).expect("mkdir");
        bench.write("source/file", b"content");
        bench
    }

    /// The path of `name` in the directory.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file that nobody else may write.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.at(name);
        std::fs::write(&path, bytes).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        path
    }

    /// The program, to be run here with nothing of the caller's environment.
    pub(crate) fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_depsync"));
        command.args(arguments).current_dir(self.directory.path()).env_clear();
        command.env("HOME", self.directory.path()).env("PATH", "/usr/bin:/bin");
        command
    }

    /// Runs the program.
    pub(crate) fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    /// Runs `depsync push source` with these nodes in a file.
    pub(crate) fn push_to(&self, nodes: &[u8]) -> Ran {
        self.write("nodes", nodes);
        self.run(&["push", "source", "--nodes", "nodes"])
    }

    /// True if the node has nothing: no run got to it.
    pub(crate) fn node_is_untouched(&self) -> bool {
        std::fs::read_dir(self.at("node")).expect("list").next().is_none()
    }
}

impl Ran {
    /// What `output` says.
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().expect("not killed"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Asserts that the program refused its usage, said so on standard error with all of `words`, and did nothing.
    #[track_caller]
    pub(crate) fn assert_usage(&self, words: &[&str]) {
        assert_eq!(self.code, USAGE, "{}", self.stderr);
        assert_eq!(self.stdout, "");
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "'{word}' is not in: {}", self.stderr);
        }
    }
}

/// The text of a file of this repository.
pub(crate) fn repository_file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}
