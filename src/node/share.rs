//! The file system under a target: its node's own, or one that several hosts mount, which is then to be mounted.

use std::path::Path;

use super::error::{Error, io_error};
use crate::model::untrusted::Untrusted;
use crate::os::dir::Dir;
use crate::os::mounts;
use crate::os::root::Root;
use crate::wire::message::{FailedClass, Mounted, Part};

/// Kinds of file systems by their magic numbers, as in linux/magic.h and the projects' own headers.
const NFS: u64 = 0x6969;
const CIFS: u64 = 0xff53_4d42;
const SMB2: u64 = 0xfe53_4d42;
const NINE_P: u64 = 0x0102_1997;
const FUSE: u64 = 0x6573_5546;
const CEPH: u64 = 0x00c3_6400;
const AFS: u64 = 0x5346_414f;
const OCFS2: u64 = 0x7461_636f;
const GFS2: u64 = 0x0116_1970;
const LUSTRE: u64 = 0x0bd0_0bd0;
const GPFS: u64 = 0x4750_4653;
const BEEGFS: u64 = 0x1983_0326;

/// True for a file system by FUSE, of whose names the kernel remembers some for a while without asking.
pub fn remembers_names(kind: u64) -> bool {
    kind == FUSE
}

/// True for a file system that is somebody else's disk, where a node's own directory may not lie.
pub fn is_network(kind: u64) -> bool {
    [NFS, CIFS, SMB2, NINE_P].contains(&kind)
}

/// True for a file system that several hosts may have mounted at once.
pub fn is_shareable(kind: u64) -> bool {
    let others = [FUSE, CEPH, AFS, OCFS2, GFS2, LUSTRE, GPFS, BEEGFS];
    is_network(kind) || others.contains(&kind)
}

/// Kernel locks and the order of writes are not what they are on a local disk (row 105).
///
/// # Errors
/// [`Error::Refused`] where a target of its node's own lies on a network's file system.
pub fn refuse_network(kind: u64) -> Result<(), Error> {
    if is_network(kind) {
        let hint = "name a directory on the node's own disk, or, if all nodes mount this one, set approach = \"shared\" in [storage]";
        return Err(Error::refused(
            "network-file-system",
            "the target is on a network file system, where locks and the order of writes cannot be relied on".into(),
            Some(hint.into()),
        ));
    }
    Ok(())
}

/// Refuses a mount point with nothing mounted on it, where what is `mounted` is to be a share: it looks like an empty target,
/// and what is put there is hidden as soon as the share comes back (promise 8).
///
/// # Errors
/// [`Error::Refused`] of class guard; [`Error::Io`].
pub fn check(root: &Root, mounted: Mounted) -> Result<(), Error> {
    if mounted.part == Part::Own {
        return Ok(());
    }
    if let Some(error) = unmounted(&root.real_path)? {
        return Err(error);
    }
    if mounted.allow_local || is_shareable(kind_of(root.dir.as_ref().unwrap_or(&root.parent))?) {
        return Ok(());
    }
    let shown = Untrusted::new(root.real_path.as_os_str().as_encoded_bytes());
    Err(not_mounted(
        format!("{shown} is on this host's own disk, and the approach is \"shared\""),
        "mount the share there; where this host itself serves it from that disk, set allow_local = true in [storage]",
    ))
}

/// Why `path` must not be written to, if a file system is meant to be mounted at or above it and is not.
///
/// # Errors
/// [`Error::Io`] if it is not known what is mounted.
pub fn unmounted(path: &Path) -> Result<Option<Error>, Error> {
    let Some(point) = mounts::intended(path) else { return Ok(None) };
    let over = mounts::over(path).map_err(io_error("look at", "what is mounted"))?;
    if over.is_some_and(|mount| mount.point.starts_with(&point) && mount.kind != "autofs") {
        return Ok(None);
    }
    let shown = Untrusted::new(point.as_os_str().as_encoded_bytes()).to_string();
    let message = format!("nothing is mounted at {shown}, where a file system is meant to be");
    Ok(Some(not_mounted(message, &format!("mount it (mount {shown}), and go on then"))))
}

fn not_mounted(message: String, hint: &str) -> Error {
    let class = FailedClass::Guard;
    Error::Refused { class, kind: "not-mounted", message, hint: Some(hint.to_owned()) }
}

/// True for what the system says of a handle whose file the server does not know any more.
pub fn is_stale(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::StaleNetworkFileHandle
}

/// The kind of the file system that `dir` lies on.
///
/// # Errors
/// [`Error::Io`].
pub fn kind_of(dir: &Dir) -> Result<u64, Error> {
    dir.file_system_type().map_err(io_error("look at", "the target's file system"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_105_network_file_systems_are_known_by_their_numbers() {
        // As linux/magic.h has them: nfs, cifs, smb3, 9p.
        for network in [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997] {
            assert!(is_network(network) && is_shareable(network), "{network:x}");
        }
        assert!(is_shareable(0x6573_5546) && !is_network(0x6573_5546), "fuse may be anything");
        // ext4, tmpfs, xfs, btrfs, overlayfs.
        for local in [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x794c_7630] {
            assert!(!is_network(local) && !is_shareable(local), "{local:x}");
        }
    }
}
