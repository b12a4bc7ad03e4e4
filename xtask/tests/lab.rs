//! The lab itself, on this machine: hosts come up, lose their links and their power, and leave nothing behind.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test talks to the system directly"
)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A lab of this test's own, which is taken down however the test ends.
struct Lab {
    folder: PathBuf,
    tag: &'static str,
    net: &'static str,
    kind: &'static str,
}

impl Lab {
    fn new(tag: &'static str, net: &'static str, kind: &'static str) -> Self {
        let folder = std::env::temp_dir().join(format!("xtask-lab-{tag}-{}", std::process::id()));
        Self { folder, tag, net, kind }
    }

    fn act(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg("lab")
            .args(arguments)
            .env("DEPSYNC_LAB", &self.folder)
            .env("DEPSYNC_LAB_NET", self.net)
            .env("DEPSYNC_LAB_TAG", self.tag)
            .env("DEPSYNC_LAB_KIND", self.kind)
            .output()
            .unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.act(arguments);
        assert!(output.status.success(), "lab {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether a host answers the hub over ssh.
    fn answers(&self, host: &str, port: &str) -> bool {
        let known = format!("UserKnownHostsFile={}", self.folder.join("hub/known_hosts").display());
        Command::new("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "ConnectTimeout=2",
                "-o",
                &known,
                "-i",
            ])
            .arg(self.folder.join("hub/id"))
            .args(["-p", port, host, "true"])
            .output()
            .unwrap()
            .status
            .success()
    }

    /// The names of this lab's interfaces and name spaces that exist.
    fn parts(&self) -> Vec<String> {
        let start = format!("ds{}", self.tag);
        let names = ["/sys/class/net", "/run/netns"].into_iter().filter_map(|folder| {
            let listing = std::fs::read_dir(folder).ok()?;
            Some(listing.map(|entry| entry.unwrap().file_name().into_string().unwrap()))
        });
        names.flatten().filter(|name| name.starts_with(&start)).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.act(&["down"]);
        drop(std::fs::remove_file(self.folder.with_added_extension("lock")));
    }
}

/// Whether a test can run here; if not, says so where skipped tests are collected.
fn can_run(test: &str, is_possible: bool, reason: &str) -> bool {
    if !is_possible {
        let line = format!("SKIPPED {test}: {reason}\n");
        if let Some(path) = std::env::var_os("DEPSYNC_SKIPPED_FILE") {
            let mut file =
                std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
        eprint!("{line}");
    }
    is_possible
}

fn has_sshd() -> bool {
    std::path::Path::new("/usr/sbin/sshd").exists()
}

#[test]
fn hosts_lose_links_and_power_and_leave_nothing_behind() {
    let is_possible = rustix::process::geteuid().is_root() && has_sshd();
    let test = "hosts_lose_links_and_power_and_leave_nothing_behind";
    if !can_run(test, is_possible, "needs the super-user and sshd") {
        return;
    }
    let lab = Lab::new("xtest", "10.78.77", "");
    let (first, second) = ("root@10.78.77.1", "root@10.78.77.2");
    lab.done(&["up", "2"]);
    lab.done(&["up", "2"]);
    assert_eq!(lab.done(&["nodes"]), format!("{first}:/opt/server\n{second}:/opt/server\n"));
    assert!(lab.answers(first, "22") && lab.answers(second, "22"));

    for (act, other) in [("cut", first), ("blackhole", second)] {
        let (node, host) = if act == "cut" { ("1", first) } else { ("2", second) };
        let healthy = if other == first { second } else { first };
        lab.done(&[act, node]);
        assert!(!lab.answers(host, "22"), "{act}");
        assert!(lab.answers(healthy, "22"), "{act} reached the other node");
        lab.done(&["heal", node]);
        assert!(lab.answers(host, "22"), "heal after {act}");
    }

    lab.done(&["exec", "1", "sh", "-c", "echo kept >/opt/file"]);
    lab.done(&["kill", "1"]);
    assert!(!lab.answers(first, "22"));
    assert_eq!(lab.act(&["exec", "1", "true"]).status.code(), Some(1));
    lab.done(&["start", "1"]);
    assert_eq!(lab.done(&["exec", "1", "cat", "/opt/file"]), "kept\n");
    assert_eq!(lab.act(&["exec", "2", "sh", "-c", "exit 37"]).status.code(), Some(37));

    assert_eq!(lab.parts().len(), 5, "{:?}", lab.parts());
    lab.done(&["down"]);
    lab.done(&["down"]);
    assert_eq!(lab.parts(), Vec::<String>::new());
    assert!(!lab.folder.exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("xtask-lab-xtest"), "{mounts}");
}

#[test]
fn loopback_nodes_refuse_what_needs_a_network_of_their_own() {
    let test = "loopback_nodes_refuse_what_needs_a_network_of_their_own";
    if !can_run(test, has_sshd(), "needs sshd") {
        return;
    }
    let lab = Lab::new("xloop", "10.78.78", "loopback");
    assert_eq!(lab.act(&["up", "1", "--opt-size", "1m"]).status.code(), Some(2));
    lab.done(&["up", "2"]);
    let nodes = lab.done(&["nodes"]);
    let target = nodes.lines().next().unwrap().strip_prefix("ssh://").unwrap();
    let (host, rest) = target.split_once(':').unwrap();
    let (port, folder) = rest.split_once('/').unwrap();
    assert_eq!(format!("/{folder}"), lab.folder.join("n1/opt/server").display().to_string());
    assert!(lab.answers(host, port));

    for act in
        [&["cut", "1"][..], &["blackhole", "1"], &["heal", "1"], &["limit", "1", "5"], &["rx"]]
    {
        let output = lab.act(act);
        assert_eq!(output.status.code(), Some(2), "{act:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("super-user"), "{act:?}");
    }
    lab.done(&["exec", "1", "sh", "-c", "setsid sleep 600 >/dev/null 2>&1 </dev/null &"]);
    lab.done(&["kill", "1"]);
    assert!(!lab.answers(host, port));
    lab.done(&["start", "1"]);
    assert!(lab.answers(host, port));
    lab.done(&["down"]);
    assert!(!lab.answers(host, port));
    assert!(!lab.folder.exists());
}
