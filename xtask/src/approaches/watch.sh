# Inside the booted machine: waits until every target has the first release, then the second, and writes what the units came to.
# /share/result ends with `done` if all went well.
odd='/srv/it'\''s "odd" $HOME ${x} $$ %d \n #;& ü'
everywhere() {
    tries=0
    until cmp -s "$1" /opt/wso2mi/server/file && cmp -s "$1" /srv/local/server/file && cmp -s "$1" "$odd/node/tree/file"; do
        tries=$((tries + 1))
        [ "$tries" -lt 240 ] || { echo "not everywhere: $1"; return 1; }
        sleep 0.5
    done
}
told() {
    for cluster in mi local odd; do
        for unit in "depsync-$cluster" "depsync-$cluster-recover"; do
            echo "unit $unit $(systemctl show -P Result "$unit.service") $(systemctl show -P ExecMainStatus "$unit.service")"
        done
        echo "runs $cluster $(journalctl -u "depsync-$cluster.service" -o cat | grep -c '^Finished ')"
        echo "failures $cluster $(journalctl -u "depsync-$cluster.service" -o cat | grep -c '^Failed ')"
        echo "level $cluster $(systemd-analyze --no-pager security "depsync-$cluster.service" | sed -n 's/.*level for [^:]*: \([0-9.]*\).*/\1/p')"
    done
    echo "systemd $(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
}
{
    everywhere /share/first && {
        cp /share/second /srv/source/file
        cp /share/second "$odd/source/file"
        everywhere /share/second
    } && told && echo done
} >/share/result.new 2>&1
journalctl -b --no-pager -o short >/share/journal
mv /share/result.new /share/result
