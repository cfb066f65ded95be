#!/bin/bash
# Redraws the picture of the architecture.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./hack/picture
