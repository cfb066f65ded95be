#!/bin/bash
# Regenerates the files that are generated from the code.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./hack/gen
