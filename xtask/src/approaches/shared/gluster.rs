//! A Gluster volume of one brick on node 1, mounted by FUSE.

use super::rig::Rig;
use super::{READER, SERVER, Scenario, WRITER, agreement, refusals};
use crate::failure::Result;

pub(super) const ALL: &[Scenario] = &[
    ("gluster: without depsync, one client reads what the other writes", agreement::plain),
    ("gluster: first push, no-op, a change", agreement::first_noop_change),
    ("gluster: content that alternates is never stale", agreement::alternating),
    ("gluster: drift is told by every node and repaired", agreement::drift),
    ("gluster: rollback", agreement::rollback),
    ("gluster: the reader has not mounted it", refusals::reader_unmounted),
    ("gluster: the reader has another share", refusals::reader_has_another),
    ("gluster: copy is refused", copy),
];

/// glusterd and two volumes, each on a disk of [`super::disks`]. Its directories are the node's own, but for its log's.
const START: &str = r#"set -e
mountpoint -q /var/log/glusterfs || mount -t tmpfs tmpfs /var/log/glusterfs
mkdir -p /var/lib/glusterd /run/gluster
setsid glusterd --no-daemon --log-level WARNING -p /run/glusterd.pid </dev/null >/dev/null 2>&1 &
tries=0
until timeout 5 gluster --mode=script volume list >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || exit 1
    sleep 0.1 # poll: that it answers
done
for volume in share:disk other:other; do
    name=${volume%:*}
    timeout 60 gluster --mode=script volume create "$name" "$address:/opt/${volume#*:}/brick" force
    timeout 60 gluster --mode=script volume start "$name"
done
"#;

/// Starts it.
///
/// # Errors
/// It does not answer, or has no such volume.
pub(super) fn start(rig: &Rig) -> Result {
    rig.on(SERVER, &format!("address={}\n{START}", rig.address(SERVER))).map(drop)
}

/// Mounts a volume on a client in the place of whatever is mounted there.
///
/// # Errors
/// It cannot be mounted.
pub(super) fn mount(rig: &Rig, node: u8, volume: &str) -> Result {
    rig.unmount(node)?;
    let server = rig.address(SERVER);
    let script = format!(
        "mountpoint -q /var/log/glusterfs || mount -t tmpfs tmpfs /var/log/glusterfs
         glusterfs --log-level=WARNING --volfile-server={server} --volfile-id={volume} /opt/server && ls -a /opt/server"
    );
    rig.on(node, &script).map(drop)
}

/// Two agents that each hold the state of the one directory: only one of them can.
fn copy(rig: &Rig) -> Result {
    rig.push(0)?;
    let before = rig.stamps(false)?;
    rig.edit("axis2services/new.sh", "#!/bin/sh\n")?;
    rig.configure(&[WRITER, READER], "copy", "")?;
    rig.depsync(&["push"])?.exit(64)?.kind("same-directory")?;
    super::rig::expect_same("the share", &before, &rig.stamps(false)?)
}
