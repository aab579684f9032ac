#!/usr/bin/env bash
# Copy the data of a Redis group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "redis-$old"

move redis <<'SCRIPT'
umask 077
copy() { redis-cli -s /tmp/copy.sock "$@"; }
new() { REDISCLI_AUTH=$NEW_password redis-cli -h "$NEW_host" -p "$NEW_port" "$@"; }
test "$(new DBSIZE)" = 0

cat > /tmp/copy.conf <<CONFIGURATION
port 0
unixsocket /tmp/copy.sock
dir /tmp
save ""
loglevel warning
aof-use-rdb-preamble no
masterauth "$(printf %s "${OLD_password-}" | sed 's/[\\"]/\\&/g')"
replicaof $OLD_host $OLD_port
CONFIGURATION
"$(command -v redis-server || command -v valkey-server)" /tmp/copy.conf &
until copy INFO replication | grep '^master_link_status:up'; do sleep 1; done
copy REPLICAOF NO ONE
copy CONFIG SET appendonly yes
until copy INFO persistence | grep '^aof_rewrite_in_progress:0'; do sleep 1; done
copy INFO persistence | grep '^aof_last_bgrewrite_status:ok'

cat /tmp/appendonlydir/*.base.aof | new --pipe
echo "keys: $(copy DBSIZE), $(new DBSIZE)"
test "$(copy DBSIZE)" = "$(new DBSIZE)"
kill %1
SCRIPT
