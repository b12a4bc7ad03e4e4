//! What a cluster is called if nobody named it, and where the hub keeps its state.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::nodes::{ListedNode, Nodes};
use super::{Environment, Error};
use crate::model::digest::{Digest, Domain};
use crate::os::operator_file;

/// Bytes that the path of a control socket may have, less what ssh puts behind the directory (`/`, a digest of 40, a dot and
/// 16 random characters while it is made).
const CONTROL_DIR_BYTES_MAX: usize = 107 - 58;

/// The source directory's name and a short digest of where source and list stand, so that editing the list keeps the state.
///
/// FORMAT: the name of the state directory; a changed digest loses lock, index and history.
pub(super) fn default_name(
    source: &Path,
    nodes: &Nodes,
    config: Option<&Path>,
    listed: &[ListedNode],
) -> String {
    let real =
        |path: &Path| operator_file::real_path(path).unwrap_or_else(|_missing| path.to_owned());
    let source = real(source);
    let mut identity = source.as_os_str().as_bytes().to_vec();
    let mut add = |part: &[u8]| {
        identity.push(0);
        identity.extend_from_slice(part);
    };
    let list = match nodes {
        Nodes::File(path) => Some(path.as_path()),
        Nodes::Configured(_) => config,
        Nodes::Named(_) => None,
    };
    if let Some(path) = list {
        add(b"file");
        add(real(path).as_os_str().as_bytes());
    } else {
        let mut targets: Vec<String> = listed.iter().map(|node| node.target.to_string()).collect();
        targets.sort();
        add(b"nodes");
        for target in &targets {
            add(target.as_bytes());
        }
    }
    let digest = Digest::of(Domain::State, &identity).short();
    let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("{}-{digest}", sanitized(&name))
}

/// At most 40 characters that a cluster's name may have.
fn sanitized(name: &str) -> String {
    let taken = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let name: String = name
        .chars()
        .map(|character| if taken(character) { character } else { '_' })
        .take(40)
        .collect();
    let name = name.trim_start_matches(['.', '-']);
    if name.is_empty() { "source".to_owned() } else { name.to_owned() }
}

/// `$XDG_STATE_HOME/depsync`, or `~/.local/state/depsync`.
pub(super) fn state_home(environment: &Environment) -> Result<PathBuf, Error> {
    let absolute = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_absolute());
    absolute(&environment.state_home)
        .or_else(|| absolute(&environment.home).map(|home| home.join(".local/state")))
        .map(|home| home.join("depsync"))
        .ok_or_else(|| Error::Contradiction {
            message: "there is no place for the state: neither XDG_STATE_HOME nor HOME is an absolute path".to_owned(),
            hint: "set XDG_STATE_HOME to a directory that belongs to the user who runs depsync",
        })
}

/// The directory for control sockets: in the cluster's state, or beside it under a shorter name if that path would be too long
/// for a socket.
pub(super) fn control_dir(state_home: &Path, name: &str) -> PathBuf {
    let inside = state_home.join(name).join("ssh");
    if inside.as_os_str().len() <= CONTROL_DIR_BYTES_MAX {
        return inside;
    }
    let digest = Digest::of(Domain::State, name.as_bytes()).short();
    state_home.join(format!("s-{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(source: &str, nodes: &Nodes) -> String {
        let listed = match nodes {
            Nodes::Named(nodes) => nodes.clone(),
            _ => Vec::new(),
        };
        default_name(Path::new(source), nodes, None, &listed)
    }

    fn named(targets: &[&str]) -> Nodes {
        let texts: Vec<String> = targets.iter().map(|text| (*text).to_owned()).collect();
        Nodes::from_options(&texts, Path::new("/")).expect("targets")
    }

    #[test]
    fn a_name_stays_while_source_and_list_stand_where_they_are() {
        let one = name("/no/such/server", &named(&["a:x", "b:x"]));
        assert!(one.starts_with("server-") && one.len() == "server-".len() + 12, "{one}");
        assert_eq!(
            one,
            name("/no/such/server", &named(&["b:~/x", "a:x"])),
            "the order does not count"
        );
        assert_ne!(one, name("/no/such/server", &named(&["a:x"])));
        assert_ne!(one, name("/other/server", &named(&["a:x", "b:x"])));
        let file = name("/no/such/server", &Nodes::File("/no/such/list".into()));
        assert_ne!(one, file);
        assert!(
            name("/no/.. ü", &named(&["a:x"])).starts_with("___-")
                || name("/no/.. ü", &named(&["a:x"])).starts_with("__-")
        );
        assert!(super::super::values::cluster_name(&name("/", &named(&["a:x"]))).is_ok());
        assert!(
            super::super::values::cluster_name(&name(
                &format!("/{}", "x".repeat(200)),
                &named(&["a:x"])
            ))
            .is_ok()
        );
    }

    #[test]
    fn control_sockets_fit_into_an_address() {
        let short = control_dir(Path::new("/root/.local/state/depsync"), "mi-prod");
        assert_eq!(short, Path::new("/root/.local/state/depsync/mi-prod/ssh"));
        let long = control_dir(Path::new("/home/user/.local/state/depsync"), &"x".repeat(64));
        assert!(long.as_os_str().len() <= CONTROL_DIR_BYTES_MAX, "{}", long.display());
    }

    #[test]
    fn state_has_a_home_or_the_run_is_refused() {
        let mut environment = Environment { home: Some("/h".into()), ..Environment::default() };
        assert_eq!(state_home(&environment).expect("home"), Path::new("/h/.local/state/depsync"));
        environment.state_home = Some("relative".into());
        assert_eq!(state_home(&environment).expect("home"), Path::new("/h/.local/state/depsync"));
        environment.state_home = Some("/s".into());
        assert_eq!(state_home(&environment).expect("state home"), Path::new("/s/depsync"));
        assert!(state_home(&Environment::default()).is_err());
    }
}
