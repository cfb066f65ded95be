#!/usr/bin/env bash
# Puts Azurite, an Azure Blob server, into bin/azurite, for the tests of the registry and of real machines. Where it cannot be had this
# says so, and the tests that want it are skipped and say so, too.
set -euo pipefail
cd "$(dirname "$0")/.."
pinned=hack/images/testdata/azurite/package.json
! cmp -s "$pinned" bin/azurite/installed.json || exit 0
for program in node npm; do
	command -v "$program" >/dev/null || { echo "Azurite cannot be installed, tests are skipped: $program is missing" >&2; exit 0; }
done
rm -rf bin/azurite
mkdir -p bin/azurite
cp "$pinned" bin/azurite/package.json
(cd bin/azurite && npm install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error) >&2 || {
	echo "Azurite cannot be installed, tests are skipped" >&2
	exit 0
}
cp "$pinned" bin/azurite/installed.json
