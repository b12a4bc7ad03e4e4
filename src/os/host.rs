//! What this process and this machine are: user, host name, random bytes.

use std::io;
use std::path::PathBuf;

/// True if this process acts as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user this process acts as.
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The home of the user who started this process, as `/etc/passwd` has it, which is what ssh goes by; `None` for a user
/// that is kept elsewhere.
pub fn user_home() -> Option<PathBuf> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let home = fields.next().filter(|found| *found == uid).and_then(|_| fields.nth(2))?;
        home.starts_with('/').then(|| PathBuf::from(home))
    })
}

/// The group this process acts as.
pub fn group_id() -> u32 {
    rustix::process::getegid().as_raw()
}

/// The id of this process, for people.
pub fn process_id() -> u32 {
    std::process::id()
}

/// The machine's name, for people.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The machine's boot id: the same for everything that runs under one kernel; empty if it is not told.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// 128 random bits, from the kernel.
///
/// # Errors
/// The kernel's generator is not there.
pub fn random_id() -> io::Result<[u8; 16]> {
    let mut bytes = [0u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}
