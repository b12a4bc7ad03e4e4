//! The first bytes each side sends, by which the other finds the stream behind a login shell's noise.

/// The version of the protocol. Two builds talk only if theirs are equal.
pub const PROTOCOL_VERSION: u16 = 4;

/// What the agent sends first; everything before it is noise of the shell and is skipped.
// FORMAT: the last two bytes are the protocol version, little-endian.
pub const AGENT: &[u8; 18] = b"\0depsync-agent\0\x04\0\n";

/// What the hub sends first, after it has seen [`AGENT`]; everything before it is skipped by the agent.
pub const HUB: &[u8; 16] = b"\0depsync-hub\0\x04\0\n";
