#!/bin/sh
# The server accepts the old and the new password, and no other one. Standard input: the old password, then the new one.
set -eu
umask 077
read -r old
read -r new

require_answer() { # require_answer ANSWER PASSWORD ARGUMENT...: run a command, and fail unless the server gives the answer
    expected=$1 password=$2
    shift 2
    answer=$(REDISCLI_AUTH=$password redis-cli -h "$POD_IP" "$@")
    [ "$answer" = "$expected" ] || { echo "$answer"; exit 1; }
}
hash_password() {
    printf %s "$1" | sha256sum | cut -d ' ' -f 1
}

# One command is atomic. The server receives digests, so its log never contains a password.
require_answer OK "$(cat /run/server/password)" \
    acl setuser default resetpass "#$(hash_password "$old")" "#$(hash_password "$new")"
require_answer PONG "$new" ping
printf '%s\n' "$new" > /run/server/password.new
mv /run/server/password.new /run/server/password
