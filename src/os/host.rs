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
    let home = field_of_user(5)?;
    home.starts_with('/').then(|| PathBuf::from(home))
}

/// The name of the user who started this process, as `/etc/passwd` has it, else its number; for people.
pub fn user_name() -> String {
    field_of_user(0).unwrap_or_else(|| rustix::process::getuid().as_raw().to_string())
}

/// The home of the user `name`, as `/etc/passwd` has it; `None` for a user that is kept elsewhere.
pub fn home_of(name: &str) -> Option<PathBuf> {
    let home = field(0, name, 5)?;
    home.starts_with('/').then(|| PathBuf::from(home))
}

/// A field of the line that `/etc/passwd` has for the user who started this process, counted from 0.
fn field_of_user(number: usize) -> Option<String> {
    field(2, &rustix::process::getuid().as_raw().to_string(), number)
}

/// A field of the first line of `/etc/passwd` in which the field `known` is `value`, counted from 0.
fn field(known: usize, value: &str, wanted: usize) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').nth(known) == Some(value))?;
    line.split(':').nth(wanted).map(str::to_owned)
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
