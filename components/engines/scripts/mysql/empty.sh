#!/bin/sh
# Delete everything in the database. The database itself stays.
set -eu
# shellcheck source=components/engines/scripts/mysql/connect.sh
. "${0%/*}/connect"
run_mysql --raw >"$work/statements" <<'STATEMENTS'
SELECT CONCAT('DROP EVENT `', REPLACE(event_name, '`', '``'), '`;')
FROM information_schema.events WHERE event_schema = DATABASE()
UNION ALL SELECT CONCAT('DROP ', IF(table_type = 'VIEW', 'VIEW', 'TABLE'), ' `', REPLACE(table_name, '`', '``'), '`;')
FROM information_schema.tables WHERE table_schema = DATABASE()
UNION ALL SELECT CONCAT('DROP ', routine_type, ' `', REPLACE(routine_name, '`', '``'), '`;')
FROM information_schema.routines WHERE routine_schema = DATABASE();
STATEMENTS
run_mysql --binary-mode --init-command='SET SESSION foreign_key_checks = 0, SESSION sql_mode = ""' <"$work/statements"
