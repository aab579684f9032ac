#!/bin/sh
# Read a copy from standard input into an empty database, in one transaction: a failure leaves the database empty.
set -eu
export PGHOST="$APPLICATION_HOST" PGPORT="$APPLICATION_PORT" PGUSER="$APPLICATION_USERNAME" PGPASSWORD="$APPLICATION_PASSWORD"
export PGDATABASE="$APPLICATION_DATABASE" PGCONNECT_TIMEOUT=15

run_psql() { # run_psql [ARGUMENT...]: run statements up to the first error
    psql --no-password --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 "$@"
}

objects=$(run_psql <<'STATEMENT'
WITH member AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
found AS (
    SELECT 'pg_class'::regclass::oid AS classid, oid FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typtype IN ('d', 'e', 'r')
    UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
)
SELECT (SELECT count(*) FROM found WHERE oid >= 16384 AND (classid, oid) NOT IN (SELECT * FROM member))
    + (SELECT count(*) FROM pg_largeobject_metadata);
STATEMENT
)
[ "$objects" = 0 ] || { echo "error: the database $PGDATABASE already holds $objects objects; nothing was copied" >&2; exit 1; }
# A connection string without a database name: pg_restore would read a name with `=` as a connection string.
pg_restore --no-password --no-owner --no-privileges --single-transaction --exit-on-error --dbname=application_name=restore
run_psql --command='SET client_min_messages = error' --command=ANALYZE
