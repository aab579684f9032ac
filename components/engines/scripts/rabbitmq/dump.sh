#!/bin/sh
# Write the inventory, an empty line and the definitions as JSON to standard output.
set -eu
# shellcheck source=components/engines/scripts/rabbitmq/connect.sh
. "${0%/*}/connect"
copy dump
