#!/bin/sh
# Delete everything that the application's user owns in the database. The database itself stays.
set -eu
# shellcheck source=components/engines/scripts/postgresql/connect.sh
. "${0%/*}/connect"
run_psql --command='SET client_min_messages = error' --command='DROP OWNED BY CURRENT_USER CASCADE'
