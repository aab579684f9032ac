#!/usr/bin/env bash
# Copy the data of a InfluxDB group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "influxdb-$new"

move influxdb <<'SCRIPT'
export INFLUX_CONFIGS_PATH=/tmp/configs
old() { INFLUX_HOST=$OLD_uri INFLUX_TOKEN=$OLD_token INFLUX_ORG=$OLD_org influx "$@"; }
new() { INFLUX_HOST=$NEW_uri INFLUX_TOKEN=$NEW_token INFLUX_ORG=$NEW_org influx "$@"; }
everything='range(start: 1678-01-01T00:00:00Z, stop: 2262-01-01T00:00:00Z)'

old query --raw "from(bucket: \"$OLD_bucket\") |> $everything" | new write --bucket="$NEW_bucket" --format=csv --file=/dev/stdin

count="$everything |> count() |> group(columns: [\"_measurement\", \"_field\"]) |> sum()"
old query --raw "from(bucket: \"$OLD_bucket\") |> $count" | cut -d, -f4- > /tmp/old
new query --raw "from(bucket: \"$NEW_bucket\") |> $count" | cut -d, -f4- > /tmp/new
diff /tmp/old /tmp/new && cat /tmp/new
SCRIPT
