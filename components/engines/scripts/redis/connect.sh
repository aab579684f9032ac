#!/bin/sh
# The other scripts of a copy source this file. It sets their arguments to the options of redis-cli for the server, and
# defines functions.
set -eu
# shellcheck disable=SC2153 # the caller sets the variables
[ -z "${PASSWORD-}" ] || export REDISCLI_AUTH="$PASSWORD"
set -- -h "$ADDRESS" -p "$PORT" -n "$DATABASE"
[ -z "${USERNAME-}" ] || set -- "$@" --user "$USERNAME"
case ${TLS-} in
    require) set -- "$@" --tls --insecure ;;
    verify-full) set -- "$@" --tls ${CA_FILE:+--cacert "$CA_FILE"} ;;
esac
[ -z "${SOCKET-}" ] || set -- -s "$SOCKET"
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ask() { # ask ARGUMENT...: write the answer to a command to the file `answer`; fail on an error, also of the login
    redis-cli -e --raw "$@" >"$work/answer" 2>"$work/error" && [ ! -s "$work/error" ] || { cat "$work/answer" "$work/error" >&2; exit 1; }
}

encode() { # encode PART...: write a command as the server reads it
    printf '*%s\r\n' "$#"
    for part; do printf "\$%s\r\n%s\r\n" "${#part}" "$part"; done
}
