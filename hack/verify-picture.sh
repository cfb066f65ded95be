#!/bin/bash
# Fails if the picture is not up to date with docs/architecture.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./hack/picture -check
