#!/bin/sh
# Delete all indices.
set -eu
# shellcheck source=components/engines/scripts/elasticsearch/connect.sh
. "${0%/*}/connect"
list_indices >"$work/names"
while read -r index; do
    ask "$(encode "$index")" --request DELETE >"$work/deleted"
done <"$work/names"
