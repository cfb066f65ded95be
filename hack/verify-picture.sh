#!/bin/bash
# Fails where the picture of the architecture is not what docs/architecture.txt says.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./hack/picture -check
