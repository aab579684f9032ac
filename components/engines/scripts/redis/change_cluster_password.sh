#!/bin/sh
# All servers accept the old and the new password, and no other one. Replicas and Sentinels log in with the new one.
# Standard input: the old password, then the new one.
set -eu
read -r old
read -r new
unset REDISCLI_AUTH

require_answer() { # require_answer ANSWER PASSWORD HOST ARGUMENT...: run a command, and fail unless the server gives the answer
    expected=$1 password=$2 host=$3
    shift 3
    answer=$(REDISCLI_AUTH=$password redis-cli -h "$host" "$@") || true
    [ "$answer" = "$expected" ] || { echo "$host: $answer"; exit 1; }
}
hash_password() {
    printf %s "$1" | sha256sum | cut -d ' ' -f 1
}
list_hosts() { # list_hosts NAME NUMBER: print the host names of the Pods of a StatefulSet
    number=0
    while [ "$number" -lt "$2" ]; do
        echo "$1-$number.$1-headless"
        number=$((number + 1))
    done
}
find_password() { # find_password HOST: print the password that a server accepts: a first run can have changed it
    if [ "$(REDISCLI_AUTH=$new redis-cli -h "$1" ping)" = PONG ]; then echo "$new"; else echo "$old"; fi
}

for host in $(list_hosts "$CLUSTER" "$SERVERS"); do
    require_answer OK "$(find_password "$host")" "$host" \
        acl setuser default resetpass "#$(hash_password "$old")" "#$(hash_password "$new")"
done
for host in $(list_hosts "$CLUSTER" "$SERVERS"); do
    printf %s "$new" | require_answer OK "$new" "$host" -x config set masterauth
done
# The Sentinels have no password. The operator configures their master.
for host in $(list_hosts "$CLUSTER-sentinel" 3); do
    answer=$(printf %s "$new" | redis-cli -h "$host" -p 26379 -x sentinel set mymaster auth-pass) || true
    [ "$answer" = OK ] || { echo "$host: $answer"; exit 1; }
done
