#!/bin/sh
# Write the inventory, an empty line and the definitions as JSON to standard output.
set -eu
# shellcheck source=components/engines/scripts/rabbitmq/connect.sh
. "${0%/*}/connect"
copy dump >"$work/dump"
# The definitions are the last line.
sed '/^$/,$d' "$work/dump" >"$work/inventory"
sh "${0%/*}/begin" <"$work/inventory"
tail -n 1 "$work/dump"
