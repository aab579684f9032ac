#!/usr/bin/env bash
# Copy the data of a InfluxDB group as the administrator, inside the Pods of both servers. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"

kubectl --namespace="$namespace" exec "influxdb-$old-0" -- sh -c 'influxd inspect export-lp --engine-path=/var/lib/influxdb2/engine --output-path=- \
    --bucket-id="$(influx bucket list --name="$APPLICATION_BUCKET" --hide-headers | cut -f1)" --log-level=error' |
    kubectl --namespace="$namespace" exec --stdin "influxdb-$new-0" -- sh -c \
        'influx write --bucket="$APPLICATION_BUCKET" --org="$APPLICATION_ORG" --file=/dev/stdin'
