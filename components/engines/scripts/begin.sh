#!/bin/sh
# Begin a copy: read its inventory from standard input, and write the inventory and an empty line to standard output. If
# ENTRIES is set, the script writes the number of entries to this file. REJECT_EMPTY=true rejects an empty inventory.
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
