#!/bin/bash
# Draws the picture of the architecture anew.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./hack/picture
