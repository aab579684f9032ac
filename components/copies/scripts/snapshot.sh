#!/bin/sh
# Write a backup to standard output. BACKUP is `latest`, the beginning of an id, or a time in UTC, for which the newest
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
    case $BACKUP in
        latest) newest=$id ;;
        *[-:\ ]*) # The time of a backup has more digits than BACKUP. An added `~` is later than all of them.
            # shellcheck disable=SC3012 # all shells of the images compare texts
            if [ "$time" \< "$(echo "$BACKUP" | tr ' ' T)~" ]; then newest=$id; fi
            ;;
        *) case $id in "$BACKUP"*) newest=$id ;; esac ;;
    esac
done <"$WORK/list"
[ -n "$newest" ] || {
    echo "error: $RESTIC_REPOSITORY has no backup $BACKUP; it has:" >&2
    cat "$WORK/list" >&2
    exit 1
}
echo "restoring the backup $newest" >&2
run_restic "$LIMIT_SECONDS" --no-lock --quiet dump "$newest" /dump
