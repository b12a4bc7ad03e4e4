//! Which cipher ssh is asked for, where nobody else has said anything about it.
//!
//! ssh's own first choice is `ChaCha20`, which costs several times what AES does on a processor with instructions for it: a
//! sixth of the time of a first push. But an option on the command line stands over the user's configuration, so it is given only
//! if no file that ssh would read speaks of ciphers at all. Whatever is not understood here counts as speaking of them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::os::{foreign_file, host};

/// ssh's own ciphers, those with instructions of the processor first. Each is known to OpenSSH since 6.5.
const AES_FIRST: &str = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,\
                         aes128-ctr,aes192-ctr,aes256-ctr";
/// Where the system's configuration of ssh is.
const SYSTEM: &str = "/etc/ssh";
/// `1` where the kernel allows approved ciphers only, of which ssh has a list of its own.
const FIPS: &str = "/proc/sys/crypto/fips_enabled";
/// Longest configuration that is looked at.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Files that are looked at, as one may include another.
const FILES_MAX: usize = 64;

/// The ciphers to ask for, in order; `None` to leave the choice to ssh and its user. Looked up once a process.
pub(super) fn preference() -> Option<&'static str> {
    static IS_OURS: OnceLock<bool> = OnceLock::new();
    let is_ours = || {
        let is_fips =
            foreign_file::read(Path::new(FIPS), 1).is_ok_and(|it| it == Some(b"1".to_vec()));
        let home = host::user_home();
        has_aes() && !is_fips && home.is_some_and(|home| is_silent(&home, Path::new(SYSTEM)))
    };
    IS_OURS.get_or_init(is_ours).then_some(AES_FIRST)
}

/// True if this processor has instructions for AES; the nodes are of the same architecture.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

/// True if neither the user's configuration of ssh nor the system's says anything of ciphers.
fn is_silent(home: &Path, system: &Path) -> bool {
    let user = home.join(".ssh");
    [(user.as_path(), "config"), (system, "ssh_config")].into_iter().all(|(base, name)| {
        let mut files = vec![base.join(name)];
        let mut next = 0;
        while let Some(file) = files.get(next) {
            match included(file, base, home) {
                Some(more) if files.len() + more.len() <= FILES_MAX => files.extend(more),
                _ => return false,
            }
            next += 1;
        }
        true
    })
}

/// The files that `file` includes, or more; `None` if it says something of ciphers, or something not understood.
fn included(file: &Path, base: &Path, home: &Path) -> Option<Vec<PathBuf>> {
    let mut found = Vec::new();
    let content = foreign_file::read(file, FILE_BYTES_MAX).ok()?.unwrap_or_default();
    if content.len() as u64 == FILE_BYTES_MAX {
        return None;
    }
    for line in String::from_utf8_lossy(&content).lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.to_ascii_lowercase().contains("cipher") || line.starts_with('"') {
            return None;
        }
        let (keyword, value) = line.split_once([' ', '\t', '=']).unwrap_or((line, ""));
        if keyword.eq_ignore_ascii_case("include") {
            for pattern in value.trim_start_matches([' ', '\t', '=']).split_whitespace() {
                found.extend(matching(pattern, base, home)?);
            }
        }
    }
    Some(found)
}

/// All that `pattern` may stand for; `None` if that is hard to say.
fn matching(pattern: &str, base: &Path, home: &Path) -> Option<Vec<PathBuf>> {
    let is_wild = |text: &str| text.contains(['*', '?', '[']);
    if pattern.contains(['"', '\'', '\\', '%', '$']) {
        return None;
    }
    let path = match pattern.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None if pattern.starts_with('~') => return None,
        None => base.join(pattern),
    };
    let parent = path.parent()?;
    if is_wild(parent.to_str()?) {
        return None;
    }
    if is_wild(path.file_name()?.to_str()?) {
        return foreign_file::list(parent).ok();
    }
    Some(vec![path])
}

#[cfg(test)]
mod tests {
    use crate::os::{durable, root};

    use super::*;

    /// Whether a user and a system with these files are silent.
    fn silent(files: &[(&str, &str)]) -> bool {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            let text = text.replace("HERE", directory.path().to_str().unwrap());
            let parent = root::open_private(path.parent().unwrap()).unwrap();
            let name = path.file_name().unwrap().as_encoded_bytes();
            durable::replace_lazily(&parent, name, text.as_bytes()).unwrap();
        }
        is_silent(&directory.path().join("home"), &directory.path().join("etc"))
    }

    #[test]
    fn a_configuration_that_says_nothing_of_ciphers_leaves_the_choice() {
        assert!(silent(&[]));
        let system = "# Ciphers aes256-ctr\nInclude HERE/etc/d/*.conf\nHost *\n  SendEnv LANG\n";
        let user = "Host web\n  User deploy\n  HostName 10.0.0.1\nInclude more\n";
        assert!(silent(&[("etc/ssh_config", system), ("home/.ssh/config", user)]));
        let more = [("home/.ssh/more", "Port 2222\n"), ("etc/d/x.conf", "Compression no\n")];
        assert!(silent(
            &[&[("etc/ssh_config", system), ("home/.ssh/config", user)], &more[..]].concat()
        ));
    }

    #[test]
    fn whoever_speaks_of_ciphers_has_the_choice_wherever_it_is_said() {
        for line in
            ["Ciphers aes256-ctr", "Host x\n\tcIPHERS=+aes128-cbc", "\"Ciphers\" aes256-ctr"]
        {
            for name in ["home/.ssh/config", "etc/ssh_config"] {
                assert!(!silent(&[(name, line)]), "{line} in {name}");
            }
            for include in
                ["Include ~/x/one", "include=HERE/home/x/o*", "Include a b HERE/home/x/one"]
            {
                let files = [("home/.ssh/config", include), ("home/x/one", line)];
                assert!(!silent(&files), "{line} by {include}");
            }
            assert!(!silent(&[("etc/ssh_config", "Include one"), ("etc/one", line)]), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_counts_as_a_choice() {
        for line in ["Include /x/*/y", "Include ~other/x", "Include \"a b\"", "Include ${HOME}/x"] {
            assert!(!silent(&[("home/.ssh/config", line)]), "{line}");
        }
        assert!(!silent(&[("home/.ssh/config", "Include config")]), "a circle");
    }
}
