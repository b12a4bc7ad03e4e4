//! How an agent is brought to run on a node: upload, login shells, noise, what cannot work.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use depsync::link::{AgentProgram, BootstrapFault, Error, open_local, open_ssh};
use depsync::wire::preamble::{AGENT, HUB};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::prerequisite::require;
use crate::ssh_server::{ECHO_AGENT, SshServer, TOOLS, assert_echo, eventually, script};

const SECOND: Duration = Duration::from_secs(1);

/// Logs in twice to a login shell that is started as `shell`, and expects one upload.
async fn check_shell(test: &str, tool: &str, shell: &str) {
    if !require(test, &[TOOLS, &[tool]].concat()) {
        return;
    }
    let server =
        SshServer::start(&format!("ForceCommand exec {shell} -c \"$SSH_ORIGINAL_COMMAND\""));
    let mut sent = Vec::new();
    for _ in 0..2 {
        let mut link = open_ssh(&server.target(), &server.options()).await.unwrap();
        assert_echo(&mut link, b"one \0 two").await;
        sent.push(link.session.bytes_sent());
        assert!(link.session.notes().is_empty(), "{:?}", link.session.notes());
        let closed = link.close(10 * SECOND).await;
        assert!(closed.status.unwrap().success(), "{closed:?}");
    }
    let script = include_str!("../../src/link/upload.sh").len() as u64;
    assert!(sent[0] > sent[1] + script && sent[1] < script, "uploaded once: {sent:?}");
    let cached = server.cached();
    assert!(matches!(&cached[..], [name] if name.starts_with("agent-")), "{cached:?}");
    assert_eq!(
        fs::read_to_string(server.path("cache/depsync").join(&cached[0])).unwrap(),
        ECHO_AGENT
    );
}

macro_rules! shells {
    ($($name:ident: $tool:literal $shell:literal;)*) => { $(
        #[tokio::test]
        async fn $name() {
            check_shell(stringify!($name), $tool, $shell).await;
        }
    )* };
}

shells! {
    fault_122_a_bash_login_shell_starts_the_agent: "bash" "bash -l";
    fault_122_a_dash_login_shell_starts_the_agent: "dash" "dash";
    fault_122_a_busybox_login_shell_starts_the_agent: "busybox" "busybox sh";
    fault_122_a_zsh_login_shell_starts_the_agent: "zsh" "zsh";
    fault_122_a_csh_login_shell_starts_the_agent: "csh" "csh";
    fault_122_a_tcsh_login_shell_starts_the_agent: "tcsh" "tcsh";
    fault_122_a_fish_login_shell_starts_the_agent: "fish" "fish";
}

#[tokio::test]
async fn fault_122_the_script_runs_in_every_sh() {
    let test = "fault_122_the_script_runs_in_every_sh";
    for (tool, shell) in
        [("bash", "bash --posix"), ("busybox", "busybox sh"), ("zsh", "zsh --emulate sh")]
    {
        if !require(test, &[TOOLS, &[tool]].concat()) {
            continue;
        }
        // What is sent is ignored: the shell under test reads the script itself.
        let server = SshServer::start(&format!("ForceCommand exec {shell}"));
        let mut link = open_ssh(&server.target(), &server.options()).await.unwrap();
        assert_echo(&mut link, shell.as_bytes()).await;
        assert!(link.close(10 * SECOND).await.status.unwrap().success());
    }
}

#[tokio::test]
async fn fault_120_noise_of_the_login_shell_is_skipped_and_noted() {
    if !require("fault_120_noise_of_the_login_shell_is_skipped_and_noted", TOOLS) {
        return;
    }
    let noise = "printf 'Welcome \\033[31m'; head -c 60000 /dev/zero; exec sh";
    let server = SshServer::start(&format!("ForceCommand {noise}"));
    let mut link = open_ssh(&server.target(), &server.options()).await.unwrap();
    let notes = link.session.notes().join("\n");
    assert!(notes.contains("60013 bytes") && notes.contains("Welcome \\u{1b}[31m"), "{notes}");
    assert_echo(&mut link, b"after the noise").await;
    link.abort();
}

