#!/bin/sh
# Write the inventory, an empty line and the values in line protocol to standard output, in parts that begin with their
# size in bytes. Values that an application writes meanwhile are later than the copy. A bucket with values of the future
# has no such end: if an application writes meanwhile, the copy differs from its inventory.
set -eu
# shellcheck source=components/engines/scripts/influxdb/connect.sh
. "${0%/*}/connect"
cat >"$work/parts.awk" <<'SCRIPT'
function add(line) { part = part line "\n"; if (++count == 5000) finish() }
function finish_table() {}
function finish() { if (count) printf "%d\n%s", length(part), part; part = ""; count = 0 }
SCRIPT
SNAPSHOT=$(date -u +%Y-%m-%dT%H:%M:%SZ)
! has_values 1h || SNAPSHOT=$end
export SNAPSHOT
sh "${0%/*}/inventory" >"$work/inventory"
sh "${0%/*}/begin" <"$work/inventory"
query "$start" "$SNAPSHOT" | awk -f "$work/values.awk" -f "$work/parts.awk"
echo end
