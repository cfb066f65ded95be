#!/usr/bin/env bash
# Updates the command outputs in README.md's walkthrough and in the pages of docs/, each from a fresh local cluster; test/e2e
# checks them. For single files: hack/write-readme.sh docs/backup.md
set -euo pipefail
cd "$(dirname "$0")/.."

# fresh starts a new cluster.
fresh() {
	make -s down
	make -s up >&2
	. .dev/env
}

# settled runs a read-only command until it prints the same twice, a second apart.
settled() {
	local last now
	last=$(bash -c "$1" 2>&1) || true
	while sleep 1; now=$(bash -c "$1" 2>&1) || true; [ "$now" != "$last" ]; do last=$now; done
	printf '%s\n' "$now"
}

# write updates the outputs in a file's console blocks: in the README only those of the walkthrough and of Git, in a page all.
write() {
	local inside=$2 block= variables=
	while IFS= read -r line; do
		case $line in
		'## '*) [ -n "$2" ] || case $line in '## Walkthrough' | '## GitOps in five minutes') inside=1 ;; *) inside= ;; esac ;;
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
			if [[ $line =~ ^\$\ [a-z]+= ]]; then
				variables+=${line#'$ '}$'\n'
				continue
			fi
			command=$variables${line#'$ '}
			case $line in
			'$ fleetctl list-'* | '$ fleetctl '[g]* | '$ fleetctl describe'* | '$ fleetctl cat'* | '$ fleetctl events'* | '$ fleetctl rollout status'* | '$ etcdctl get'* | '$ curl'*) settled "$command" ;;
			'$ for'*curl*) settled "$command" ;;
			*) bash -c "$command" ;;
			esac </dev/null 2>&1 | sed -e 's/[[:space:]]*$//' -e '/^$/d' >>"$out"
			;;
		esac
	done <"$1"
	cat "$out" >"$1"
	: >"$out"
}

out=$(mktemp)
trap 'rm -f "$out"; make -s down' EXIT
[ $# -gt 0 ] || set -- README.md $(grep -l '^```console' docs/*.md docs/reference/*.md)
for page in "$@"; do
	fresh
	case $page in README.md) write "$page" '' ;; *) write "$page" 1 ;; esac
done
