#!/bin/sh
# Write the inventory, an empty line and the data of one moment to standard output, without owners and privileges: the
# target has its own role. A transaction holds the moment while `inventory` and `pg_dump` read it. The output must be a pipe:
# to a file, pg_dump would write positions, which would be wrong after the inventory.
set -eu
# shellcheck source=components/engines/scripts/postgresql/connect.sh
. "${0%/*}/connect"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/write" <<'SCRIPT'
set -eu
SNAPSHOT=$snapshot sh "$scripts/inventory" >"$work/inventory"
sh "$scripts/begin" <"$work/inventory"
pg_dump --no-password --snapshot="$snapshot" --format=custom --compress=0 --no-owner --no-privileges
: >"$work/complete"
SCRIPT
export work scripts="${0%/*}" PGOPTIONS='-c idle_in_transaction_session_timeout=0'
run_psql --file=- <<'STATEMENTS'
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_export_snapshot() AS snapshot \gset
\setenv snapshot :snapshot
\! sh "$work/write"
STATEMENTS
[ -e "$work/complete" ]
