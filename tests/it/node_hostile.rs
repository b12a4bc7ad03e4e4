//! Somebody else on the node: who swaps, who was there first, who looks on, and who chose the environment (rows 152, 153,
//! 156 to 158).

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, mkfifoat, openat, renameat_with};
use rustix::process::{Gid, Uid};

use crate::agent_process::AgentCluster;
use crate::cluster::{Cluster, Outcome, chmod, run, stamps};
use crate::prerequisite::require;
use crate::traced::{Beside, STRACE, Trace};

const STRANGER: u32 = 65_533;
const SECRET: &str = "a secret that nobody else may read";

/// A directory outside of the target, with what is known of everything in it.
struct Outside {
    path: PathBuf,
    before: Vec<String>,
}

impl Outside {
    fn new(cluster: &Cluster) -> Self {
        let path = cluster.path().join("outside");
        for name in ["file", "a/file", "a/deep/file", "tree/lock", "stage/n0"] {
            fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
            fs::write(path.join(name), SECRET).unwrap();
        }
        let before = Self::look(&path);
        Self { path, before }
    }

    fn look(path: &Path) -> Vec<String> {
        stamps(path).into_iter().map(|known| format!("{known:?}")).collect()
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(self.before, Self::look(&self.path));
    }
}

#[test]
fn fault_152_a_parent_that_is_swapped_with_a_link_leads_nobody_out() {
    let cluster = Cluster::new(1);
    let outside = Outside::new(&cluster);
    let spare = cluster.path().join("spare");
    symlink(outside.path.join("a"), &spare).unwrap();
    let write = |round: usize| {
        for name in ["a/file", "a/deep/file", "a/deep/other"] {
            cluster.write(name, format!("{name} of round {round}"));
        }
    };
    write(0);
    cluster.push(&[]).expect(0);
    let (victim, stage) = (cluster.on(0, "a"), cluster.state(0).join("stage"));
    let (is_over, is_patient) = (AtomicBool::new(false), AtomicBool::new(false));
    let has_staged = || fs::read_dir(&stage).unwrap().next().is_some();
    let swaps = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0;
            while !is_over.load(Ordering::Relaxed) {
                // Swapped all the time, a push gives up while it inspects; this lets it come to its commit.
                if is_patient.load(Ordering::Relaxed) && !has_staged() {
                    std::thread::yield_now();
                    continue;
                }
                let swap = || renameat_with(CWD, &spare, CWD, &victim, RenameFlags::EXCHANGE);
                swaps += u32::from(swap().is_ok()) + u32::from(swap().is_ok());
                if !spare.is_symlink() {
                    // A push has moved the link away.
                    let old = cluster.path().join(format!("old{swaps}"));
                    let _moved = fs::rename(&spare, old);
                    symlink(outside.path.join("a"), &spare).unwrap();
                }
            }
            swaps
        });
        for round in 1..=16 {
            write(round);
            is_patient.store(round % 4 != 0, Ordering::Relaxed);
            let code = cluster.push(&[]).code;
            assert!(matches!(code, Some(0..=3)), "{code:?}");
        }
        is_over.store(true, Ordering::Relaxed);
        swapper.join().unwrap()
    });
    assert!(swaps > 100, "{swaps}");
    outside.assert_untouched();
    cluster.push(&["--max-delete", "100%"]).expect(0);
    cluster.assert_same();
    assert_eq!(cluster.push(&[]).expect(0).state(0), "unchanged");
}

/// Puts something else than what should be there at `path`; what was there is at `path` with `.away` again afterwards.
fn obstruct(path: &Path, what: &str, outside: &Outside) -> bool {
    let away = path.with_extension("away");
    let was_there = fs::rename(path, &away).is_ok();
    let made = match what {
        "link to a file" => symlink(outside.path.join("file"), path),
        "link to a directory" => symlink(&outside.path, path),
        "FIFO" => mkfifoat(CWD, path, Mode::from_raw_mode(0o666)).map_err(Into::into),
        "file" => fs::write(path, "in the way"),
        "hard link" => fs::hard_link(outside.path.join("file"), path),
        "open directory" => fs::create_dir(path).map(|()| chmod(path, 0o777)),
        "directory" => fs::create_dir(path),
        _ => fs::create_dir(path).and_then(|()| chown(path, Some(STRANGER), Some(STRANGER))),
    };
    made.unwrap();
    was_there
}

fn clear(path: &Path, was_there: bool) {
    let is_directory = fs::symlink_metadata(path).unwrap().is_dir();
    if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    if was_there {
        fs::rename(path.with_extension("away"), path).unwrap();
    }
}

