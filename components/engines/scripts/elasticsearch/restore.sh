#!/bin/sh
# Read the data of a copy from standard input into a server without indices. A failure deletes the restored ones.
set -eu
# shellcheck source=components/engines/scripts/elasticsearch/connect.sh
. "${0%/*}/connect"
write_index() { # write_index INDEX: create an index
    ask "$(encode "$1")" --request PUT --data-binary "@$work/part" >"$work/created"
}
write_documents() { # write_documents INDEX: write documents; the server reports their errors in an answer without an error
    ask "$(encode "$1")/_bulk?pipeline=_none&filter_path=errors,items.*.error" --data-binary "@$work/part" >"$work/written"
    grep -q '^{"errors":false}' "$work/written" || { cut -c1-1000 "$work/written" >&2; return 1; }
}
read_copy() { # read_copy: restore all parts; a complete copy ends with `end`
    while read -r type size index; do
        [ "$type" != end ] || return 0
        head -c "$size" >"$work/part"
        [ "$(wc -c <"$work/part")" -eq "$size" ] || break
        "write_$type" "$index" || return 1
    done
    echo "error: the copy is not complete" >&2
    return 1
}

list_indices >"$work/names"
count=$(wc -l <"$work/names")
[ "$count" -eq 0 ] || { echo "error: the server already holds $count indices; nothing was copied" >&2; exit 1; }
read_copy || {
    sh "${0%/*}/empty"
    exit 1
}
