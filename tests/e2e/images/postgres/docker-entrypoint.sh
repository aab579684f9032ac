#!/usr/bin/env bash
# The start of the postgres image: an empty data directory gets a cluster, which the variables describe; a used one is taken as it is, and then the server runs.
set -euo pipefail
shopt -s nullglob

socket=/var/run/postgresql

die() {
    printf 'docker-entrypoint.sh: %s\n' "$*" >&2
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

# sql [ARGUMENT…]: what comes in runs as the superuser, over the socket, up to the first error
sql() {
    PGHOST='' PGHOSTADDR='' psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password "$@"
}

# start_server COMMAND [ARGUMENT…]: a server that only this container reaches, with the options that the real one will have
start_server() {
    local options
    printf -v options '%q ' "${@:2}" -c listen_addresses= -p "${PGPORT:-5432}"
    PGUSER=$POSTGRES_USER pg_ctl --pgdata "$PGDATA" --options "$options" --wait start
}

run_scripts() {
    local file
    for file; do
        printf 'docker-entrypoint.sh: running %s\n' "$file"
        case $file in
            *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
            *.sql) sql --dbname "$POSTGRES_DB" --file "$file" ;;
            *.sql.gz) gunzip --stdout "$file" | sql --dbname "$POSTGRES_DB" ;;
            *) printf 'docker-entrypoint.sh: ignoring %s\n' "$file" ;;
        esac
    done
}

make_cluster() {
    local method arguments
    variable POSTGRES_PASSWORD
    variable POSTGRES_USER postgres
    variable POSTGRES_DB "$POSTGRES_USER"
    variable POSTGRES_INITDB_ARGS
    : "${POSTGRES_HOST_AUTH_METHOD:=}"
    [ -n "$POSTGRES_PASSWORD" ] || [ "$POSTGRES_HOST_AUTH_METHOD" = trust ] || die 'an empty data directory needs POSTGRES_PASSWORD, the password of the superuser'
    ls /docker-entrypoint-initdb.d >/dev/null

    eval "arguments=($POSTGRES_INITDB_ARGS)"
    initdb --pgdata "$PGDATA" --username "$POSTGRES_USER" --pwfile <(printf '%s\n' "$POSTGRES_PASSWORD") ${POSTGRES_INITDB_WALDIR:+--waldir "$POSTGRES_INITDB_WALDIR"} "${arguments[@]}"
    method=${POSTGRES_HOST_AUTH_METHOD:-$(postgres -D "$PGDATA" -C password_encryption "${@:2}")}
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"

    export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
    start_server "$@"
    if [ -z "$(sql --dbname postgres --set name="$POSTGRES_DB" --tuples-only <<<"SELECT 1 FROM pg_database WHERE datname = :'name'")" ]; then
        sql --dbname postgres --set name="$POSTGRES_DB" <<<'CREATE DATABASE :"name"'
    fi
    run_scripts /docker-entrypoint-initdb.d/*
    PGUSER=$POSTGRES_USER pg_ctl --pgdata "$PGDATA" --mode fast --wait stop
    unset PGPASSWORD
}

[ "${1:0:1}" != - ] || set -- postgres "$@"
case " $* " in
    *' --help '* | *' -? '* | *' --version '* | *' -V '* | *' --describe-config '*) exec "$@" ;;
esac

if [ "$1" = postgres ]; then
    mkdir -p "$PGDATA" "$socket"
    chmod 700 "$PGDATA" 2>/dev/null || true
    chmod 3775 "$socket" 2>/dev/null || true
    if [ "$(id -u)" = 0 ]; then
        find "$PGDATA" "$socket" ! -user postgres -exec chown postgres {} +
        exec setpriv --reuid postgres --regid postgres --init-groups -- "$BASH_SOURCE" "$@"
    fi
    [ -s "$PGDATA/PG_VERSION" ] || make_cluster "$@"
fi

exec "$@"
