#!/bin/sh
# Write a copy of a group to standard output, and the number of its entries to WORK/entries. A new Pod cannot reach every
# server at once, so a dump that fails before its inventory begins again. The dump writes to the output of this script, because
# another process between them would need time for all the data.
set -u
export ENTRIES="$WORK/entries"
rm -f "$ENTRIES"
attempt=1
until sh "$SCRIPTS/dump"; do
    code=$?
    [ ! -e "$ENTRIES" ] || exit "$code"
    if [ "$attempt" -ge "${ATTEMPTS:-12}" ]; then
        echo "error: cannot read the database" >&2
        exit "$code"
    fi
    attempt=$((attempt + 1))
    sleep "${DELAY_SECONDS:-5}"
done
[ -s "$ENTRIES" ] || { echo "error: the dump has no inventory" >&2; exit 1; }
