#!/bin/sh
# At every start a private server, which only a socket in /tmp reaches, sets the application's account. On an empty volume it
# works in a scratch folder and also runs the init script. The folder becomes the data folder when it is whole.
set -eu
umask 077
trap 'exit 143' INT TERM
# The server never logs the account's statements, and no setting of the user stops them.
export PGOPTIONS='-c log_statement=none -c log_min_duration_statement=-1 -c log_min_duration_sample=-1 -c log_duration=off
    -c log_transaction_sample_rate=0 -c log_min_error_statement=panic -c debug_print_parse=off -c debug_print_rewritten=off
    -c debug_print_plan=off -c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0'
printf '%s\n' "$PGOPTIONS" > /var/run/postgresql/options
# With debug messages the server logs its environment.
password=$APPLICATION_PASSWORD
printf '%s\n' "$APPLICATION_PASSWORD" > /var/run/postgresql/password
unset APPLICATION_PASSWORD
new=${PGDATA%/*}/new

run_psql() { # run_psql [ARGUMENT...]: run statements of the superuser, up to the first error
    psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --host=/tmp --username=postgres "$@"
}
write_configuration() { # write_configuration FOLDER
    printf "include '%s/postgresql.conf'\ninclude '/etc/database-groups/settings'\n" "$1" > /tmp/postgresql.conf
}

data=$PGDATA
if [ ! -e "$PGDATA" ]; then
    data=$new
    rm -rf "$new"
    initdb --pgdata="$new" --username=postgres --auth-local=trust --auth-host=scram-sha-256
    printf '\nhost all all all scram-sha-256\n' >> "$new/pg_hba.conf"
fi
write_configuration "$data"
# The folder outlives a container that was killed, and another process can have the number in the old lock file.
rm -f /tmp/.s.PGSQL.*
postgres -D "$data" -c config_file=/tmp/postgresql.conf -c listen_addresses= -c unix_socket_directories=/tmp &
pid=$!
until pg_isready --quiet --host=/tmp; do
    kill -0 "$pid" 2>/dev/null
    sleep 0.1
done
run_psql --dbname=postgres <<'STATEMENTS'
\getenv username APPLICATION_USERNAME
\getenv database APPLICATION_DATABASE
SELECT format('CREATE ROLE %I', :'username') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'username') \gexec
ALTER ROLE :"username" WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'username')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
ALTER DATABASE :"database" OWNER TO :"username";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
STATEMENTS
# `\password` sends a verifier and not the password itself. Without a terminal it reads the standard input.
printf '%s\n%s\n' "$password" "$password" |
    run_psql --dbname=postgres --command="\\password $APPLICATION_USERNAME" 2>/tmp/password || { cat /tmp/password; exit 1; }
if [ "$data" = "$new" ] && [ -e /etc/database-groups/init ]; then
    echo 'database-groups: running initScript'
    run_psql --dbname="$APPLICATION_DATABASE" --file=/etc/database-groups/init
    if [ -e /etc/database-groups/filled ]; then
        # A copy follows. It contains what the script created, except extensions.
        run_psql --dbname="$APPLICATION_DATABASE" --output=/dev/null <<'STATEMENTS'
SET client_min_messages = error;
WITH created (class, oid) AS (
    SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type
    UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
    UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
    UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
    UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
    UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE nspname !~ '^pg_'
)
SELECT format('DROP %s IF EXISTS %s CASCADE', type, identity) FROM created, pg_identify_object(class, oid, 0)
WHERE oid >= 16384 AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.deptype IN ('e', 'i') AND d.classid = created.class AND d.objid = created.oid
        AND d.refobjid <> d.objid) \gexec
SELECT lo_unlink(oid) FROM pg_largeobject_metadata;
STATEMENTS
    fi
fi
kill -INT "$pid"
wait "$pid"
[ "$data" = "$PGDATA" ] || mv "$new" "$PGDATA"
write_configuration "$PGDATA"
unset PGOPTIONS
# The data of a server that verifies a backup need not survive.
[ "${SCRATCH-}" != true ] || set -- -c fsync=off
exec docker-entrypoint.sh postgres -c config_file=/tmp/postgresql.conf "$@"
