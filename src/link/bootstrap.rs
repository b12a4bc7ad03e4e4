//! Brings the agent to run on a node that does not have it, by constant scripts on the standard input of `sh`.
//!
//! The first, `start.sh`, becomes this build's agent if it is there, and is all that most runs send. Else it asks, and
//! the second, `upload.sh`, takes the agent's bytes. Nothing may follow a script before its answer: some shells read
//! ahead.

use super::agent_binary::{AgentBinary, Packer, Parcel};

/// Starts the agent if it is there, else asks for it. Sent in every run, so it is short, and starts no other program
/// where the agent is there. Its parameters are set by [`start`].
const START: &str = include_str!("start.sh");
/// Takes the agent's bytes, which must not be sent before it has asked for them: some shells read ahead. Its parameters
/// are set by [`upload`].
const UPLOAD: &str = include_str!("upload.sh");

/// The script that starts `binary`.
///
/// Guarantees: the parameter is digits and letters only.
pub(super) fn start(binary: &AgentBinary) -> String {
    format!("digest={}\n{START}", binary.digest_hex())
}

/// The script that takes `binary` as `parcel`, with a `nonce` for the temporary file's name.
pub(super) fn upload(binary: &AgentBinary, parcel: &Parcel, nonce: u128) -> String {
    let (size, sent, unpack) = (binary.size(), parcel.bytes.len(), parcel.unpack);
    format!("size={size} sent={sent} unpack='{unpack}' nonce={nonce:032x}\n{UPLOAD}")
}

/// What a node that lacks the agent says of itself: its system and machine, and what it can unpack by.
pub(super) fn told(words: &str) -> (&str, Packer) {
    for (name, packer) in [(" zstd", Packer::Zstd), (" gzip", Packer::Gzip)] {
        if let Some(machine) = words.strip_suffix(name) {
            return (machine, packer);
        }
    }
    (words, Packer::None)
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
    use std::sync::Arc;

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

    #[tokio::test]
    async fn the_scripts_fit_the_pipe_and_the_first_has_no_second_line_of_parameters() {
        let directory = tempfile::tempdir().unwrap();
        let binary = AgentBinary::open(None, directory.path()).unwrap();
        let parcel = Parcel { unpack: "cat", bytes: Arc::default() };
        let (start, upload) = (start(&binary), upload(&binary, &parcel, u128::MAX));
        assert!(start.len() < 1024 && upload.len() < 4096);
        let line = start.lines().next().unwrap();
        assert!(line.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'='));
    }

    #[test]
    fn a_node_tells_what_it_can_unpack_by() {
        assert_eq!(told("Linux x86_64 zstd"), ("Linux x86_64", Packer::Zstd));
        assert_eq!(told("Linux x86_64 gzip"), ("Linux x86_64", Packer::Gzip));
        assert_eq!(told("Linux x86_64"), ("Linux x86_64", Packer::None));
    }
}
