#!/usr/bin/env bash
# Installs the missing Debian packages that a local cluster and the tests need. Without root it only prints the command.
set -euo pipefail

# command or file -> package
declare -A needs=(
	[/usr/lib/systemd/systemd]=systemd
	[/usr/bin/dbus-daemon]=dbus-daemon
	[/usr/sbin/nginx]=nginx-light
	[/usr/lib/nginx/modules/ngx_http_lua_module.so]=libnginx-mod-http-lua
	[/usr/bin/etcdctl]=etcd-client
	[/usr/bin/unshare]=util-linux
	[/usr/bin/systemd-nspawn]=systemd-container
	[/usr/bin/pgrep]=procps
	[/usr/bin/curl]=curl
	[/usr/sbin/ip]=iproute2
	[/usr/bin/jq]=jq
)
if [ "${1:-}" = packages ]; then
	needs+=([/usr/bin/lintian]=lintian [/usr/bin/rpm]=rpm [/usr/bin/cloud-init]=cloud-init)
fi
# Asked for by name only: Debian starts an installed sshd at boot.
if [ "${1:-}" = tests ]; then
	needs+=([/usr/sbin/sshd]=openssh-server [/usr/bin/ssh-agent]=openssh-client)
fi
if [ "${1:-}" = lab ]; then
	needs+=([/usr/bin/mmdebstrap]=mmdebstrap [/usr/sbin/nft]=nftables [/usr/sbin/mkfs.ext4]=e2fsprogs)
fi
missing=()
for file in "${!needs[@]}"; do
	[ -e "$file" ] || missing+=("${needs[$file]}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort)

if [ "$(id -u)" != 0 ]; then
	echo "These Debian packages are missing. Install them, then run the same command again:" >&2
	echo "    sudo apt-get install ${missing[*]}" >&2
	exit 1
fi
command -v apt-get >/dev/null || { echo "Install these and run the same command again: ${missing[*]}" >&2; exit 1; }
echo "Installing ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The packages' services are not needed: a local cluster starts its own nginx.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
{ apt-get update -q && apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || {
	cat "$log" >&2
	exit 1
}
