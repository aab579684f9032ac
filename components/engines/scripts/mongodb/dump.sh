#!/bin/sh
# Write the inventory, an empty line, the name of the database and an archive to standard output. A server without a
# replica set has no moment to read, so the script reads the inventory before and after the dump. Of a collection that
# changed meanwhile, the inventory has the number of documents that `mongodump` read. The dump is in TMPDIR until then.
set -eu
# shellcheck source=components/engines/scripts/mongodb/connect.sh
. "${0%/*}/connect"
sh "${0%/*}/inventory" >"$work/before"
if grep '^timeseries ' "$work/before" >&2; then
    echo "error: the role readWrite cannot copy time series" >&2
    exit 1
fi
run_tool mongodump --db="$DATABASE" --archive="$work/archive" --gzip 2>"$work/log" || {
    code=$?
    cat "$work/log" >&2
    exit "$code"
}
cat "$work/log" >&2
sh "${0%/*}/inventory" >"$work/after"
cat >"$work/merge.awk" <<'SCRIPT'
function quote(text) { gsub(/[\\"]/, "\\\\&", text); return "\"" text "\"" }
FILENAME == ARGV[1] {
    # For example "2026-11-27T07:10:25.123+0000 done dumping shop.orders (2 documents)"; later versions quote the name.
    if (sub(/^.*\tdone dumping `?/, "") && index($0, ENVIRON["DATABASE"] ".") == 1 && match($0, /`? \([0-9]+ documents?\)$/)) {
        name = substr($0, length(ENVIRON["DATABASE"]) + 2, RSTART - length(ENVIRON["DATABASE"]) - 2)
        sub(/^.*\(/, "")
        dumped["documents in " quote(name) ": "] = $0 + 0
    }
    next
}
{
    # A line begins with text, and one or two names in quotes.
    match($0, /^([a-z ]*"([^"\\]|\\.)*")+: /)
    start[$0] = substr($0, 1, RLENGTH)
    times[$0]++
}
END {
    for (line in times) if (times[line] == 1) changed[start[line]]
    for (line in times) {
        if (start[line] in changed || "hash of the " start[line] in changed)
            line = start[line] in dumped ? start[line] dumped[start[line]] : "changed: " start[line]
        print line
    }
}
SCRIPT
LC_ALL=C awk -f "$work/merge.awk" "$work/log" "$work/before" "$work/after" >"$work/inventory"
LC_ALL=C sort -u "$work/inventory" >"$work/lines"
sh "${0%/*}/begin" <"$work/lines"
printf '%s\n' "$DATABASE"
gzip -dc "$work/archive"
