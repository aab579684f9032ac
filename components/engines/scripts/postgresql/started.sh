#!/bin/sh
set -eu
# The image's first initialization listens on the socket alone, so the final server is the one that answers over TCP.
until pg_isready --quiet --host=127.0.0.1; do sleep 0.2; done
exec psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres <<'STATEMENTS'
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\getenv username APPLICATION_USERNAME
\getenv password APPLICATION_PASSWORD
\getenv database APPLICATION_DATABASE
SELECT format('CREATE ROLE %I', :'username') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'username') \gexec
ALTER ROLE :"username" WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'username')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
ALTER DATABASE :"database" OWNER TO :"username";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
STATEMENTS
