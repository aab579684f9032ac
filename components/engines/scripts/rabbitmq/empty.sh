#!/bin/sh
# Delete all definitions of the virtual host, and the messages of its queues.
set -eu
# shellcheck source=components/engines/scripts/rabbitmq/connect.sh
. "${0%/*}/connect"
copy empty
