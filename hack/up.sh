#!/usr/bin/env bash
# Starts a local cluster and prints what runs where. Run it from the top of the checkout, after the build.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n%s\n' "$*" >&2; }

say "Starting the local cluster"
bin/fleet-dev --detach "$@"
. .dev/env

say "Applying manifests/dev"
fleetctl apply -f manifests/dev --wait --timeout 2m

say "Machines"
fleetctl list-machines
say "Units"
fleetctl list-units
say "Open"
fleetctl list-machines --no-legend --full | while read -r _ ip _; do
	curl -sf -o /dev/null -H 'Host: example-app.localhost' "http://$ip:8080/" ||
		say "http://$ip:8080/ does not answer yet:  fleetctl describe app router"
	echo "http://example-app.localhost:8080/  on this machine:  curl -H 'Host: example-app.localhost' http://$ip:8080/"
done
say "Next:  . .dev/env   sets PATH, FLEETCTL_ENDPOINT and etcdctl's variables;  make logs  follows the controllers;  make down  ends it"
