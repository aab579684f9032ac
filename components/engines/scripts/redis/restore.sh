#!/bin/sh
# Read the commands of a copy from standard input into an empty database. A failure leaves it empty.
set -eu
# shellcheck source=components/engines/scripts/redis/connect.sh
. "${0%/*}/connect"

ask "$@" DBSIZE
[ "$(cat "$work/answer")" = 0 ] ||
    { echo "error: the database $DATABASE already holds $(cat "$work/answer") keys; nothing was copied" >&2; exit 1; }
ask "$@" FUNCTION LIST
! grep -q "^library_name$" "$work/answer" || { echo "error: the server already holds functions; nothing was copied" >&2; exit 1; }

# The commands go through three pipes: to the server, to the check of the last command, and on from the standard input.
name="restore-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')"
mkfifo "$work/commands" "$work/end"
redis-cli "$@" --pipe <"$work/commands" >"$work/result" 2>&1 &
client=$!
tail -c 36 <"$work/end" >"$work/last" &
last=$!
{
    encode CLIENT SETNAME "$name"
    tee "$work/end"
} >"$work/commands" || true
wait "$last"
complete=false code=0
[ "$(tail -c 36 "$work/last"; echo .)" != "$(encode ECHO 'end of the copy'; echo .)" ] || complete=true
# A client that waits for the rest of a command waits in vain.
[ "$complete" = true ] || kill "$client" 2>/dev/null || true
wait "$client" || code=$?
[ "$complete" = false ] || [ "$code" != 0 ] || exit 0

# The server still runs the commands that it has read. Delete the data afterwards.
until ask "$@" CLIENT LIST && ! grep -q " name=$name " "$work/answer"; do sleep 0.2; done
ask "$@" FLUSHDB
ask "$@" FUNCTION FLUSH
[ "$complete" = true ] || echo "the copy ends too early" >"$work/result"
# The server repeats the beginning of an unknown command, which is data.
sed "s/, with args beginning with:.*//" "$work/result" | sort | uniq -c | sort -nr | head -n 10 >&2
echo "error: the restore failed; the database $DATABASE is empty" >&2
exit 1
