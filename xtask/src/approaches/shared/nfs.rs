//! The NFS server of node 1, and how clients mount what it exports.

use super::SERVER;
use super::rig::Rig;
use crate::failure::Result;

/// Ganesha's configuration but for the address. A lease of ten seconds instead of the usual sixty: so long does a lock
/// outlive a client that is gone.
const CONFIG: &str = r#"
NFS_CORE_PARAM { Protocols = 4; Bind_addr = @address@; NFS_Port = 2049; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }
NFSV4 { Minor_Versions = 1; Lease_Lifetime = 10; Grace_Period = 10; RecoveryBackend = fs; RecoveryRoot = "/opt/recovery"; }
EXPORT_DEFAULTS { Squash = No_Root_Squash; Protocols = 4; Transports = TCP; SecType = sys; }
EXPORT { Export_Id = 1; Path = /opt/disk/share; Pseudo = /share; Access_Type = RW; FSAL { Name = VFS; } }
EXPORT { Export_Id = 2; Path = /opt/other/share; Pseudo = /other; Access_Type = RW; FSAL { Name = VFS; } }
EXPORT { Export_Id = 3; Path = /opt/disk/share; Pseudo = /readonly; Access_Type = RO; FSAL { Name = VFS; } }
"#;

/// Starts it unless it runs, and waits until it listens.
const START: &str = r#"set -e
if [ -e /opt/ganesha.pid ] && kill -0 "$(cat /opt/ganesha.pid)" 2>/dev/null; then exit 0; fi
mkdir -p /opt/recovery
setsid ganesha.nfsd -F -f /opt/ganesha.conf -L /opt/ganesha.log -p /opt/ganesha.lock </dev/null >/dev/null 2>&1 &
echo $! >/opt/ganesha.pid
tries=0
until [ "$(ss -Hltn 'sport = :2049')" ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { tail -5 /opt/ganesha.log; exit 1; }
    sleep 0.1 # poll: that it listens
done
"#;

/// Starts the server.
///
/// # Errors
/// It does not come to listen; what it logged last is told.
pub(super) fn start(rig: &Rig) -> Result {
    start_as(rig, CONFIG)
}

/// Starts the server with the other disk under the share's export: handles of before mean nothing to it.
///
/// # Errors
/// As [`start`].
pub(super) fn start_with_another_disk(rig: &Rig) -> Result {
    let share = "Path = /opt/disk/share; Pseudo = /share;";
    start_as(rig, &CONFIG.replace(share, "Path = /opt/other/share; Pseudo = /share;"))
}

fn start_as(rig: &Rig, config: &str) -> Result {
    let config = config.replace("@address@", &rig.address(SERVER));
    rig.put("ganesha.conf", &config)?;
    rig.on(SERVER, START).map(drop)
}

/// Kills the server at once.
///
/// # Errors
/// It does not run.
pub(super) fn kill(rig: &Rig) -> Result {
    rig.on(SERVER, "kill -9 $(cat /opt/ganesha.pid) && rm /opt/ganesha.pid").map(drop)
}

/// Mounts `export` on a client in the place of whatever is mounted there.
///
/// # Errors
/// It cannot be mounted.
pub(super) fn mount(rig: &Rig, node: u8, export: &str, options: &str) -> Result {
    unmount(rig, node)?;
    let server = rig.address(SERVER);
    let script = format!(
        "mount -t nfs4 -o vers=4.1{options} {server}:/{export} /opt/server && stat -f -c %T /opt/server"
    );
    rig.on(node, &script).map(drop)
}

/// Unmounts it where it is mounted.
///
/// # Errors
/// It cannot be unmounted.
pub(super) fn unmount(rig: &Rig, node: u8) -> Result {
    let script = "while mountpoint -q /opt/server; do umount /opt/server || exit 1; done; mkdir -p /opt/server; \
         find /opt/server -mindepth 1 -delete; rm -rf /opt/.depsync";
    rig.on(node, script).map(drop)
}
