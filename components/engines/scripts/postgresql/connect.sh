#!/bin/sh
# The other scripts of a copy source this file: it sets the variables of PostgreSQL's programs, and defines a function.
set -eu
# shellcheck disable=SC2153 # the caller sets the variables
export PGHOST="$ADDRESS" PGPORT="$PORT" PGUSER="$USERNAME" PGPASSWORD="$PASSWORD" PGDATABASE="$DATABASE"
export PGSSLMODE="${TLS:-prefer}" PGSSLROOTCERT="${CA_FILE-}" PGCONNECT_TIMEOUT=15

run_psql() { # run_psql [ARGUMENT...]: run statements up to the first error
    psql --no-password --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 "$@"
}
