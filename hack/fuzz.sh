#!/bin/bash
# Runs every fuzz target of the tree for as long as $1 says (default 30s), one after the other. A failure is kept by go test
# under testdata/fuzz of its package, where every later "go test" tries it again: commit it with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
failed=()
for package in $(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz'); do
		echo "== $package $target"
		go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 2s || failed+=("$package $target")
	done
done
if [ ${#failed[@]} -gt 0 ]; then
	printf 'failed: %s\n' "${failed[@]}" >&2
	exit 1
fi
