#!/bin/sh
# Print sorted lines: each queue, exchange, binding, policy and parameter.
set -eu
# shellcheck source=components/engines/scripts/rabbitmq/connect.sh
. "${0%/*}/connect"
copy inventory
