#!/bin/sh
# On an empty volume, private servers initialize a scratch folder and run the init script there. The folder becomes the data
# folder when it is whole. At every start the final server runs an init file, before it accepts connections.
set -eu
umask 077
trap 'exit 143' INT TERM
data=/var/lib/mysql/data new=/var/lib/mysql/new
settings=/etc/database-groups/settings
mkdir -p /var/lib/mysql/tmp
# In a grant an unescaped `_` matches any character, except with partial revokes.
cat > /var/run/mysqld/account.sql <<STATEMENTS
CREATE DATABASE IF NOT EXISTS \`$APPLICATION_DATABASE\` CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS '$APPLICATION_USERNAME'@'%';
ALTER USER '$APPLICATION_USERNAME'@'%' IDENTIFIED BY '$APPLICATION_PASSWORD';
/*!80014 ALTER USER '$APPLICATION_USERNAME'@'%' DISCARD OLD PASSWORD */;
SET @escape = IF(@@partial_revokes, '', CHAR(92));
SET @database = REPLACE('$APPLICATION_DATABASE', '_', CONCAT(@escape, '_'));
SET @statement = CONCAT('GRANT ALL PRIVILEGES ON \`', @database, '\`.* TO ''$APPLICATION_USERNAME''@''%''');
PREPARE statement FROM @statement;
EXECUTE statement;
STATEMENTS
printf '[client]\nuser="%s"\npassword="%s"\n' "$APPLICATION_USERNAME" "$APPLICATION_PASSWORD" > /var/run/mysqld/application.cnf
unset APPLICATION_PASSWORD

run_mysql() { # run_mysql [ARGUMENT...]: run statements as root on the private server, up to the first error
    mysql --no-defaults --protocol=socket --socket=/tmp/private.sock --user=root --comments "$@"
}
start_private() { # start_private ARGUMENT...: start the private server on the scratch folder
    # /tmp outlives a container that was killed, and another process can have the number in the old lock file.
    rm -f /tmp/private.sock*
    mysqld "$@" --datadir="$new" --skip-networking --mysqlx=OFF --socket=/tmp/private.sock --pid-file=/tmp/private.pid &
    pid=$!
    until run_mysql --execute='SELECT 1' >/tmp/answer 2>&1; do
        kill -0 "$pid" 2>/dev/null
        sleep 0.2
    done
}
stop_private() {
    kill "$pid"
    wait "$pid"
}

if [ ! -e "$data" ]; then
    rm -rf "$new"
    # The program's settings alone initialize the folder, and the user's settings that cannot change later.
    fixed='innodb[-_]data[-_]file[-_]path|innodb[-_]page[-_]size|lower[-_]case[-_]table[-_]names'
    { echo '[mysqld]'; grep -iE "^(loose[-_])?($fixed) " "$settings" || :; } > /tmp/fixed.cnf
    mysqld --defaults-extra-file=/tmp/fixed.cnf --datadir="$new" --initialize-insecure --default-time-zone=SYSTEM
    start_private --defaults-extra-file=/tmp/fixed.cnf --default-time-zone=SYSTEM
    mysql_tzinfo_to_sql /usr/share/zoneinfo 2>/tmp/answer |
        sed 's/Local time zone must be set--see zic manual page/FCTY/' | run_mysql --database=mysql
    stop_private
    if [ -e /etc/database-groups/init ]; then
        echo 'database-groups: running initScript'
        start_private --defaults-extra-file="$settings" --init-file=/var/run/mysqld/account.sql
        run_mysql --init-command='SET autocommit = 1' --database="$APPLICATION_DATABASE" < /etc/database-groups/init
        # A copy follows. It contains what the script created. The init file creates the database again.
        [ ! -e /etc/database-groups/filled ] || run_mysql --execute="DROP DATABASE \`$APPLICATION_DATABASE\`"
        stop_private
    fi
    mv "$new" "$data"
fi
root_password=$(head -c 32 /dev/urandom | base64)
printf '[client]\nuser="root"\npassword="%s"\n' "$root_password" > /var/run/mysqld/root.cnf
cp /var/run/mysqld/account.sql /var/run/mysqld/init.sql
echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$root_password';" >> /var/run/mysqld/init.sql
# In a server that verifies a backup, no event changes the data, which need not survive.
[ "${SCRATCH-}" != true ] || set -- --event-scheduler=OFF --innodb-flush-log-at-trx-commit=0
exec docker-entrypoint.sh mysqld --defaults-extra-file="$settings" --datadir="$data" --init-file=/var/run/mysqld/init.sql "$@"
