#!/bin/sh
# Write the inventory, an empty line and the data of one moment to standard output. The data is the commands that create it:
# Redis and Valkey do not read each other's files, and no version reads the files of a newer one. A second server, which only
# this script reaches, loads the server's dump, so the first one is not busy meanwhile. It needs the memory of the whole data.
set -eu
# shellcheck source=components/engines/scripts/redis/connect.sh
. "${0%/*}/connect"
scripts=$(cd "${0%/*}" && pwd)
# A path of a socket has at most 107 characters, so use a relative one.
cd "$work"
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

fail() { # fail MESSAGE FILE...: print the end of files, and exit
    message=$1
    shift
    tail -n 20 "$@" >&2
    echo "error: $message" >&2
    exit 1
}

copy() { # copy ARGUMENT...: run a command on the second server
    redis-cli -e -s socket "$@" >answer 2>&1 || fail "the second server failed" answer log
}

rewrite() { # rewrite: write all data of the second server to the file `commands`
    rm -rf appendonlydir
    copy CONFIG SET appendonly yes
    until copy INFO persistence && grep -q '^aof_rewrite_in_progress:0' answer; do sleep 0.2; done
    grep -q '^aof_last_bgrewrite_status:ok' answer || fail "the second server cannot write the data" log
    copy CONFIG SET appendonly no
    mv appendonlydir/*.base.aof commands
}

# The client also succeeds on an error, and a rejected login is only a warning.
redis-cli "$@" -e INFO >info 2>error && [ ! -s error ] || fail "cannot read the source" info error
# The server counts its memory in bytes, cgroups count the Pod's.
used=$(sed -n 's/^used_memory:\([0-9]*\).*/\1/p' info)
available=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || echo max)
# A backup also runs restic, which needs about 200 MiB.
needed=$((used + 256 * 1024 * 1024))
[ "$available" = max ] || [ "$needed" -le "$available" ] ||
    fail "the source uses $used bytes of memory; this Pod needs $needed, and has $available" /dev/null
# Valkey 9 gives fields that expire to a replica, and not to a client. A replica with TLS needs a certificate of its own.
if ! redis-cli "$@" --rdb dump.rdb >error 2>&1; then
    case ${TLS:-disable} in disable) rm -f dump.rdb ;; *) fail "the source gives no dump" error ;; esac
fi
unset REDISCLI_AUTH

databases=$(sed -n 's/^db\([0-9]*\):.*/\1/p' info | sort -n | tail -n 1)
[ "${databases:-0}" -ge "$DATABASE" ] || databases=$DATABASE
server=redis-server
command -v "$server" >/dev/null || server=valkey-server
# The entrypoint of an image adds its modules.
# shellcheck disable=SC2046 # without an entrypoint, there is no argument
$(command -v docker-entrypoint.sh) "$server" --port 0 \
    --unixsocket socket --dir "$work" --dbfilename dump.rdb --save '' --appendonly no --aof-use-rdb-preamble no \
    --databases $((${databases:-0} + 16)) >log 2>&1 &
pid=$!
until [ "$(redis-cli -s socket PING 2>/dev/null)" = PONG ]; do
    kill -0 "$pid" 2>/dev/null || fail "the second server cannot load the dump of the source" log
    sleep 0.2
done
if [ ! -e dump.rdb ]; then
    copy CONFIG SET masteruser "${USERNAME-}"
    # The option -x reads the last argument from standard input, so the password is in no argument.
    [ -z "${PASSWORD-}" ] || printf %s "$PASSWORD" | copy -x CONFIG SET masterauth
    copy REPLICAOF "$ADDRESS" "$PORT"
    until copy INFO replication && grep -q '^master_link_status:up' answer; do
        # A replica tries again without end.
        [ "$(grep -c 'sync started' log)" -lt 2 ] || fail "the source gives no dump, also not to a replica" error log
        sleep 0.2
    done
    copy REPLICAOF NO ONE
fi
rm -f dump.rdb
# The dump contains the whole server. The copy is the data of one database, and becomes number 0.
copy INFO keyspace
sed -n 's/^db\([0-9]*\):.*/\1/p' answer >numbers
while read -r number; do
    [ "$number" = "$DATABASE" ] || copy -n "$number" FLUSHDB
done <numbers
[ "$DATABASE" = 0 ] || copy SWAPDB "$DATABASE" 0

rewrite
mv commands all
SOCKET=socket TLS='' USERNAME='' PASSWORD='' DATABASE=0 sh "$scripts/inventory" >lines
sh "$scripts/begin" <lines
# The functions come first and then the number of the database, which is another one in the target.
copy FLUSHALL
rewrite
functions=$(wc -c <commands)
if [ "$(wc -c <all)" = "$functions" ]; then
    cat all
else
    [ "$(tail -c "+$((functions + 1))" all | head -c 23; echo .)" = "$(encode SELECT 0; echo .)" ] || fail "the second server writes unknown data" log
    head -c "$functions" all
    tail -c "+$((functions + 24))" all
fi
# `restore` knows a complete copy by its last command.
encode ECHO 'end of the copy'
