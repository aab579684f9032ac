#!/bin/sh
# Delete the keys of the database, and the functions unless another database of the server has keys. The password stays.
set -eu
# shellcheck source=components/engines/scripts/redis/connect.sh
. "${0%/*}/connect"

ask "$@" FLUSHDB
ask "$@" INFO keyspace
grep -q '^db' "$work/answer" || ask "$@" FUNCTION FLUSH
