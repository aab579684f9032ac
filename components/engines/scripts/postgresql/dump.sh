#!/bin/sh
# Write the database at one moment to standard output, without owners and privileges: the target has its own role.
set -eu
# shellcheck disable=SC2153 # the caller sets the variables
export PGHOST="$ADDRESS" PGPORT="$PORT" PGUSER="$USERNAME" PGPASSWORD="$PASSWORD" PGDATABASE="$DATABASE"
export PGSSLMODE="${TLS:-prefer}" PGSSLROOTCERT="${CA_FILE-}" PGCONNECT_TIMEOUT=15
exec pg_dump --no-password --format=custom --compress=0 --no-owner --no-privileges
