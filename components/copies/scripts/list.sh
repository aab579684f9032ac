#!/bin/sh
# Print the backups of a group as JSON, on one line.
set -u
# shellcheck source=components/copies/scripts/restic.sh
. "$SCRIPTS/restic"
seconds=${CHECK_SECONDS:-60}
code=0
run_restic "$seconds" --no-lock snapshots --json --path /dump || code=$?
[ "$code" = 0 ] || fail "cannot list the backups: $(explain_exit "$code" "$seconds")"
