#!/bin/sh
# Write the database at one moment to standard output, without owners and privileges: the target has its own role.
set -eu
export PGHOST="$APPLICATION_HOST" PGPORT="$APPLICATION_PORT" PGUSER="$APPLICATION_USERNAME" PGPASSWORD="$APPLICATION_PASSWORD"
export PGDATABASE="$APPLICATION_DATABASE" PGCONNECT_TIMEOUT=15
exec pg_dump --no-password --format=custom --compress=0 --no-owner --no-privileges
