#!/usr/bin/env bash
# Writes into README.md's walkthrough what its commands print on a fresh local cluster. test/e2e compares it.
set -euo pipefail
cd "$(dirname "$0")/.."
make -s down
trap 'make -s down' EXIT
make -s up
. .dev/env

# settled runs a command that only looks until it prints the same twice, a second apart.
settled() {
	local last now
	last=$(bash -c "$1" 2>&1) || true
	while sleep 1; now=$(bash -c "$1" 2>&1) || true; [ "$now" != "$last" ]; do last=$now; done
	printf '%s\n' "$now"
}

out=$(mktemp)
trap 'rm -f "$out"; make -s down' EXIT
inside= block=
while IFS= read -r line; do
	case $line in
	'## '*) [ "$line" = '## Walkthrough' ] && inside=1 || inside= ;;
	'```console') block=$inside ;;
	'```') block= ;;
	esac
	if [ -z "$block" ] || [ "$line" = '```console' ]; then
		printf '%s\n' "$line" >>"$out"
		continue
	fi
	case $line in
	'$ make '* | '$ . '*) printf '%s\n' "$line" >>"$out" ;;
	'$ '*)
		printf '%s\n' "$line" >>"$out"
		case $line in
		'$ fleetctl '[lgdc]* | '$ etcdctl get'* | '$ for'* | '$ curl'*)
			case $line in '$ fleetctl delete'*) bash -c "${line#'$ '}" ;; *) settled "${line#'$ '}" ;; esac ;;
		*) bash -c "${line#'$ '}" ;;
		esac </dev/null 2>&1 | sed -e 's/[[:space:]]*$//' -e '/^$/d' >>"$out"
		;;
	esac
done <README.md
cat "$out" >README.md
