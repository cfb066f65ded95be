#!/usr/bin/env bash
# hack/apart.sh COMMAND...: runs the command with a network and processes of its own, so that it may run beside another one that
# wants the same addresses, and sees only what it started. Without root it runs the command as it is.
set -euo pipefail
apart=(unshare --net --pid --fork --mount-proc --kill-child)
if "${apart[@]}" true 2>/dev/null; then
	exec "${apart[@]}" bash -c 'ip link set lo up && exec "$@"' apart "$@"
fi
exec "$@"