#[test]
fn fault_153_what_stands_where_the_state_should_be_is_refused() {
    if !require("fault_153", &["root"]) {
        return;
    }
    let directory = ["link to a directory", "FIFO", "file", "open directory", "foreign directory"];
    let file = ["link to a file", "FIFO", "hard link", "directory"];
    for is_first in [true, false] {
        let cluster = Cluster::new(1);
        let mut outside = Outside::new(&cluster);
        cluster.write("file", "content");
        let beside = cluster.state(0).parent().unwrap().to_owned();
        let mut cases: Vec<(PathBuf, &[&str])> = vec![(beside.clone(), &directory)];
        if !is_first {
            cluster.push(&[]).expect(0);
            cases.push((cluster.state(0), &directory));
            let below = |name: &str| cluster.state(0).join(name);
            cases.extend(["stage", "kept", "manifest"].map(|name| (below(name), &directory[..])));
            cases.extend(["lock", "journal"].map(|name| (below(name), &file[..])));
            cluster.write("file", "changed");
        }
        for (path, all) in cases {
            for what in all {
                let was_there = obstruct(&path, what, &outside);
                outside.before = Outside::look(&outside.path);
                let before = stamps(&cluster.nodes[0]);
                let outcome = cluster.push(&[]);
                let shown = format!("{what} at {}: {outcome:#?}", path.display());
                assert!(matches!(outcome.code, Some(1 | 8)), "{shown}");
                outside.assert_untouched();
                assert_eq!(before, stamps(&cluster.nodes[0]), "{shown}");
                if *what == "foreign directory" {
                    assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "{shown}");
                    assert_eq!(fs::metadata(&path).unwrap().uid(), STRANGER);
                }
                clear(&path, was_there);
            }
        }
        cluster.push(&[]).expect(0);
        cluster.assert_same();
    }
}

#[test]
fn fault_153_a_strangers_directory_keeps_its_access_lists() {
    if !require("fault_153_access_lists", &["root", "setfacl", "getfacl"]) {
        return;
    }
    let cluster = Cluster::new(1);
    cluster.write("file", "content");
    let taken = cluster.state(0).parent().unwrap().to_owned();
    fs::create_dir(&taken).unwrap();
    run(Command::new("setfacl").args(["-m", "u:1:rwx,d:u:1:rwx"]).arg(&taken));
    chown(&taken, Some(STRANGER), Some(STRANGER)).unwrap();
    let lists = || run(Command::new("getfacl").arg("-p").arg(&taken));
    let before = lists();
    cluster.push(&[]).expect(1);
    assert_eq!(before, lists());
}

/// Tries, as a user who has no rights, to open everything that shows up; keeps what it could open.
struct Onlooker {
    opened: Vec<File>,
    refused: usize,
}

impl Onlooker {
    /// Opens the files behind `handles` anew, and the secret where it lies in the end, until there are no more handles.
    fn look_on(handles: &mpsc::Receiver<OwnedFd>, live: &Path) -> Self {
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_gid(Gid::from_raw(STRANGER)).unwrap();
        rustix::thread::set_thread_uid(Uid::from_raw(STRANGER)).unwrap();
        let mut all = Self { opened: Vec::new(), refused: 0 };
        for handle in handles {
            all.look_at(Path::new(&format!("/proc/self/fd/{}", handle.as_raw_fd())));
            if all.opened.len() < 500 {
                all.look_at(live);
            }
        }
        all
    }

    fn look_at(&mut self, path: &Path) {
        match File::open(path) {
            Ok(file) => self.opened.push(file),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => self.refused += 1,
            Err(_gone) => {}
        }
    }
}

/// Looks into the stage as root, fails if it is ever open to others, and hands on a handle on each file that is there.
fn show_staged(state: &Path, handles: &mpsc::SyncSender<OwnedFd>) {
    for path in [state, &state.join("stage"), &state.join("kept")] {
        let Ok(meta) = fs::symlink_metadata(path) else { continue };
        assert_eq!(meta.mode() & 0o077, 0, "{} is open to others", path.display());
    }
    let Ok(stages) = fs::read_dir(state.join("stage")) else { return };
    for stage in stages.filter_map(|entry| Some(entry.ok()?.path())) {
        let Ok(meta) = fs::symlink_metadata(&stage) else { continue };
        assert_eq!(meta.mode() & 0o077, 0, "{} is open to others", stage.display());
        let Ok(names) = fs::read_dir(&stage) else { continue };
        for path in names.filter_map(|entry| Some(entry.ok()?.path())) {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(handle) = openat(CWD, &path, flags, Mode::empty()) {
                handles.send(handle).unwrap();
            }
        }
    }
}

