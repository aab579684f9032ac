#!/usr/bin/env bash
# Copy the data of a MySQL group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "mysql-$new"
write_copy mysql | move mysql
