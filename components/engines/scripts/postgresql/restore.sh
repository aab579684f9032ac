#!/bin/sh
# Read the data of a copy from standard input into an empty database, in one transaction: a failure leaves it empty.
set -eu
# shellcheck source=components/engines/scripts/postgresql/connect.sh
. "${0%/*}/connect"

# `initScript` can create objects of the superuser, and extensions: they are no data of the application.
objects=$(run_psql <<'STATEMENT'
WITH found AS (
    SELECT 'pg_class'::regclass AS class, oid, relowner AS owner FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
    UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid, typowner FROM pg_type WHERE typtype IN ('d', 'e', 'r')
    UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT 'pg_largeobject'::regclass, oid, lomowner FROM pg_largeobject_metadata
)
SELECT count(*) FROM found WHERE oid >= 16384 AND pg_has_role(owner, 'MEMBER')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.classid = found.class AND d.objid = found.oid);
STATEMENT
)
[ "$objects" = 0 ] || { echo "error: the database $DATABASE already holds $objects objects; nothing was copied" >&2; exit 1; }

# Only the owner of an extension can set its comment, so the copy has none. The edit finds the comment by the line that
# pg_restore writes above it, up to the end of its text, and skips the rows of tables.
pipes=$(mktemp -d)
trap 'rm -rf "$pipes"' EXIT
# pg_restore 17 and later sets a parameter in its first lines that earlier servers do not know.
timeout=$(run_psql --command="SELECT '1,/^-- Name: /{/^SET transaction_timeout = 0;\$/d;}' WHERE current_setting('transaction_timeout', true) IS NULL")
# A pipe of the shell would hide which program failed.
mkfifo "$pipes/dump" "$pipes/statements"
exec 3<&0
pg_restore --no-owner --no-privileges --single-transaction --file=- <&3 >"$pipes/dump" &
read_dump=$!
LC_ALL=C sed -E -e "$timeout" -e '/^COPY .* FROM stdin;$/,/^\\\.$/b' -e '/^-- Name: EXTENSION .*; Type: COMMENT; /!b' \
    -e ':next' -e "/\nCOMMENT ON EXTENSION [^\n]* IS '([^']|'')*';\$/d" -e N -e 'b next' \
    <"$pipes/dump" >"$pipes/statements" &
edit_statements=$!
code=0
run_psql --output=/dev/null <"$pipes/statements" || code=$?
wait "$edit_statements" || code=$?
wait "$read_dump" || code=$?
[ "$code" = 0 ] || exit "$code"
run_psql --command='SET client_min_messages = error' --command=ANALYZE
