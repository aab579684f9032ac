#!/usr/bin/env bash
# Copy the data of a MongoDB group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "mongodb-$new"

move mongodb <<'SCRIPT'
umask 077
printf 'uri: "%s"\n' "$OLD_uri" > /tmp/old.yaml
printf 'password: "%s"\n' "$(printf %s "$NEW_password" | sed 's/[\\"]/\\&/g')" > /tmp/new.yaml
mongodump --config=/tmp/old.yaml --archive |
    mongorestore --config=/tmp/new.yaml --host="$NEW_host" --port="$NEW_port" --username="$NEW_username" --authenticationDatabase="$NEW_database" \
        --archive --nsInclude="$OLD_database.*" --nsFrom="$OLD_database.*" --nsTo="$NEW_database.*" --stopOnError

count() { # count URI
    URI=$1 mongosh --quiet --norc --nodb --eval '
        const database = connect(process.env.URI);
        for (const { name, type } of database.getCollectionInfos().sort((a, b) => (a.name < b.name ? -1 : 1)))
            print(name, type, database[name].countDocuments({}), type === "view" ? "" : database[name].getIndexes().length);'
}
count "$OLD_uri" > /tmp/old
count "$NEW_uri" > /tmp/new
diff /tmp/old /tmp/new && cat /tmp/new
SCRIPT
