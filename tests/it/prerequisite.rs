//! What a test needs of the machine; what is missing is recorded, so that a skipped test is seen.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

/// True if every one of `tools` is installed; else `test` is recorded as skipped.
///
/// A tool is the name of a program, or `root` for the superuser's rights.
pub(crate) fn require(test: &str, tools: &[&str]) -> bool {
    let missing: Vec<&str> = tools.iter().copied().filter(|tool| !is_there(tool)).collect();
    if missing.is_empty() {
        return true;
    }
    skip(test, &format!("needs {}", missing.join(", ")));
    false
}

/// Records that `test` was skipped for `reason`: a line in the file that `DEPSYNC_SKIPPED_FILE` names.
pub(crate) fn skip(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    if let Some(path) = std::env::var_os("DEPSYNC_SKIPPED_FILE") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "SKIPPED {test}: {reason}").unwrap();
    }
}

fn is_there(tool: &str) -> bool {
    if tool == "root" {
        return rustix::process::geteuid().is_root();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |directory: &Path| directory.join(tool).is_file();
    std::env::split_paths(&path).any(|directory| found(&directory))
        || ["/usr/sbin", "/sbin"].into_iter().any(|directory| found(Path::new(directory)))
}
