//! What hub and agent say to each other: preamble, frames, messages. Knows nothing of files.

pub mod preamble;
pub mod frame;
pub mod message;
pub mod stream;
