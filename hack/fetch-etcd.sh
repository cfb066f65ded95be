#!/usr/bin/env bash
# Puts etcd versions other than the built-in one into bin/, for the tests: the newest, with etcdutl, built from test/etcd (a
# separate module, to keep go.mod lean); and Debian's, the oldest supported one, extracted from its package without
# installing it. If one is not available, this script says so, and the tests that need it are skipped with a message.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p bin
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

build() {
	(cd test/etcd && CGO_ENABLED=0 go build -ldflags '-s -w' -o "../../bin/$1" "$2") || echo "$1 cannot be built: its tests will be skipped" >&2
}
build etcd go.etcd.io/etcd/server/v3
build etcdutl go.etcd.io/etcd/etcdutl/v3

[ ! -x bin/etcd-3.4 ] || exit 0
download() { (cd "$dir" && apt-get download -q etcd-server) >"$dir/log" 2>&1; }
if ! download && ! { apt-get update -q >/dev/null 2>&1 && download; }; then
	echo "Debian's etcd-server cannot be downloaded, its tests will be skipped: $(tail -n 1 "$dir/log")" >&2
	exit 0
fi
dpkg -x "$dir"/etcd-server_*.deb "$dir/root"
case $("$dir/root/usr/bin/etcd" --version) in
*"etcd Version: 3.4."*) install "$dir/root/usr/bin/etcd" bin/etcd-3.4 ;;
*) echo "Debian's etcd-server is not etcd 3.4 here, its tests will be skipped" >&2 ;;
esac
