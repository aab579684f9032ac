"""PostgreSQL.

A server of ours has a superuser without a password, who is let in over the Pod's own socket and nowhere else; the application is
an ordinary role that owns its database. On an external server the administrator is made a member of the application's role: without
that an administrator who is no superuser revokes PUBLIC's right to connect in vain, and without an error.
"""

from collections.abc import Sequence

import pulumi
import pulumi_postgresql as postgresql

from components.connection import Connection, build_uri
from components.engines.definition import (
    Account,
    AdministratorConnection,
    Engine,
    Provisioner,
    ProvisioningRequest,
    ServerRuntime,
    Variant,
)
from components.engines.settings_file import SettingsFile, render_assignments
from components.persisted.names import database_account_name

__all__ = ["POSTGRESQL"]

CONNECT_TIMEOUT_SECONDS = 15
FIRST_MAJOR_WITH_PARENT_VOLUME = 18
"""From this major version on the image keeps its data a level higher, in a folder of the version (its documentation, "PGDATA")."""


def _quote_setting(value: str) -> str:
    """A value as postgresql.conf has it ("Setting Parameters", 19.1.1 of its documentation)."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _build_uri(connection: Connection) -> str:
    return build_uri(
        "postgresql", connection, connection.database or "", {"sslmode": connection.tls} if connection.tls else None
    )


def _build_runtime(variant: Variant, version: str) -> ServerRuntime:
    major = int(version.split(".", maxsplit=1)[0])
    volume = "/var/lib/postgresql" if major >= FIRST_MAJOR_WITH_PARENT_VOLUME else "/var/lib/postgresql/data"
    return ServerRuntime(
        # The image asks for a password for the superuser; it gets one that nobody knows, and loses it again in `started`.
        start_script=f"""\
#!/bin/sh
set -eu
POSTGRES_PASSWORD=$(head -c 32 /dev/urandom | base64)
export POSTGRES_PASSWORD POSTGRES_DB="$APPLICATION_DATABASE"
printf "include '%s/postgresql.conf'\\ninclude '/etc/database-groups/settings'\\n" "$PGDATA" > /tmp/postgresql.conf
exec docker-entrypoint.sh {variant.server_command} -c config_file=/tmp/postgresql.conf
""",
        # The server of the image's first initialisation listens on the socket alone, so what answers over TCP is the final one.
        post_start_script="""\
#!/bin/sh
set -eu
until pg_isready --quiet --host=127.0.0.1; do sleep 0.2; done
exec psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres <<'STATEMENTS'
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\\getenv username APPLICATION_USERNAME
\\getenv password APPLICATION_PASSWORD
\\getenv database APPLICATION_DATABASE
SELECT format('CREATE ROLE %I', :'username') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'username') \\gexec
ALTER ROLE :"username" WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'username') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \\gexec
ALTER DATABASE :"database" OWNER TO :"username";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
STATEMENTS
""",
        readiness_script="""\
#!/bin/sh
set -eu
PGCONNECT_TIMEOUT=5 PGPASSWORD=$APPLICATION_PASSWORD exec psql --no-psqlrc --quiet --no-password \\
    --host="$POD_IP" --username="$APPLICATION_USERNAME" --dbname="$APPLICATION_DATABASE" --command='SELECT 1' >/dev/null
""",
        data_path=volume,
        empty_dirs=("/var/run/postgresql", "/tmp"),
        env={"PGDATA": f"{volume}/{major}/docker" if major >= FIRST_MAJOR_WITH_PARENT_VOLUME else f"{volume}/pgdata"},
        min_memory="256Mi",
        init_file_path="/docker-entrypoint-initdb.d/init.sql",
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
        # From PostgreSQL 16 on whoever creates a role has the option already, and it is read back.
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(ignore_changes=["withAdminOption"])),
    )
    database = postgresql.Database(
        f"{name}-database",
        name=request.database,
        owner=role.name,
        # Each of the ignored ones would replace the database. Databases of a server are made one after the other: the provider
        # holds a lock in one connection while it waits for another, and many at once wait for ever.
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
            server_command="postgres",
        ),
    ),
    build_uri=_build_uri,
    build_account=lambda application, group: Account(
        username=database_account_name(application, group), database=database_account_name(application, group)
    ),
    build_runtime=_build_runtime,
    max_username_length=63,
    max_database_name_length=63,
    provisioner=Provisioner(
        create_provider=_create_provider,
        provision_database=_provision_database,
        reserved_names_pattern=r"postgres|public|template[01]|pg_.*",
        supports_extensions=True,
    ),
    supports_database_url=True,
    settings_file=SettingsFile(
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
    existing_account_keys={"database": True, "username": True, "password": True},
)
