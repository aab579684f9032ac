#!/usr/bin/env bash
# Copy the data of a Redis group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "redis-$old"
write_copy redis | move redis
