//! The only access to the operating system: the confined directory handle, durable writes, locks, children, clocks.
//!
//! Owns: every system call, and the rule that nothing below a root is reached by a path (rule S1).
//! Never: decides what should happen. Functions return the plain [`std::io::Error`]; whoever called knows
//! what was being done to what, and says so.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the module that the rest of the program is told to use instead"
)]

pub mod clock;
pub mod stat;
pub mod dir;
pub mod root;
pub mod confine;
pub mod meta;
pub mod file;
pub mod durable;
pub mod lock;
pub mod host;
pub mod program;
pub mod unnamed;
pub mod spool;
pub mod bulk;
pub mod pipes;
pub mod child;
pub mod connection;
pub mod operator_file;
pub mod log_file;
pub mod foreign_file;
pub mod programs;
pub mod mounts;
pub mod process;

/// An open file. Only this module opens one.
pub type File = std::fs::File;
