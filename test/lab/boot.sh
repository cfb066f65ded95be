#!/bin/bash
# Runs one machine until its power is cut or it switches itself off. "reboot" ends systemd-nspawn with 133: then it is booted again.
#
#	boot.sh NAME ROOT DISK BRIDGE CGROUP...
name=$1 root=$2 disk=$3 bridge=$4
shift 4
boot() (
	for cgroup in "$@"; do echo $BASHPID >"$cgroup/cgroup.procs" || exit 1; done
	# The capabilities and system calls are those that docker and podman need. Their images are on the machine's disk and not on the
	# overlay, where overlay2 would not work.
	exec systemd-nspawn --quiet -D "$root" --machine="$name" --register=no --keep-unit --network-bridge="$bridge" \
		--capability=all --system-call-filter='@keyring bpf' --bind="$disk/docker:/var/lib/docker" --bind="$disk/containers:/var/lib/containers" --link-journal=no --boot \
		systemd.unit=multi-user.target
)
exec </dev/null
while boot "$@"; status=$?; [ $status = 133 ]; do
	for ((i = 0; i < 50; i++)); do # until the old one has left the network
		ip link show "vb-$name" >/dev/null 2>&1 || break
		sleep 0.1
	done
done
exit $status
