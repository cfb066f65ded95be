#!/bin/bash
# Writes the files that are generated from the code anew.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./hack/gen
