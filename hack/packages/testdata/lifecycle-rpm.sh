#!/bin/sh
# Installs, upgrades and removes the RPM packages, as root, on a machine of any kind: their dependencies are not looked at, and the
# database is a new one.
#
#	lifecycle-rpm.sh OLD NEW    directories with the packages; those in OLD are of a lower version
set -eu
old=$1 new=$2
rpm() { command rpm --dbpath /tmp/fleet-rpmdb --force-debian "$@"; }
fail() {
	echo "lifecycle-rpm: $*" >&2
	exit 1
}

printf '#!/bin/sh\necho real "$@"\n' >/usr/bin/etcdctl.new && chmod 755 /usr/bin/etcdctl.new && mv /usr/bin/etcdctl.new /usr/bin/etcdctl
rpm -i --nodeps "$old"/*.rpm
getent group fleet >/dev/null || fail "there is no group fleet"
[ "$(stat -c '%a %U:%G' /etc/fleet/fleet.conf)" = "640 root:root" ] || fail "anyone can read fleet.conf"
rpm -V --nodeps fleet fleetctl fleet-registry fleet-compat || fail "what is installed is not what is in the package"
systemctl enable --quiet fleetd.service
echo 'metadata=zone=a' >>/etc/fleet/fleet.conf
rpm -U --nodeps "$new"/*.rpm
grep -q zone=a /etc/fleet/fleet.conf || fail "fleet.conf was replaced"
[ "$(systemctl is-enabled fleetd.service)" = enabled ] || fail "fleetd is not enabled any more"
[ "$(etcdctl put a b)" = "real put a b" ] || fail "etcdctl does not hand over"
etcdctl set --help | grep -q '^usage: etcdctl set' || fail "etcdctl has no command of etcd 2"
rpm -e --nodeps fleet fleetctl fleet-registry fleet-compat
[ "$(etcdctl set)" = "real set" ] || fail "the machine's own etcdctl is not back"
[ ! -e /usr/bin/fleetd ] && [ ! -e /usr/bin/fleetctl ] && [ ! -e /usr/bin/fleet-registry ] || fail "programs are left"
[ "$(find /etc/systemd -name 'fleetd*')" = "" ] || fail "fleetd is still enabled"
grep -q zone=a /etc/fleet/fleet.conf.rpmsave || fail "a configuration that was changed is gone"
