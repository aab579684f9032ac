#!/bin/sh
# Read an inventory from standard input, and write it and an empty line to standard output: so each copy begins. The file
# ENTRIES, if there is one, gets the number of entries. REJECT_EMPTY=true rejects an empty inventory.
set -eu
report=${ENTRIES:-/dev/null}
: >"$report"
entries=0
while IFS= read -r line; do
    printf '%s\n' "$line"
    entries=$((entries + 1))
done
if [ "$entries" = 0 ] && [ "${REJECT_EMPTY:-false}" = true ]; then
    echo "error: the database is empty, or the account sees no data" >&2
    exit 1
fi
echo
echo "$entries" >"$report"
