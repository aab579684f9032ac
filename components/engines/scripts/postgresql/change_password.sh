#!/bin/sh
# Replace the password, because a role has only one. Open sessions continue. If the role cannot log in, restore the old one.
# Standard input: the old password, then the new one.
set -eu
umask 077
read -r old
read -r new
PGOPTIONS=$(cat /var/run/postgresql/options)

set_password() { # `\password` sends a verifier and not the password itself. Without a terminal it reads the standard input.
    printf '%s\n%s\n' "$1" "$1" |
        PGOPTIONS=$PGOPTIONS psql --no-psqlrc --quiet --host=/var/run/postgresql --username=postgres --dbname=postgres \
            --command="\\password $APPLICATION_USERNAME" 2>/var/run/postgresql/errors ||
        { cat /var/run/postgresql/errors; exit 1; }
}

set_password "$new"
printf '%s\n' "$new" > /var/run/postgresql/password.new
PGPASSWORD=$new PGCONNECT_TIMEOUT=5 psql --no-psqlrc --quiet --no-password --host="$POD_IP" \
    --username="$APPLICATION_USERNAME" --dbname="$APPLICATION_DATABASE" --command='SELECT 1' >/dev/null ||
    { set_password "$old"; exit 1; }
mv /var/run/postgresql/password.new /var/run/postgresql/password
