#!/bin/sh
# Delete all values of the bucket.
set -eu
# shellcheck source=components/engines/scripts/influxdb/connect.sh
. "${0%/*}/connect"
curl --config "$work/curl" "$url/api/v2/delete?$parameters" --header 'Content-Type: application/json' \
    --data "{\"start\": \"$start\", \"stop\": \"$end\"}" >&2
