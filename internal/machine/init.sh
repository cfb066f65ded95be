# The init of one machine, in its own mount namespace: a private /run, a journal, a service manager. It ends when the
# service manager ends, and the machine with it.
set -eu

# The machine's own /run hides the host's, except what units may need of it: container engines' sockets and the files that
# /etc/resolv.conf points to.
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
# Files of the host that this machine has others for.
printf %s "$FLEET_FILES" | while read -r path file; do
	if [ -e "$path" ]; then
		hidden="/run/fleet-compat/${path##*/}"
		mkdir -p /run/fleet-compat
		: >"$hidden"
		mount --bind "$path" "$hidden"
		mount --bind "$file" "$path"
	fi
done
# As on a booted machine: systemd mounts a unit's credentials in a separate namespace, and expects to see them here.
mkdir -p "$XDG_RUNTIME_DIR/credentials"
mount --bind "$XDG_RUNTIME_DIR/credentials" "$XDG_RUNTIME_DIR/credentials"
mount --make-shared "$XDG_RUNTIME_DIR/credentials"
# Of what the host's packages enable for login sessions, the machine only gets the bus.
if [ -e /usr/lib/systemd/user/dbus.socket ]; then
	ln -s /usr/lib/systemd/user/dbus.socket "$FLEET_RUNTIME/enabled/sockets.target.wants/"
fi
mount --bind "$FLEET_RUNTIME/enabled" /etc/systemd/user

env -u NOTIFY_SOCKET /usr/lib/systemd/systemd-journald &
journald=$!
# The service manager checks only once whether there is a journal to log to, so wait for it.
until [ -S /run/systemd/journal/socket ] || ! kill -0 $journald; do
	sleep 0.01
done
env -u FLEET_RUNTIME -u FLEET_STATE -u FLEET_CGROUPS -u FLEET_FILES /usr/lib/systemd/systemd --user --log-target=journal &
manager=$!
code=0
wait $manager || code=$?
kill $journald && wait $journald || :
exit $code
