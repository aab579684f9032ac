#!/bin/sh
# Print sorted lines that two copies of a database have in common: each table with its columns, the number of its rows and
# a sum of the hashes of its rows, and all other objects. Release series print expressions in different forms, so a line
# that begins with `in SERIES:` counts only between servers of one series. The next value of AUTO_INCREMENT has no moment:
# the copy can be ahead of its line, which ends with `at least NUMBER`. OUTPUT: the file of the lines; it gets the first
# one at the moment that the script reads.
set -eu
# shellcheck source=components/engines/scripts/mysql/connect.sh
. "${0%/*}/connect"
lines=${OUTPUT:-$work/lines}
# The text of a row depends on these settings. A server can limit the time of a query and the length of a list.
cat >"$work/statements" <<'STATEMENTS'
SET SESSION time_zone = '+00:00', SESSION sql_mode = '', SESSION information_schema_stats_expiry = 0,
    SESSION group_concat_max_len = 1073741824, SESSION max_execution_time = 0;
STATEMENTS
cp "$work/statements" "$work/tables"
cat >>"$work/tables" <<'STATEMENTS'
-- One statement for each table. Within a row, NULL is `-` and no value has a comma; large values have their own hash.
SELECT CONCAT('SELECT CONCAT(', QUOTE(CONCAT('table ', name, ', engine: ', engine, ', hash of columns: ',
    LEFT(SHA2(CONCAT(JSON_ARRAY(table_collation, create_options, table_comment), GROUP_CONCAT(JSON_ARRAY(column_name,
        column_type, is_nullable, IF(extra LIKE '%DEFAULT_GENERATED%', NULL, column_default), collation_name, extra,
        column_comment, srs_id) ORDER BY ordinal_position)), 256), 32), ', rows: ')), ', COUNT(*), '', hash of rows: '',
    IFNULL(SUM(CAST(CONV(LEFT(SHA2(CONCAT_WS('','',', GROUP_CONCAT('IFNULL(', CASE
        WHEN data_type IN ('tinyint', 'smallint', 'mediumint', 'int', 'bigint', 'decimal', 'float', 'double', 'date',
            'time', 'datetime', 'timestamp', 'year') THEN column_identifier
        WHEN data_type IN ('char', 'varchar', 'binary', 'varbinary', 'enum', 'set', 'bit')
            THEN CONCAT('HEX(', column_identifier, ')')
        ELSE CONCAT('SHA2(', column_identifier, ', 256)') END, ',''-'')' ORDER BY ordinal_position),
    '), 256), 16), 16, 10) AS DECIMAL(65))), 0)) FROM ', name, ';')
FROM (SELECT t.*, CONCAT('`', REPLACE(table_name, '`', '``'), '`') AS name FROM information_schema.tables t) AS tables
    JOIN (SELECT c.*, CONCAT('`', REPLACE(column_name, '`', '``'), '`') AS column_identifier
        FROM information_schema.columns c) AS columns USING (table_schema, table_name)
WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'
GROUP BY name, engine, table_collation, create_options, table_comment;
STATEMENTS
{
    cat <<'STATEMENTS'
SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;
START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;
SELECT CONCAT('database, character set: ', default_character_set_name, ', collation: ', default_collation_name)
FROM information_schema.schemata WHERE schema_name = DATABASE() AND (
    EXISTS (SELECT * FROM information_schema.tables WHERE table_schema = DATABASE())
    OR EXISTS (SELECT * FROM information_schema.routines WHERE routine_schema = DATABASE())
    OR EXISTS (SELECT * FROM information_schema.events WHERE event_schema = DATABASE()));
STATEMENTS
    run_mysql --raw <"$work/tables"
    cat <<'STATEMENTS'
SET @series = CONCAT('in ', SUBSTRING_INDEX(VERSION(), '.', 2), ': definition of ');
SET @schema = CONCAT('`', REPLACE(DATABASE(), '`', '``'), '`.');
SELECT CONCAT('table `', table_name, '`, next value at least ', LEAST(9223372036854775807, IFNULL(auto_increment, 1)))
FROM information_schema.tables JOIN information_schema.columns USING (table_schema, table_name)
WHERE table_schema = DATABASE() AND extra LIKE '%auto_increment%';
SELECT CONCAT('index `', index_name, '` on `', table_name, '`, unique: ', 1 - non_unique, ', type: ', index_type,
    ', hash: ', LEFT(SHA2(GROUP_CONCAT(JSON_ARRAY(column_name, sub_part, collation, is_visible, index_comment)
        ORDER BY seq_in_index), 256), 32))
FROM information_schema.statistics WHERE table_schema = DATABASE()
GROUP BY table_name, index_name, non_unique, index_type;
SELECT CONCAT('foreign key `', constraint_name, '` on `', r.table_name, '`, hash: ', LEFT(SHA2(GROUP_CONCAT(JSON_ARRAY(
    match_option, update_rule, delete_rule, column_name, NULLIF(referenced_table_schema, DATABASE()),
    k.referenced_table_name, referenced_column_name) ORDER BY ordinal_position), 256), 32))
FROM information_schema.referential_constraints r
    JOIN information_schema.key_column_usage k USING (constraint_schema, constraint_name)
WHERE constraint_schema = DATABASE() AND k.table_name = r.table_name GROUP BY constraint_name, r.table_name;
SELECT CONCAT('check `', constraint_name, '` on `', table_name, '`, enforced: ', enforced)
FROM information_schema.table_constraints WHERE table_schema = DATABASE() AND constraint_type = 'CHECK'
UNION ALL SELECT CONCAT(@series, 'check `', constraint_name, '`: ', LEFT(SHA2(check_clause, 256), 32))
FROM information_schema.check_constraints WHERE constraint_schema = DATABASE();
SELECT CONCAT(@series, 'column `', column_name, '` of `', table_name, '`: ', LEFT(SHA2(JSON_ARRAY(
    column_type, is_nullable, column_default, collation_name, generation_expression), 256), 32))
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = DATABASE() AND (
    table_type = 'VIEW' OR generation_expression <> '' OR extra LIKE '%DEFAULT_GENERATED%');
SELECT CONCAT(@series, 'index `', index_name, '` on `', table_name, '`: ', LEFT(SHA2(GROUP_CONCAT(
    JSON_ARRAY(expression) ORDER BY seq_in_index), 256), 32))
FROM information_schema.statistics WHERE table_schema = DATABASE() AND expression IS NOT NULL
GROUP BY table_name, index_name;
SELECT CONCAT('partitions of `', table_name, '`: ', COUNT(*), ', hash: ', LEFT(SHA2(GROUP_CONCAT(JSON_ARRAY(
    partition_name, subpartition_name, partition_comment) ORDER BY partition_ordinal_position,
    subpartition_ordinal_position), 256), 32))
FROM information_schema.partitions WHERE table_schema = DATABASE() AND partition_name IS NOT NULL GROUP BY table_name
UNION ALL SELECT CONCAT(@series, 'partitions of `', table_name, '`: ', LEFT(SHA2(GROUP_CONCAT(JSON_ARRAY(
    partition_method, subpartition_method, partition_expression, subpartition_expression, partition_description)
    ORDER BY partition_ordinal_position, subpartition_ordinal_position), 256), 32))
FROM information_schema.partitions WHERE table_schema = DATABASE() AND partition_name IS NOT NULL GROUP BY table_name;
SELECT CONCAT('view `', table_name, '`, hash: ', LEFT(SHA2(JSON_ARRAY(
    check_option, security_type, character_set_client, collation_connection), 256), 32))
FROM information_schema.views WHERE table_schema = DATABASE()
UNION ALL SELECT CONCAT(@series, 'view `', table_name, '`: ', LEFT(SHA2(REPLACE(view_definition, @schema, ''), 256), 32))
FROM information_schema.views WHERE table_schema = DATABASE();
SELECT CONCAT(LOWER(routine_type), ' `', routine_name, '`, hash: ', LEFT(SHA2(JSON_ARRAY(
    routine_definition, is_deterministic, sql_data_access, security_type, sql_mode, routine_comment,
    character_set_client, collation_connection, database_collation), 256), 32))
FROM information_schema.routines WHERE routine_schema = DATABASE()
UNION ALL SELECT CONCAT(@series, 'parameters of ', LOWER(routine_type), ' `', specific_name, '`: ',
    LEFT(SHA2(GROUP_CONCAT(JSON_ARRAY(parameter_mode, parameter_name, dtd_identifier, collation_name) ORDER BY ordinal_position), 256), 32))
FROM information_schema.parameters WHERE specific_schema = DATABASE() GROUP BY routine_type, specific_name;
SELECT CONCAT('trigger `', trigger_name, '` on `', event_object_table, '`, hash: ', LEFT(SHA2(JSON_ARRAY(
    event_manipulation, action_timing, action_order, action_statement, sql_mode, character_set_client,
    collation_connection, database_collation), 256), 32))
FROM information_schema.triggers WHERE trigger_schema = DATABASE();
SELECT CONCAT('event `', event_name, '`, hash: ', LEFT(SHA2(JSON_ARRAY(
    event_definition, time_zone, event_type, CONCAT(execute_at), CONVERT(interval_value USING utf8mb4), interval_field,
    sql_mode, CONCAT(starts), CONCAT(ends), status, on_completion, event_comment, character_set_client, collation_connection,
    database_collation), 256), 32))
FROM information_schema.events WHERE event_schema = DATABASE();
STATEMENTS
} >>"$work/statements"
run_mysql --binary-mode --unbuffered <"$work/statements" >"$lines"
LC_ALL=C sort "$lines"
