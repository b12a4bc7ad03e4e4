# A machine with systemd as process 1, over an unpacked Debian that stays as it is.
# $1: the Debian; $2: a directory with `share`, which the machine has as /share, and with the program in it.
set -eu
debian=$1 ground=$2
mkdir "$ground/ram" "$ground/root"
mount -t tmpfs tmpfs "$ground/ram"
mkdir "$ground/ram/upper" "$ground/ram/work"
mount -t overlay overlay -o "lowerdir=$debian,upperdir=$ground/ram/upper,workdir=$ground/ram/work" "$ground/root"
install -m 755 "$ground/share/depsync" "$ground/root/usr/local/bin/depsync"
machine() {
    systemd-nspawn --quiet --directory="$ground/root" --register=no --keep-unit --private-network \
        --machine=depsync-approaches --bind="$ground/share:/share" "$@"
}
machine --pipe /bin/sh /share/prepare.sh </dev/null >"$ground/share/prepare.log" 2>&1
machine --boot </dev/null >"$ground/share/boot.log" 2>&1
