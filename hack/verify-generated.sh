#!/bin/bash
# Fails if a generated file is not up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./hack/gen -check
