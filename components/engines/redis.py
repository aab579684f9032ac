"""Redis, and Valkey, its fork under a free license.

The application logs in as the user `default`. Neither image reads a password from a variable, so the start script
writes the configuration at each start. The password of the Secret therefore also applies on an existing volume.
"""

from components.connection import Connection, build_uri
from components.engines.clusters.redis import REDIS_OPERATOR
from components.engines.definition import (
    Account,
    Engine,
    ExistingAccount,
    ServerRuntime,
    Variant,
    read_copy_scripts,
    read_script,
)
from components.engines.settings_file import SettingsFile, quote_json, render_assignments
from components.spec import SettingValue

__all__ = ["REDIS"]


def _build_defaults(memory: int) -> dict[str, SettingValue]:
    """Return a limit of the data. A process that saves the data can need the same memory again (FAQ of Redis)."""
    return {"maxmemory": memory * 2 // 5, "maxmemory-clients": memory // 10}


def _build_uri(connection: Connection) -> str:
    return build_uri(connection.select_scheme("redis", "rediss"), connection, connection.database or "")


def _build_runtime(variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=read_script("redis", "start"),
        readiness_script=read_script("redis", "ready"),
        change_password_script=read_script("redis", "change_password"),
        data_path="/data",
        memory_dirs=("/run/server",),
        scratch_dirs=("/tmp",),
        env={"SERVER_COMMAND": variant.server_command},
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
    cluster=REDIS_OPERATOR,
    settings_file=SettingsFile(
        build_defaults=_build_defaults,
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
    # Only the source's own program reads its dump.
    copy_scripts=read_copy_scripts(
        "redis",
        has_connect=True,
        limits="other databases of the server, ACL users, what `CONFIG SET` set, and deleted entries that are pending",
        loads_source=True,
    ),
    supports_tls_in_uri=True,
    existing_account=ExistingAccount(
        optional=("database", "username", "password"),
        defaults={"database": "0"},
        allows_password_without_username=True,
        database_pattern="0|[1-9][0-9]{0,4}",
    ),
)
