#!/bin/sh
# Fill an empty database from standard input: everything, or nothing after an error.
#
# The superuser already created the extensions (`initScript`, `extensions`). The application cannot set their comments.
set -eu
# shellcheck disable=SC2153  # the Job sets the variables
export PGPASSWORD="$PASSWORD" PGSSLMODE="${TLS:-prefer}" PGSSLROOTCERT="${CA_FILE-}" PGCONNECT_TIMEOUT=15

run_psql() {
    psql --no-psqlrc --quiet --output=/dev/null --set=ON_ERROR_STOP=1 \
        --host="$ADDRESS" --port="$PORT" --username="$USERNAME" --dbname="$DATABASE" "$@"
}

# An incomplete dump ends with an error instead of a COMMIT: then nothing is stored.
{ pg_restore --no-owner --no-privileges --single-transaction --file=- || echo 'SELECT 1 / 0 AS incomplete_dump;'; } | LC_ALL=C sed -e '/^COPY .* FROM stdin;$/,/^\\\.$/b' -e '/^COMMENT ON EXTENSION /d' | run_psql
run_psql --command='SET client_min_messages = error' --command=ANALYZE
