#!/usr/bin/env bash
# Formatting, vet and staticcheck over the whole tree; hack/packages, hack/images and hack/provision are modules, too.
set -euo pipefail
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l $(git ls-files -- '*.go'))
[ -z "$unformatted" ] || { echo "gofmt -w these files:" "$unformatted" >&2; exit 1; }
for module in . hack/packages hack/images hack/provision; do
	(cd "$module" && go vet ./... && go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...)
done
