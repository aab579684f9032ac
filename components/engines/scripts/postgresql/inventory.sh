#!/bin/sh
# Print sorted lines that two copies of a database have in common, also on servers of two release series: each table with its
# columns, the number of its rows and a sum of the hashes of its rows, and all other objects.
set -eu
# shellcheck disable=SC2153 # the caller sets the variables
export PGHOST="$ADDRESS" PGPORT="$PORT" PGUSER="$USERNAME" PGPASSWORD="$PASSWORD" PGDATABASE="$DATABASE"
export PGSSLMODE="${TLS:-prefer}" PGSSLROOTCERT="${CA_FILE-}" PGCONNECT_TIMEOUT=15
# The text of a row depends on these settings. With row_security=off the server rejects a query that would hide rows.
export PGOPTIONS='-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=1
    -c lc_monetary=C -c row_security=off -c statement_timeout=0 -c client_encoding=UTF8'
umask 077
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
psql --no-password --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 >"$lines" <<'STATEMENTS'
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
WITH own AS (
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, relkind IN ('r', 'p', 'm') AS has_rows,
        CASE relkind WHEN 'm' THEN 'materialized view' WHEN 'v' THEN 'view' WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type'
            ELSE 'table' END AS kind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid >= 16384 AND n.nspname !~ '^pg_' AND c.relkind IN ('r', 'p', 'm', 'v', 'f', 'c')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid)
)
SELECT CASE WHEN has_rows THEN format(
    'SELECT format(''%%s, rows: %%s, hash of rows: %%s'', %L, count(*), coalesce(sum(hashtextextended((x.*)::text, 0)::numeric), 0)) FROM %s x',
    line, name) ELSE format('SELECT %L', line) END
FROM own, LATERAL (
    SELECT format('%s %s, hash of columns: %s', kind, replace(name, E'\n', '\n'), md5(coalesce(string_agg(
        format('%s %s %s %s', attname, format_type(atttypid, atttypmod), attnotnull, attgenerated), ',' ORDER BY attnum), ''))) AS line
    FROM pg_attribute WHERE attrelid = own.oid AND attnum > 0 AND NOT attisdropped
) AS described \gexec
SELECT format('sequence %I.%I %s', schemaname, sequencename, coalesce(last_value::text, 'unused'))
FROM pg_sequences WHERE schemaname !~ '^pg_';
SELECT format('index %I.%I on %I', schemaname, indexname, tablename) FROM pg_indexes
WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'pg_toast');
SELECT format('constraint %I on %s of type %s', conname, CASE conrelid WHEN 0 THEN contypid::regtype::text ELSE conrelid::regclass::text
    END, contype) FROM pg_constraint WHERE oid >= 16384 AND contype IN ('c', 'f', 'p', 'u', 'x');
SELECT format('trigger %I on %s, enabled %s', tgname, tgrelid::regclass, tgenabled) FROM pg_trigger WHERE NOT tgisinternal;
SELECT format('routine %s %s', p.oid::regprocedure, md5(p.prosrc)) FROM pg_proc p WHERE p.oid >= 16384
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.classid = 'pg_proc'::regclass AND d.objid = p.oid);
SELECT format('type %s %s', t.oid::regtype, (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum
    WHERE enumtypid = t.oid)) FROM pg_type t WHERE t.oid >= 16384 AND t.typtype IN ('d', 'e', 'r')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.classid = 'pg_type'::regclass AND d.objid = t.oid);
SELECT format('policy %I on %s', polname, polrelid::regclass) FROM pg_policy;
SELECT format('large objects %s, hash %s', count(*), sum(hashtextextended(encode(lo_get(oid), 'hex'), oid::bigint)::numeric))
FROM pg_largeobject_metadata HAVING count(*) > 0;
COMMIT;
STATEMENTS
LC_ALL=C sort "$lines"
