# The init of one machine, in its own mount namespace: a private /run, a journal, a service manager. It ends when the
# service manager ends, and the machine with it.
set -eu

# The host's /run disappears under the machine's own, except what units may need of it: container engines' sockets and
# the files that /etc/resolv.conf points to.
for name in docker docker.sock containerd podman resolvconf NetworkManager systemd/resolve; do
	if [ -d "/run/$name" ]; then
		mkdir -p "$FLEET_RUNTIME/run/$name"
	elif [ -e "/run/$name" ]; then
		: >"$FLEET_RUNTIME/run/$name"
	else
		continue
	fi
	mount --rbind "/run/$name" "$FLEET_RUNTIME/run/$name"
done
mount --rbind "$FLEET_RUNTIME/run" /run
mount --bind "$FLEET_STATE/journal" /run/log/journal
mount --bind "$FLEET_STATE/machine-id" /etc/machine-id
# As where a machine was booted: systemd mounts a unit's credentials in a namespace of its own, and expects to see them.
mkdir -p "$XDG_RUNTIME_DIR/credentials"
mount --bind "$XDG_RUNTIME_DIR/credentials" "$XDG_RUNTIME_DIR/credentials"
mount --make-shared "$XDG_RUNTIME_DIR/credentials"
# Of what the host's packages enable for login sessions, only the bus is the machine's.
if [ -e /usr/lib/systemd/user/dbus.socket ]; then
	ln -s /usr/lib/systemd/user/dbus.socket "$FLEET_RUNTIME/enabled/sockets.target.wants/"
fi
mount --bind "$FLEET_RUNTIME/enabled" /etc/systemd/user

env -u NOTIFY_SOCKET /usr/lib/systemd/systemd-journald &
journald=$!
# What the service manager says of its units goes to the journal, like what they say themselves: it looks for it once.
until [ -S /run/systemd/journal/socket ] || ! kill -0 $journald; do
	sleep 0.01
done
env -u FLEET_RUNTIME -u FLEET_STATE -u FLEET_CGROUPS /usr/lib/systemd/systemd --user --log-target=journal &
manager=$!
code=0
wait $manager || code=$?
kill $journald && wait $journald || :
exit $code
