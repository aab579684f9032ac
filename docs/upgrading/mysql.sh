#!/usr/bin/env bash
# Copy the data of a MySQL group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "mysql-$new"

move mysql <<'SCRIPT'
umask 077
login() { # login HOST PORT USER PASSWORD
    printf '[client]\ndefault-character-set=utf8mb4\nhost="%s"\nport="%s"\nuser="%s"\npassword="%s"\n' "$@" | sed 's/\\/\\\\/g'
}
login "$OLD_host" "$OLD_port" "$OLD_username" "$OLD_password" > /tmp/old.cnf
login "$NEW_host" "$NEW_port" "$NEW_username" "$NEW_password" > /tmp/new.cnf

# A view, routine, trigger or event runs with the privileges of its definer. The new server has another user, so replace the definer.
mysqldump --defaults-file=/tmp/old.cnf --single-transaction --no-tablespaces --routines --events --hex-blob \
    --set-gtid-purged=OFF --loose-skip-masking-policies "$OLD_database" |
    LC_ALL=C sed -E '/^(CREATE|\/\*!)/s/DEFINER=`[^`]*`@`[^`]*`/DEFINER=CURRENT_USER/' |
    mysql --defaults-file=/tmp/new.cnf "$NEW_database"

count() { # count LOGIN DATABASE
    local query="mysql --defaults-file=/tmp/$1.cnf --batch --raw --skip-column-names $2"
    $query <<'SQL' | $query | LC_ALL=C sort
SELECT CONCAT('SELECT ', QUOTE(table_name), ', COUNT(*) FROM `', REPLACE(table_name, '`', '``'), '`;')
FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE';
SQL
    $query <<'SQL'
SELECT 'views', COUNT(*) FROM information_schema.views WHERE table_schema = DATABASE()
UNION ALL SELECT 'routines', COUNT(*) FROM information_schema.routines WHERE routine_schema = DATABASE()
UNION ALL SELECT 'triggers', COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE()
UNION ALL SELECT 'events', COUNT(*) FROM information_schema.events WHERE event_schema = DATABASE();
SQL
}
count old "$OLD_database" > /tmp/old
count new "$NEW_database" > /tmp/new
diff /tmp/old /tmp/new && cat /tmp/new
SCRIPT
