# shellcheck shell=sh
# Functions that send requests and read values. The scripts that copy data source this file.
umask 077
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quote() { printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"; } # quote TEXT: print a text of JSON or of curl's configuration
encode() { printf %s "$1" | od -An -v -tx1 | tr -d '\n' | tr ' ' %; }   # encode TEXT: print a text of a URL
{
    printf '%s\n' silent show-error fail-with-body globoff 'connect-timeout = 15'
    [ -z "${TOKEN-}" ] || printf 'header = %s\n' "$(quote "Authorization: Token $TOKEN")"
    [ -z "${CA_FILE-}" ] || printf 'cacert = %s\n' "$(quote "$CA_FILE")"
    [ "${TLS-}" != require ] || echo insecure
} >"$work/curl"
case ${TLS:-disable} in disable) url=http:// ;; *) url=https:// ;; esac
case $ADDRESS in *:*) url="${url}[$ADDRESS]:$PORT" ;; *) url=$url$ADDRESS:$PORT ;; esac
parameters="org=$(encode "$ORG")&bucket=$(encode "$BUCKET")"
# shellcheck disable=SC2034 # the scripts use both
start=1677-09-21T00:12:44Z end=2262-04-11T23:47:16Z

query() { # query FROM TO [FUNCTIONS]: print values as annotated CSV, whose lines end with CR and LF; `#end` marks success
    flux="from(bucket: $(quote "$BUCKET" | sed 's/\${/\\&/g')) |> range(start: $1, stop: $2)${3-}"
    printf '{"query": %s, "dialect": {"annotations": ["group", "datatype", "default"]}}' "$(quote "$flux")" >"$work/query"
    curl --config "$work/curl" "$url/api/v2/query?$parameters" --header 'Content-Type: application/json' --data-binary "@$work/query" &&
        printf '#end\r\n'
}

has_values() { # has_values FROM: succeed if there is a value at that time or later
    query "$1" "$end" ' |> limit(n: 1)' >"$work/found" || { cat "$work/found" >&2; exit 1; }
    grep -q '^,' "$work/found"
}

# Read annotated CSV, and call `add` with the line protocol of each value, and `finish_table` after each series of a field.
cat >"$work/values.awk" <<'SCRIPT'
function fail(message) { print "error: " message >"/dev/stderr"; failed = 1; exit 1 }
function parse(text, count, value, i) { # fill `cells`
    if (!index(text, "\"")) return split(text, cells, ",")
    count = 0
    while (1) {
        value = ""
        if (substr(text, 1, 1) == "\"") {
            text = substr(text, 2)
            while ((i = index(text, "\"")) && substr(text, i + 1, 1) == "\"") {
                value = value substr(text, 1, i)
                text = substr(text, i + 2)
            }
            value = value substr(text, 1, i - 1)
            text = substr(text, i + 1)
        } else {
            i = index(text, ",")
            value = i ? substr(text, 1, i - 1) : text
            text = i ? substr(text, i) : ""
        }
        cells[++count] = value
        if (text == "") return count
        text = substr(text, 2)
    }
}
function escape(text, characters) { gsub(characters, "\\\\&", text); return text }
function convert_time(text, year, month, date, seconds, fraction) { # print nanoseconds since 1970, which are too long for a number
    if (substr(text, 1, 10) != last_date) {
        last_date = substr(text, 1, 10)
        year = substr(text, 1, 4); month = substr(text, 6, 2) + 0; date = substr(text, 9, 2)
        if (month < 3) { year--; month += 12 }
        days = 365 * year + int(year / 4) - int(year / 100) + int(year / 400) + int((153 * month - 457) / 5) + date - 719469
    }
    seconds = days * 86400 + substr(text, 12, 2) * 3600 + substr(text, 15, 2) * 60 + substr(text, 18, 2)
    fraction = substr(text, 21)
    sub(/Z$/, "", fraction)
    fraction = substr(fraction "000000000", 1, 9)
    if (seconds < 0 && fraction + 0) { seconds++; return sprintf("-%.0f%09.0f", 0 - seconds, 1000000000 - fraction) }
    if (!seconds) return fraction + 0
    return sprintf("%.0f%s", seconds, fraction)
}
BEGIN { RS = "\r\n" }
{
    line = $0
    # In a text, the server writes a line feed as CR and LF, and no other CR.
    while (gsub(/"/, "&", line) % 2 && (getline more) > 0) line = line "\n" more
}
state == "" && line ~ /^\{/ { fail(line) }
line == "#end" { complete = 1; next }
line ~ /^#group,/ { parse(line); for (i in cells) group[i] = cells[i]; state = "annotation"; next }
line ~ /^#datatype,/ { parse(line); for (i in cells) type[i] = cells[i]; next }
line ~ /^#default,/ { state = "header"; next }
line == "" { state = ""; next }
state == "header" {
    cell_count = parse(line)
    if (cells[2] == "error") { state = "error"; next }
    tag_count = 0
    for (i = 1; i <= cell_count; i++) {
        column[cells[i]] = i
        if (cells[i] == "_value") value_type = type[i]
        if (group[i] == "true" && cells[i] !~ /^_(start|stop|field|measurement)$/) { tag_count++; tag_column[tag_count] = i; tag_name[tag_count] = escape(cells[i], "[,= ]") }
    }
    state = "values"
    table = ""
    next
}
state == "error" { parse(line); fail(cells[2]) }
{
    parse(line)
    if (cells[3] != table) {
        if (has_table) finish_table()
        table = cells[3]
        has_table = 1
        measurement = escape(cells[column["_measurement"]], "[, ]")
        series = measurement
        for (i = 1; i <= tag_count; i++) if (cells[tag_column[i]] != "") series = series "," tag_name[i] "=" escape(cells[tag_column[i]], "[,= ]")
        field = escape(cells[column["_field"]], "[,= ]")
        table_type = value_type
    }
    value = cells[column["_value"]]
    if (value_type == "string") value = "\"" escape(value, "[\"\\\\]") "\""
    else if (value_type == "long") value = value "i"
    else if (value_type == "unsignedLong") value = value "u"
    add(series " " field "=" value " " convert_time(cells[column["_time"]]))
}
END {
    if (failed) exit 1
    if (!complete) { print "error: the answer is not complete" >"/dev/stderr"; exit 1 }
    if (has_table) finish_table()
    finish()
}
SCRIPT
