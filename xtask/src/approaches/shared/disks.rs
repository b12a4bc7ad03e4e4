//! The server's disks, as scripts that node 1 runs: small ones, so that a full one is real.

/// `/opt/disk` has the share in a directory, so that something else can fill it; `/opt/other` is another share. Whatever is on
/// them goes first.
pub(super) const MAKE: &str = r#"set -e
for disk in disk:128 other:64; do
    name=${disk%:*}
    if mountpoint -q "/opt/$name"; then continue; fi
    mkdir -p "/opt/$name"
    truncate -s "${disk#*:}M" "/opt/$name.img"
    mkfs.ext4 -q -F -m 0 "/opt/$name.img"
    mount -o loop "/opt/$name.img" "/opt/$name"
    mkdir "/opt/$name/share"
done
"#;

/// Fills the share's disk to its last block.
pub(super) const FILL: &str = "dd if=/dev/zero of=/opt/disk/filler bs=64k 2>/dev/null; sync -f /opt/disk; \
     dd if=/dev/zero of=/opt/disk/filler bs=1k oflag=append conv=notrunc 2>/dev/null; sync -f /opt/disk";
