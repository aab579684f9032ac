#!/bin/sh
# Read the data of a copy from standard input into an empty database. A failure empties the database again.
set -eu
# shellcheck source=components/engines/scripts/mongodb/connect.sh
. "${0%/*}/connect"
sh "${0%/*}/inventory" >"$work/inventory"
objects=$(wc -l <"$work/inventory")
[ "$objects" -eq 0 ] || { echo "error: the database $DATABASE already holds $objects objects; nothing was copied" >&2; exit 1; }
IFS= read -r source || { echo "error: the copy has no data" >&2; exit 1; }
run_tool mongorestore --archive --nsInclude="$source.*" --nsFrom="$source.*" --nsTo="$DATABASE.*" --stopOnError || {
    code=$?
    sh "${0%/*}/empty"
    exit "$code"
}
