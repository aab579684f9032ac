"""Redis, and Valkey, its successor under a free licence.

The application is the default user. Neither image takes a password from a variable, so the configuration is written at each start,
where only the server can read it; that also gives a kept volume the password of the Secret.
"""

from components.connection import Connection, url
from components.engines.engine import Account, Engine, Flavour, Software
from components.engines.settings import Settings, assignments, words

__all__ = ["REDIS"]


def _uri(connection: Connection) -> str:
    return url(connection.scheme("redis", "rediss"), connection, connection.database or "")


def _software(flavour: Flavour, _version: str) -> Software:
    return Software(
        start=f"""\
#!/bin/sh
set -eu
umask 077
cat > /run/server/server.conf <<CONFIGURATION
appendonly yes
include /etc/database-groups/settings
requirepass "$APPLICATION_PASSWORD"
dir /data
CONFIGURATION
exec docker-entrypoint.sh {flavour.command} /run/server/server.conf
""",
        # An answer such as LOADING is no failure of the client, so the answer itself is compared.
        ready="""\
#!/bin/sh
set -eu
test "$(REDISCLI_AUTH="$APPLICATION_PASSWORD" redis-cli -h "$POD_IP" ping)" = PONG
""",
        data="/data",
        scratch=("/run/server", "/tmp"),
        memory="128Mi",
    )


REDIS = Engine(
    name="redis",
    port=6379,
    flavours=(
        Flavour(name="redis", image="docker.io/library/redis", series=("7", "8"), version="8", uid=999, command="redis-server"),
        Flavour(name="valkey", image="docker.io/valkey/valkey", series=("8", "9"), version="8", uid=999, command="valkey-server"),
    ),
    uri=_uri,
    account=lambda _application, _group: Account(database="0"),
    software=_software,
    settings=Settings(
        render=lambda values: assignments(values, sign=" ", true="yes", false="no", quote=words),
        owned=frozenset(
            {
                "aclfile",
                "bind",
                "daemonize",
                "dir",
                "include",
                "logfile",
                "masterauth",
                "pidfile",
                "port",
                "rename-command",
                "replicaof",
                "requirepass",
                "slaveof",
                "tls-port",
                "unixsocket",
                "user",
            }
        ),
    ),
    tls=True,
    given={"database": False, "username": False, "password": False},
    given_defaults={"database": "0"},
    nameless=True,
)
