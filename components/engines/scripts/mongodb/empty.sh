#!/bin/sh
# Delete all collections and views. The role `readWrite` cannot drop the database.
set -eu
# shellcheck source=components/engines/scripts/mongodb/connect.sh
. "${0%/*}/connect"
run_mongosh <<'SCRIPT'
for (const { name, type } of database.getCollectionInfos())
    if (name === 'system.js' || !name.startsWith('system.')) database.getCollection(name).drop();
SCRIPT
