#!/bin/sh
# Save a copy of the database in the repository, and delete the backups that nothing keeps. A snapshot has one file, `dump`,
# with the inventory, an empty line and the data. A dump that fails leaves no snapshot. KEEP are the options of
# `restic forget`; without them no backup is deleted.
set -u
# shellcheck source=components/copies/scripts/restic.sh
. "$SCRIPTS/restic"
start=$(date +%s)
check_seconds=${CHECK_SECONDS:-60}

delete_old_backups() { # delete_old_backups [OPTION...]
    # shellcheck disable=SC2086 # the variable holds several options
    run_restic "$LIMIT_SECONDS" forget --path /dump $KEEP --prune "$@"
}

# restic opens the repository, prints its first line and runs the command. It would ask a store that does not answer for 15
# minutes. restic can lose the last messages of the command, so a file has them.
rm -f "$WORK/messages" "$WORK/output"
# shellcheck disable=SC2016 # the inner shell expands it
{
    export REJECT_EMPTY=true RESTIC_PROGRESS_FPS=0.1
    start_restic "$LIMIT_SECONDS" backup --stdin-from-command --stdin-filename dump \
        -- sh -c 'exec sh "$SCRIPTS/write" 2>"$WORK/messages"'
    checks=$((check_seconds * 5))
    while [ ! -s "$WORK/output" ] && [ "$checks" -gt 0 ] && kill -0 "$process" 2>/dev/null; do
        sleep 0.2
        checks=$((checks - 1))
    done
    late=
    [ -s "$WORK/output" ] || ! kill "$process" 2>/dev/null || late=124
    wait "$process"
    code=$?
    echo "${late:-$code}" >"$WORK/code"
} | tee "$WORK/output"
[ ! -e "$WORK/messages" ] || cat "$WORK/messages" >&2
code=$(cat "$WORK/code")
[ "$code" = 0 ] || [ -s "$WORK/output" ] || fail "cannot open the repository: $(explain_exit "$code" "$check_seconds")"
[ "$code" = 0 ] || fail "nothing was saved: $(explain_exit "$code" "$LIMIT_SECONDS")"
size=$(sed -n 's/^processed .* files*, \(.*\) in .*$/\1/p' "$WORK/output")
added=$(sed -n 's/^Added to the repository: \(.*\)$/\1/p' "$WORK/output")
snapshot=$(sed -n 's/^snapshot \([0-9a-f]*\) saved$/\1/p' "$WORK/output")

if [ -n "${KEEP-}" ]; then
    delete_old_backups || code=$?
    if [ "$code" = 11 ]; then
        # A killed Pod leaves a lock. This deletes the locks that are older than 30 minutes.
        run_restic "$check_seconds" unlock >/dev/null || echo "warning: cannot delete stale locks" >&2
        code=0
        delete_old_backups --retry-lock 10m || code=$?
    fi
    [ "$code" = 0 ] || fail "snapshot $snapshot was saved, but old ones were not deleted: $(explain_exit "$code" "$LIMIT_SECONDS")"
fi
report "saved snapshot $snapshot in $(($(date +%s) - start)) seconds: $(cat "$WORK/entries") entries, $size; added $added"
