#!/bin/sh
# Delete the keys of the database, and the functions unless another database of the server has keys. The password stays.
set -eu
# shellcheck disable=SC2153 # the caller sets the variables
[ -z "${PASSWORD-}" ] || export REDISCLI_AUTH="$PASSWORD"
set -- -h "$ADDRESS" -p "$PORT" -n "$DATABASE"
[ -z "${USERNAME-}" ] || set -- "$@" --user "$USERNAME"
case ${TLS-} in
    require) set -- "$@" --tls --insecure ;;
    verify-full) set -- "$@" --tls ${CA_FILE:+--cacert "$CA_FILE"} ;;
esac
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ask() { # ask ARGUMENT...: write the answer to a command to the file `answer`; fail on an error, also of the login
    redis-cli -e --raw "$@" >"$work/answer" 2>"$work/error" && [ ! -s "$work/error" ] || { cat "$work/answer" "$work/error" >&2; exit 1; }
}

ask "$@" FLUSHDB
ask "$@" INFO keyspace
grep -q '^db' "$work/answer" || ask "$@" FUNCTION FLUSH
