#!/usr/bin/env bash
# Copy the data of a PostgreSQL group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "postgresql-$new"

move postgresql <<'SCRIPT'
old() { PGPASSWORD=$OLD_password "$@" --host="$OLD_host" --port="$OLD_port" --username="$OLD_username" --dbname="$OLD_database"; }
new() { PGPASSWORD=$NEW_password "$@" --host="$NEW_host" --port="$NEW_port" --username="$NEW_username" --dbname="$NEW_database"; }
query='psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1'

# The superuser already created the extensions (`initScript`, `extensions`); the application cannot set their comments.
old pg_dump --format=custom --compress=0 |
    pg_restore --no-owner --no-privileges --single-transaction --file=- |
    LC_ALL=C sed -e '/^COPY .* FROM stdin;$/,/^\\\.$/b' -e '/^COMMENT ON EXTENSION /d' |
    new $query --output=/dev/null
new $query --command='SET client_min_messages = error' --command=ANALYZE

count() {
    "$@" $query <<'SQL' | LC_ALL=C sort
SELECT format('SELECT %L, count(*) FROM %I.%I', schemaname || '.' || tablename, schemaname, tablename)
FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') \gexec
SELECT 'sequence ' || schemaname || '.' || sequencename, last_value FROM pg_sequences;
SQL
}
count old > /tmp/old
count new > /tmp/new
diff /tmp/old /tmp/new && cat /tmp/new
SCRIPT
