#!/bin/sh
set -eu
PGPASSWORD=$(cat /var/run/postgresql/password)
export PGPASSWORD PGCONNECT_TIMEOUT=5
exec psql --no-psqlrc --quiet --no-password \
    --host="$POD_IP" --username="$APPLICATION_USERNAME" --dbname="$APPLICATION_DATABASE" --command='SELECT 1' >/dev/null
