#!/bin/bash
# Fails where a generated file is not what the code says.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./hack/gen -check
