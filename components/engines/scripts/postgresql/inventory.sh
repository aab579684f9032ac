#!/bin/sh
# Print the number of rows of each table, the value of each sequence, and the views.
set -eu
# shellcheck disable=SC2153  # the Job sets the variables
export PGPASSWORD="$PASSWORD" PGSSLMODE="${TLS:-prefer}" PGSSLROOTCERT="${CA_FILE-}" PGCONNECT_TIMEOUT=15
lines=$(
    psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 \
        --host="$ADDRESS" --port="$PORT" --username="$USERNAME" --dbname="$DATABASE" <<'SQL'
SELECT format('SELECT %L, count(*) FROM %I.%I', 'table ' || schemaname || '.' || tablename, schemaname, tablename)
FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') \gexec
SELECT 'sequence ' || schemaname || '.' || sequencename, last_value FROM pg_sequences;
SELECT 'view ' || schemaname || '.' || viewname FROM pg_views
WHERE schemaname NOT IN ('pg_catalog', 'information_schema');
SELECT 'large objects', count(*) FROM pg_largeobject_metadata HAVING count(*) > 0;
SQL
)
[ -z "$lines" ] || printf '%s\n' "$lines" | LC_ALL=C sort
