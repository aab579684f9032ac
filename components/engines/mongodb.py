"""MongoDB.

There is no superuser. At every start the start script creates or updates the application's user, with exactly its role,
on a private server without logins. It then starts the final server, which requires a login.
"""

from components.connection import Connection, build_uri
from components.engines.clusters.mongodb import PERCONA_SERVER_MONGODB
from components.engines.definition import (
    Account,
    Engine,
    ExistingAccount,
    ServerRuntime,
    Variant,
    read_copy_scripts,
    read_script,
)
from components.engines.settings_file import SettingsFile, reject_value_and_map, render_nested_json
from components.persisted.names import database_account_name
from components.spec import SettingValue

__all__ = ["MONGODB"]

URI_OPTIONS_BY_TLS_MODE = {
    "disable": {"tls": "false"},
    "require": {"tls": "true", "tlsInsecure": "true"},
    "verify-full": {"tls": "true"},
}
"""Options of the connection string (MongoDB's manual, "Connection String Options", TLS)."""
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


def _build_defaults(memory: int) -> dict[str, SettingValue]:
    """Return the cache that the manual recommends: half of the memory above 1 GiB, at least 256 MiB."""
    return {"storage.wiredTiger.engineConfig.cacheSizeGB": max(0.25, round(memory / 1024**3 - 1, 2) / 2)}


def _build_uri(connection: Connection) -> str:
    # A user is stored in the database in which it was created. Clients search `admin` unless the URI sets `authSource`.
    query = {"authSource": connection.database} if connection.username and connection.database else {}
    # Without the name, a client stays on the server that it reaches first, which can be a replica.
    if connection.replica_set:
        query["replicaSet"] = connection.replica_set
    return build_uri(
        "mongodb",
        connection,
        connection.database or "",
        {**query, **URI_OPTIONS_BY_TLS_MODE.get(connection.tls or "", {})},
    )


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=read_script("mongodb", "start"),
        readiness_script=read_script("mongodb", "ready"),
        data_path="/data/db",
        scratch_dirs=("/tmp",),
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
    cluster=PERCONA_SERVER_MONGODB,
    max_database_name_length=63,
    copy_scripts=read_copy_scripts(
        "mongodb",
        limits="users and roles. It is not of one moment, and time series are rejected",
        has_connect=True,
    ),
    settings_file=SettingsFile(
        build_defaults=_build_defaults,
        render=render_nested_json,
        reserved_names=frozenset(RESERVED_SETTINGS),
        rejection_reason=reject_value_and_map,
    ),
    supports_tls_in_uri=True,
    existing_account=ExistingAccount(required=("database",), optional=("username", "password")),
)
