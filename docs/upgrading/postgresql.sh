#!/usr/bin/env bash
# Copy the data of a PostgreSQL group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "postgresql-$new"

{
    write_scripts postgresql
    cat <<'SCRIPT'
run OLD dump | run NEW restore
run OLD inventory > /tmp/old
run NEW inventory > /tmp/new
diff /tmp/old /tmp/new && cat /tmp/new
SCRIPT
} | move postgresql
