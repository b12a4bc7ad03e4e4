//! `depsync-agent`: the program that is uploaded where it lies beside the hub's own and is of the same build.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use depsync::agent::MARK;
use tempfile::TempDir;

use crate::cli_bench::{Ran, USAGE};
use crate::cluster::{chmod, run};
use crate::hub_cluster::SshCluster;
use crate::prerequisite::require;
use crate::ssh_server::{TOOLS, eventually};

const WHOLE: &str = env!("CARGO_BIN_EXE_depsync");

/// Cargo puts them side by side. It names the path in a variable, which the shell of `tools/rustc-static` drops for the
/// `-` in its name.
fn slim() -> PathBuf {
    Path::new(WHOLE).with_file_name("depsync-agent")
}

/// A directory with copies of both programs, and a node that has had no agent yet.
struct Installed {
    ssh: SshCluster,
    programs: TempDir,
    cache: TempDir,
}

impl Installed {
    fn new() -> Self {
        let [programs, cache] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        // Without what a debugger needs, so that they are uploaded in a moment.
        for program in [PathBuf::from(WHOLE), slim()] {
            let copy = programs.path().join(program.file_name().unwrap());
            run(Command::new("strip").arg("-o").arg(copy).arg(&program));
        }
        // The server's own setting comes first, and counts.
        let setting = format!("SetEnv XDG_CACHE_HOME={} SHLVL=1", cache.path().display());
        Self { ssh: SshCluster::start(&setting, &["a"]), programs, cache }
    }

    fn whole(&self) -> PathBuf {
        self.programs.path().join("depsync")
    }

    fn slim(&self) -> PathBuf {
        self.programs.path().join("depsync-agent")
    }

    /// A push by the copy, behind `wrapper`.
    fn push(&self, wrapper: &[&str]) -> Ran {
        let (whole, usual) =
            (self.whole().display().to_string(), self.ssh.command(&[&self.ssh.target("a")], &[]));
        let line = [wrapper, &[&whole]].concat();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).args(usual.get_args()).env_clear();
        let set = usual.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(set).current_dir(usual.get_current_dir().unwrap());
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        self.ssh.cluster.assert_same(&["a"]);
        ran
    }

    /// Pushes to a node without an agent, and asserts that it got `program` and nothing else.
    #[track_caller]
    fn assert_sends(&self, program: &Path, what: &str) {
        let there = self.cache.path().join("depsync");
        if there.exists() {
            fs::remove_dir_all(&there).unwrap();
        }
        self.push(&[]);
        let names: Vec<_> = fs::read_dir(&there).unwrap().map(|one| one.unwrap().path()).collect();
        let [agent] = &names[..] else { panic!("{what}: {names:?}") };
        let bytes = fs::read(agent).unwrap();
        assert!(bytes == fs::read(program).unwrap(), "{what}: another program was sent");
        let name = format!("agent-{}", blake3::hash(&bytes).to_hex());
        assert_eq!(agent.file_name().unwrap().to_str(), Some(name.as_str()), "{what}");
    }

    /// Puts `bytes` in the place of the slim program.
    fn replace_slim(&self, bytes: &[u8]) {
        let new = self.programs.path().join("new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o755).open(&new).unwrap();
        file.write_all(bytes).unwrap();
        fs::rename(new, self.slim()).unwrap();
    }
}

