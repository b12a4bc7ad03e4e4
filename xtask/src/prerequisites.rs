//! What the tests need beyond Rust, and its installation where that is possible.

use crate::failure::{Failure, Result};
use crate::program;

/// A command, the Debian package that has it, and what it is needed for.
const NEEDED: [(&str, &str, &str); 26] = [
    ("sshd", "openssh-server", "the nodes of the lab"),
    ("ssh", "openssh-client", "the hub's way to its nodes"),
    ("ssh-keygen", "openssh-client", "keys of the lab"),
    ("rsync", "rsync", "comparison"),
    ("strace", "strace", "crash tests at every system call"),
    ("ip", "iproute2", "the network of the lab"),
    ("unshare", "util-linux", "the nodes of the lab"),
    ("nft", "nftables", "firewalled connections"),
    ("mkfs.ext4", "e2fsprogs", "file systems under test"),
    ("chattr", "e2fsprogs", "immutable files"),
    ("mkfs.xfs", "xfsprogs", "file systems under test"),
    ("mkfs.btrfs", "btrfs-progs", "file systems under test"),
    ("mkfs.vfat", "dosfstools", "file systems under test"),
    ("setfacl", "acl", "access control lists"),
    ("setfattr", "attr", "extended attributes"),
    ("setcap", "libcap2-bin", "capabilities"),
    ("busybox", "busybox", "nodes with small tools"),
    ("fish", "fish", "login shells"),
    ("tcsh", "tcsh", "login shells"),
    ("dash", "dash", "login shells"),
    ("zsh", "zsh", "login shells"),
    ("sudo", "sudo", "nodes that need it"),
    ("ps", "procps", "processes left behind"),
    ("systemd-analyze", "systemd", "units that recipes make"),
    ("ruby", "ruby", "cookbooks and YAML that recipes make"),
    ("python3", "python3-minimal", "modules that recipes make"),
];

/// What only the benchmark needs.
const FOR_BENCH: [(&str, &str, &str); 2] = [
    ("time", "time", "the benchmark's memory figures"),
    ("tar", "tar", "the benchmark's bare copy"),
];

/// What only `approaches shared` needs, which refuses to go on without; never installed for the tests.
pub(crate) const FOR_SHARES: [(&str, &str); 7] = [
    ("linux.uml", "user-mode-linux"),
    ("ganesha.nfsd", "nfs-ganesha nfs-ganesha-vfs"),
    ("mount.nfs4", "nfs-common"),
    ("glusterd", "glusterfs-server"),
    ("mkfs.ext4", "e2fsprogs"),
    ("busybox", "busybox"),
    ("strip", "binutils"),
];

/// Prints the table, and installs what is missing if asked to.
///
/// # Errors
/// Something is missing and was not, or could not be, installed.
pub(crate) fn run(install: bool) -> Result {
    for (command, package, purpose) in NEEDED.iter().chain(&FOR_BENCH) {
        let state = if program::exists(command) { "found" } else { "MISSING" };
        println!("{command:<12} {package:<16} {state:<8} {purpose}");
    }
    let missing = missing_packages(program::exists);
    if missing.is_empty() {
        return Ok(());
    }
    if !install {
        return Err(Failure::new(format!("missing; to install: {}", to_paste(&missing))));
    }
    if !can_install() {
        return Err(Failure::unavailable(format!(
            "only the super-user on Debian installs by itself; instead: {}",
            to_paste(&missing)
        )));
    }
    install_packages(&missing)
}

/// Installs what is missing where that is possible, and else names it: tests that need it will be skipped.
pub(crate) fn ensure() {
    let missing = missing_packages(program::exists);
    if missing.is_empty() {
        return;
    }
    if can_install() {
        println!("prerequisites: installing {}", missing.join(" "));
        if let Err(failure) = install_packages(&missing) {
            println!("prerequisites: {failure}; tests that need them are skipped");
        }
    } else {
        println!("prerequisites missing, tests that need them are skipped; to install:");
        println!("  {}", to_paste(&missing));
    }
}

/// The packages of the missing commands, each once, in the table's order.
fn missing_packages(exists: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for (command, package, _) in NEEDED.iter().chain(&FOR_BENCH) {
        if !exists(command) && !packages.contains(package) {
            packages.push(*package);
        }
    }
    packages
}

fn can_install() -> bool {
    program::is_root() && program::exists("apt-get")
}

fn to_paste(packages: &[&str]) -> String {
    let names = packages.join(" ");
    format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {names}")
}

fn install_packages(packages: &[&str]) -> Result {
    // One after the other waits for the package manager's lock, but not for ever.
    let apt =
        ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"];
    program::run(&[&apt[..], &["update"]].concat())?;
    let install =
        ["install", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"];
    program::run(&[&apt[..], &install, packages].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_is_named_once() {
        assert_eq!(missing_packages(|_| true), Vec::<&str>::new());
        let ext = missing_packages(|command| !["mkfs.ext4", "chattr", "ip"].contains(&command));
        assert_eq!(ext, ["iproute2", "e2fsprogs"]);
        assert!(to_paste(&ext).ends_with("--no-install-recommends iproute2 e2fsprogs"));
    }
}
