#!/bin/sh
# Write a copy of a group to standard output, and the number of its entries to WORK/entries. A new Pod cannot reach every
# server at once, so a dump that fails before its first line begins again. REJECT_EMPTY=true rejects a copy whose inventory
# is empty.
set -u
attempt=1
while :; do
    rm -f "$WORK/copy"
    mkfifo "$WORK/copy" || exit 1
    sh "$SCRIPTS/dump" >"$WORK/copy" &
    dump=$!
    exec 3<"$WORK/copy"
    if IFS= read -r line <&3; then break; fi
    exec 3<&-
    wait "$dump"
    code=$?
    if [ "$attempt" -ge "${ATTEMPTS:-12}" ]; then
        echo "error: cannot read the database" >&2
        [ "$code" = 0 ] && code=1
        exit "$code"
    fi
    attempt=$((attempt + 1))
    sleep "${DELAY_SECONDS:-5}"
done
if [ -z "$line" ] && [ "${REJECT_EMPTY:-false}" = true ]; then
    echo "error: the database is empty, or the account sees no data" >&2
    exit 1
fi
entries=0
while [ -n "$line" ]; do
    printf '%s\n' "$line" || exit 1
    entries=$((entries + 1))
    IFS= read -r line <&3 && continue
    exec 3<&-
    wait "$dump" || exit
    echo "error: the dump ended in its inventory" >&2
    exit 1
done
echo "$entries" >"$WORK/entries"
echo && cat <&3 || exit 1
exec 3<&-
wait "$dump"