#[tokio::test]
async fn fault_121_a_shell_that_starts_no_agent_is_named_with_an_escaped_sample() {
    if !require("fault_121_a_shell_that_starts_no_agent_is_named_with_an_escaped_sample", TOOLS) {
        return;
    }
    let cases = [
        (
            "printf 'This account is \\033[1mnot available\\n'; exit 1",
            "exit status 1",
            "\\u{1b}[1mnot",
        ),
        ("head -c 100000 /dev/zero; exec cat", "exit status", "\\u{0}"),
        (
            "echo 'fatal: unrecognized command' >&2; exit 128",
            "exit status 128",
            "unrecognized command",
        ),
        ("exit 255", "ssh failed", ""),
    ];
    for (command, expected, sample) in cases {
        let server = SshServer::start(&format!("ForceCommand {command}"));
        let error = open_ssh(&server.target(), &server.options()).await.unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(expected) && shown.contains(sample), "{command}: {shown}");
        assert!(!error.is_transient() && !error.is_trust());
    }
}

#[tokio::test]
async fn fault_121_a_forced_agent_needs_no_upload() {
    if !require("fault_121_a_forced_agent_needs_no_upload", TOOLS) {
        return;
    }
    // It answers at once, and skips what is sent before the hub's preamble, as `depsync agent --restrict` does.
    let server = SshServer::start("");
    let forced = server.path("forced");
    script(&forced, "#!/bin/sh\nprintf '\\000depsync-agent\\000\\004\\000\\nready'\nexec cat\n");
    let key = fs::read_to_string(server.path("user.pub")).unwrap();
    let line = format!("restrict,command=\"{} agent\" {key}", forced.display());
    fs::write(server.path("authorized"), line).unwrap();
    let mut link = open_ssh(&server.target(), &server.options()).await.unwrap();
    let mut answer = [0; 5];
    link.reader.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ready");
    link.writer.write_all(b"end").await.unwrap();
    drop(link.writer);
    let mut rest = Vec::new();
    link.reader.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&[&HUB[..], b"end"].concat()), "the stream ends with preamble and data");
    assert!(server.cached().is_empty());
}

#[tokio::test]
async fn an_installed_agent_is_started_by_its_path() {
    if !require("an_installed_agent_is_started_by_its_path", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    let mut options = server.options();
    options.agent = AgentProgram::Installed(server.path("agent").display().to_string());
    let mut link = open_ssh(&server.target(), &options).await.unwrap();
    assert_echo(&mut link, b"installed").await;
    link.abort();
    options.agent = AgentProgram::Installed("/nowhere/depsync".to_owned());
    let error = open_ssh(&server.target(), &options).await.unwrap_err();
    assert!(matches!(&error, Error::NoAgent { status, .. } if status == "127"), "{error:?}");
    assert_eq!(error.kind(), "no-agent");
}

#[tokio::test]
async fn fault_109_another_protocol_is_refused() {
    if !require("fault_109_another_protocol_is_refused", TOOLS) {
        return;
    }
    let server = SshServer::start("ForceCommand printf '\\000depsync-agent\\000\\007\\001\\n'");
    let error = open_ssh(&server.target(), &server.options()).await.unwrap_err();
    assert!(matches!(error, Error::Version { theirs: 0x0107 }), "{error:?}");
}

#[tokio::test]
async fn fault_108_an_agent_for_another_architecture_is_not_sent() {
    if !require("fault_108_an_agent_for_another_architecture_is_not_sent", TOOLS) {
        return;
    }
    let server = SshServer::start("ForceCommand PATH=$XDG_CACHE_HOME/../bin:$PATH exec sh");
    fs::create_dir_all(server.path("cache")).unwrap();
    fs::create_dir(server.path("bin")).unwrap();
    script(&server.path("bin/uname"), "#!/bin/sh\necho Linux riscv64\n");
    let error = open_ssh(&server.target(), &server.options()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Architecture { node, .. } if node == "Linux riscv64"),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("[ssh] agent"));
    eventually("the script ends and cleans up", || server.cached().is_empty());
}

#[tokio::test]
async fn an_upload_is_packed_where_the_node_can_unpack_it() {
    if !require("an_upload_is_packed_where_the_node_can_unpack_it", TOOLS) {
        return;
    }
    for (tools, is_packed) in [("", true), ("PATH=$XDG_CACHE_HOME/../bin ", false)] {
        let server = SshServer::start(&format!("ForceCommand {tools}exec /bin/sh"));
        for directory in ["cache", "bin"] {
            fs::create_dir(server.path(directory)).unwrap();
        }
        // All that the scripts use, but no gzip.
        for tool in ["uname", "mkdir", "chmod", "head", "cat", "wc", "mv", "rm", "sh"] {
            let place = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(tool));
            let place = place.iter().find(|place| place.exists()).unwrap();
            std::os::unix::fs::symlink(place, server.path("bin").join(tool)).unwrap();
        }
        let text = format!("{ECHO_AGENT}{}\n", "#".repeat(1 << 20));
        script(&server.path("agent"), &text);
        let mut link = open_ssh(&server.target(), &server.options()).await.unwrap();
        assert_echo(&mut link, b"either way").await;
        assert_eq!(link.session.bytes_sent() < 1 << 17, is_packed, "{}", link.session.bytes_sent());
        let cached = server.path("cache/depsync").join(&server.cached()[0]);
        assert_eq!(fs::read_to_string(cached).unwrap(), text);
    }
}

