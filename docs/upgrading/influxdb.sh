#!/usr/bin/env bash
# Copy the data of an InfluxDB group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "influxdb-$new"
write_copy influxdb | move influxdb
