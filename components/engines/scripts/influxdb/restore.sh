#!/bin/sh
# Read the data of a copy from standard input into an empty bucket. A failure deletes the restored values.
set -eu
# shellcheck source=components/engines/scripts/influxdb/connect.sh
. "${0%/*}/connect"
read_copy() { # read_copy: write all parts; a complete copy ends with `end`
    while read -r size; do
        [ "$size" != end ] || return 0
        head -c "$size" >"$work/part"
        [ "$(wc -c <"$work/part")" -eq "$size" ] || break
        curl --config "$work/curl" "$url/api/v2/write?$parameters&precision=ns" --data-binary "@$work/part" >&2 || return 1
    done
    echo "error: the copy is not complete" >&2
    return 1
}

! has_values "$start" || { echo "error: the bucket $BUCKET already holds values; nothing was copied" >&2; exit 1; }
read_copy || {
    sh "${0%/*}/empty"
    exit 1
}
