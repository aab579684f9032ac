#!/bin/sh
# Save a copy of the database in the repository, and delete the backups that nothing keeps. A snapshot has one file, `dump`,
# with the inventory, an empty line and the data. A dump that fails leaves no snapshot. KEEP are the options of
# `restic forget`; without them no backup is deleted.
set -u
# shellcheck source=components/copies/scripts/restic.sh
. "$SCRIPTS/restic"
start=$(date +%s)
require_repository

# restic can lose the last messages of the command, so a file has them.
# shellcheck disable=SC2016 # the inner shell expands it
{
    REJECT_EMPTY=true RESTIC_PROGRESS_FPS=0.1 run_restic "$LIMIT_SECONDS" backup --stdin-from-command \
        --stdin-filename dump -- sh -c 'exec sh "$SCRIPTS/write" 2>"$WORK/messages"'
    echo $? >"$WORK/code"
} | tee "$WORK/output"
[ ! -e "$WORK/messages" ] || cat "$WORK/messages" >&2
code=$(cat "$WORK/code")
[ "$code" = 0 ] || fail "nothing was saved: $(explain_exit "$code" "$LIMIT_SECONDS")"
size=$(sed -n 's/^processed .* files*, \(.*\) in .*$/\1/p' "$WORK/output")
added=$(sed -n 's/^Added to the repository: \(.*\)$/\1/p' "$WORK/output")
snapshot=$(sed -n 's/^snapshot \([0-9a-f]*\) saved$/\1/p' "$WORK/output")

if [ -n "${KEEP-}" ]; then
    # shellcheck disable=SC2086 # the variable holds several options
    run_restic "$LIMIT_SECONDS" forget --path /dump $KEEP --prune --retry-lock 10m || code=$?
    [ "$code" = 0 ] || fail "snapshot $snapshot was saved, but old ones were not deleted: $(explain_exit "$code" "$LIMIT_SECONDS")"
fi
report "saved snapshot $snapshot in $(($(date +%s) - start)) seconds: $(cat "$WORK/entries") entries, $size; added $added"
