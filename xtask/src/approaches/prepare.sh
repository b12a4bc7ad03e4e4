# Inside the machine, before it boots: users, keys, two clusters, and their units as `depsync recipe systemd` makes them.
set -eu
odd='/srv/it'\''s "odd" $HOME ${x} $$ %d \n #;& ü'
useradd -m depsync
useradd -m wso2
install -d /opt/wso2mi/server /srv/source /srv/local/server "$odd/source" "$odd/node/tree"
cp /share/first /srv/source/file
cp /share/first "$odd/source/file"
chown -R depsync /srv/source /srv/local "$odd"
chown -R wso2 /opt/wso2mi

install -d -m 700 -o depsync /home/depsync/.ssh
install -d -m 700 -o wso2 /home/wso2/.ssh
runuser -u depsync -- ssh-keygen -q -t ed25519 -N '' -f /home/depsync/.ssh/id_ed25519
install -m 600 -o wso2 /home/depsync/.ssh/id_ed25519.pub /home/wso2/.ssh/authorized_keys
ssh-keygen -A >/dev/null
sed 's/^/127.0.0.1 /' /etc/ssh/ssh_host_ed25519_key.pub >/home/depsync/.ssh/known_hosts
mkdir -p /run/sshd
/usr/sbin/sshd

mkdir /etc/depsync
cat >/etc/depsync/mi.toml <<'END'
[cluster]
name = "mi"
source = "/srv/source"
[[node]]
target = "wso2@127.0.0.1:/opt/wso2mi/server"
[ssh]
agent = "/usr/local/bin/depsync"
END
cat >/etc/depsync/local.toml <<'END'
[cluster]
name = "local"
source = "/srv/source"
[[node]]
target = "/srv/local/server"
END
cat >"$odd/depsync.toml" <<'END'
[cluster]
name = "odd"
source = "source"
[[node]]
target = "./node/tree"
END
chmod 644 /etc/depsync/*.toml "$odd/depsync.toml"
for config in /etc/depsync/mi.toml /etc/depsync/local.toml "$odd/depsync.toml"; do
    depsync recipe systemd --install --user depsync --every 10s --before ssh.service -c "$config"
    # It makes the state directory; 2: there is something to push.
    runuser -u depsync -- env HOME=/home/depsync depsync plan -q -c "$config" || [ $? -eq 2 ]
done
depsync recipe systemd --user depsync -c /etc/depsync/mi.toml --before ssh.service -o /tmp/mi
cp /tmp/mi/node/depsync-mi-recover.service /etc/systemd/system
cp /share/watch.service /etc/systemd/system
systemctl enable ssh.service watch.service
for cluster in mi local odd; do
    systemctl enable "depsync-$cluster.timer" "depsync-$cluster-recover.service"
done
pkill -o -x sshd
