#!/usr/bin/env bash
# Fails if "go mod tidy" would change go.mod or go.sum of a module.
set -euo pipefail
cd "$(dirname "$0")/.."
for mod in $(git ls-files -- go.mod '*/go.mod'); do
	dir=$(dirname "$mod")
	go -C "$dir" mod tidy -diff || { echo "run \"go -C $dir mod tidy\" and commit what it changes" >&2; exit 1; }
done
