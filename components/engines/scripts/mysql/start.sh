#!/bin/sh
set -eu
umask 077
MYSQL_ROOT_PASSWORD=$(head -c 32 /dev/urandom | base64)
export MYSQL_ROOT_PASSWORD MYSQL_ROOT_HOST=localhost MYSQL_DATABASE="$APPLICATION_DATABASE"
# In a grant an unescaped `_` matches any character.
pattern=$(printf %s "$APPLICATION_DATABASE" | sed 's/_/\\_/g')
cat > /var/run/mysqld/init.sql <<STATEMENTS
CREATE DATABASE IF NOT EXISTS \`$APPLICATION_DATABASE\` CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS '$APPLICATION_USERNAME'@'%';
ALTER USER '$APPLICATION_USERNAME'@'%' IDENTIFIED BY '$APPLICATION_PASSWORD';
GRANT ALL PRIVILEGES ON \`$pattern\`.* TO '$APPLICATION_USERNAME'@'%';
STATEMENTS
# On an empty volume the image's entrypoint sets root's password and requires that root has none before.
if [ -d /var/lib/mysql/mysql ]; then
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';" >> /var/run/mysqld/init.sql
fi
printf '[client]\nuser="root"\npassword="%s"\n' "$MYSQL_ROOT_PASSWORD" > /var/run/mysqld/root.cnf
printf '[client]\nuser="%s"\npassword="%s"\n' "$APPLICATION_USERNAME" "$APPLICATION_PASSWORD" > /var/run/mysqld/application.cnf
exec docker-entrypoint.sh mysqld --defaults-extra-file=/etc/database-groups/settings --init-file=/var/run/mysqld/init.sql
