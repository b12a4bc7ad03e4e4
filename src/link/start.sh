umask 077
LC_ALL=C
export LC_ALL
c=
case ${XDG_CACHE_HOME-} in
/*) c=$XDG_CACHE_HOME ;;
*) case ${HOME-} in /*) c=$HOME/.cache ;; esac ;;
esac
d=$c/depsync
a=$d/agent-$digest
depsync_size() {
	s=$(wc -c <"$1" 2>/dev/null)
	[ "${s##* }" = "$size" ]
}
depsync_start() {
	exec env -i HOME="${HOME-}" PATH=/usr/bin:/bin "$a" agent
	exit 126
}
if [ -n "$c" ] && [ ! -L "$d" ] && [ -O "$d" ] && [ -f "$a" ] && [ -x "$a" ] && depsync_size "$a"; then
	depsync_start
fi
printf '\000depsync-need\000%s\n' "$(uname -s -m 2>/dev/null)"
