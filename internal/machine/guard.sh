# Cuts a machine's power when the process that started it ends: only that process holds the other end of stdin.
#
# FLEET_RUNTIME: the machine's runtime directory
read -r _ || :
while :; do
	alive=
	for dir in $(cat "$FLEET_RUNTIME/cgroups" 2>/dev/null); do
		if [ -e "$dir/cgroup.kill" ]; then
			echo 1 >"$dir/cgroup.kill"
			continue
		fi
		# Version 1: the next round catches what forks meanwhile.
		for pid in $(find "$dir" -name cgroup.procs -exec cat {} + 2>/dev/null); do
			kill -KILL "$pid" 2>/dev/null && alive=yes
		done
	done
	[ -n "$alive" ] || exit 0
done
