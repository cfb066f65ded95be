#!/usr/bin/env bash
# go.mod and go.sum are what "go mod tidy" would write.
set -euo pipefail
cd "$(dirname "$0")/.."
go mod tidy -diff || { echo 'run "go mod tidy" and commit what it changes' >&2; exit 1; }
