#!/usr/bin/env bash
# Copy the data of a MongoDB group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "mongodb-$new"
write_copy mongodb | move mongodb
