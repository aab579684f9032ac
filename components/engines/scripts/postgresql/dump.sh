#!/bin/sh
# Write the database at one moment to standard output. The copy has no owners, no privileges and no extensions: the target has
# its own role, and its stack file names its extensions.
set -eu
export PGHOST="$APPLICATION_HOST" PGPORT="$APPLICATION_PORT" PGUSER="$APPLICATION_USERNAME" PGPASSWORD="$APPLICATION_PASSWORD"
export PGDATABASE="$APPLICATION_DATABASE" PGCONNECT_TIMEOUT=15
# `--extension` selects the extensions of the copy: plpgsql, which pg_dump never writes. It also excludes large objects.
exec pg_dump --no-password --format=custom --compress=0 --no-owner --no-privileges --extension=plpgsql --blobs
