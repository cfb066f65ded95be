# Runs outside the machine, joins its cgroups and becomes its init.
#
# $1: the text of init.sh   FLEET_CGROUPS: directories, separated by blanks; empty below systemd-run, where the scope is the
# cgroup
set -eu
umask 022
if [ -z "$FLEET_CGROUPS" ]; then
	path=$(sed -n 's/^0:://p' /proc/self/cgroup)
	while read -r _ _ _ root point _; do # in a container the mount may show a part of the hierarchy
		[ "$point" != /sys/fs/cgroup ] || break
	done </proc/self/mountinfo
	FLEET_CGROUPS="/sys/fs/cgroup${path#"${root%/}"}"
	mkdir "$FLEET_CGROUPS/command"
	echo "$FLEET_CGROUPS" >"$FLEET_RUNTIME/cgroups"
fi
for dir in $FLEET_CGROUPS; do
	echo 0 >"$dir/cgroup.procs"
done
export XDG_RUNTIME_DIR="$FLEET_RUNTIME/xdg" # it was the host's, for systemd-run
if [ "$(id -u)" != 0 ]; then
	exec /usr/lib/systemd/systemd --user
fi
exec unshare --mount -- /bin/sh -c "$1" init
