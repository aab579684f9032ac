"""Redis, and Valkey, its successor under a free licence.

The application is the default user. Neither image takes a password from a variable, so the configuration is written at each start,
where only the server can read it; that also gives a kept volume the password of the Secret.
"""

from components.connection import Connection, build_uri
from components.engines.definition import Account, Engine, ServerRuntime, Variant
from components.engines.settings_file import SettingsFile, quote_json, render_assignments

__all__ = ["REDIS"]


def _build_uri(connection: Connection) -> str:
    return build_uri(connection.select_scheme("redis", "rediss"), connection, connection.database or "")


def _build_runtime(variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=f"""\
#!/bin/sh
set -eu
umask 077
cat > /run/server/server.conf <<CONFIGURATION
appendonly yes
include /etc/database-groups/settings
requirepass "$APPLICATION_PASSWORD"
dir /data
CONFIGURATION
exec docker-entrypoint.sh {variant.server_command} /run/server/server.conf
""",
        # An answer such as LOADING is no failure of the client, so the answer itself is compared.
        readiness_script="""\
#!/bin/sh
set -eu
test "$(REDISCLI_AUTH="$APPLICATION_PASSWORD" redis-cli -h "$POD_IP" ping)" = PONG
""",
        data_path="/data",
        empty_dirs=("/run/server", "/tmp"),
        min_memory="128Mi",
    )


REDIS = Engine(
    name="redis",
    port=6379,
    variants=(
        Variant(
            name="redis",
            image="docker.io/library/redis",
            supported_series=("7", "8"),
            default_version="8",
            run_as_user=999,
            server_command="redis-server",
        ),
        Variant(
            name="valkey",
            image="docker.io/valkey/valkey",
            supported_series=("8", "9"),
            default_version="8",
            run_as_user=999,
            server_command="valkey-server",
        ),
    ),
    build_uri=_build_uri,
    build_account=lambda _application, _group: Account(database="0"),
    build_runtime=_build_runtime,
    settings_file=SettingsFile(
        render=lambda values: render_assignments(values, sign=" ", true="yes", false="no", quote=quote_json),
        reserved_names=frozenset(
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
    supports_tls_in_uri=True,
    existing_account_keys={"database": False, "username": False, "password": False},
    existing_account_defaults={"database": "0"},
    allows_password_without_username=True,
)
