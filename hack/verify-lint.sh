#!/usr/bin/env bash
# Formatting, vet and staticcheck over the whole tree.
set -euo pipefail
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l $(git ls-files -- '*.go'))
[ -z "$unformatted" ] || { echo "gofmt -w these files:" "$unformatted" >&2; exit 1; }
go vet ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
