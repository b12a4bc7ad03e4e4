//! Learns the key of a host that is not known yet, where the operator allows it, and says which key that was.
//!
//! ssh's own `accept-new` would also take a key of another type than the known ones from a host, which is what an
//! impostor without the host's keys has to offer. So a host is asked strictly first, and is new only if no key at all
//! is known under the name that ssh looked up.

use std::ffi::OsString;
use std::time::Duration;

use crate::os::child::Invocation;

use super::LinkOptions;
use super::stderr::shortened;

/// How long reading the known hosts may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The name that ssh looked up and did not find, from its own words.
pub(super) fn name_looked_up(words: &str) -> Option<&str> {
    let (_, rest) = words.split_once("host key is known for ")?;
    let (name, _) = rest.split_once(" and you have requested strict checking")?;
    Some(name)
}

/// The keys known under `name`, each as its type and fingerprint; `None` if they cannot be read.
pub(super) async fn known(name: &str, options: &LinkOptions) -> Option<Vec<String>> {
    let mut arguments: Vec<OsString> = ["-l", "-F", name].map(OsString::from).into();
    if let Some(file) = &options.known_hosts {
        arguments.extend(["-f".into(), file.into()]);
    }
    let environment = vec![("LC_ALL", Some("C"))];
    let lookup = Invocation { program: "ssh-keygen".into(), arguments, environment };
    let (_, found) = lookup.output(LOOKUP_TIMEOUT).await.ok()?;
    Some(fingerprints(&String::from_utf8_lossy(&found)))
}

/// Type and fingerprint of each line that `ssh-keygen -l -F` prints.
fn fingerprints(listing: &str) -> Vec<String> {
    let keys = listing.lines().filter(|line| !line.starts_with('#'));
    let keys = keys.filter_map(|line| line.split_once(' '));
    keys.map(|(_, key)| shortened(key.trim().as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_116_the_name_that_was_looked_up_is_read_from_the_words_of_ssh() {
        let words = "No ED25519 host key is known for [10.0.0.1]:2222 and you have requested strict checking.; \
                     Host key verification failed.";
        assert_eq!(name_looked_up(words), Some("[10.0.0.1]:2222"));
        assert_eq!(name_looked_up("Host key verification failed."), None);
    }

    #[test]
    fn fault_116_fingerprints_are_read_from_the_listing() {
        let listing = "# Host h found: line 1 \nh ED25519 SHA256:abc\n# Host h found: line 2 \nh RSA SHA256:d\n";
        assert_eq!(fingerprints(listing), ["ED25519 SHA256:abc", "RSA SHA256:d"]);
        assert!(fingerprints("").is_empty());
    }
}
