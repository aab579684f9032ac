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
# A server that verifies a backup must not evict or refuse the keys of a full server. Its data need not survive.
[ "${SCRATCH-}" != true ] || printf '%s\n' 'maxmemory 0' 'maxmemory-clients 0' 'appendonly no' 'save ""' >> /run/server/server.conf
printf '%s\n' "$APPLICATION_PASSWORD" > /run/server/password
unset APPLICATION_PASSWORD
exec docker-entrypoint.sh "$SERVER_COMMAND" /run/server/server.conf
