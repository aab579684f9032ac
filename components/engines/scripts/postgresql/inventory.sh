#!/bin/sh
# Print sorted lines that two copies of a database have in common: each table with its columns, the number of its rows and
# a sum of the hashes of its rows, each sequence, and all other objects. Release series print definitions in different
# forms, so a line that begins with `in SERIES:` counts only between servers of one series. A sequence has no moment: the
# copy can be ahead of its line, which ends with `at least NUMBER`. SNAPSHOT: the moment to read.
set -eu
# shellcheck source=components/engines/scripts/postgresql/connect.sh
. "${0%/*}/connect"
# The text of a row depends on these settings. With row_security=off the server rejects a query that would hide rows. An
# empty search path prints every name with its schema.
export PGOPTIONS='-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=1
    -c lc_monetary=C -c row_security=off -c statement_timeout=0 -c client_encoding=UTF8 -c search_path='
umask 077
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
run_psql ${SNAPSHOT:+"--set=snapshot=$SNAPSHOT"} >"$lines" <<'STATEMENTS'
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
\if :{?snapshot}
SET TRANSACTION SNAPSHOT :'snapshot';
\endif

-- A parallel process would send texts in the encoding of the database.
SELECT set_config('max_parallel_workers_per_gather', '0', true) WHERE getdatabaseencoding() <> 'UTF8' \g /dev/null

-- Tables and views. The binary forms of types are faster than their texts, and the same on all servers. A type whose hash
-- is not that of its whole value has the hash of its binary form. The hash of a record is a linear sum over its columns, so
-- another hash follows: it finds values that two rows have exchanged. A partition has a line of its own, so the partitioned
-- table is not read.
SELECT CASE WHEN relkind = 'r' OR relkind = 'm' AND relispopulated THEN format(
    'SELECT format(''%%s, rows: %%s, hash of rows: %%s'', %L, count(*),
        coalesce(sum(hashfloat8extended(hash_record_extended(ROW(%s), 0), 0)), 0)) FROM ONLY %s x',
    line, columns, c.oid::regclass) ELSE format('SELECT %L', line) END
FROM pg_class c, LATERAL (
    SELECT format('%s %s, hash of columns: %s', type, replace(identity, E'\n', '\n'), md5(concat_ws(',', relrowsecurity,
        relforcerowsecurity, relispopulated, string_agg(format('%s %s %s %s %s', attname, format_type(atttypid, atttypmod),
            attnotnull, attgenerated, attidentity), ',' ORDER BY attnum),
        (SELECT string_agg(inhparent::regclass::text, ',' ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = c.oid)))) AS line,
        concat_ws(', ', string_agg(format(form, attname), ', ' ORDER BY attnum) FILTER (WHERE form <> ''),
            format('textsend(ROW(%s)::text)', string_agg(format('x.%I', attname), ', ' ORDER BY attnum) FILTER (WHERE form = ''))
        ) AS columns
    FROM pg_identify_object('pg_class'::regclass, c.oid, 0) LEFT JOIN (
        SELECT pg_attribute.*, CASE
            WHEN atttypid = ANY ('{bool,bytea,int2,int4,uuid,date}'::regtype[]) THEN 'x.%I'
            WHEN atttypid = ANY ('{text,varchar}'::regtype[]) AND getdatabaseencoding() = 'UTF8' THEN 'x.%I COLLATE "C"'
            WHEN atttypid = ANY ('{int8,numeric,text,varchar,bpchar,time,timestamp,timestamptz,json,jsonb}'::regtype[])
                THEN typsend || '(x.%I)'
            WHEN atttypid = ANY ('{float4,float8}'::regtype[]) THEN 'textsend(x.%I::text)'
            ELSE '' END AS form
        FROM pg_attribute LEFT JOIN pg_type t ON t.oid = atttypid
    ) AS a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    GROUP BY type, identity
) AS described
WHERE c.oid >= 16384 AND relnamespace::regnamespace::text !~ '^pg_' AND relkind IN ('r', 'p', 'm', 'v', 'f', 'c')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid)
\gexec

