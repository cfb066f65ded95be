#!/usr/bin/env bash
# Puts Debian's etcd, the oldest that is supported, into bin/etcd-3.4 for the tests, without installing its package. Where it
# cannot be had the tests that want it say so and are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
[ ! -x bin/etcd-3.4 ] || exit 0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
if ! (cd "$dir" && { apt-get download -q etcd-server || { apt-get update -q && apt-get download -q etcd-server; }; }) >"$dir/log" 2>&1; then
	echo "Debian's etcd-server cannot be downloaded: $(tail -n 1 "$dir/log")" >&2
	exit 0
fi
dpkg -x "$dir"/etcd-server_*.deb "$dir/root"
case $("$dir/root/usr/bin/etcd" --version) in
*"etcd Version: 3.4."*) install -D "$dir/root/usr/bin/etcd" bin/etcd-3.4 ;;
*) echo "Debian's etcd-server is not etcd 3.4 here" >&2 ;;
esac
