#!/usr/bin/env bash
# Writes the generated files of manifests/provision: Ignition of the Butane file, and the cloud-config in the template for Azure.
set -euo pipefail
cd "$(dirname "$0")/provision"
go run .
