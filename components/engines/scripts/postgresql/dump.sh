#!/bin/sh
# Write the database to standard output.
set -eu
# shellcheck disable=SC2153  # the Job sets the variables
export PGPASSWORD="$PASSWORD" PGSSLMODE="${TLS:-prefer}" PGSSLROOTCERT="${CA_FILE-}" PGCONNECT_TIMEOUT=15
exec pg_dump --format=custom --compress=0 \
    --host="$ADDRESS" --port="$PORT" --username="$USERNAME" --dbname="$DATABASE"
