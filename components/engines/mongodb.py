"""MongoDB.

There is no superuser. `start` makes the application's user on a server of its own that listens on one socket and knows no users, at
every start and with exactly its role; only then does the server begin that asks for a login.
"""

from components.connection import Connection, url
from components.engines.engine import Account, Engine, Flavour, Software
from components.engines.settings import Settings, nested, no_value_and_map
from components.names import account_name

__all__ = ["MONGODB"]

TLS = {
    "disable": {"tls": "false"},
    "require": {"tls": "true", "tlsInsecure": "true"},
    "verify-full": {"tls": "true"},
}
"""As the connection string has it (its manual, "Connection String Options", TLS)."""
OWNED = {
    "net.bindip",
    "net.bindipall",
    "net.ipv6",
    "net.port",
    "net.ssl",
    "net.tls",
    "net.unixdomainsocket",
    "processmanagement",
    "replication",
    "security.authorization",
    "security.clusterauthmode",
    "security.keyfile",
    "security.ldap",
    "security.sasl",
    "security.transitiontoauth",
    "setparameter.authenticationmechanisms",
    "setparameter.enablelocalhostauthbypass",
    "sharding",
    "storage.dbpath",
    "systemlog.destination",
    "systemlog.path",
}


def _uri(connection: Connection) -> str:
    # A user is kept in the database that it was made in, and is looked up in `admin` unless the URI says where.
    query = {"authSource": connection.database} if connection.username and connection.database else {}
    return url("mongodb", connection, connection.database or "", {**query, **TLS.get(connection.tls or "", {})})


START = """\
#!/bin/sh
set -eu
umask 077
if [ -s /etc/database-groups/settings ]; then set -- --config /etc/database-groups/settings; fi
rm -f /tmp/setup.*
mkdir -p "$HOME/.mongodb/mongosh"
echo '{"enableTelemetry": false, "disableLogging": true}' > "$HOME/.mongodb/mongosh/config"
mongod "$@" --dbpath /data/db --noauth --nounixsocket --bind_ip /tmp/setup.sock --fork --logpath /tmp/setup.log || { cat /tmp/setup.log; exit 1; }
trap 'mongod --dbpath /data/db --shutdown >/dev/null' EXIT
mongosh --quiet --norc 'mongodb://%2Ftmp%2Fsetup.sock/' --eval '
    const { APPLICATION_USERNAME: user, APPLICATION_PASSWORD: pwd, APPLICATION_DATABASE: name } = process.env;
    const database = db.getSiblingDB(name), account = { pwd, roles: [{ role: "readWrite", db: name }] };
    database.getUser(user) ? database.updateUser(user, account) : database.createUser({ user, ...account });
' >/dev/null
trap - EXIT
mongod --dbpath /data/db --shutdown >/dev/null
exec docker-entrypoint.sh mongod "$@" --dbpath /data/db --auth --setParameter enableLocalhostAuthBypass=false --nounixsocket --bind_ip_all --ipv6
"""

READY = """\
#!/bin/sh
set -eu
printf '%s\\n' "$APPLICATION_PASSWORD" | mongoexport --quiet --host="$POD_IP" --port=27017 --username="$APPLICATION_USERNAME" \\
    --authenticationDatabase="$APPLICATION_DATABASE" --db="$APPLICATION_DATABASE" --collection=none >/dev/null
"""


def _software(_flavour: Flavour, _version: str) -> Software:
    return Software(
        start=START,
        ready=READY,
        data="/data/db",
        scratch=("/tmp",),
        environment={"HOME": "/tmp"},
        memory="512Mi",
    )


MONGODB = Engine(
    name="mongodb",
    port=27017,
    flavours=(Flavour(name="mongodb", image="docker.io/library/mongo", series=("7.0", "8.0"), version="8.0", uid=999),),
    uri=_uri,
    account=lambda application, group: Account(username=account_name(application, group), database=account_name(application, group)),
    software=_software,
    database_limit=63,
    settings=Settings(render=nested, owned=frozenset(OWNED), unfit=no_value_and_map),
    tls=True,
    given={"database": True, "username": False, "password": False},
)
