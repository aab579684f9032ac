#!/usr/bin/env bash
# Copy the data of a PostgreSQL group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "postgresql-$new"
write_copy postgresql | move postgresql
