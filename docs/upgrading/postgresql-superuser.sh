#!/usr/bin/env bash
# Copy the data of a PostgreSQL group as the superuser, inside the Pods of both servers. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"

kubectl --namespace="$namespace" exec "postgresql-$old-0" -- sh -c 'pg_dump --username=postgres --no-owner --no-privileges "$APPLICATION_DATABASE"' |
    LC_ALL=C sed -e '/^COPY .* FROM stdin;$/,/^\\\.$/b' -e '/^COMMENT ON EXTENSION /d' |
    kubectl --namespace="$namespace" exec --stdin "postgresql-$new-0" -- sh -c 'PGOPTIONS="-c role=$APPLICATION_USERNAME" \
        psql --no-psqlrc --quiet --output=/dev/null --set=ON_ERROR_STOP=1 --username=postgres "$APPLICATION_DATABASE"'
