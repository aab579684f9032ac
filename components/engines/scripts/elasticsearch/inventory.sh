#!/bin/sh
# Print sorted lines that two copies of a server have in common: each index with the number of its documents and a hash of
# them, its mappings, aliases and settings. Settings count only between servers of one release series.
# SNAPSHOT: the moment to read.
set -eu
# shellcheck source=components/engines/scripts/elasticsearch/connect.sh
. "${0%/*}/connect"

write_lines() { # write_lines: write one line for each document of a part
    paste - - <"$work/part"
    count=$((count + $(wc -l <"$work/part") / 2))
}
hash_documents() { # hash_documents INDEX: print the number of the documents and a hash, for which they are sorted
    rm -f "$work/count" "$work/sorted"
    (
        count=0
        read_documents "$moment" "$1" write_lines
        echo "$count" >"$work/count"
    ) | {
        sort --buffer-size=64M --compress-program=gzip
        : >"$work/sorted"
    } | sha256sum >"$work/hash"
    # A pipe hides which program failed.
    [ -e "$work/count" ]
    [ -e "$work/sorted" ]
    printf '%s, hash of documents: %s\n' "$(cat "$work/count")" "$(cut -c1-64 "$work/hash")"
}
describe() { # describe INDEX FIELD [FILTER]: print a line with the hash of a field of the definition
    ask "$(encode "$1")?filter_path=*.$2${3-}" >"$work/definition"
    printf 'index %s, hash of %s: %s\n' "$1" "$2" "$(sha256sum <"$work/definition" | cut -c1-64)"
}

list_indices >"$work/names"
[ -s "$work/names" ] || exit 0
ask '_nodes?filter_path=nodes.*.version' >"$work/nodes"
series=$(sed 's/.*"version":"\([0-9]*\).*/\1/' "$work/nodes")
moment=${SNAPSHOT:-$(open_moment)}
while read -r index; do
    hash_documents "$index" >"$work/documents"
    printf 'index %s, documents: %s\n' "$index" "$(cat "$work/documents")"
    describe "$index" mappings
    describe "$index" aliases
    printf 'in %s: ' "$series"
    describe "$index" settings "$unwanted"
done <"$work/names" >"$work/lines"
sort "$work/lines"
