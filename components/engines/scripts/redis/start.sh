#!/bin/sh
set -eu
umask 077
# The image reads no password from a variable. Only the server can read this file.
cat > /run/server/server.conf <<CONFIGURATION
appendonly yes
include /etc/database-groups/settings
requirepass "$APPLICATION_PASSWORD"
dir /data
CONFIGURATION
printf '%s\n' "$APPLICATION_PASSWORD" > /run/server/password
unset APPLICATION_PASSWORD
exec docker-entrypoint.sh "$SERVER_COMMAND" /run/server/server.conf
