#!/usr/bin/env bash
# Copy the data of a RabbitMQ group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "rabbitmq-$new"

in_pod() { kubectl --namespace="$namespace" exec --stdin "rabbitmq-$1-0" -- "${@:2}"; }
vhost() { kubectl --namespace="$namespace" get secret "rabbitmq-$1" --output='jsonpath={.data.vhost}' | base64 --decode; }

definitions=$(in_pod "$old" rabbitmqctl --quiet export_definitions - --format=json </dev/null |
    jq --arg vhost "$(vhost "$old")" 'with_entries(.value |= if type == "array" then map(select(.vhost == $vhost)) else empty end)')
jq --arg vhost "$(vhost "$new")" '{queues, exchanges, bindings, policies} | map_values(map(.vhost = $vhost))' <<<"$definitions" |
    in_pod "$new" sh -c 'cat > /tmp/definitions.json && rabbitmqctl --quiet import_definitions /tmp/definitions.json && rm /tmp/definitions.json'

shovels=$(jq --compact-output '{parameters: [.queues[] | {component: "shovel", vhost: "/", name, value: {
    "src-protocol": "amqp091", "src-uri": "OLD_uri", "src-queue": .name, "src-delete-after": "queue-length",
    "dest-protocol": "amqp091", "dest-uri": "NEW_uri", "dest-queue": .name, "ack-mode": "on-confirm"}}]}' <<<"$definitions")
{ printf 'shovels=%q\n' "$shovels" && cat <<'SCRIPT'; } | move rabbitmq
export RABBITMQ_NODENAME=move@localhost RABBITMQ_MNESIA_BASE=/tmp/data RABBITMQ_LOGS=- ERL_EPMD_ADDRESS=127.0.0.1
export RABBITMQ_CONFIG_FILES=/tmp/conf.d RABBITMQ_ENABLED_PLUGINS_FILE=/tmp/plugins
mkdir /tmp/conf.d
printf 'listeners.tcp = none\nlog.console.level = error\n' > /tmp/conf.d/move.conf
echo '[rabbitmq_shovel].' > /tmp/plugins
rabbitmq-server &
until rabbitmqctl --quiet await_startup 2>/dev/null; do sleep 1; done
shovels=${shovels//OLD_uri/$OLD_uri}
printf %s "${shovels//NEW_uri/$NEW_uri}" > /tmp/shovels.json
rabbitmqctl --quiet import_definitions /tmp/shovels.json
while rabbitmqctl --quiet list_parameters | grep '^shovel' >/dev/null; do sleep 2; done # hide the output: it contains passwords; a finished shovel disappears
kill %1
SCRIPT
for group in "$old" "$new"; do in_pod "$group" rabbitmqctl --quiet list_queues --vhost="$(vhost "$group")" name type messages </dev/null; done
