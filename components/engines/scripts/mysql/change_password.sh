#!/bin/sh
# The user accepts the old and the new password, and no other one. Standard input: the old password, then the new one.
set -eu
umask 077
read -r old
read -r new
# Each statement retains the password before it. After the first one that is any password, after the second one the old one.
printf "ALTER USER '%s'@'%%' IDENTIFIED BY '%s' RETAIN CURRENT PASSWORD;\n" \
    "$APPLICATION_USERNAME" "$old" "$APPLICATION_USERNAME" "$new" |
    mysql --defaults-file=/var/run/mysqld/root.cnf
printf '[client]\nuser="%s"\npassword="%s"\n' "$APPLICATION_USERNAME" "$new" > /var/run/mysqld/application.new
mysql --defaults-file=/var/run/mysqld/application.new --connect-timeout=5 --protocol=TCP --host="$POD_IP" \
    --database="$APPLICATION_DATABASE" --execute='SELECT 1' >/dev/null
mv /var/run/mysqld/application.new /var/run/mysqld/application.cnf
