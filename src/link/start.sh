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
if [ -n "$c" ] && [ ! -L "$d" ] && [ -O "$d" ] && [ -f "$a" ] && [ -x "$a" ] && [ -s "$a" ]; then
	exec "$a" agent
	exit 126
fi
p=
for u in zstd gzip; do command -v $u >/dev/null 2>&1 && p=$u && break; done
printf '\000depsync-need\000%s\n' "$(uname -s -m 2>/dev/null) $p"
