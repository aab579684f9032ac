#!/bin/sh
# Delete everything that the application's user owns in the database. The database itself stays.
set -eu
# shellcheck disable=SC2153 # the caller sets the variables
export PGHOST="$ADDRESS" PGPORT="$PORT" PGUSER="$USERNAME" PGPASSWORD="$PASSWORD" PGDATABASE="$DATABASE"
export PGSSLMODE="${TLS:-prefer}" PGSSLROOTCERT="${CA_FILE-}" PGCONNECT_TIMEOUT=15
psql --no-password --no-psqlrc --quiet --set=ON_ERROR_STOP=1 \
    --command='SET client_min_messages = error' --command='DROP OWNED BY CURRENT_USER CASCADE'