#[test]
fn fault_156_staged_bytes_are_private_at_any_instant() {
    if !require("fault_156", &["root"]) {
        return;
    }
    let mut cluster = Cluster::new(1);
    chmod(&cluster.source(), 0o777);
    cluster.wrapper = ["sh", "-c", "umask 000; exec \"$@\"", "sh"].map(String::from).to_vec();
    let write = |round: usize| {
        for at in 0..12 {
            let text = format!("{SECRET} {round} {at} ").repeat(2_000);
            chmod(&cluster.write(format!("secret{at}"), text), 0o600);
        }
        chmod(&cluster.write("open", format!("{round}")), 0o644);
    };
    write(0);
    cluster.push(&[]).expect(0);
    let (live, state) = (cluster.on(0, "secret0"), cluster.state(0));
    let is_over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let (hand, handles) = mpsc::sync_channel(64);
        let live = &live;
        let onlooker = scope.spawn(move || Onlooker::look_on(&handles, live));
        // A control: behind a handle, it is the file's own mode that counts.
        let closed = openat(CWD, live, OFlags::PATH, Mode::empty()).unwrap();
        hand.send(closed).unwrap();
        let shower = scope.spawn(|| {
            let hand = hand;
            while !is_over.load(Ordering::Relaxed) {
                show_staged(&state, &hand);
            }
        });
        for round in 1..=10 {
            write(round);
            cluster.push(&[]).expect(0);
        }
        is_over.store(true, Ordering::Relaxed);
        shower.join().unwrap();
        onlooker.join().unwrap()
    });
    assert!(seen.refused > 100, "it hardly saw anything: {}", seen.refused);
    assert!(!seen.opened.is_empty(), "it could have opened what is open to all");
    for mut file in seen.opened {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(SECRET), "it read the secret");
    }
    cluster.assert_same();
}

/// A push whose agent is traced and has these variables.
fn push_traced(node: &AgentCluster, variables: &[String], more: &str) -> (Outcome, PathBuf) {
    let prefix = node.at("trace");
    let set: Vec<String> = variables.iter().map(|one| format!("-E '{one}'")).collect();
    let strace = format!("{STRACE}{more} {} -o {}", set.join(" "), prefix.display());
    (node.push("", &strace, &[]), prefix)
}

#[test]
fn fault_157_an_agent_goes_by_nothing_in_its_environment() {
    if !require("fault_157", &["strace"]) {
        return;
    }
    let node = AgentCluster::new();
    node.cluster.write("dir/file", "content");
    let evil = node.at("evil");
    fs::create_dir(&evil).unwrap();
    fs::write(evil.join("library.so"), "no library").unwrap();
    let path = evil.display();
    let variables =
        ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "GCONV_PATH", "LOCPATH", "XDG_STATE_HOME"];
    let mut all: Vec<String> = variables.iter().map(|name| format!("{name}={path}")).collect();
    for name in ["LD_PRELOAD", "LD_AUDIT", "MALLOC_TRACE", "BASH_ENV", "ENV", "DEPSYNC_CONFIG"] {
        all.push(format!("{name}={path}/library.so"));
    }
    all.push(format!("TZ=:{path}/zone"));
    all.extend(["IFS=/", "LC_ALL=xx_XX", "GLIBC_TUNABLES=glibc.malloc.check=3"].map(String::from));
    let (outcome, prefix) = push_traced(&node, &all, "");
    outcome.expect(0);
    node.cluster.assert_same();
    let trace = Trace::read(&prefix);
    trace.check(&node.cluster.path().join("n0"), Beside::Agent);
    let touched = trace.naming(evil.to_str().unwrap());
    assert_eq!(touched, Vec::<&str>::new(), "what the environment names is not looked at");
    assert_eq!(trace.naming("execve(").len(), 1, "it starts nothing");
    assert_eq!(fs::read_dir(&evil).unwrap().count(), 1, "nothing is made there");
}

#[test]
fn fault_158_neither_dumps_nor_command_lines_nor_environments_hold_a_secret() {
    if !require("fault_158", &["strace"]) {
        return;
    }
    let node = AgentCluster::new();
    chmod(&node.cluster.write("secret", SECRET), 0o600);
    let dump = node.at("dump");
    fs::create_dir(&dump).unwrap();
    // What the hub gives to ssh is what this shell has.
    let shown = dump.display();
    let before = format!("for f in cmdline environ limits; do cat /proc/$$/$f >{shown}/$f; done");
    let prefix = node.at("trace");
    let strace = format!(
        "strace -ff -qq -e trace=prctl,prlimit64,execve -v -s 9999 -o {}",
        prefix.display()
    );
    node.push(&before, &strace, &[]).expect(0);
    node.cluster.assert_same();
    for name in ["cmdline", "environ"] {
        let text = String::from_utf8_lossy(&fs::read(dump.join(name)).unwrap()).into_owned();
        assert!(!text.is_empty() && !text.contains(SECRET), "{text}");
    }
    let limits = fs::read_to_string(dump.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<_> = core.split_whitespace().skip(4).collect();
    assert_eq!(words, ["0", "0", "bytes"], "the hub forbids dumps, for its children too");
    let trace = Trace::read(&prefix);
    assert!(trace.naming(SECRET).is_empty(), "the agent is told nothing by its command line");
    assert_eq!(trace.naming("prlimit64(0, RLIMIT_CORE, {rlim_cur=0, rlim_max=0}").len(), 1);
    assert_eq!(trace.naming("prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE) = 0").len(), 1);
}
