#!/bin/sh
set -eu
# The image requires a password for the superuser. It gets a random one, which started.sh removes.
POSTGRES_PASSWORD=$(head -c 32 /dev/urandom | base64)
export POSTGRES_PASSWORD POSTGRES_DB="$APPLICATION_DATABASE"
printf "include '%s/postgresql.conf'\ninclude '/etc/database-groups/settings'\n" "$PGDATA" > /tmp/postgresql.conf
exec docker-entrypoint.sh postgres -c config_file=/tmp/postgresql.conf
