#!/bin/sh
# Print sorted lines that two copies of a bucket have in common: each field of a measurement with its type, the number of
# its series and values, and a hash of them. SNAPSHOT: the time at which the values end.
set -eu
# shellcheck source=components/engines/scripts/influxdb/connect.sh
. "${0%/*}/connect"
cat >"$work/hash.awk" <<'SCRIPT'
function hash_file(file, command, hash) {
    close(file)
    command = "sha256sum <\"" file "\""
    command | getline hash
    close(command)
    return substr(hash, 1, 64)
}
SCRIPT
cat >"$work/series.awk" <<'SCRIPT'
function add(line) { print line >values; count++ }
function finish_table() {
    printf "%s\t%s\t%s\t%s\t%d\t%s\n", measurement, field, table_type, series, count, hash_file(values)
    count = 0
}
function finish() {}
SCRIPT
cat >"$work/fields.awk" <<'SCRIPT'
function finish_field() {
    if (series) printf "field %s of measurement %s, type %s, series: %d, values: %.0f, hash of values: %s\n",
        parts[2], parts[1], parts[3], series, count, hash_file(values)
    series = count = 0
}
{
    key = $1 "\t" $2 "\t" $3
    if (key != last_key) { finish_field(); last_key = key; split(key, parts, "\t") }
    print >values
    series++
    count += $5
}
END { finish_field() }
SCRIPT
query "$start" "${SNAPSHOT:-$end}" |
    awk -v values="$work/values" -f "$work/hash.awk" -f "$work/values.awk" -f "$work/series.awk" >"$work/series"
sort "$work/series" >"$work/sorted"
awk -F '\t' -v values="$work/values" -f "$work/hash.awk" -f "$work/fields.awk" "$work/sorted" >"$work/fields"
sort "$work/fields"
