# Becomes a command inside a machine: joins its cgroups and enters its mount and network namespaces. The PID does not change.
#
# $1: PID of the machine's service manager   $2...: the command   FLEET_CGROUPS: directories, separated by blanks
set -eu
for dir in $FLEET_CGROUPS; do
	if [ -d "$dir/command" ]; then
		dir="$dir/command"
	fi
	echo 0 >"$dir/cgroup.procs"
done
export XDG_RUNTIME_DIR="$FLEET_RUNTIME/xdg" # it was the host's, for systemd-run
export DBUS_SESSION_BUS_ADDRESS="unix:path=$XDG_RUNTIME_DIR/bus"
unset FLEET_CGROUPS FLEET_RUNTIME
pid=$1
shift
if [ "$(id -u)" != 0 ]; then
	exec "$@"
fi
exec nsenter --target "$pid" --mount --net --wd=. -- "$@"
