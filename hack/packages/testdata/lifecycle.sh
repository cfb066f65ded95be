#!/bin/sh
# Installs, upgrades, removes and purges the Debian packages on the machine that it runs on, as root, and fails where something is not
# as it should be. Where systemd runs, it also looks at what is restarted.
#
#	lifecycle.sh OLD NEW    directories with the packages; those in OLD are of a lower version
set -eu
old=$1 new=$2
export DEBIAN_FRONTEND=noninteractive

fail() {
	echo "lifecycle: $step: $*" >&2
	exit 1
}
is() { [ "$2" = "$3" ] || fail "$1 is \"$2\", not \"$3\""; }
absent() { for path; do [ ! -e "$path" ] && [ ! -L "$path" ] || fail "$path is there"; done; }
booted() { [ -d /run/systemd/system ]; }
enabled() { systemctl is-enabled fleetd.service 2>/dev/null || true; }
active() { systemctl is-active "$1" || true; }
show() { systemctl show -p "$1" --value "$2"; }
installed() { dpkg-query -W -f '${Version}' fleet; }
inodes() { stat -c %i /run/fleet.sock; }

own() { printf '#!/bin/sh\necho real "$@"\n' >"$1.new" && chmod 755 "$1.new" && mv "$1.new" "$1"; }

step=install
unset ETCDCTL_API # with 3, fleet-compat passes the commands of etcd 2 on, too
[ -e /usr/bin/etcdctl ] || own /usr/bin/etcdctl
etcdctl=$(cksum </usr/bin/etcdctl)
dpkg -i "$old"/*.deb
getent group fleet >/dev/null || fail "there is no group fleet"
is "mode of fleet.conf" "$(stat -c '%a %U:%G' /etc/fleet/fleet.conf)" "640 root:root"
is "fleetd.service" "$(enabled)" enabled
fleetctl version >/dev/null
fleet-registry version >/dev/null
is "etcdctl.distrib" "$(cksum </usr/bin/etcdctl.distrib)" "$etcdctl"
etcdctl set --help | grep -q '^usage: etcdctl set' || fail "etcdctl has no command of etcd 2"
own /usr/bin/etcdctl.distrib
is "etcdctl put" "$(etcdctl put a b)" "real put a b"
before=$(installed)
if booted; then
	is "fleetd.service" "$(active fleetd.service)" active
	is "the socket" "$(stat -c '%a %U:%G' /run/fleet.sock)" "660 root:fleet"
	curl -sf --unix-socket /run/fleet.sock http://fleet/healthz >/dev/null || fail "fleetd does not answer"
	systemd-run --quiet --unit=bystander sleep infinity
	bystander=$(show InvocationID bystander.service) pid=$(show MainPID fleetd.service) inode=$(inodes)
fi

step=upgrade
echo 'metadata=zone=a' >>/etc/fleet/fleet.conf
mkdir -p /var/lib/fleet
dpkg -i "$new"/*.deb
dpkg --compare-versions "$before" lt "$(installed)" || fail "it has version $(installed), as before or less"
grep -q zone=a /etc/fleet/fleet.conf || fail "fleet.conf was replaced"
is "fleetd.service" "$(enabled)" enabled
if booted; then
	is "fleetd.service" "$(active fleetd.service)" active
	[ "$pid" != "$(show MainPID fleetd.service)" ] || fail "fleetd was not restarted"
	is "invocation of another unit" "$(show InvocationID bystander.service)" "$bystander"
	is "inode of the socket" "$(inodes)" "$inode"
fi

is "etcdctl put after the upgrade" "$(etcdctl put a b)" "real put a b"
if booted; then
	grep -q '^COREOS_PRIVATE_IPV4=' /etc/environment || fail "fleetd does not keep the address in /etc/environment"
fi

step="upgrade of a fleetd that is disabled"
systemctl disable ${bystander:+--now} --quiet fleetd.service
dpkg -i "$new"/*.deb
is "fleetd.service" "$(enabled)" disabled
if booted; then
	is "fleetd.service" "$(active fleetd.service)" inactive
	is "fleetd.socket" "$(active fleetd.socket)" inactive
fi
systemctl enable ${bystander:+--now} --quiet fleetd.service

step=remove
files=$(dpkg -L fleet fleetctl fleet-registry fleet-compat | grep -v /usr/bin/etcdctl | sort -u | while read -r path; do [ -d "$path" ] || echo "$path"; done)
dpkg -r fleet fleet-compat
is "etcdctl, which is back," "$(etcdctl set)" "real set"
absent /usr/bin/etcdctl.distrib
absent /usr/bin/fleetd /usr/lib/systemd/system/fleetd.service /usr/lib/systemd/system/fleetd.socket
[ -e /etc/fleet/fleet.conf ] && [ -d /var/lib/fleet ] || fail "what a purge removes is gone already"
if booted; then
	is "fleetd.service" "$(active fleetd.service)" inactive
	is "fleetd.socket" "$(active fleetd.socket)" inactive
	is "another unit" "$(active bystander.service)" active
fi

step="install again"
dpkg -i "$new"/*.deb
grep -q zone=a /etc/fleet/fleet.conf || fail "fleet.conf was replaced"
is "fleetd.service" "$(enabled)" enabled

step=purge
dpkg -P fleet fleetctl fleet-registry fleet-compat
is "etcdctl, which is back," "$(etcdctl set)" "real set"
absent $files /etc/fleet /var/lib/fleet /run/fleet.sock
left=$(find /etc/systemd /var/lib/systemd -name 'fleetd*')
is "what is left" "$left" ""
getent group fleet >/dev/null || fail "the group is gone, and files may belong to it"
if booted; then
	is "another unit" "$(active bystander.service)" active
	systemctl stop bystander.service
fi