-- Sequences: the next value, counted in the direction of the sequence.
SELECT format('SELECT format(''sequence %%s, settings: %%s, next value at least %%s'', %L, %L, least(9223372036854775807,
    sign(%s) * (last_value + CASE WHEN is_called THEN %s ELSE 0 END::numeric))) FROM %s', replace(seqrelid::regclass::text,
    E'\n', '\n'), concat_ws(' ', format_type(seqtypid, NULL), seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle),
    seqincrement, seqincrement, seqrelid::regclass)
FROM pg_sequence WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.objid = seqrelid) \gexec

-- All other objects, and the definitions.
WITH object (class, oid, details, definition) AS (
    SELECT 'pg_class'::regclass, oid, NULL, CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) ELSE (
        SELECT string_agg(adnum || pg_get_expr(adbin, adrelid), ',' ORDER BY adnum) FROM pg_attrdef WHERE adrelid = c.oid) END
    FROM pg_class c WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL SELECT 'pg_class'::regclass, indexrelid, format('on %s, unique: %s', indrelid::regclass, indisunique),
        pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
    WHERE (indisvalid OR relkind = 'I') AND relnamespace::regnamespace::text !~ '^pg_'
    UNION ALL SELECT 'pg_constraint'::regclass, oid, format('of type %s', contype), pg_get_constraintdef(oid)
    FROM pg_constraint WHERE contype IN ('c', 'f', 'p', 'u', 'x')
    UNION ALL SELECT 'pg_trigger'::regclass, oid, format('enabled: %s', tgenabled), pg_get_triggerdef(oid)
    FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'pg_policy'::regclass, oid, format('for %s', polcmd), concat_ws(',', polpermissive,
        pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy
    UNION ALL SELECT 'pg_rewrite'::regclass, oid, '', pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename <> '_RETURN'
    UNION ALL SELECT 'pg_proc'::regclass, oid, 'hash of source: ' || md5(prosrc),
        CASE WHEN prokind = 'a' THEN '' ELSE pg_get_functiondef(oid) END FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid, concat_ws(' ', format_type(nullif(typbasetype, 0), typtypmod), typnotnull,
        typdefault, (SELECT string_agg(quote_literal(enumlabel), ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid)), NULL
    FROM pg_type t WHERE typtype IN ('d', 'e', 'r')
    UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, '', pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
    UNION ALL SELECT 'pg_namespace'::regclass, oid, '', NULL FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT 'pg_collation'::regclass, oid, '', NULL FROM pg_collation
    UNION ALL SELECT 'pg_operator'::regclass, oid, '', NULL FROM pg_operator
    UNION ALL SELECT 'pg_cast'::regclass, oid, '', NULL FROM pg_cast
    UNION ALL SELECT 'pg_ts_config'::regclass, oid, '', NULL FROM pg_ts_config
), own AS (
    SELECT object.*, replace(format('%s %s', type, identity), E'\n', '\n') AS line
    FROM object, pg_identify_object(class, object.oid, 0)
    WHERE object.oid >= 16384 AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.classid = object.class AND d.objid = object.oid)
)
SELECT rtrim(format('%s %s', line, replace(details, E'\n', '\n'))) FROM own WHERE details IS NOT NULL
UNION ALL SELECT format('in %s: definition of %s: %s', split_part(current_setting('server_version'), '.', 1), line, md5(definition))
FROM own WHERE definition <> '';

SELECT format('comments: %s, hash: %s', count(*), md5(string_agg(description, ',' ORDER BY md5(description))))
FROM pg_description c WHERE objoid >= 16384 AND classoid <> 'pg_extension'::regclass AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.classid = c.classoid AND d.objid = c.objoid) HAVING count(*) > 0;
SELECT format('large objects: %s, hash: %s', count(*), sum(hash_array_extended(ARRAY[lo_get(oid)], oid::bigint)))
FROM pg_largeobject_metadata HAVING count(*) > 0;
COMMIT;
STATEMENTS
LC_ALL=C sort "$lines"
