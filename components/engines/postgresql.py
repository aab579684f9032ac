"""PostgreSQL.

A local or dedicated server has a superuser without a password, who can log in only over the Pod's own socket. The
application is an ordinary role that owns its database. On an external server the program grants the application's role
to the administrator. Otherwise the administrator, if not a superuser, cannot revoke PUBLIC's right to connect, and
receives no error.
"""

from collections.abc import Sequence

import pulumi
import pulumi_postgresql as postgresql

from components.connection import Connection, build_uri
from components.engines.definition import (
    Account,
    AdministratorConnection,
    Engine,
    ExistingAccount,
    Provisioner,
    ProvisioningRequest,
    ServerRuntime,
    Variant,
    read_script,
)
from components.engines.settings_file import MEBIBYTE, SettingsFile, render_assignments
from components.persisted.names import database_account_name
from components.spec import SettingValue

__all__ = ["POSTGRESQL"]

CONNECT_TIMEOUT_SECONDS = 15
MAX_CONNECTIONS = 100
"""The server's own default."""
MEMORY_PER_CONNECTION_MIB = 5
"""A connection uses 1.5 MiB for short statements and more for others. Shared buffers use a quarter of the memory."""
FIRST_MAJOR_WITH_PARENT_VOLUME = 18
"""From this major version on, the image stores its data in a folder of the version (page of the image, "PGDATA")."""


def _quote_setting(value: str) -> str:
    """Return a value in the syntax of postgresql.conf (documentation, 19.1.1 "Parameter Names and Values")."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _build_defaults(memory: int) -> dict[str, SettingValue]:
    """Return the settings that the documentation derives from the memory (19.4.1 "Memory", 19.7.2)."""
    size = memory // MEBIBYTE
    return {
        "shared_buffers": f"{max(1, size // 4)}MB",
        "effective_cache_size": f"{max(1, size // 2)}MB",
        "maintenance_work_mem": f"{min(2047, max(4, size // 16))}MB",
        "work_mem": f"{max(1, size // 512)}MB",
        "max_connections": min(MAX_CONNECTIONS, max(10, size // MEMORY_PER_CONNECTION_MIB)),
    }


def _build_uri(connection: Connection) -> str:
    return build_uri(
        "postgresql", connection, connection.database or "", {"sslmode": connection.tls} if connection.tls else None
    )


def _build_runtime(_variant: Variant, version: str) -> ServerRuntime:
    major = int(version.split(".", maxsplit=1)[0])
    volume = "/var/lib/postgresql" if major >= FIRST_MAJOR_WITH_PARENT_VOLUME else "/var/lib/postgresql/data"
    return ServerRuntime(
        start_script=read_script("postgresql", "start"),
        readiness_script=read_script("postgresql", "ready"),
        data_path=volume,
        memory_dirs=("/var/run/postgresql",),
        scratch_dirs=("/tmp",),
        shares_memory=True,
        env={"PGDATA": f"{volume}/{major}/docker" if major >= FIRST_MAJOR_WITH_PARENT_VOLUME else f"{volume}/pgdata"},
        min_memory="256Mi",
        runs_init_script=True,
    )


def _create_provider(name: str, administrator: AdministratorConnection) -> pulumi.ProviderResource:
    return postgresql.Provider(
        name,
        host=administrator.host,
        port=administrator.port,
        sslmode=administrator.tls,
        sslrootcert=administrator.ca_file,
        username=administrator.username,
        password=administrator.password,
        superuser=False,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
    )


def _provision_database(
    name: str,
    request: ProvisioningRequest,
    *,
    data_opts: pulumi.ResourceOptions,
    opts: pulumi.ResourceOptions,
    depends_on: Sequence[pulumi.Resource],
) -> pulumi.Resource:
    role = postgresql.Role(f"{name}-role", name=request.username, login=True, password=request.password, opts=data_opts)
    membership = postgresql.GrantRole(
        f"{name}-membership",
        role=request.administrator,
        grant_role=role.name,
        # From PostgreSQL 16 on the role's creator already has this option, and the provider reads it back.
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(ignore_changes=["withAdminOption"])),
    )
    database = postgresql.Database(
        f"{name}-database",
        name=request.database,
        owner=role.name,
        # A change of an ignored property would replace the database. The databases of a server are created one by one:
        # the provider holds a lock in one connection while it waits for another one, so parallel ones deadlock.
        opts=pulumi.ResourceOptions.merge(
            data_opts,
            pulumi.ResourceOptions(
                depends_on=[membership, *depends_on],
                ignore_changes=["encoding", "lcCollate", "lcCtype", "template", "tablespaceName"],
            ),
        ),
    )
    public_revoked = postgresql.Grant(
        f"{name}-public-revoked",
        database=database.name,
        role="public",
        object_type="database",
        privileges=[],
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[membership])),
    )
    previous_resource: pulumi.Resource = public_revoked
    for extension in request.extensions:
        previous_resource = postgresql.Extension(
            f"{name}-extension-{extension}",
            name=extension,
            database=database.name,
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[previous_resource])),
        )
    return database


POSTGRESQL = Engine(
    name="postgresql",
    port=5432,
    variants=(
        Variant(
            name="postgresql",
            image="docker.io/library/postgres",
            supported_series=("15", "16", "17", "18"),
            default_version="17",
            run_as_user=999,
        ),
    ),
    build_uri=_build_uri,
    build_account=lambda application, group: Account(
        username=database_account_name(application, group), database=database_account_name(application, group)
    ),
    build_runtime=_build_runtime,
    reserved_names_pattern=r"postgres|public|template[01]|pg_.*",
    max_username_length=63,
    max_database_name_length=63,
    provisioner=Provisioner(
        create_provider=_create_provider,
        provision_database=_provision_database,
        supports_extensions=True,
    ),
    supports_database_url=True,
    settings_file=SettingsFile(
        build_defaults=_build_defaults,
        render=lambda values: render_assignments(values, sign=" = ", true="on", false="off", quote=_quote_setting),
        reserved_names=frozenset(
            {
                "config_file",
                "data_directory",
                "external_pid_file",
                "hba_file",
                "ident_file",
                "include",
                "include_dir",
                "include_if_exists",
                "listen_addresses",
                "port",
                "unix_socket_directories",
            }
        ),
    ),
    supports_tls_in_uri=True,
    existing_account=ExistingAccount(required=("database", "username", "password")),
)