#[test]
fn the_slim_program_is_sent_if_it_is_beside_and_of_the_same_build() {
    let test = "the_slim_program_is_sent_if_it_is_beside_and_of_the_same_build";
    if !require(test, &[TOOLS, &["strip"]].concat()) {
        return;
    }
    let installed = Installed::new();
    let (whole, slim) = (installed.whole(), installed.slim());
    let built = fs::read(&slim).unwrap();
    assert!(built.len() < fs::read(&whole).unwrap().len());
    installed.assert_sends(&slim, "beside");

    fs::remove_file(&slim).unwrap();
    installed.assert_sends(&whole, "gone");
    installed.replace_slim(&built);
    installed.assert_sends(&slim, "there again");

    let mut stale = built.clone();
    let at = built.windows(MARK.len()).position(|bytes| bytes == MARK.as_bytes()).unwrap();
    stale[at + MARK.len() - 1] ^= 1;
    installed.replace_slim(&stale);
    installed.assert_sends(&whole, "of another build");

    installed.replace_slim(&built);
    chmod(&slim, 0o757);
    installed.assert_sends(&whole, "anybody may write it");
    fs::remove_file(&slim).unwrap();
    run(Command::new("mkfifo").arg(&slim));
    installed.assert_sends(&whole, "no file");
}

#[test]
fn a_run_that_knows_the_programs_reads_none() {
    if !require("a_run_that_knows_the_programs_reads_none", &[TOOLS, &["strip", "strace"]].concat())
    {
        return;
    }
    let installed = Installed::new();
    let states = installed.ssh.cluster.bench.at(".local/state/depsync");
    // With the control sockets, whose directory has a short name if the long one is too long for them.
    let memory = || {
        let mut places = fs::read_dir(&states).ok()?.map(|place| place.unwrap().path());
        places.find_map(|place| {
            let read = |name: &str| fs::read_to_string(place.join(name)).ok();
            read("ssh/agent").or_else(|| read("agent"))
        })
    };
    // What was written in the last seconds is not remembered.
    eventually("the choice is remembered", || {
        installed.push(&[]);
        memory().is_some()
    });
    let digest = blake3::hash(&fs::read(installed.slim()).unwrap()).to_hex();
    assert!(memory().unwrap().starts_with(&format!("{digest} slim ")), "{:?}", memory());

    let trace = installed.programs.path().join("trace");
    let trace_to = trace.display().to_string();
    let calls = "trace=%file,read,pread64";
    installed.push(&["strace", "-f", "-y", "-qq", "-e", calls, "-o", &trace_to]);
    let traced = fs::read_to_string(&trace).unwrap();
    let named = |program: PathBuf| {
        let opened = format!("<{}>", program.display());
        traced.lines().filter(|line| line.contains(&opened)).collect::<Vec<_>>().join("\n")
    };
    let slim = named(installed.slim());
    assert!(slim.contains("open"), "it is looked at: {slim}");
    for (what, lines) in [("slim", slim), ("whole", named(installed.whole()))] {
        assert!(!lines.contains("read(") && !lines.contains("pread64("), "{what}: {lines}");
    }
}

#[test]
fn the_slim_program_does_what_the_bootstrap_asks_and_nothing_else() {
    let run = |words: &[&str]| {
        let output = Command::new(slim()).args(words).env_clear().output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), output.stdout, told)
    };
    let usages: [&[&str]; 7] = [
        &[],
        &["push"],
        &["--version"],
        &["agent", "more"],
        &["agent", "--verify"],
        &["agent", "--verify", "0", "more"],
        &["agent", "--restrict", "/"],
    ];
    for words in usages {
        let (code, stdout, stderr) = run(words);
        assert_eq!((code, stdout), (Some(USAGE), Vec::new()), "{words:?}");
        assert!(stderr.starts_with(MARK) && stderr.lines().count() == 1, "{words:?}: {stderr}");
    }
    let digest = blake3::hash(&fs::read(slim()).unwrap()).to_hex();
    let other = blake3::hash(&fs::read(WHOLE).unwrap()).to_hex();
    for (digest, expected) in [(digest.as_str(), 0), (other.as_str(), 1), ("", 1)] {
        let told = run(&["agent", "--verify", digest]);
        assert_eq!(told, (Some(expected), Vec::new(), String::new()), "{digest}");
    }
    // Its hub is gone before it said anything.
    let (code, stdout, _) = run(&["agent"]);
    assert_eq!(code, Some(1));
    assert!(stdout.starts_with(b"\0depsync-agent\0"), "{stdout:?}");
}
