#!/bin/sh
# Write a backup to standard output. SNAPSHOT is `latest`, the beginning of an id, or a time in UTC, for which the newest
# backup that is not later counts.
set -u
# shellcheck source=components/copies/scripts/restic.sh
. "$SCRIPTS/restic"
seconds=${CHECK_SECONDS:-60}
run_restic "$seconds" --no-lock snapshots --json --path /dump >"$WORK/snapshots" || {
    echo "error: cannot list the backups of $RESTIC_REPOSITORY: $(explain_exit $? "$seconds")" >&2
    exit 1
}
newest=
sed 's/"time":/\n&/g' "$WORK/snapshots" | sed -n 's/^"time":"\([^"]*\)".*"id":"\([0-9a-f]*\)".*/\1 \2/p' >"$WORK/list"
while read -r time id; do
    case $SNAPSHOT in
        latest) newest=$id ;;
        *[-:\ ]*) # The time of a backup has more digits than SNAPSHOT. An added `~` is later than all of them.
            # shellcheck disable=SC3012 # all shells of the images compare texts
            if [ "$time" \< "$(echo "$SNAPSHOT" | tr ' ' T)~" ]; then newest=$id; fi
            ;;
        *) case $id in "$SNAPSHOT"*) newest=$id ;; esac ;;
    esac
done <"$WORK/list"
[ -n "$newest" ] || {
    echo "error: $RESTIC_REPOSITORY has no backup $SNAPSHOT; it has:" >&2
    cat "$WORK/list" >&2
    exit 1
}
echo "restoring the backup $newest" >&2
# shellcheck disable=SC2086 # the variable holds several options
exec "$RESTIC" --no-cache --no-lock --quiet ${RESTIC_OPTIONS-} dump "$newest" /dump
