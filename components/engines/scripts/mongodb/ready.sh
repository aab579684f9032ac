#!/bin/sh
set -eu
printf '%s\n' "$APPLICATION_PASSWORD" | mongoexport --quiet --host="$POD_IP" --port=27017 --username="$APPLICATION_USERNAME" \
    --authenticationDatabase="$APPLICATION_DATABASE" --db="$APPLICATION_DATABASE" --collection=none >/dev/null
