#!/bin/bash
# Runs every fuzz target for $1 (default 30s), one after the other. go test saves a failing input under testdata/fuzz of its
# package, and every later "go test" runs it: commit it with the fix.
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
