//! Brings the agent to run on a node that does not have it, by constant scripts on the standard input of `sh`.
//!
//! The first, `start.sh`, becomes this build's agent if it is there, and is all that most runs send. Else it asks, and
//! the second, `upload.sh`, takes the agent's bytes. Nothing may follow a script before its answer: some shells read
//! ahead.

use super::agent_binary::AgentBinary;

/// Starts the agent if it is there, else asks for it. Sent in every run, so it is short. Its three parameters are set by
/// [`start`].
const START: &str = include_str!("start.sh");
/// Takes the agent's bytes, which must not be sent before it has asked for them: some shells read ahead.
pub(super) const UPLOAD: &str = include_str!("upload.sh");

/// The script that starts `binary`, with a `nonce` for the temporary file's name.
///
/// Guarantees: the parameters are digits and letters only.
pub(super) fn start(binary: &AgentBinary, nonce: u128) -> String {
    let (digest, size) = (binary.digest_hex(), binary.bytes().len());
    format!("digest={digest} size={size} nonce={nonce:032x}\n{START}")
}

/// True if a program for `ours` (system and machine, as `uname -s -m` prints them) runs on `node`.
pub(super) fn runs_on(ours: &str, node: &str) -> bool {
    let normal = |name: &str| name.replace("amd64", "x86_64").replace("arm64", "aarch64");
    normal(ours) == normal(node)
}

/// System and machine that this program is built for.
pub(super) fn own_machine() -> String {
    format!("Linux {}", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_108_only_the_own_architecture_is_taken() {
        assert!(runs_on("Linux x86_64", "Linux x86_64"));
        assert!(runs_on("Linux x86_64", "Linux amd64"));
        assert!(runs_on("Linux aarch64", "Linux arm64"));
        for other in ["Linux aarch64", "Darwin x86_64", "Linux i686", "", "Linux"] {
            assert!(!runs_on("Linux x86_64", other), "{other}");
        }
    }

    #[test]
    fn the_scripts_fit_the_pipe_and_the_first_has_no_second_line_of_parameters() {
        let script = start(&AgentBinary::from_bytes(b"x".to_vec()), 7);
        assert!(script.len() < 1024 && UPLOAD.len() < 4096);
        let line = script.lines().next().unwrap();
        assert!(line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"= ".contains(&byte)));
    }
}