#[tokio::test]
async fn fault_078_a_damaged_upload_is_never_started() {
    if !require("fault_078_a_damaged_upload_is_never_started", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    script(
        &server.path("agent"),
        "#!/bin/sh\n[ \"$2\" = --verify ] && exit 1\ntouch \"$0.started\"\n",
    );
    let error = open_ssh(&server.target(), &server.options()).await.unwrap_err();
    assert!(matches!(error, Error::Bootstrap { fault: BootstrapFault::Mismatch, .. }), "{error:?}");
    assert!(server.cached().is_empty(), "{:?}", server.cached());
}

#[tokio::test]
async fn a_truncated_agent_of_an_earlier_run_is_replaced() {
    if !require("a_truncated_agent_of_an_earlier_run_is_replaced", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    open_ssh(&server.target(), &server.options()).await.unwrap().abort();
    let agent = server.path("cache/depsync").join(&server.cached()[0]);
    fs::OpenOptions::new().write(true).open(&agent).unwrap().set_len(0).unwrap();
    let mut link = open_ssh(&server.target(), &server.options()).await.unwrap();
    assert_echo(&mut link, b"whole again").await;
    assert_eq!(fs::read_to_string(agent).unwrap(), ECHO_AGENT);
}

#[tokio::test]
async fn only_the_three_newest_agents_are_kept() {
    if !require("only_the_three_newest_agents_are_kept", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    for version in 0..5 {
        script(&server.path("agent"), &format!("{ECHO_AGENT}# {version}\n"));
        open_ssh(&server.target(), &server.options()).await.unwrap().abort();
    }
    assert_eq!(server.cached().len(), 3, "{:?}", server.cached());
}

/// A file system mounted below a server's directory, unmounted with the value.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(path: &Path, options: &str) -> Self {
        fs::create_dir_all(path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path);
        assert!(command.status().unwrap().success());
        Self(path.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[tokio::test]
async fn fault_077_a_home_that_runs_no_programs_is_named_with_the_way_out() {
    let test = "fault_077_a_home_that_runs_no_programs_is_named_with_the_way_out";
    if !require(test, &[TOOLS, &["root", "mount"]].concat()) {
        return;
    }
    let server = SshServer::start("");
    let mount = Mount::tmpfs(&server.path("cache"), "mode=0700");
    open_ssh(&server.target(), &server.options()).await.unwrap().abort();
    let remount = ["-o", "remount,noexec"];
    assert!(Command::new("mount").args(remount).arg(&mount.0).status().unwrap().success());
    let present = server.cached();
    for round in ["upload", "present"] {
        if round == "upload" {
            script(&server.path("agent"), &format!("{ECHO_AGENT}# another\n"));
        } else {
            script(&server.path("agent"), ECHO_AGENT);
        }
        let error = open_ssh(&server.target(), &server.options()).await.unwrap_err();
        assert_eq!(error.kind(), "noexec", "{round}: {error:?}");
        assert!(error.hint().unwrap().contains("[ssh] agent"));
    }
    assert_eq!(server.cached(), present);
}

#[tokio::test]
async fn fault_078_a_full_disk_is_named_and_the_rest_of_the_upload_removed() {
    let test = "fault_078_a_full_disk_is_named_and_the_rest_of_the_upload_removed";
    if !require(test, &[TOOLS, &["root", "mount"]].concat()) {
        return;
    }
    let server = SshServer::start("");
    let _mount = Mount::tmpfs(&server.path("cache"), "mode=0700,size=64k");
    let padding = "#".repeat(4 << 20);
    script(&server.path("agent"), &format!("{ECHO_AGENT}{padding}\n"));
    let error = open_ssh(&server.target(), &server.options()).await.unwrap_err();
    assert_eq!(error.kind(), "no-space", "{error:?}");
    assert!(server.cached().is_empty(), "{:?}", server.cached());
}

#[tokio::test]
async fn a_home_that_is_missing_or_not_the_users_is_named() {
    if !require("a_home_that_is_missing_or_not_the_users_is_named", TOOLS) {
        return;
    }
    let server = SshServer::start("ForceCommand unset HOME XDG_CACHE_HOME; exec sh");
    let error = open_ssh(&server.target(), &server.options()).await.unwrap_err();
    assert_eq!(error.kind(), "no-home", "{error:?}");

    let server = SshServer::start("");
    fs::create_dir_all(server.path("cache")).unwrap();
    std::os::unix::fs::symlink("/tmp", server.path("cache/depsync")).unwrap();
    let error = open_ssh(&server.target(), &server.options()).await.unwrap_err();
    assert_eq!(error.kind(), "cache-directory", "{error:?}");
}

#[tokio::test]
async fn fault_124_a_flood_of_stderr_is_drained_and_its_end_kept_escaped() {
    if !require("fault_124_a_flood_of_stderr_is_drained_and_its_end_kept_escaped", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    let flood = "head -c 268435456 /dev/zero | tr '\\000' x >&2; printf '\\nlast \\033[2J\\n' >&2";
    script(&server.path("agent"), &ECHO_AGENT.replace("exec cat", &format!("{flood}; exec cat")));
    let mut link = open_ssh(&server.target(), &server.options()).await.unwrap();
    assert_echo(&mut link, b"behind the flood").await;
    let closed = link.close(10 * SECOND).await;
    assert!(closed.stderr.ends_with("\nlast \\u{1b}[2J"), "{}", closed.stderr.len());
    assert!(closed.stderr.len() < 40_000, "{}", closed.stderr.len());
}

#[tokio::test]
async fn an_aborted_link_leaves_no_process() {
    if !require("an_aborted_link_leaves_no_process", TOOLS) {
        return;
    }
    let server = SshServer::start("");
    let started = tokio::time::Instant::now();
    let link = open_ssh(&server.target(), &server.options()).await.unwrap();
    let ours = ssh_children(server.port);
    assert_eq!(ours.len(), 1);
    link.abort();
    let is_gone = || ours.iter().all(|process| !process.exists());
    while !is_gone() {
        // The runtime of this very thread reaps.
        tokio::time::sleep(SECOND / 100).await;
        assert!(started.elapsed() < 10 * SECOND, "{ours:?}");
    }
    eventually("the node's session ends", || server.sessions().is_empty());
}

/// The children of this process that are an ssh to `port`, as directories of `/proc`.
fn ssh_children(port: u16) -> Vec<PathBuf> {
    let (own, port) = (std::process::id().to_string(), port.to_string());
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let ours = processes.filter(|path| {
        let status = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let line = fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        let parent = status.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1));
        parent == Some(&own) && line.split('\0').any(|word| word == port)
    });
    ours.collect()
}

#[tokio::test]
async fn a_local_agent_answers_in_process() {
    let (tell, told) = std::sync::mpsc::channel();
    let link = open_local(
        move |mut reader, mut writer| {
            writer.write_all(AGENT).unwrap();
            let mut greeting = [0; HUB.len()];
            reader.read_exact(&mut greeting).unwrap();
            assert_eq!(&greeting, HUB);
            std::io::copy(&mut reader, &mut writer).unwrap();
            tell.send(()).unwrap();
        },
        10 * SECOND,
    );
    let mut link = link.await.unwrap();
    link.writer.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    link.reader.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
    assert_eq!((link.session.bytes_sent(), link.session.bytes_received()), (21, 23));
    link.abort();
    told.recv_timeout(10 * SECOND).unwrap();
}

#[tokio::test]
async fn a_local_agent_that_ends_or_hangs_is_an_error() {
    let error = open_local(|_, _| (), 10 * SECOND).await.unwrap_err();
    assert_eq!(error.kind(), "no-agent");
    let (tell, told) = std::sync::mpsc::channel();
    let hang = move |mut reader: std::os::unix::net::UnixStream, _| {
        tell.send(reader.read(&mut [0]).unwrap()).unwrap();
    };
    let error = open_local(hang, SECOND / 10).await.unwrap_err();
    assert_eq!(error.kind(), "timeout");
    assert_eq!(told.recv_timeout(10 * SECOND).unwrap(), 0, "it sees the end of its stream");
}
