#!/bin/sh
set -eu
PGCONNECT_TIMEOUT=5 PGPASSWORD=$APPLICATION_PASSWORD exec psql --no-psqlrc --quiet --no-password \
    --host="$POD_IP" --username="$APPLICATION_USERNAME" --dbname="$APPLICATION_DATABASE" --command='SELECT 1' >/dev/null
