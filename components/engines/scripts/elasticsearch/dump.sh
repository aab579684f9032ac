#!/bin/sh
# Write the inventory, an empty line and all indices of one moment to standard output. Each part begins with a line: its
# type, its size in bytes and the index.
set -eu
# shellcheck source=components/engines/scripts/elasticsearch/connect.sh
. "${0%/*}/connect"
write_part() { # write_part TYPE FILE: write a part of the copy
    printf '%s %d %s\n' "$1" "$(wc -c <"$2")" "$index"
    cat "$2"
}
write_documents() { write_part documents "$work/part"; }

list_indices >"$work/names"
moment=
: >"$work/inventory"
if [ -s "$work/names" ]; then
    moment=$(open_moment)
    SNAPSHOT=$moment sh "${0%/*}/inventory" >"$work/inventory"
fi
sh "${0%/*}/begin" <"$work/inventory"
while read -r index; do
    # The answer is {"<index>": {"aliases": ..., "mappings": ..., "settings": ...}}; the inner part creates the same index.
    ask "$(encode "$index")?filter_path=${unwanted#,}" >"$work/definition"
    sed 's/^{[^:]*://;s/}$//' "$work/definition" >"$work/inner"
    write_part index "$work/inner"
    read_documents "$moment" "$index" write_documents
done <"$work/names"
echo end 0
