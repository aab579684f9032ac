#!/bin/sh
set -eu
umask 077
if [ -s /etc/database-groups/settings ]; then set -- --config /etc/database-groups/settings; fi
# A first server listens on a socket of this Pod and knows no users. It gets the application's user with exactly its role.
rm -f /tmp/setup.*
mkdir -p "$HOME/.mongodb/mongosh"
echo '{"enableTelemetry": false, "disableLogging": true}' > "$HOME/.mongodb/mongosh/config"
mongod "$@" --dbpath /data/db --noauth --nounixsocket --bind_ip /tmp/setup.sock --fork --logpath /tmp/setup.log ||
    { cat /tmp/setup.log; exit 1; }
trap 'mongod --dbpath /data/db --shutdown >/dev/null' EXIT
mongosh --quiet --norc 'mongodb://%2Ftmp%2Fsetup.sock/' --eval '
    const { APPLICATION_USERNAME: user, APPLICATION_PASSWORD: pwd, APPLICATION_DATABASE: name } = process.env;
    const database = db.getSiblingDB(name), account = { pwd, roles: [{ role: "readWrite", db: name }] };
    database.getUser(user) ? database.updateUser(user, account) : database.createUser({ user, ...account });
' >/dev/null
trap - EXIT
mongod --dbpath /data/db --shutdown >/dev/null
unset APPLICATION_PASSWORD
# In a server that verifies a backup, no document expires.
[ "${SCRATCH-}" != true ] || set -- "$@" --setParameter ttlMonitorEnabled=false
exec docker-entrypoint.sh mongod "$@" --dbpath /data/db --auth --setParameter enableLocalhostAuthBypass=false \
    --nounixsocket --bind_ip_all --ipv6
