#!/bin/sh
# Write the inventory, an empty line and the data of one moment to standard output. MySQL's sessions cannot share a moment,
# so the script locks the tables against writes until `inventory` and `mysqldump` have begun their transactions.
set -eu
# shellcheck source=components/engines/scripts/mysql/connect.sh
. "${0%/*}/connect"
processes=
# shellcheck disable=SC2086 # a list
trap 'kill $processes 2>/dev/null || :; rm -rf "$work"' EXIT

# A lock waits for transactions that wrote to a table, and new writes wait for the lock. Both end with the session: after
# 30 seconds, or when this script ends.
run_mysql --raw >"$work/lock" <<'STATEMENTS'
SET SESSION group_concat_max_len = 1073741824;
SELECT 'SET SESSION lock_wait_timeout = 5;';
SELECT CONCAT('LOCK TABLES ', GROUP_CONCAT('`', REPLACE(table_name, '`', '``'), '` READ'), ';')
FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' HAVING COUNT(*) > 0;
SELECT 'SELECT ''locked'';';
STATEMENTS
run_mysql >&2 <<'STATEMENT'
SELECT CONCAT('warning: table ', table_name, ' has the engine ', engine, ': a write during the copy makes the copy fail')
FROM information_schema.tables WHERE table_schema = DATABASE() AND engine <> 'InnoDB';
STATEMENT
mkfifo "$work/input" "$work/locked" "$work/dump"
attempt=1
while :; do
    # A process that outlives the script must not hold its outputs.
    (exec 2>/dev/null; cat "$work/lock"; exec sleep 30) >"$work/input" &
    input=$!
    mysql --defaults-file="$login" --batch --unbuffered --binary-mode --database="$DATABASE" \
        <"$work/input" >"$work/locked" 2>"$work/error" &
    lock=$!
    processes="$input $lock"
    if read -r _ <"$work/locked"; then break; fi
    if ! grep -q '^ERROR 1205 ' "$work/error"; then
        cat "$work/error" >&2
        echo "error: cannot lock the tables of the database $DATABASE" >&2
        exit 1
    fi
    if [ "$attempt" -ge 10 ]; then
        echo "error: a transaction that writes to the database $DATABASE did not end; end it, and copy again" >&2
        exit 1
    fi
    kill "$input" 2>/dev/null || :
    attempt=$((attempt + 1))
    sleep 1
done

OUTPUT=$work/lines sh "${0%/*}/inventory" >"$work/inventory" &
inventory=$!
# `loose`: mysqldump before 9.7 has no masking policies. They belong to the server.
mysqldump --defaults-file="$login" --single-transaction --quick --routines --events --triggers --hex-blob \
    --no-tablespaces --set-gtid-purged=OFF --loose-skip-masking-policies -- "$DATABASE" >"$work/dump" &
dump=$!
processes="$input $lock $inventory $dump"
exec 3<"$work/dump"
# mysqldump writes its first object after it has begun its transaction.
while IFS= read -r line <&3; do
    printf '%s\n' "$line"
    case $line in '-- Table structure '* | '-- Temporary view '* | '-- Dumping '*) break ;; esac
done >"$work/head"
until [ -s "$work/lines" ] || ! kill -0 "$inventory" 2>/dev/null; do sleep 0.1; done
kill "$lock" 2>/dev/null || { echo 'error: inventory and dump did not begin within 30 seconds' >&2; exit 1; }
kill "$input" 2>/dev/null || :
wait "$input" "$lock" 2>/dev/null || : # bash reports how they end
wait "$inventory"
sh "${0%/*}/begin" <"$work/inventory"
# mysqldump omits the character set of the database, on which new tables and texts in routines depend.
run_mysql <<'STATEMENT'
SELECT CONCAT('ALTER DATABASE CHARACTER SET ', default_character_set_name, ' COLLATE ', default_collation_name, ' ;')
FROM information_schema.schemata WHERE schema_name = DATABASE();
STATEMENT
cat "$work/head"
sed "\$w $work/last" <&3
wait "$dump"
case $(cat "$work/last") in
    '-- Dump completed on '*:[0-9][0-9]:[0-9][0-9]) ;;
    *) echo 'error: mysqldump did not write the whole dump' >&2; exit 1 ;;
esac
