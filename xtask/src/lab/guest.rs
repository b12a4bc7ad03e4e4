//! Nodes with a kernel of their own, user-mode Linux, for what the host's kernel may not have: an NFS client.
//!
//! Such a node is made as the others are, but its process 1 is the kernel. That takes over address and hardware address of
//! the name space's `eth0`, so that cut, limit, count and kill do what they do with others. Its root is the host's as the
//! name space sees it (hostfs), with directories in memory over those that a node writes to: a kill empties them.

use std::path::Path;

use super::settings::Settings;
use crate::failure::{Result, at};

/// What process 1 becomes in the place of `sshd`; `$4` is the node's address.
///
/// Packets reach the kernel as large as the other end hands them over (`gro`), else it would see only their first part.
pub(super) const KERNEL: &str = r#"mkdir -p /run/lab/uml
exec linux.uml mem=192M root=/dev/root rootfstype=hostfs rootflags=/ rw init=/run/lab/init quiet \
    con=null con0=null,fd:1 umid=guest uml_dir=/run/lab/uml "guest_address=$4" "guest_name=$2" \
    "vec0:transport=raw,ifname=eth0,mac=$(cat /sys/class/net/eth0/address),depth=64,gro=1"
"#;

/// Process 1 of that kernel. The kernel's parameters are its environment.
const INIT: &str = r#"#!/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /mnt
cp -p /run/lab/hostkey /run/lab/sshd_config /run/lab/shadow /root/.ssh/authorized_keys /mnt/
for own in run tmp root opt var/lib; do mount -t tmpfs -o mode=755 tmpfs "/$own"; done
chmod 1777 /tmp
mkdir -p -m 700 /root/.ssh
mkdir -p /run/sshd /run/lab /opt/server
mv /mnt/authorized_keys /root/.ssh/
mv /mnt/hostkey /mnt/sshd_config /mnt/shadow /run/lab/
umount /mnt
mount --bind /run/lab/shadow /etc/shadow
cd "/usr/lib/uml/modules/$(uname -r)"
for module in $(sed -n 's,^kernel/fs/nfs/nfsv4.ko: ,,p' modules.dep | tr ' ' '\n' | tac) kernel/fs/nfs/nfsv4.ko; do
    busybox insmod "$module"
done
cd /
# No more under way than the socket of vec0 holds: what it drops costs seconds.
echo '4096 131072 131072' >/proc/sys/net/ipv4/tcp_rmem
hostname "$guest_name"
ip link set lo up
ip addr add "$guest_address/24" dev vec0
ip link set vec0 up
exec "$(command -v sshd)" -D -e -f /run/lab/sshd_config
"#;

/// Writes what [`KERNEL`] needs into the node's directory.
///
/// # Errors
/// It cannot be written.
pub(super) fn make_files(settings: &Settings, node: u8) -> Result {
    use std::os::unix::fs::PermissionsExt as _;
    let path = settings.node(node, "guest-init");
    std::fs::write(&path, INIT).map_err(at("write", &path))?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(Path::new(&path), mode).map_err(at("chmod", &path))
}
