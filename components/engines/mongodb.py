"""MongoDB.

There is no superuser. `start` makes the application's user on a server of its own that listens on one socket and knows no users, at
every start and with exactly its role; only then does the server begin that asks for a login.
"""

from components.connection import Connection, build_uri
from components.engines.definition import Account, Engine, ServerRuntime, Variant
from components.engines.settings_file import SettingsFile, reject_value_and_map, render_nested_json
from components.persisted.names import database_account_name

__all__ = ["MONGODB"]

URI_OPTIONS_BY_TLS_MODE = {
    "disable": {"tls": "false"},
    "require": {"tls": "true", "tlsInsecure": "true"},
    "verify-full": {"tls": "true"},
}
"""As the connection string has it (its manual, "Connection String Options", TLS)."""
RESERVED_SETTINGS = {
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


def _build_uri(connection: Connection) -> str:
    # A user is kept in the database that it was made in, and is looked up in `admin` unless the URI says where.
    query = {"authSource": connection.database} if connection.username and connection.database else {}
    return build_uri(
        "mongodb",
        connection,
        connection.database or "",
        {**query, **URI_OPTIONS_BY_TLS_MODE.get(connection.tls or "", {})},
    )


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


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=START,
        readiness_script=READY,
        data_path="/data/db",
        empty_dirs=("/tmp",),
        env={"HOME": "/tmp"},
        min_memory="512Mi",
    )


MONGODB = Engine(
    name="mongodb",
    port=27017,
    variants=(
        Variant(
            name="mongodb",
            image="docker.io/library/mongo",
            supported_series=("7.0", "8.0"),
            default_version="8.0",
            run_as_user=999,
        ),
    ),
    build_uri=_build_uri,
    build_account=lambda application, group: Account(
        username=database_account_name(application, group), database=database_account_name(application, group)
    ),
    build_runtime=_build_runtime,
    max_database_name_length=63,
    settings_file=SettingsFile(
        render=render_nested_json, reserved_names=frozenset(RESERVED_SETTINGS), rejection_reason=reject_value_and_map
    ),
    supports_tls_in_uri=True,
    existing_account_keys={"database": True, "username": False, "password": False},
)
