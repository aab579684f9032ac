#!/bin/sh
# Fail unless the servers are one cluster: servers that do not find the others at their first start create their own.
set -eu
rabbitmqctl --quiet await_online_nodes "$SERVERS" --timeout 30
