#!/bin/sh
# Write the inventory, an empty line, the name of the database and an archive to standard output. A server without a
# replica set has no snapshots: after a write between both, the copy differs from its inventory.
set -eu
# shellcheck source=components/engines/scripts/mongodb/connect.sh
. "${0%/*}/connect"
sh "${0%/*}/inventory" >"$work/inventory"
if grep '^timeseries ' "$work/inventory" >&2; then
    echo "error: the role readWrite cannot copy time series" >&2
    exit 1
fi
cat "$work/inventory"
printf '\n%s\n' "$DATABASE"
run_tool mongodump --db="$DATABASE" --archive
