#!/usr/bin/env bash
# Replace the data of a Redis or Valkey server in the cluster with the dump (RDB) from standard input. See docs/day-two.md.
set -euo pipefail
if [ $# -ne 2 ]; then
    echo "usage: $0 NAMESPACE GROUP < DUMP" >&2
    exit 2
fi

# A second server in the Pod reads the dump and writes it as commands.
kubectl --namespace="$1" exec --stdin "redis-$2-0" -- sh -eu -c '
umask 077
cat > /tmp/dump.rdb
"$(command -v redis-check-rdb || command -v valkey-check-rdb)" /tmp/dump.rdb >/tmp/copy.log || { cat /tmp/copy.log; exit 1; }
copy() { redis-cli -s /tmp/copy.sock "$@"; }
server() { REDISCLI_AUTH=$(cat /run/server/password) redis-cli "$@"; }
"$(command -v redis-server || command -v valkey-server)" --port 0 --unixsocket /tmp/copy.sock --dir /tmp --save "" \
    --aof-use-rdb-preamble no --daemonize yes --logfile /tmp/copy.log >/dev/null
until [ "$(copy PING 2>/dev/null)" = PONG ]; do sleep 1; done
copy CONFIG SET appendonly yes >/dev/null
until copy INFO persistence | grep -q "^aof_rewrite_in_progress:0"; do sleep 1; done
copy INFO persistence | grep -q "^aof_last_bgrewrite_status:ok"
server FLUSHALL >/dev/null
cat /tmp/appendonlydir/*.base.aof | server --pipe
echo "keys: $(copy DBSIZE) in the dump, $(server DBSIZE) in the server"
copy SHUTDOWN NOSAVE
rm -rf /tmp/dump.rdb /tmp/copy.log /tmp/appendonlydir
'
