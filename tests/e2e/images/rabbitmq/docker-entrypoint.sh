#!/usr/bin/env bash
# The start of the rabbitmq image: root becomes its user, and old variables are refused. RABBITMQ_DEFAULT_USER, _PASS and _VHOST are no affair of it: the server
# reads them itself, when it makes its database.
set -euo pipefail

if [[ $1 == rabbitmq* && $(id -u) == 0 ]]; then
    [ "$1" != rabbitmq-server ] || find /var/lib/rabbitmq ! -user rabbitmq -exec chown rabbitmq {} +
    exec setpriv --reuid rabbitmq --regid rabbitmq --init-groups -- "$BASH_SOURCE" "$@"
fi

for refused in RABBITMQ_DEFAULT_{PASS,USER}_FILE RABBITMQ_{,MANAGEMENT_}SSL_{CACERTFILE,CERTFILE,DEPTH,FAIL_IF_NO_PEER_CERT,KEYFILE,VERIFY} RABBITMQ_VM_MEMORY_HIGH_WATERMARK; do
    if [ -n "${!refused:-}" ]; then
        printf 'docker-entrypoint.sh: %s is no variable any more: use a configuration file\n' "$refused" >&2
        exit 1
    fi
done

export RUNNING_UNDER_SYSTEMD=true # then Erlang replaces its shell script, and is what a signal reaches

exec "$@"
