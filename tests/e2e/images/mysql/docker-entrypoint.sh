#!/usr/bin/env bash
# The start of the mysql image: an empty data directory gets its database, which the variables describe; a used one is taken as it is, and then the server runs.
# Like the official one it gives the server's own arguments to the initialization and to the temporary server too, and quotes nothing in what it makes of the variables.
set -euo pipefail
shopt -s nullglob

say() {
    printf '%s [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "$*"
}

die() {
    say "$@" >&2
    exit 1
}

# variable NAME [DEFAULT]: NAME gets the content of the file that NAME_FILE names, or its default
variable() {
    local file=$1_FILE
    if [ -n "${!file:-}" ]; then
        [ -z "${!1:-}" ] || die "$1 and $file exclude each other"
        printf -v "$1" %s "$(<"${!file}")"
    fi
    printf -v "$1" %s "${!1:-${2:-}}"
    export "${1?}"
    unset "$file"
}

# help SERVER [ARGUMENT…]: the server's configuration; the index is named because it would be looked for in the data directory
help() {
    "$@" --verbose --help --log-bin-index="$(mktemp --dry-run)"
}

# setting NAME: the value of a server variable in the configuration that was read
setting() {
    printf '%s\n' "$configuration" | awk -v name="$1" '$1 == name && /^[^ \t]/ && !found++ { sub(/^[^ \t]+[ \t]+/, ""); print }'
}

# client PROGRAM [ARGUMENT…]: as root over the socket; the password comes from a file that never was on a disk
client() {
    "$1" --defaults-extra-file=<([ -z "$password" ] || printf '[client]\npassword=%s\n' "$password") --protocol=socket --host=localhost --user=root --socket="$socket" "${@:2}"
}

sql() {
    client mysql --comments "$@"
}

run_scripts() {
    local file
    for file; do
        say "running $file"
        case $file in
            *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
            *.sql) sql ${MYSQL_DATABASE:+--database="$MYSQL_DATABASE"} <"$file" ;;
            *.sql.gz) gunzip --stdout "$file" | sql ${MYSQL_DATABASE:+--database="$MYSQL_DATABASE"} ;;
            *) say "ignoring $file" ;;
        esac
    done
}

make_accounts() {
    local statements="SET autocommit = 1; SET @@SESSION.SQL_LOG_BIN = 0; ALTER USER 'root'@'localhost' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';"
    statements+=" GRANT ALL ON *.* TO 'root'@'localhost' WITH GRANT OPTION; FLUSH PRIVILEGES;"
    if [ "$MYSQL_ROOT_HOST" != localhost ]; then
        statements+=" CREATE USER 'root'@'$MYSQL_ROOT_HOST' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD'; GRANT ALL ON *.* TO 'root'@'$MYSQL_ROOT_HOST' WITH GRANT OPTION;"
    fi
    sql --database=mysql <<<"$statements DROP DATABASE IF EXISTS test;"
    password=$MYSQL_ROOT_PASSWORD

    [ -z "$MYSQL_DATABASE" ] || sql --database=mysql <<<"CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`"
    if [ -n "$MYSQL_USER" ] && [ -n "$MYSQL_PASSWORD" ]; then
        sql --database=mysql <<<"CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$MYSQL_PASSWORD'"
        [ -z "$MYSQL_DATABASE" ] || sql --database=mysql <<<"GRANT ALL ON \`${MYSQL_DATABASE//_/\\_}\`.* TO '$MYSQL_USER'@'%'"
    fi
}

make_database() {
    variable MYSQL_ROOT_PASSWORD
    variable MYSQL_ROOT_HOST %
    variable MYSQL_DATABASE
    variable MYSQL_USER
    variable MYSQL_PASSWORD
    [ -n "$MYSQL_ROOT_PASSWORD${MYSQL_ALLOW_EMPTY_PASSWORD:-}${MYSQL_RANDOM_ROOT_PASSWORD:-}" ] ||
        die 'an empty data directory needs MYSQL_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD or MYSQL_RANDOM_ROOT_PASSWORD'
    [ "$MYSQL_USER" != root ] || die 'MYSQL_USER cannot be root: MYSQL_ROOT_PASSWORD is for that'
    ls /docker-entrypoint-initdb.d >/dev/null

    say 'initializing the data directory'
    "$@" --initialize-insecure --default-time-zone=SYSTEM
    say 'starting the temporary server'
    "$@" --daemonize --skip-networking --default-time-zone=SYSTEM --socket="$socket" || die 'the temporary server did not start'

    password=
    if [ -z "${MYSQL_INITDB_SKIP_TZINFO:-}" ]; then
        mysql_tzinfo_to_sql /usr/share/zoneinfo 2>/dev/null | sed 's/Local time zone must be set--see zic manual page/FCTY/' | sql --database=mysql
    fi
    if [ -n "${MYSQL_RANDOM_ROOT_PASSWORD:-}" ]; then
        MYSQL_ROOT_PASSWORD=$(openssl rand -base64 24)
        say "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
    fi
    make_accounts
    run_scripts /docker-entrypoint-initdb.d/*

    say 'stopping the temporary server'
    client mysqladmin shutdown || die 'the temporary server did not stop'
    say 'the database is made'
}

[ "${1:0:1}" != - ] || set -- mysqld "$@"
case " $* " in
    *' --help '* | *' -? '* | *' --print-defaults '* | *' --version '* | *' -V '*) exec "$@" ;;
esac

if [ "$1" = mysqld ]; then
    errors=$(help "$@" 2>&1 >/dev/null) || die "mysqld does not accept its configuration ($*): $errors"
    configuration=$(help "$@" 2>/dev/null)
    data=$(setting datadir)
    socket=$(setting socket)

    directories=("$data" "$(dirname "$socket")")
    for name in general-log-file pid-file slow-query-log-file; do
        value=$(setting "$name")
        [ -z "$value" ] || directories+=("$(dirname "$value")")
    done
    value=$(setting secure-file-priv)
    [ -z "$value" ] || [ "$value" = NULL ] || directories+=("$value")
    mkdir -p "${directories[@]}"
    if [ "$(id -u)" = 0 ]; then
        find "${directories[@]}" ! -user mysql -exec chown --no-dereference mysql {} +
        exec setpriv --reuid mysql --regid mysql --init-groups -- "$BASH_SOURCE" "$@"
    fi

    [ -d "$data/mysql" ] || make_database "$@"
fi

exec "$@"
