//! Where things lie: the workspace's root and its build directory.

use std::path::PathBuf;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("invariant: xtask lies inside the workspace").to_path_buf()
}

/// The build directory.
pub(crate) fn target() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(set.unwrap_or_else(|| "target".into()))
}

/// The cargo that runs this task, or the one on the path.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_absent| "cargo".to_owned())
}
