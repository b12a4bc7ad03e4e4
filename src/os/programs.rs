//! Which other programs run on this machine, and with which arguments, as far as the system tells this user.

use std::path::{Path, PathBuf};

use super::foreign_file;

/// Longest command line that is read.
const COMMAND_BYTES_MAX: u64 = 64 * 1024;
/// Longest status of a process that is read.
const STATUS_BYTES_MAX: u64 = 16 * 1024;
/// Most processes looked at, and most ancestors of one.
const PROCESSES_MAX: usize = 32 * 1024;
const ANCESTORS_MAX: usize = 64;

/// A running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its process.
    pub process: u32,
    /// Its name and its arguments.
    pub words: Vec<Vec<u8>>,
}

/// All that runs here and lets itself be seen; threads of the kernel have no words and are left out.
pub fn running() -> Vec<Program> {
    let listed = foreign_file::list(Path::new("/proc")).unwrap_or_default();
    let process = |path: PathBuf| path.file_name()?.to_str()?.parse().ok();
    listed.into_iter().filter_map(process).take(PROCESSES_MAX).filter_map(program).collect()
}

/// The program that started this one, the one that started that, and so on.
pub fn ancestors() -> Vec<Program> {
    let mut found = Vec::new();
    let mut next = parent("self");
    while let Some(process) = next.filter(|process| *process > 1 && found.len() < ANCESTORS_MAX) {
        found.extend(program(process));
        next = parent(&process.to_string());
    }
    found
}

fn parent(process: &str) -> Option<u32> {
    let path = Path::new("/proc").join(process).join("status");
    let status = foreign_file::read(&path, STATUS_BYTES_MAX).ok()??;
    let status = String::from_utf8_lossy(&status);
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn program(process: u32) -> Option<Program> {
    let path = Path::new("/proc").join(process.to_string()).join("cmdline");
    let line = foreign_file::read(&path, COMMAND_BYTES_MAX).ok()??;
    let words: Vec<Vec<u8>> =
        line.split(|&byte| byte == 0).filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect();
    (!words.is_empty()).then_some(Program { process, words })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_is_found_and_so_is_what_started_it() {
        let own = std::process::id();
        let running = running();
        assert!(running.iter().any(|program| program.process == own));
        let parent = ancestors().first().expect("somebody started it").process;
        assert_eq!(parent, std::os::unix::process::parent_id());
    }
}
