#!/bin/sh
set -eu
exec mysql --defaults-file=/var/run/mysqld/application.cnf --connect-timeout=5 --protocol=TCP --host="$POD_IP" \
    --database="$APPLICATION_DATABASE" --execute='SELECT 1' >/dev/null
